"""What this machine has for the work ahead: present, usable, and how to get what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException

from hostwright import application, paths, toolchain
from hostwright.environments import Environment
from hostwright.errors import HostwrightError
from hostwright.hosts import containers, kvm, typed, virsh
from hostwright.pulumi_process import pulumi_env, toolchain_bin
from hostwright.toolchain import golang

if TYPE_CHECKING:
    from infra.config import Settings

GIB = 2**30
# What `make lab` and `make test` take: GiB of the caches and of the Docker engine's folder, MiB of memory.
LAB_CACHES, LAB_ENGINE, LAB_MEMORY = 10, 10, 4096
PATIENCE = 30  # seconds for a libvirt to answer


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
    """Every need in turn, the cheap ones first; with an environment, only its driver's are required.

    Without one it is the lab's that are told. Memory, disk and networks are looked at as `up` does it.
    """
    driver = environment.driver if environment else ""
    yield _ssh()
    yield _toolchain()
    yield _go()
    yield _passphrase()
    yield _default_route()
    if environment:
        yield from _settings(environment)
    else:
        yield from _lab()
    yield _docker(required=driver in ("", "container"))
    yield _loop_devices()
    yield from _libvirt(environment, required=driver == "libvirt")


def _ssh() -> Need:
    found = shutil.which("ssh")
    said = _try(found, "-V") if found else None
    detail = f"{found}: {said or 'does not run'}" if found else "not on PATH"
    return Need("ssh", bool(found), bool(said), detail, "" if said else "install the OpenSSH client")


def _toolchain() -> Need:
    try:
        missing = toolchain.missing()
    except HostwrightError as error:
        return Need("toolchain", False, False, error.what, error.fix)
    fix = "hostwright toolchain"
    if missing:
        return Need("toolchain", False, False, f"missing: {', '.join(missing)}", fix)
    program = toolchain_bin() / "pulumi"
    if not _try(program, "version"):
        return Need("toolchain", True, False, f"{program} does not run", f"rm {program}; {fix}")
    return Need("toolchain", True, True, "pulumi, language host and plug-ins at their pinned versions")


def _go() -> Need:
    """Only what cannot be had otherwise is built with it."""
    present = bool(shutil.which("go"))
    try:
        return Need("go", present, True, golang.check(*toolchain.modules()), required=False)
    except HostwrightError as error:
        return Need("go", present, False, error.what, error.fix, required=False)


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


def _settings(environment: Environment) -> Iterator[Need]:
    """The environment's file, and what it asks of this machine."""
    from infra import preflight

    try:
        settings = typed.settings(environment)
        typed.check_apart(environment, application.load(environment.application, environment.project))
    except HostwrightError as error:
        yield Need("settings", True, False, f"{error.what} ({error.where})", error.fix)
        return
    yield Need("settings", True, True, f"infra/Pulumi.{environment.name}.yaml")
    yield _asked("memory", preflight.capacity, settings)
    yield _asked("disk", preflight.space, settings)
    yield _asked("networks", preflight.networks, settings)


def _asked(name: str, look: Callable[[Settings], str], settings: Settings) -> Need:
    """One of the looks that `up` takes at this machine before it makes anything."""
    try:
        return Need(name, True, True, look(settings))
    except HostwrightError as error:
        return Need(name, False, False, error.what, error.fix)


def _lab() -> Iterator[Need]:
    """What the lab asks of this machine; its network is looked at once it has one."""
    from infra import preflight

    total, available = preflight.memory()
    enough = available >= LAB_MEMORY
    detail = f"{available} MiB of {total} available, the lab's host may take {LAB_MEMORY}"
    yield Need("memory", enough, enough, detail, "" if enough else "end what takes it")
    yield _disk()


def _disk() -> Need:
    """By file system: the folders may be on one, or each on its own."""
    from infra import preflight

    wanted = {paths.cache(): LAB_CACHES}
    try:
        engine = containers.folder()
    except HostwrightError:
        engine = Path("/var/lib/docker")  # where it would be, once it is there
    if engine:
        wanted[engine] = LAB_ENGINE
    systems = defaultdict(list)
    for folder in wanted:
        systems[preflight.free(folder)[0].stat().st_dev].append(folder)
    enough, said = True, []
    for folders in systems.values():
        free, asked = preflight.free(folders[0])[1], sum(wanted[folder] for folder in folders)
        enough = enough and free >= asked * GIB
        names = " and ".join(map(str, folders))
        said.append(f"{free / GIB:.0f} GiB free for {names}, the lab may take {asked}")
    fix = "" if enough else "free some there, or set XDG_CACHE_HOME, or the Docker engine's data-root"
    return Need("disk", enough, enough, "; ".join(said), fix)


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
    """A file is made one and let go again: the devices may be there, and none to be had."""
    program = shutil.which("losetup") or "/usr/sbin/losetup"
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(1 << 20)
        device = _try(program, "--find", "--show", file.name)
        if device:
            _try(program, "--detach", device)
    present = Path("/dev/loop-control").exists()
    detail = f"{device} took a file" if device else "none takes a file"
    fix = "" if device else "modprobe loop, and be root"
    return Need("loop devices", present, bool(device), detail, fix, required=False)


def _libvirt(environment: Environment | None, required: bool) -> Iterator[Need]:
    settings = (environment.settings.get("libvirt") or {}) if environment else {}
    given = settings.get("uri") or "qemu:///system"
    uris = [str(each) for each in (given if isinstance(given, list) else [given])]
    if not shutil.which("virsh"):
        yield Need("libvirt", False, False, "virsh not on PATH", "install libvirt and its client", required)
        uris = []
    for uri in uris:
        try:
            virsh.run(uri, "uri", timeout=PATIENCE)
            ok, detail = True, uri
        except HostwrightError as error:
            ok, detail = False, error.what.splitlines()[-1]
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


def _try(program: str | Path, *arguments: str) -> str:
    """What a program says, on either of its outputs; nothing when it does not run to a good end."""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""
