"""What must hold on this machine before hosts are made on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from hostwright.errors import BadInput
from hostwright.hosts import containers, ssh
from infra import config, hypervisor, image, topology
from infra.config import Settings
from infra.drivers import container, ready, static

GIB = 2**30


def check(settings: Settings) -> None:
    """Look at the machine for what would stop the environment half-way. Raises BadInput; changes nothing."""
    match settings.driver:
        case "container":
            capacity(settings)
            networks(settings)
            _names(settings)
        case "libvirt":
            _libvirt(settings)
        case "static":
            machines(settings)


def _names(settings: Settings) -> None:
    hosts = topology.hosts(settings)
    common = f"hostwright-{settings.environment}"
    containers.claim(
        settings.environment,
        containers=[host.name for host in hosts],
        volumes=[container.volume_name(host) for host in hosts],
        networks=[common],
    )


def _libvirt(settings: Settings) -> None:
    assert settings.libvirt  # noqa: S101  (config.parse saw to it)
    where = f"infra/Pulumi.{settings.environment}.yaml: hostwright:libvirt"
    hypervisor.claim(settings)
    local = any(map(hypervisor.is_local, settings.libvirt.uris))
    if local:
        capacity(settings)
        if settings.network.mode == "nat":
            networks(settings)
    base = image.verified(settings.libvirt.image, settings.libvirt.sha256, f"{where}.image")
    least = -(-image.virtual_size(base) // GIB)
    for group in settings.counts:
        if least > (disk := settings.size(group).disk):
            key = config.size_key(settings, group, "disk")
            raise BadInput(
                f"the image needs a disk of {least} GiB, {config.noun(group)}s have {disk}",
                where=f"infra/Pulumi.{settings.environment}.yaml: {key}",
                fix=f"{key}: {least} or more",
            )
    if local:
        space(settings, base.stat().st_size)


def _here(settings: Settings) -> list[topology.HostSpec]:
    """The hosts that this machine carries itself."""
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


def space(settings: Settings, image_size: int, free: int | None = None) -> None:
    """Raise BadInput when a pool to be made has no room for the image and what hosts write first (bytes)."""
    pool = Path(hypervisor.pool_path(settings))
    if pool.exists():
        return
    folder = next(parent for parent in pool.parents if parent.exists())
    have = shutil.disk_usage(folder).free if free is None else free
    # Volumes grow as they are written; an installed application writes about four GiB.
    need = image_size + len(_here(settings)) * 4 * GIB
    if have < need:
        raise BadInput(
            f"{folder} has {have / GIB:.1f} GiB left, the hosts begin with {need / GIB:.1f}",
            where=f"infra/Pulumi.{settings.environment}.yaml: hostwright:libvirt.pool",
            fix="free some, or name another folder",
        )


def networks(settings: Settings) -> None:
    """Raise BadInput when the hosts' network meets a route of this machine that is not its own bridge's."""
    own = topology.bridge(settings.environment, settings.driver)
    for device, taken in routes():
        if device == own:
            continue
        for key in ("cidr", "cidr6"):
            wanted = getattr(settings.network, key)
            if wanted is not None and wanted.version == taken.version and wanted.overlaps(taken):
                raise BadInput(
                    f"the hosts' network {wanted} overlaps {taken}, in use here by {device}",
                    where=f"infra/Pulumi.{settings.environment}.yaml: hostwright:network.{key}",
                    fix="choose another private network",
                )


def capacity(settings: Settings, memory: int | None = None) -> None:
    """Raise BadInput when the hosts ask for more memory than the machine has (bytes; default: this one's)."""
    asked = sum(host.memory for host in _here(settings)) * 2**20
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if memory is None else memory
    if asked > have:
        raise BadInput(
            f"the hosts ask for {asked // 2**20} MiB of memory, the machine has {have // 2**20}",
            where=f"infra/Pulumi.{settings.environment}.yaml: hostwright:hosts.memory",
            fix="ask for less, or use a larger machine",
        )


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
