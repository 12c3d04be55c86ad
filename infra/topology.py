"""Which hosts an environment has: from settings to specifications, without touching anything."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hostwright.errors import BadInput
from infra.config import Settings, duplicates

# Hosts of each topology: how many, and the groups each is in. Their order gives number and address.
LAYOUTS: dict[str, list[list[str]]] = {"single": [["single"]]}
FIRST = 11  # .1 is the gateway; below .11 there is room for what an operator adds by hand.


@dataclass(frozen=True)
class HostSpec:
    """One host to be: named, placed and sized. Memory in MiB, disk and data in GiB."""

    name: str
    address: IPv4Address
    address6: IPv6Address | None
    mac: str
    groups: list[str]
    memory: int
    cpus: int
    disk: int
    data: int


def hosts(settings: Settings) -> list[HostSpec]:
    """The hosts of the environment, in order; the same settings give the same names, addresses and MACs."""
    size, network = settings.hosts, settings.network
    return [
        HostSpec(
            name=(name := f"{settings.environment}-{number}"),
            address=network.cidr[FIRST + number - 1],
            # ::11 beside .11, so that a host's two addresses are read as one number.
            address6=network.cidr6[int(str(FIRST + number - 1), 16)] if network.cidr6 else None,
            mac=mac(name),
            groups=groups,
            memory=size.memory,
            cpus=size.cpus,
            disk=size.disk,
            data=size.data,
        )
        for number, groups in enumerate(groups_of(settings.topology), start=1)
    ]


def groups_of(topology: str) -> list[list[str]]:
    """The groups of each host of the topology."""
    return LAYOUTS[topology]


def mac(name: str) -> str:
    """A MAC address in QEMU's range, always the same for a name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"52:54:00:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


def bridge(environment: str) -> str:
    """The name of the environment's own bridge: at most 15 characters, always the same."""
    return f"hw-{hashlib.sha256(environment.encode()).hexdigest()[:10]}"


def check_machines(topology: str, names: Sequence[str], addresses: Sequence[str], where: str) -> None:
    """Raise BadInput unless machines that exist differ and are as many as the topology takes."""
    for what, values in {"name": names, "address": addresses}.items():
        if twice := duplicates(values):
            raise BadInput(f"two hosts with the {what} {twice[0]}", where=where, fix="give each its own")
    if len(names) != (wanted := len(groups_of(topology))):
        raise BadInput(
            f"topology {topology} has {wanted} host{'s' if wanted != 1 else ''}, {len(names)} given",
            where=where,
            fix=f"name {wanted}",
        )
