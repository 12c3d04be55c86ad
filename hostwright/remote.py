"""Commands on an environment's hosts over SSH, for the day-to-day verbs of the CLI."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from fabric import Config, Connection
from invoke.exceptions import ThreadException
from paramiko import SSHException

from hostwright import application
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts.record import HostRecord

CLEAR = "\x1b[2K"  # clears a line; Compose 2.26 begins each of a log's lines with it, whatever --ansi says


def ssh_options(environment: Environment) -> list[str]:
    """Options for the OpenSSH client: the environment's key and its own list of known hosts."""
    return [
        "-i",
        str(environment.key),
        "-o",
        f"UserKnownHostsFile={environment.state / 'known_hosts'}",
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        "IdentitiesOnly=yes",
    ]


def choose(hosts: Sequence[HostRecord], name: str = "") -> HostRecord:
    """The named host, or the only one. Raises BadInput otherwise."""
    known = {host.name: host for host in hosts}
    if not known:
        raise BadInput("the environment has no hosts", fix="hostwright up")
    if not name and len(known) == 1:
        return next(iter(known.values()))
    if name not in known:
        raise BadInput(
            f"no host named {name!r}" if name else "which host?", fix=f"give one of: {', '.join(known)}"
        )
    return known[name]


def interactive(
    environment: Environment, host: HostRecord, line: str = "", terminal: bool = False
) -> NoReturn:
    """Become ssh, so that the terminal, its size and its signals are the operator's own.

    `line`: for the shell there, which asks for one without. `terminal`: it gets one, as the shell has anyway.
    """
    arguments = ssh(environment, host, *(["-t"] if terminal else []))
    if line:
        arguments.append(line)
    os.execvp("ssh", arguments)  # noqa: S606  (no shell: the arguments are a list)


def ssh(environment: Environment, host: HostRecord, *options: str) -> list[str]:
    """The command that logs in there; words after it are one command of the shell there."""
    place = ["-p", str(host.port), f"{host.user}@{host.address}"]
    return ["ssh", *ssh_options(environment), *options, *place]


def connect(environment: Environment, host: HostRecord) -> Connection:
    """A Fabric connection that trusts what the first contact saw and nothing else afterwards."""
    connection = Connection(
        host.address,
        user=host.user,
        port=host.port,
        connect_timeout=10,
        connect_kwargs={"key_filename": str(environment.key), "look_for_keys": False, "allow_agent": False},
        config=Config(lazy=True),
    )
    known = environment.state / "known_hosts"
    if known.exists():
        connection.client.load_host_keys(str(known))
    return connection


def compose(
    environment: Environment,
    host: HostRecord,
    arguments: Sequence[str],
    stream: bool = False,
    matching: str = "",
) -> str:
    """Run `docker compose ARGUMENTS` for the application on its host, as `run` does.

    `matching`: only lines with this in them leave the host.
    """
    words = project(environment, "--ansi=never", *arguments)
    return run(environment, host, shlex.join(only(words, matching) if matching else words), stream)


def project(environment: Environment, *arguments: str) -> list[str]:
    """The command that is Docker Compose for the application on its host."""
    folder = f"/etc/hostwright/{application.load(environment.application, environment.project).name}"
    return ["sudo", "docker", "compose", "--project-directory", folder, *arguments]


def only(words: Sequence[str], matching: str) -> list[str]:
    """The command with those lines of its output alone that have this in them, of which there may be none."""
    chosen = f"{shlex.join(words)} | {{ grep --fixed-strings -- {shlex.quote(matching)} || test $? = 1; }}"
    return ["bash", "-o", "pipefail", "-c", chosen]


def run(environment: Environment, host: HostRecord, command: str, stream: bool = False) -> str:
    """Run a command of the shell there; its output, or streamed as it comes.

    Raises Failure with the command's own error text, BrokenPipeError where nobody reads the stream any more.
    """
    with connect(environment, host) as connection:
        try:
            result = connection.run(
                command,
                hide=not stream,
                warn=True,
                in_stream=False,
                out_stream=Plain(sys.stdout) if stream else None,
            )
        except ThreadException as error:
            if any(isinstance(each.value, BrokenPipeError) for each in error.exceptions):
                raise BrokenPipeError from None
            raise
        except (OSError, SSHException) as error:
            raise Failure(
                f"{host.name} does not answer: {error}", fix="hostwright status; hostwright up"
            ) from None
    if not result.ok:
        raise Failure((result.stderr or result.stdout).strip() or f"{command} failed", where=host.name)
    return str(result.stdout)


class Plain:
    """What is written goes to the stream without CLEAR, of which a chunk may hold only a part."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.held = ""

    def write(self, text: str) -> None:
        text = (self.held + text).replace(CLEAR, "")
        self.held = next((CLEAR[:n] for n in (3, 2, 1) if text.endswith(CLEAR[:n])), "")
        self.stream.write(text.removesuffix(self.held))

    def flush(self) -> None:
        self.stream.flush()


def containers(environment: Environment, host: HostRecord) -> list[dict[str, Any]]:
    """One row a container of the application: service, state, health, exit status, restarts, image.

    `restarts`: how often the engine has started it again by itself since it was made.
    """
    name = application.load(environment.application, environment.project).name
    ours = [f"label=com.docker.compose.{label}" for label in (f"project={name}", "oneoff=False")]
    found = shlex.join(["docker", "ps", "--all", "--quiet", *(f"--filter={each}" for each in ours)])
    told = f"{found} | xargs --no-run-if-empty docker container inspect"
    command = shlex.join(["sudo", "bash", "-o", "pipefail", "-c", told])
    rows = [
        {
            "host": host.name,
            "service": item["Config"]["Labels"]["com.docker.compose.service"],
            "container": item["Name"].removeprefix("/"),
            "state": item["State"]["Status"],
            "health": (item["State"].get("Health") or {}).get("Status", ""),
            "exit": item["State"]["ExitCode"],
            "restarts": item["RestartCount"],
            "image": item["Config"]["Image"],
        }
        for item in json.loads(run(environment, host, command) or "[]")
    ]
    return sorted(rows, key=lambda row: str(row["container"]))
