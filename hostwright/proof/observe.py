"""What a host is, seen in one look: sent over SSH, run as root by the host's own Python, answered as JSON.

Only the standard library. It reads and changes nothing. `payload()` makes the text to send.
"""

from __future__ import annotations

import base64
import configparser
import ctypes
import json
import os
import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hostwright.proof import knock

COMMAND_TIMEOUT = 90  # seconds; an emulated guest needs many of them
SETTLED = 1.0  # seconds after which a socket is gone, or somebody's
CLONE_NEWNET = 0x40000000  # sched.h
RESOLVER = "127.0.0.11"  # where Docker's own waits, in every network namespace that it makes


def look(request: dict[str, Any]) -> dict[str, Any]:
    """Everything the proof asks of a host.

    Request: `files` (patterns of paths), `users` (names), `engine` and `cluster` (whether containers and
    MicroK8s matter), `knock` (targets, see knock.knock, reached from the host), `inside` (from the networks
    of containers: `{"service", "port", "protocol"}`). Answer: one key a looker below; a looker that fails
    answers `{"error": text}`, so that one missing program does not hide the rest.
    """
    lookers: dict[str, Callable[[], Any]] = {
        "os": _os,
        "addresses": _addresses,
        "packages": _packages,
        "units": _units,
        "users": lambda: {name: _user(name) for name in request.get("users", [])},
        "sysctl": _sysctl,
        "sshd": lambda: _pairs(_run("sshd", "-T")),
        "time": _time_servers,
        "journald": lambda: _settings(_run("systemd-analyze", "cat-config", "systemd/journald.conf")),
        "selinux": _selinux,
        "repositories": _repositories,
        "files": lambda: _files(request.get("files", [])),
        "listeners": _listeners,
        "containers": lambda: _containers(request.get("inside", [])) if request.get("engine") else None,
        "cluster": lambda: _cluster() if request.get("cluster") else None,
        "host": lambda: knock.knock_all(request.get("knock", [])),
    }
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(lookers, pool.map(_guarded, lookers.values()), strict=True))


def _guarded(looker: Callable[[], Any]) -> Any:
    try:
        return looker()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _run(*command: str, status: tuple[int, ...] = (0,), text: str = "") -> str:
    """What a command says to `text` on its standard input. Raises RuntimeError for another exit status."""
    done = _done(*command, text=text)
    if done.returncode not in status:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _done(
    *command: str, text: str = "", timeout: float = COMMAND_TIMEOUT
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])
    program = shutil.which(command[0], path=path)
    if program is None:
        raise FileNotFoundError(f"{command[0]} is not installed")
    return subprocess.run(
        [program, *command[1:]],
        capture_output=True,
        text=True,
        input=text,
        timeout=timeout,
        env={"PATH": path, "LC_ALL": "C.UTF-8"},
        check=False,
    )


def _os() -> dict[str, str]:
    """What /etc/os-release says, and the kernel."""
    text = Path("/etc/os-release").read_text()
    found = {key: value.strip("\"'") for key, value in re.findall(r"^(\w+)=(.*)$", text, re.M)}
    return found | {
        "kernel": os.uname().release,
        "container": _optional("systemd-detect-virt", "--container").strip(),
    }


def _packages() -> dict[str, str]:
    """Version by name, of what is installed and of the names it provides."""
    text = _run("rpm", "-qa", "--qf", r"%{NAME} %{VERSION}-%{RELEASE}\n")
    return dict(line.split(" ", 1) for line in text.splitlines())


def _units() -> dict[str, dict[str, str]]:
    """State of every loaded or installed service, socket and timer."""
    wanted = "Id,Names,LoadState,ActiveState,SubState,UnitFileState,TimeoutStartUSec"
    kinds = ["service", "socket", "timer", "mount"]
    text = _run("systemctl", "show", "*", *(f"--type={kind}" for kind in kinds), "--all", f"-p{wanted}")
    units = {}
    for block in text.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines())
        for name in unit.get("Names", "").split():
            units[name] = unit
    return units


def _user(name: str) -> dict[str, Any] | None:
    """Account, groups, keys that let it in, and what sudo allows it."""
    import grp
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = [grp.getgrgid(gid).gr_name for gid in os.getgrouplist(name, entry.pw_gid)]
    keys = Path(entry.pw_dir, ".ssh", "authorized_keys")
    return {
        "uid": entry.pw_uid,
        "shell": entry.pw_shell,
        "groups": groups,
        "keys": keys.read_text().splitlines() if keys.is_file() else [],
        "sudo": _run("sudo", "-l", "-U", name, status=(0, 1)),
        "locked": _run("passwd", "--status", name).split()[1] in ("L", "LK"),
    }


def _sysctl() -> dict[str, str]:
    lines = (line.partition(" = ") for line in _run("sysctl", "-a", status=(0, 1, 255)).splitlines())
    return {name: " ".join(value.split()) for name, _, value in lines}


def _addresses() -> list[str]:
    """The addresses by which others can reach the host: not loopback, link-local, its bridges' or pods'."""
    links = json.loads(_run("ip", "-j", "address", "show", "up"))
    return [
        entry["local"]
        for link in links
        if not re.match(r"lo$|docker|br-|veth|virbr|cali|vxlan\.|cni|kube-", link["ifname"])
        for entry in link["addr_info"]
        if entry["scope"] == "global" and not entry.get("deprecated")
    ]


def _pairs(text: str) -> dict[str, str]:
    """`key value` lines; a key that repeats keeps all of its values, a line each."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        found[key.lower()] = f"{found[key.lower()]}\n{value}" if key.lower() in found else value
    return found


def _settings(text: str) -> dict[str, str]:
    """What holds after all drop-ins: the last `Key=value` of each key."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.M))


def _time_servers() -> list[str]:
    """The servers and pools of chrony.conf and of what it includes."""
    main = Path("/etc/chrony.conf")
    texts = [main.read_text()] if main.is_file() else []
    for pattern in re.findall(r"^\s*include\s+/(\S+)", "".join(texts), re.M):
        texts += [path.read_text() for path in sorted(Path("/").glob(pattern))]
    return re.findall(r"^\s*(?:server|pool|peer)\s+(\S+)", "\n".join(texts), re.M)


def _selinux() -> str:
    """enforcing, permissive or disabled, as the kernel has it now."""
    state = Path("/sys/fs/selinux/enforce")
    if not state.exists():
        return "disabled"
    return "enforcing" if state.read_text().strip() == "1" else "permissive"


def _repositories() -> dict[str, dict[str, Any]]:
    """zypper's repositories: is each enabled, and are its metadata's and packages' signatures checked."""
    main = configparser.ConfigParser(interpolation=None, strict=False)
    main.read("/etc/zypp/zypp.conf")
    default = main.get("main", "gpgcheck", fallback="on")
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(Path("/etc/zypp/repos.d").glob("*.repo")):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read(path)
        for name in parser.sections():
            section = parser[name]
            found[name] = {
                "url": section.get("baseurl", ""),
                "name": section.get("name", name),
                "enabled": _true(section.get("enabled", "1")),
                "signed": _true(section.get("gpgcheck", default))
                and not _off(section.get("repo_gpgcheck"))
                and not _off(section.get("pkg_gpgcheck")),
                "priority": int(section.get("priority", "99")),
            }
    return found


def _true(text: str) -> bool:
    return text.strip().lower() in ("1", "yes", "true", "on")


def _off(text: str | None) -> bool:
    return text is not None and not _true(text)


def _files(patterns: list[str]) -> dict[str, dict[str, Any]]:
    """Those that exist, by path."""
    paths = (path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/")))
    return {str(path): _file(path) for path in paths}


def _file(path: Path) -> dict[str, Any]:
    """Mode, owner and, of a text of ordinary size, its content."""
    import grp
    import pwd

    status = path.stat()

    def name(lookup: Callable[[int], Any], number: int) -> str:
        try:
            return str(lookup(number)[0])
        except KeyError:
            return str(number)

    return {
        "mode": f"{status.st_mode & 0o7777:04o}",
        "user": name(pwd.getpwuid, status.st_uid),
        "group": name(grp.getgrgid, status.st_gid),
        "text": path.read_text(errors="replace") if path.is_file() and status.st_size < 500_000 else "",
    }


def _optional(*command: str) -> str:
    try:
        return _run(*command)
    except (RuntimeError, FileNotFoundError):
        return ""


def _listeners(*enter: str) -> list[dict[str, Any]]:
    """Sockets that wait for strangers: TCP that listens, UDP that is not connected.

    `enter`: the command that leads to another network namespace.
    """

    found = _sockets(*enter)
    nobodys = {_place(each) for each in found if not each["pid"] and each["address"] != RESOLVER}
    if not nobodys:
        return found
    # ss reads first who has which socket, and then the sockets: of one made in between it names nobody.
    time.sleep(SETTLED)
    return [each for each in found if _place(each) not in nobodys] + [
        each for each in _sockets(*enter) if _place(each) in nobodys
    ]


def _place(socket: dict[str, Any]) -> tuple[str, str, int]:
    """Where it waits."""
    return socket["protocol"], socket["address"], socket["port"]


def _sockets(*enter: str) -> list[dict[str, Any]]:
    """As `ss` sees them now."""
    found = []
    for line in _run(*enter, "ss", "-Hlntup").splitlines():
        columns = line.split(maxsplit=6)
        address, _, port = columns[4].rpartition(":")
        process = re.search(r'\("([^"]+)",pid=(\d+)', columns[6] if len(columns) > 6 else "")
        found.append(
            {
                "protocol": columns[0],
                "address": address.strip("[]").partition("%")[0],
                "port": int(port),
                "process": process[1] if process else "",
                "pid": int(process[2]) if process else 0,
                "unit": _unit_of(process[2]) if process else "",
            }
        )
    return found


def _unit_of(pid: str) -> str:
    """The systemd unit or the container a process belongs to."""
    try:
        text = Path("/proc", pid, "cgroup").read_text()
    except OSError:
        return ""
    names = re.findall(r"([\w@.\\:-]+\.(?:service|scope|socket))(?=/|$)", text, re.M)
    return str(names[-1]) if names else ""


def _containers(inside: list[dict[str, Any]]) -> dict[str, Any]:
    """The engine and its containers, what listens in each, and the answers to knocks from inside."""
    version = json.loads(_run("docker", "version", "--format", "{{json .Server}}"))
    info = json.loads(_run("docker", "info", "--format", "{{json .}}"))
    names = _run("docker", "ps", "--all", "--quiet", "--no-trunc").split()
    containers = json.loads(_run("docker", "inspect", *names)) if names else []
    running = [container for container in containers if container["State"]["Running"]]
    with ThreadPoolExecutor(8) as pool:
        listeners = list(pool.map(lambda container: _guarded(lambda: _listeners_in(container)), running))
    with ThreadPoolExecutor(8) as abroad:  # threads of their own: none comes back from another's network
        knocks = list(abroad.map(lambda container: _knock_from(container, running, inside), running))
    for container, found, answers in zip(running, listeners, knocks, strict=True):
        container["listeners"] = found
        container["knocks"] = answers
    images = sorted({container["Image"] for container in containers})
    return {
        "version": version["Version"],
        "info": {key: info.get(key) for key in ("Driver", "LoggingDriver", "LiveRestoreEnabled", "Warnings")},
        "compose": _optional("docker", "compose", "version", "--short").strip(),
        "containers": [_essence(container) for container in containers],
        "images": {
            image["Id"]: {"digests": image["RepoDigests"], "created": image["Created"]}
            for image in (json.loads(_run("docker", "image", "inspect", *images)) if images else [])
        },
    }


def _cluster() -> dict[str, Any]:
    """The snap, its locks, and on a server what the API and the database list; the token stays there."""
    listed = [line.split() for line in _run("snap", "list").splitlines()]
    keys = [word.lower() for word in listed[0]]
    locks = sorted(path.name for path in Path("/var/snap/microk8s/current/var/lock").iterdir())
    found: dict[str, Any] = {
        "name": os.uname().nodename.lower(),
        "snap": next((dict(zip(keys, row, strict=False)) for row in listed if row[0] == "microk8s"), {}),
        "locks": locks,
        "launch": {name: _file(Path("/etc/microk8s.yaml"))[name] for name in ("mode", "user")},
        "marks": sorted(path.name for path in Path("/var/lib/hostwright").glob("microk8s-*")),
    }
    if "clustered.lock" in locks:
        return found
    microk8s = "/snap/bin/microk8s"
    return found | {
        "nodes": json.loads(_run(microk8s, "kubectl", "get", "nodes", "-o", "json"))["items"],
        "workloads": json.loads(
            _run(microk8s, "kubectl", "get", "deployments,daemonsets", "-A", "-o", "json")
        ),
        "status": _run(microk8s, "status", "--format", "yaml"),
    }


def _essence(container: dict[str, Any]) -> dict[str, Any]:
    """What the proof asks of a container: never its environment or command line, where secrets could be."""
    config, host, state = container["Config"], container["HostConfig"], container["State"]
    try:
        status = _fields(Path("/proc", str(state["Pid"]), "status").read_text()) if state["Running"] else None
    except OSError:  # it has ended since it was asked for
        status = None
    labels = config.get("Labels") or {}
    return {
        "name": container["Name"].lstrip("/"),
        "project": labels.get("com.docker.compose.project", ""),
        "service": labels.get("com.docker.compose.service", ""),
        "oneoff": labels.get("com.docker.compose.oneoff", "") == "True",
        "image": config["Image"],
        "image_id": container["Image"],
        "state": state["Status"],
        "health": (state.get("Health") or {}).get("Status", ""),
        "exit": state["ExitCode"],
        "restart": host["RestartPolicy"]["Name"],
        "user": config.get("User", ""),
        "uid": _uid(status) if status else None,
        "read_only": host["ReadonlyRootfs"],
        "capabilities": _capabilities(status) if status else None,
        "no_new_privileges": any(o.startswith("no-new-privileges") for o in host["SecurityOpt"] or []),
        "privileged": host["Privileged"],
        "memory": host["Memory"],
        "network_mode": host["NetworkMode"],
        "mounts": [
            {"from": mount.get("Name") or mount["Source"], "to": mount["Destination"], "rw": mount["RW"]}
            for mount in container["Mounts"]
        ],
        "published": [
            {"port": int(inside.split("/")[0]), "kind": inside.split("/")[1], **binding}
            for inside, bindings in (container["NetworkSettings"]["Ports"] or {}).items()
            for binding in bindings or []
        ],
        "networks": _networks(container),
        "listeners": container.get("listeners", []),
        "knocks": container.get("knocks", []),
        "started": state["StartedAt"],
    }


def _networks(container: dict[str, Any]) -> dict[str, list[str]]:
    networks = container["NetworkSettings"]["Networks"]
    return {
        name: [a for a in (network["IPAddress"], network["GlobalIPv6Address"]) if a]
        for name, network in networks.items()
    }


def _fields(status: str) -> dict[str, str]:
    """/proc/PID/status of a container's first process."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in status.splitlines())}


def _uid(status: dict[str, str]) -> int:
    """Its user, as the kernel has it."""
    return int(status["Uid"].split()[1])


def _capabilities(status: dict[str, str]) -> str:
    """What it could do if it tried: permitted and inheritable by what it starts."""
    return f"{int(status['CapPrm'], 16) | int(status['CapBnd'], 16):x}"


def _listeners_in(container: dict[str, Any]) -> list[dict[str, Any]]:
    pid = str(container["State"]["Pid"])
    if container["HostConfig"]["NetworkMode"] == "host":
        return []
    found = _listeners("nsenter", "-t", pid, "-n")
    return [listener for listener in found if listener["address"] != RESOLVER]


def _knock_from(
    container: dict[str, Any], running: list[dict[str, Any]], inside: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """From one container's network, knock at every other's asked ports, on each address of each network.

    The calling thread stays in that network. Of one that cannot be entered all answers are `unseen`.
    """
    here = _networks(container)
    targets = []
    for other in running:
        service = (other["Config"].get("Labels") or {}).get("com.docker.compose.service", "")
        if other is container:
            continue
        for network, addresses in _networks(other).items():
            for wanted in inside:
                if wanted["service"] == service:
                    targets += [
                        {
                            "service": service,
                            "network": network,
                            "shared": network in here,
                            "address": address,
                            "port": wanted["port"],
                            "protocol": wanted["protocol"],
                        }
                        for address in addresses
                    ]
    keys = ("address", "port", "protocol")
    asked = [{key: target[key] for key in keys} | {"timeout": 2.0} for target in targets]
    try:
        _enter(container["State"]["Pid"])
        answers = knock.knock_all(asked)
    except OSError as error:
        detail = f"the network of {container['Name'].lstrip('/')} cannot be entered: {error}"
        answers = [{"state": "unseen", "speaks": False, "detail": detail}] * len(asked)
    return [target | answer for target, answer in zip(targets, answers, strict=True)]


def _enter(pid: int) -> None:
    """Move this thread, and those that it starts, into a process's network. Raises OSError.

    A look asks from every container there is: a Python for each would be most of its time on a slow host.
    """
    with Path("/proc", str(pid), "ns/net").open("rb") as network:
        # os.setns is of Python 3.12.
        if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


# Source of the modules, for running them elsewhere: filled by payload() where there are no files.
SELF: dict[str, str] = {}


def payload(request: dict[str, Any], module: str = "observe") -> str:
    """A program for `python3 -c` that prints what `module.look` answers, compressed, in base64."""
    folder = Path(__file__).parent
    sources = {name: (folder / f"{name}.py").read_text() for name in ("knock", "observe", "namespace")}
    packed = base64.b64encode(zlib.compress(json.dumps([sources, request]).encode(), 9)).decode()
    return (
        f"import base64,json,sys,types,zlib\nS,R=json.loads(zlib.decompress(base64.b64decode('{packed}')))\n"
        + (
            "package=sys.modules['hostwright.proof']=types.ModuleType('hostwright.proof')\n"
            "for name,text in S.items():\n"
            "    module=types.ModuleType('hostwright.proof.'+name)\n"
            "    sys.modules[module.__name__]=module\n"
            "    setattr(package,name,module)\n"
            "    exec(compile(text,name+'.py','exec'),module.__dict__)\n"
            "package.observe.SELF.update({'knock': S['knock'].replace('__name__ == \"__main__\"','True')})\n"
            f"answer=json.dumps(package.{module}.look(R)).encode()\n"
            "print(base64.b64encode(zlib.compress(answer)).decode())\n"
        )
    )


def unpack(text: str) -> dict[str, Any]:
    """What a payload printed."""
    answer: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return answer
