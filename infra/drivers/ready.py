"""The last step of every driver: wait until the host lets its operator in, then give its record."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from hostwright import paths
from hostwright.hosts.dynamic import ReadyProvider
from hostwright.hosts.record import HostRecord
from infra.config import Settings


class Ready(Resource, name="Ready"):
    """Exists once a command has run on the host over SSH."""


def record(
    settings: Settings,
    host: HostRecord,
    machine: pulumi.Input[str],
    timeout: int,
    fresh: bool = True,
) -> pulumi.Output[dict[str, Any]]:
    """The host's record, known when SSH answers.

    `machine` changes when the host is another one; `timeout` in seconds; `fresh`: the host was made by us.
    """
    ready = Ready(
        ReadyProvider(),
        host.name,
        {
            **login(settings, host),
            "machine": machine,
            "timeout": timeout,
            "fresh": fresh,
        },
    )
    return ready.id.apply(lambda _: host.model_dump())


def login(settings: Settings, host: HostRecord) -> dict[str, Any]:
    """How the host is reached: what `hostwright.hosts.ssh` wants to know of it."""
    return {
        "name": host.name,
        "address": host.address,
        "port": host.port,
        "user": host.user,
        "privateKey": str(settings.ssh.private_key),
        "knownHosts": str(paths.state(settings.environment) / "known_hosts"),
    }
