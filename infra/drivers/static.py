"""Hosts that exist already: nothing is made, only looked at."""

from __future__ import annotations

from typing import Any

import pulumi

from hostwright.hosts.record import HostRecord
from infra import topology
from infra.config import Settings
from infra.drivers import ready

TIMEOUT = 20


def build(settings: Settings) -> list[pulumi.Output[dict[str, Any]]]:
    """A record for each machine of the settings, once it lets the login user in."""
    return [
        ready.record(settings, host, f"{host.address}:{host.port}", TIMEOUT, fresh=False)
        for host in records(settings)
    ]


def records(settings: Settings) -> list[HostRecord]:
    """The machines of the settings, in their groups. Raises BadInput when they do not fit the topology."""
    assert settings.static  # noqa: S101  (config.parse saw to it)
    machines = settings.static.hosts
    topology.check_machines(
        settings.topology,
        [machine.group for machine in machines],
        [machine.name for machine in machines],
        [str(machine.address) for machine in machines]
        + [str(machine.address6) for machine in machines if machine.address6],
        f"infra/Pulumi.{settings.environment}.yaml: hostwright:static.hosts",
    )
    return [
        HostRecord(
            name=machine.name,
            address=str(machine.address),
            address6=str(machine.address6) if machine.address6 else None,
            port=machine.port,
            user=machine.user or settings.ssh.user,
            groups=list(topology.LAYOUTS[machine.group or "single"].groups),
            facts={"driver": "static"},
        )
        for machine in machines
    ]
