"""What must hold on this machine before hosts are made on it.

`capacity`, `space` and `networks` look at this machine for the hosts that it carries itself, whatever the
driver, and say in words what they found, or raise BadInput.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from hostwright.errors import BadInput
from hostwright.hosts import containers, ssh, virsh
from infra import config, hypervisor, image, topology
from infra.config import Libvirt, Settings
from infra.drivers import container, ready, static

GIB = 2**30
# What a host has written when its application is up, by driver: its images and data, in a virtual machine
# also what the operating system brings and changes. Volumes and layers grow as they are written.
WRITTEN = {"container": 2 * GIB, "libvirt": 4 * GIB}


def check(settings: Settings) -> None:
    """Look at the machine for what would stop the environment half-way. Raises BadInput; changes nothing."""
    match settings.driver:
        case "container":
            capacity(settings)
            networks(settings)
            _names(settings)
            space(settings)
        case "libvirt":
            hypervisor.claim(settings)
            capacity(settings)
            networks(settings)
            _image(settings)
            space(settings)
        case "static":
            machines(settings)


def _names(settings: Settings) -> None:
    hosts = topology.hosts(settings)
    containers.claim(
        settings.environment,
        containers=[host.name for host in hosts],
        volumes=[container.volume_name(host) for host in hosts],
        networks=[topology.common_name(settings.environment)],
    )


def _image(settings: Settings) -> None:
    """Have the image, and raise BadInput when it is another one or larger than a host's disk."""
    assert settings.libvirt  # noqa: S101  (config.parse saw to it)
    where = f"infra/Pulumi.{settings.environment}.yaml"
    base = image.verified(
        settings.libvirt.image, settings.libvirt.sha256, f"{where}: hostwright:libvirt.image"
    )
    least = -(-image.virtual_size(base) // GIB)
    for group in settings.counts:
        if least > (disk := settings.size(group).disk):
            key = config.size_key(settings, group, "disk")
            raise BadInput(
                f"the image needs a disk of {least} GiB, {config.noun(group)}s have {disk}",
                where=f"{where}: {key}",
                fix=f"{key}: {least} or more",
            )


def _here(settings: Settings) -> list[topology.HostSpec]:
    """The hosts that this machine carries itself."""
    if settings.static:
        return []
    hosts = topology.hosts(settings)
    if settings.libvirt is None:
        return hosts
    return [host for host in hosts if hypervisor.is_local(hypervisor.place(settings.libvirt, host))]


def machines(settings: Settings) -> None:
    """Raise BadInput unless each machine that exists lets its login user in, and become root."""
    for host in static.records(settings):
        login = ready.login(settings, host)
        answer = ssh.ask(login, "sudo", "-n", "true")
        if answer.kind == "yes":
            continue
        key, known, port = login["privateKey"], login["knownHosts"], host.port
        entry = ssh.entry(host.address, port)
        problem, fix = {
            "silent": (
                "does not answer",
                f"start it and let this machine reach its port {port}, or correct its address",
            ),
            "stranger": (
                "has another host key than before",
                f"find out why; if it was installed anew: ssh-keygen -R '{entry}' -f {known}",
            ),
            "refused": (
                f"does not let {host.user} in",
                f"ssh-copy-id -f -i {key}.pub -p {port} {host.user}@{host.address}",
            ),
            "failed": (
                f"does not let {host.user} become root",
                f"there, in /etc/sudoers.d/{host.user}: {host.user} ALL=(ALL) NOPASSWD: ALL",
            ),
        }[answer.kind]
        raise BadInput(
            f"{host.name} ({host.address}) {problem}: {answer.reason}",
            where=f"infra/Pulumi.{settings.environment}.yaml: hostwright:static.hosts",
            fix=fix,
        )


def space(settings: Settings) -> str:
    """Raise BadInput when what image and hosts have still to write has no room where it is kept here."""
    hosts = _here(settings)
    if not hosts:
        return "no host writes here"
    if settings.libvirt:
        folder: Path | None = Path(hypervisor.pool_path(settings))
        key, fix = "libvirt.pool", "free some, or name another folder"
    else:
        folder = containers.folder()
        key, fix = "driver", "free some, or give the Docker engine another data-root"
    if folder is None:
        return "the engine is another machine's"
    need = _guests(settings.libvirt, hosts, folder) if settings.libvirt else _nodes(hosts)
    there, have = free(folder)
    if have < need:
        raise BadInput(
            f"{there} has {have / GIB:.1f} GiB left, the hosts have still to write {need / GIB:.1f}",
            where=f"infra/Pulumi.{settings.environment}.yaml: hostwright:{key}",
            fix=fix,
        )
    return f"{have / GIB:.1f} GiB left in {there}, {need / GIB:.1f} still to be written"


def _guests(libvirt: Libvirt, hosts: Sequence[topology.HostSpec], pool: Path) -> int:
    """Bytes that the image, and hosts that are no domains yet, have still to write in the pool."""
    base = image.local(libvirt.image, libvirt.sha256)
    left = max(0, _size(base) - _size(pool / hypervisor.base_name(libvirt)))
    made = virsh.names(_local(libvirt), "domain")
    for host in hosts:
        if host.name not in made:
            volumes = hypervisor.root_name(host), hypervisor.volume_name(host)
            left += max(0, WRITTEN["libvirt"] - sum(_size(pool / name) for name in volumes))
    return left


def _nodes(hosts: Sequence[topology.HostSpec]) -> int:
    """The same of containers. How much is in a volume would take minutes to find out: it counts as all."""
    new = [host for host in hosts if not containers.volume_exists(container.volume_name(host))]
    return len(new) * WRITTEN["container"]


def _local(libvirt: Libvirt) -> str:
    """The one hypervisor that is this machine."""
    return next(filter(hypervisor.is_local, libvirt.uris))


def _size(file: Path) -> int:
    """Bytes that a file takes; none of one that is not there, or not to be seen from here."""
    with suppress(OSError):
        return file.stat().st_blocks * 512
    return 0


def free(folder: Path) -> tuple[Path, int]:
    """What there is, or may be seen, of the way to a folder, and how many bytes may be written there."""
    there = next(each for each in (folder, *folder.parents) if os.access(each, os.F_OK))
    return there, shutil.disk_usage(there).free


def networks(settings: Settings) -> str:
    """Raise BadInput when the hosts' network meets a route of this machine that is not its own bridge's."""
    if not _here(settings) or (settings.libvirt and settings.network.mode == "bridge"):
        return "the hosts have none of their own here"
    own = topology.bridge(settings.environment, settings.driver)
    wanted = {key: cidr for key in ("cidr", "cidr6") if (cidr := getattr(settings.network, key))}
    for device, taken in routes():
        if device == own:
            continue
        for key, cidr in wanted.items():
            if cidr.version == taken.version and cidr.overlaps(taken):
                raise BadInput(
                    f"the hosts' network {cidr} overlaps {taken}, in use here by {device}",
                    where=f"infra/Pulumi.{settings.environment}.yaml: hostwright:network.{key}",
                    fix="choose another private network",
                )
    return f"{' and '.join(map(str, wanted.values()))} free"


def capacity(settings: Settings) -> str:
    """Raise BadInput when the hosts ask for more memory than the machine has, or has left for new guests.

    A container's memory is a limit and not set aside: it takes what its application does, and what others
    leave changes by the minute. A guest takes all of its memory in time, so those that do not run yet must
    find it available.
    """
    hosts, (total, available) = _here(settings), memory()
    where = f"infra/Pulumi.{settings.environment}.yaml: hostwright:hosts.memory"
    asked = sum(host.memory for host in hosts)
    if asked > total:
        raise BadInput(
            f"the hosts ask for {asked} MiB of memory, the machine has {total}",
            where=where,
            fix="ask for less, or use a larger machine",
        )
    if settings.libvirt and hosts:
        running = virsh.running(_local(settings.libvirt), "domain")
        starting = sum(host.memory for host in hosts if host.name not in running)
        if starting > available:
            raise BadInput(
                f"the hosts that do not run yet ask for {starting} MiB of memory, "
                f"of the machine's {total} there are {available} left",
                where=where,
                fix="end what takes it, or ask for less",
            )
    return f"{asked} MiB asked for, {available} of {total} available"


def memory() -> tuple[int, int]:
    """How much memory this machine has, and how much of it would be there for something new, in MiB."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {line[0]: int(line[1]) for line in lines}
    return kib["MemTotal:"] >> 10, kib["MemAvailable:"] >> 10


def routes() -> list[tuple[str, IPv4Network | IPv6Network]]:
    """Device and destination of each route of this machine, except default and link-local ones."""
    program = shutil.which("ip") or "/usr/sbin/ip"
    found: list[tuple[str, IPv4Network | IPv6Network]] = []
    for family in ("-4", "-6"):
        answer = subprocess.run(
            [program, "-json", family, "route"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        for route in json.loads(answer.stdout or "[]"):
            if route["dst"] == "default" or "dev" not in route:
                continue
            network = ip_network(route["dst"], strict=False)
            if not network.is_link_local and not network.is_multicast:
                found.append((route["dev"], network))
    return found
