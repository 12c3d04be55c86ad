"""What this machine has for the work ahead: present, usable, and how to get what is missing."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

from hostwright import paths, toolchain
from hostwright.environment import pulumi_env
from hostwright.environments import Environment
from hostwright.errors import HostwrightError
from hostwright.hosts import kvm

GIB = 2**30


@dataclass(frozen=True)
class Need:
    """One need. `present`: it is there. `usable`: it was tried and worked. `required`: none goes without."""

    name: str
    present: bool
    usable: bool
    detail: str
    fix: str = ""
    required: bool = True

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def examine(environment: Environment | None = None) -> Iterator[Need]:
    """Every need in turn, the cheap ones first; with an environment, only its driver's are required."""
    driver = environment.driver if environment else ""
    yield _program("ssh", "install the OpenSSH client")
    yield _toolchain()
    yield _passphrase()
    yield _default_route()
    yield _memory(environment)
    yield _disk()
    yield _overlaps(environment)
    yield _docker(required=driver in ("", "container"))
    yield _loop_devices()
    yield from _libvirt(environment, required=driver == "libvirt")


def _program(name: str, fix: str) -> Need:
    found = shutil.which(name)
    return Need(name, bool(found), bool(found), found or "not on PATH", "" if found else fix)


def _toolchain() -> Need:
    try:
        missing = toolchain.missing()
    except HostwrightError as error:
        return Need("toolchain", False, False, error.what, error.fix)
    detail = (
        f"missing: {', '.join(missing)}"
        if missing
        else "pulumi, language host and plug-ins at their pinned versions"
    )
    return Need("toolchain", not missing, not missing, detail, "hostwright toolchain" if missing else "")


def _passphrase() -> Need:
    env = pulumi_env()
    if "PULUMI_CONFIG_PASSPHRASE" in env:
        return Need("passphrase", True, True, "PULUMI_CONFIG_PASSPHRASE is set")
    path = Path(env["PULUMI_CONFIG_PASSPHRASE_FILE"])
    fix = f"umask 077; mkdir -p {path.parent}; openssl rand -hex 24 > {path}   (and keep a copy elsewhere)"
    if not path.is_file():
        return Need("passphrase", False, False, f"{path} does not exist", fix)
    readable = os.access(path, os.R_OK) and path.stat().st_size > 0
    private = path.stat().st_mode & 0o077 == 0
    detail = (
        str(path)
        if readable and private
        else f"{path} is {'readable by others' if readable else 'unreadable or empty'}"
    )
    return Need(
        "passphrase", True, readable and private, detail, "" if readable and private else f"chmod 600 {path}"
    )


def _default_route() -> Need:
    routes = _ip("route", "show", "default")
    ok = "default" in routes
    return Need(
        "default route",
        ok,
        ok,
        routes.strip() or "none",
        "" if ok else "ip route add default via GATEWAY",
        required=False,
    )


def _memory(environment: Environment | None) -> Need:
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    hosts = (environment.settings.get("hosts") or {}) if environment else {}
    asked = int(hosts.get("memory", 2048)) * 2**20
    ok = available >= asked
    detail = f"{available / GIB:.1f} GiB available, {asked / GIB:.1f} GiB asked for a host"
    return Need("memory", ok, ok, detail, "" if ok else "free memory, or lower hostwright:hosts.memory")


def _disk() -> Need:
    folder = paths.cache()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    ok = free >= 10 * GIB
    return Need(
        "disk",
        ok,
        ok,
        f"{free / GIB:.0f} GiB free at {folder}",
        "" if ok else "free 10 GiB there, or set XDG_CACHE_HOME",
    )


def _overlaps(environment: Environment | None) -> Need:
    network = (environment.settings.get("network") or {}) if environment else {}
    asked = [network[key] for key in ("cidr", "cidr6") if network.get(key)]
    clashes = []
    own = f"hostwright-{environment.name}" if environment else ""
    for line in (_ip("-4", "route") + _ip("-6", "route")).splitlines():
        first, *rest = line.split()
        if "/" not in first or _is_own(rest, own):
            continue
        taken = ipaddress.ip_network(first, strict=False)
        clashes += [
            f"{cidr} meets {first} ({' '.join(rest[:2])})"
            for cidr in asked
            if (wanted := ipaddress.ip_network(cidr, strict=False)).version == taken.version
            and wanted.overlaps(taken)
        ]
    detail = "; ".join(clashes) or (f"{', '.join(asked)} free" if asked else "none asked for")
    return Need(
        "networks",
        not clashes,
        not clashes,
        detail,
        "choose another hostwright:network.cidr" if clashes else "",
    )


def _is_own(rest: list[str], network: str) -> bool:
    """Whether a route leads into the environment's own network, which of course overlaps itself."""
    if not network or "dev" not in rest:
        return False
    device = rest[rest.index("dev") + 1]
    if device.startswith("br-"):
        try:
            found = docker.from_env().networks.list(names=[network])
            return any((each.id or "").startswith(device[3:]) for each in found)
        except DockerException:
            return False
    return device.startswith(("virbr", "hw-", "hv-"))


def _docker(required: bool) -> Need:
    fix = "install and start Docker, and be in its group (the lab starts an engine by itself)"
    try:
        version = docker.from_env(timeout=5).version()
    except DockerException as error:
        return Need(
            "docker engine",
            bool(shutil.which("dockerd")),
            False,
            str(error).splitlines()[0][:100],
            fix,
            required,
        )
    return Need(
        "docker engine", True, True, f"{version['Version']} on {version['KernelVersion']}", required=required
    )


def _loop_devices() -> Need:
    devices = sorted(Path("/dev").glob("loop[0-9]*"))
    ok = Path("/dev/loop-control").exists() and bool(devices)
    return Need(
        "loop devices",
        bool(devices),
        ok,
        f"{len(devices)} of them",
        "" if ok else "modprobe loop",
        required=False,
    )


def _libvirt(environment: Environment | None, required: bool) -> Iterator[Need]:
    settings = (environment.settings.get("libvirt") or {}) if environment else {}
    given = settings.get("uri") or "qemu:///system"
    uris = [given] if isinstance(given, str) else given
    if not shutil.which("virsh"):
        yield Need("libvirt", False, False, "virsh not on PATH", "install libvirt and its client", required)
        uris = []
    for uri in uris:
        answer = subprocess.run(
            ["virsh", "-q", "-c", uri, "uri"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )
        ok = answer.returncode == 0
        detail = uri if ok else (answer.stderr.strip().splitlines() or ["no answer"])[-1]
        fix = (
            ""
            if ok
            else "start libvirtd (or virtqemud) and join the group libvirt; for qemu+ssh:// check the key"
        )
        yield Need("libvirt", True, ok, detail, fix, required)
    verdict = kvm.usable()
    yield Need(
        "kvm",
        Path("/dev/kvm").exists(),
        verdict.usable,
        verdict.detail,
        ""
        if verdict.usable
        else "enable virtualisation in the firmware; without it guests run under TCG, 5 to 20 times slower",
        required=False,
    )


def _ip(*arguments: str) -> str:
    program = shutil.which("ip") or "/usr/sbin/ip"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False).stdout
