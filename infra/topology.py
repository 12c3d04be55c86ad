"""Which hosts an environment has: from settings to specifications, without touching anything."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hostwright.errors import BadInput
from infra.config import Settings, check_servers, duplicates


@dataclass(frozen=True)
class Layout:
    """What a group's hosts have in common: all their groups, and their names and addresses, which are counted
    up from 1 and from the network's address number `first`."""

    groups: tuple[str, ...]
    name: str
    first: int
    runtime: str
    data: str
    """Where the data volume is mounted: for the runtime's images, and for the data of what is deployed."""


# .1 is the gateway; below .11 there is room for what an operator adds by hand. Each group has a range of its
# own, so that nothing of a host depends on how many there are of another group.
LAYOUTS = {
    "single": Layout(("single",), "{}-{}", 11, "docker", "/var/lib/docker"),
    "servers": Layout(("cluster", "servers"), "{}-server-{}", 11, "microk8s", "/var/snap/microk8s/common"),
    "workers": Layout(("cluster", "workers"), "{}-worker-{}", 21, "microk8s", "/var/snap/microk8s/common"),
}


@dataclass(frozen=True)
class HostSpec:
    """One host to be: named, placed and sized. Memory in MiB, disk and data in GiB."""

    name: str
    group: str
    number: int
    address: IPv4Address
    address6: IPv6Address | None
    mac: str
    memory: int
    cpus: int
    disk: int
    data: int

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.group]

    @property
    def groups(self) -> list[str]:
        return list(self.layout.groups)


def hosts(settings: Settings) -> list[HostSpec]:
    """The hosts of the environment, in order. Each follows from its group and number alone: it is the same on
    every machine, whatever other hosts there are.

    Raises BadInput when they do not fit their network.
    """
    specs = []
    for group, count in settings.counts.items():
        _check_room(settings, group, count)
        specs += [_spec(settings, group, number) for number in range(1, count + 1)]
    _check(settings, specs)
    return specs


def mac(name: str) -> str:
    """A MAC address in QEMU's range, always the same for a name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"52:54:00:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


def common_name(environment: str) -> str:
    """The name of what its hosts share: the network, and on a hypervisor the pool."""
    return f"hostwright-{environment}"


def bridge(environment: str, driver: str) -> str:
    """The name of the environment's own bridge: at most 15 characters, always the same.

    Each driver's is another: where the driver was changed, the new hosts are made before the old ones go.
    """
    kind = {"container": "hw", "libvirt": "hv"}[driver]
    return f"{kind}-{hashlib.sha256(environment.encode()).hexdigest()[:10]}"


def check_machines(
    topology: str, groups: Sequence[str | None], names: Sequence[str], addresses: Sequence[str], where: str
) -> None:
    """Raise BadInput unless machines that exist differ and are those that the topology takes.

    A group and a name a machine, the group being None where none is given; `addresses` are those of all.
    """
    for what, values in {"name": names, "address": addresses}.items():
        if twice := duplicates(values):
            raise BadInput(f"two hosts with the {what} {twice[0]}", where=where, fix="give each its own")
    for name, group in zip(names, groups, strict=True):
        if topology == "cluster" and group is None:
            raise BadInput(f"{name} has no group", where=where, fix="group: servers, or group: workers")
        if topology == "single" and group is not None:
            raise BadInput(
                f"{name} is one of the {group}, the topology is single",
                where=where,
                fix="hostwright:topology: cluster   (or take the group out)",
            )
    if topology == "cluster":
        check_servers(groups.count("servers"), where)
    elif len(names) != 1:
        raise BadInput(f"topology {topology} has 1 host, {len(names)} given", where=where, fix="name 1")


def _spec(settings: Settings, group: str, number: int) -> HostSpec:
    layout, size, network = LAYOUTS[group], settings.size(group), settings.network
    name = layout.name.format(settings.environment, number)
    place = layout.first + number - 1
    return HostSpec(
        name=name,
        group=group,
        number=number,
        address=network.cidr[place],
        address6=network.cidr6[_place6(place)] if network.cidr6 else None,
        mac=mac(name),
        memory=size.memory,
        cpus=size.cpus,
        disk=size.disk,
        data=size.data,
    )


def _place6(place: int) -> int:
    """::11 beside .11, so that a host's two addresses are read as one number."""
    return int(str(place), 16)


def _check_room(settings: Settings, group: str, count: int) -> None:
    """Raise BadInput when a network ends before the group's last host."""
    network, layout = settings.network, LAYOUTS[group]
    last = layout.first + count - 1
    fits = {
        "cidr": last < network.cidr.num_addresses - 1,  # the very last is everybody's
        "cidr6": network.cidr6 is None or _place6(last) < network.cidr6.num_addresses,
    }
    for key, enough in fits.items():
        if count and not enough:
            raise BadInput(
                f"the hosts' network {getattr(network, key)} ends before number {last}, "
                f"which is {layout.name.format(settings.environment, count)}'s",
                where=f"infra/Pulumi.{settings.environment}.yaml: hostwright:network.{key}",
                fix="choose a larger network, or have fewer hosts",
            )


def _check(settings: Settings, specs: Sequence[HostSpec]) -> None:
    """Raise BadInput when a host would have an address that is taken, or a name that is too long."""
    where = f"infra/Pulumi.{settings.environment}.yaml"
    for spec in specs:
        if spec.address == settings.network.gateway:
            raise BadInput(
                f"{spec.name} would have the gateway's address {spec.address}",
                where=f"{where}: hostwright:network",
                fix="let cidr be a part of the network in which hosts and gateway do not meet",
            )
        if len(spec.name) > 63:
            raise BadInput(
                f"the host name {spec.name} has {len(spec.name)} characters, and 63 at most are possible",
                where=where,
                fix="choose a shorter name for the environment",
            )
    if twice := duplicates([spec.mac for spec in specs]):
        pair = " and ".join(spec.name for spec in specs if spec.mac == twice[0])
        raise BadInput(
            f"{pair} would have one hardware address, {twice[0]}, since it follows from the name",
            where=where,
            fix="choose another name for the environment, or have fewer hosts",
        )
