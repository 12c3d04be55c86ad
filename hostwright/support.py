"""What a maintainer asks for, in one archive: versions, needs, files, states, logs, proof, and no secret."""

from __future__ import annotations

import base64
import io
import json
import os
import platform
import re
import shlex
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fabric import Connection
from invoke.exceptions import CommandTimedOut
from paramiko import SSHException

from hostwright import __version__, application, doctor, reached, remote, secrets, toolchain
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure, HostwrightError
from hostwright.hosts import engine
from hostwright.hosts.record import HostRecord
from hostwright.reached import Cluster

TAIL = 500  # last lines of each log
LOGS = 2  # newest of Ansible's
PATIENCE = 60  # seconds for a command on a host
DISTRIBUTIONS = (
    "ansible",
    "ansible-core",
    "fabric",
    "pulumi",
    "pulumi-libvirt",
    "pydantic",
    "pytest-testinfra",
)

# Name in the archive -> command on a host. {folder}: the application's, {tail}: so many lines.
COMMANDS = {
    "system.txt": "cat /etc/os-release; uname -a; uptime; timedatectl; systemctl --failed --no-pager",
    "resources.txt": "free -m; df -h; df -i; cat /proc/pressure/* 2>/dev/null; ps aux --sort=-rss | head -30",
    "network.txt": "ip address; ip route; ip -6 route; sudo ss -tulpn; sudo nft list ruleset",
    "packages.txt": "rpm -qa --last",
    "journal.txt": "sudo journalctl --no-pager --lines {tail} --priority warning",
}
DOCKER = {
    "docker.txt": "sudo docker version; sudo docker info; sudo docker system df",
    "docker-journal.txt": "sudo journalctl --no-pager --lines {tail} --unit docker",
    "containers.txt": "sudo docker ps --all --no-trunc; sudo docker stats --no-stream",
    "containers.json": "sudo docker ps --all --quiet | xargs --no-run-if-empty sudo docker inspect",
    "logs.txt": "sudo docker compose --ansi=never --project-directory {folder} logs -t --tail {tail}",
}
MICROK8S = {
    "microk8s.txt": "snap list; sudo /snap/bin/microk8s status",
    "microk8s-journal.txt": "sudo journalctl --no-pager --lines {tail} --unit 'snap.microk8s.*'",
}
# Name in the archive -> what kubectl is asked on a server, of the application's namespace. No secrets.
KINDS = (
    "pods,deployments,statefulsets,daemonsets,jobs,services,ingresses,networkpolicies,configmaps,"
    "persistentvolumeclaims,horizontalpodautoscalers,poddisruptionbudgets"
)
KUBECTL = {
    "nodes.txt": ("describe", "nodes"),
    "objects.txt": ("get", KINDS, "--output=wide"),
    "described.txt": ("describe", KINDS),
    "events.txt": ("get", "events", "--sort-by=.metadata.creationTimestamp"),
}
# Files of the application on a host, as they were rendered; what is below secrets never leaves it.
FILES = "sudo tar --create --directory {folder} --exclude ./secrets . | base64 --wrap 0"


def write(environment: Environment, out: Path | None, note: Callable[[str], None] = lambda _: None) -> Path:
    """Write the archive, readable by its owner alone, and give its path.

    What cannot be had is in it as the reason why. Raises BadInput where there is a file already, Failure when
    the environment's secrets cannot be read: nobody could take them out of what was gathered.
    """
    name = f"hostwright-support-{environment.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    out = out or Path(f"{name}.tar.gz")
    if out.exists() or not out.absolute().parent.is_dir():
        what = "there is a file already" if out.exists() else "there is no such folder"
        raise BadInput(what, where=str(out), fix="give another --out")
    clean = cleaner(secrets.read(environment))
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
            for path, text in gathered(environment, note):
                content = clean(text).encode()
                entry = tarfile.TarInfo(f"{name}/{path}")
                entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
                bundle.addfile(entry, io.BytesIO(content))
    except BaseException:
        out.unlink()  # half of it would look like the whole
        raise
    return out


def gathered(environment: Environment, note: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Path in the archive and text of each thing, not cleaned yet."""
    note("this machine")
    yield "versions.json", _json(versions())
    yield "doctor.json", _told(lambda: _json([need.as_dict() for need in doctor.examine(environment)]))
    settings = environment.settings.items()
    told = {key: value for key, value in settings if not (isinstance(value, dict) and "secure" in value)}
    yield "environment.json", _json({"name": environment.name, **told})
    app = None
    try:
        app = application.load(environment.application, environment.project, environment.components)
        yield "application.json", _json(app.describe())
    except HostwrightError as error:
        yield "application.json", str(error)
    for path in _kept(environment):
        yield f"state/{path.relative_to(environment.state)}", path.read_text(errors="replace")
    hosts: list[HostRecord] = []
    try:
        hosts = list(engine.outputs(environment))
    except HostwrightError as error:
        yield "hosts.txt", str(error)
    folder = f"/etc/hostwright/{app.name if app else '*'}"
    cluster = reached.cluster(environment, hosts) if app and hosts and environment.clustered else None
    speaks = _speaker(cluster) if cluster else None
    for host in hosts:
        note(host.name)
        yield f"hosts/{host.name}/record.json", host.model_dump_json(indent=2)
        try:
            with remote.connect(environment, host) as connection:
                yield from _on_host(environment, host, folder, connection)
                if cluster and host == speaks:  # what is of all servers is asked once
                    yield from _of_cluster(cluster, f"hosts/{host.name}", connection)
        except (OSError, SSHException, Failure) as error:
            note(f"{host.name} does not answer: {error}")
            yield f"hosts/{host.name}/unreachable.txt", f"{type(error).__name__}: {error}"


def versions() -> dict[str, Any]:
    """Of the toolkit, of what it stands on, and of this machine."""
    return {
        "hostwright": __version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "packages": {name: metadata.version(name) for name in DISTRIBUTIONS},
        "toolchain": {name: tool.version for name, tool in toolchain.pins().items()},
    }


def cleaner(values: Mapping[str, str]) -> Callable[[str], str]:
    """A function that puts `[secret NAME]` in a text where one of these values is, in whatever form.

    What looks like somebody's credential goes too: tokens, private keys, passwords in addresses.
    """
    forms: dict[str, str] = {}
    for name, value in values.items():
        for part in (value, *(line for line in value.splitlines() if not line.startswith("-----"))):
            for form in (part, quote(part, safe=""), json.dumps(part)[1:-1], *_encoded(part)):
                if len(form) >= SHORTEST:
                    forms.setdefault(form, name)
    ordered = sorted(forms, key=len, reverse=True)  # a whole before its lines
    known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def clean(text: str) -> str:
        if known:
            text = known.sub(lambda found: f"[secret {forms[found[0]]}]", text)
        for pattern, instead in LOOKS:
            text = pattern.sub(instead, text)
        return text

    return clean


SHORTEST = 4  # characters: less would take words out of everything
LOOKS = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), instead)
    for pattern, instead in (
        (r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+", "[token]"),
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", "[key]"),
        (r"(authorization\W{1,5}(?:bearer|basic)\s+)[^\s\"']+", r"\1[credential]"),
        (r"(\w://[^\s/:@\"']+:)[^\s/@\"']+@", r"\1[password]@"),
        (r"(\"[\w-]*(?:passw|secret|private_?key|access_?key)[\w-]*\": ?\")[^\"]+", r"\1[removed]"),
    )
)


def _encoded(part: str) -> Iterable[str]:
    """Base64 of it, also from the middle of something: without the characters that its neighbours change."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + part.encode()).decode().rstrip("=")
        yield text[(0, 2, 3)[shift] : -1]


def _speaker(cluster: Cluster) -> HostRecord:
    """Who is asked for the whole: the first, where none answers, as what it says then is worth having."""
    try:
        return cluster.host
    except Failure:
        return cluster.candidates[0]


def _on_host(
    environment: Environment, host: HostRecord, folder: str, connection: Connection
) -> Iterator[tuple[str, str]]:
    place = f"hosts/{host.name}"
    for name, command in (COMMANDS | (MICROK8S if environment.clustered else DOCKER)).items():
        yield f"{place}/{name}", _run(connection, command.format(folder=folder, tail=TAIL))
    if not environment.clustered:
        yield from _files(place, folder, connection)


def _of_cluster(cluster: Cluster, place: str, connection: Connection) -> Iterator[tuple[str, str]]:
    try:
        asked = {name: cluster.kubectl(*words) for name, words in KUBECTL.items()}
    except Failure as error:  # the inventory says where
        yield f"{place}/kubernetes.txt", str(error)
        return
    for name, words in (asked | {"logs.txt": cluster.logs(tail=TAIL)}).items():
        yield f"{place}/kubernetes/{name}", _run(connection, shlex.join(("sudo", *words)))
    yield from _files(place, f"/etc/hostwright/{cluster.namespace}", connection)


def _files(place: str, folder: str, connection: Connection) -> Iterator[tuple[str, str]]:
    packed = _run(connection, FILES.format(folder=folder))
    try:
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed, validate=True))) as files:
            for member in files.getmembers():
                if (content := files.extractfile(member)) is not None:
                    path = f"{place}/files/{member.name.removeprefix('./')}"
                    yield path, content.read().decode(errors="replace")
    except (ValueError, tarfile.TarError):
        yield f"{place}/files.txt", packed


def _run(connection: Connection, command: str) -> str:
    """What it printed, complaints after that."""
    try:
        result = connection.run(command, hide=True, warn=True, in_stream=False, timeout=PATIENCE)
    except CommandTimedOut as late:
        return f"{late.result.stdout}{late.result.stderr}\n[not over after {PATIENCE} s]\n"
    ended = "" if result.ok else f"\n[exit status {result.exited}]\n"
    return f"{result.stdout}{result.stderr}{ended}"


def _kept(environment: Environment) -> list[Path]:
    """Of the environment's state: phases, proof, the newest of Ansible's logs."""
    state = environment.state
    logs = sorted((state / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)[-LOGS:]
    found = [state / "phases.json", *sorted((state / "proof").glob("*")), *logs]
    return [path for path in found if path.is_file()]


def _told(ask: Callable[[], str]) -> str:
    """Its answer, or why there is none."""
    try:
        return ask()
    except HostwrightError as error:
        return str(error)


def _json(document: object) -> str:
    return json.dumps(document, indent=2, default=str) + "\n"
