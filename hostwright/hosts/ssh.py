"""Waiting until a host lets its operator in: the one sign that it is ready."""

from __future__ import annotations

import fcntl
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hostwright.errors import Failure

OWN_FAILURE = 255  # the status of ssh when it is not the command's
QUIET = ("refused", "timed out", "No route", "unreachable")  # what it says where nobody listens


def wait(props: Mapping[str, Any]) -> None:
    """Return when a command runs on the host of `props` as its login user.

    `props`: name, address, port, user, privateKey, knownHosts, timeout (seconds), and `fresh`: the host was
    just made, so a host key remembered for its address is an earlier host's. Raises Failure.
    """
    if props["fresh"]:
        forget(Path(props["knownHosts"]), props["address"], int(props["port"]))
    deadline = time.monotonic() + float(props["timeout"])
    while (answer := ask(props, "true")).kind != "yes":
        # A changed host key does not change back by waiting.
        if time.monotonic() > deadline or answer.kind == "stranger":
            raise Failure(
                f"{props['name']} ({props['address']}) does not let {props['user']} in: {answer.reason}",
                where=f"{' '.join(answer.command)}",
                fix="look at the host's console and key; a key that changed is in the known_hosts above",
            )
        # OpenSSH shuts out who fails often (PerSourcePenalties): ask soon only where nobody listens yet.
        time.sleep(0.5 if answer.kind == "silent" else 6)


@dataclass(frozen=True)
class Answer:
    """What came of a command on a host: it ran (`yes`), it failed there (`failed`), or why SSH did not get so
    far: nobody listens (`silent`), another host key than before (`stranger`), not let in (`refused`)."""

    kind: Literal["yes", "failed", "silent", "stranger", "refused"]
    reason: str
    command: list[str]


def ask(props: Mapping[str, Any], *words: str) -> Answer:
    """Run a command, once, on the host of `props` as its login user; it takes a minute at most.

    `props`: address, port, user, privateKey, knownHosts.
    """
    known = Path(props["knownHosts"])
    known.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [
        "ssh", *options(Path(props["privateKey"]), known),
        "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-p", str(int(props["port"])),
        f"{props['user']}@{props['address']}", *words,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return Answer("refused", "no answer within a minute", command)
    reason = (done.stderr.strip().splitlines() or ["no answer"])[-1].strip()
    if done.returncode != OWN_FAILURE:
        return Answer("failed" if done.returncode else "yes", reason, command)
    if "Host key verification failed" in done.stderr:
        return Answer("stranger", reason, command)
    return Answer("silent" if any(word in reason for word in QUIET) else "refused", reason, command)


def options(key: Path, known_hosts: Path) -> list[str]:
    """OpenSSH options of an environment: this key only, and its own list of known hosts."""
    return ["-i", str(key), *trust(known_hosts)]


def trust(known_hosts: Path) -> list[str]:
    """OpenSSH options: hosts are remembered per environment, from the first contact on."""
    return [
        "-o", "IdentitiesOnly=yes",
        "-o", f"UserKnownHostsFile={known_hosts}",
        "-o", "StrictHostKeyChecking=accept-new",
    ]  # fmt: skip


def entry(address: str, port: int) -> str:
    """What a host is called in a list of known hosts."""
    return address if port == 22 else f"[{address}]:{port}"


def forget(known_hosts: Path, address: str, port: int = 22) -> None:
    """Drop what is remembered of the address."""
    if not known_hosts.exists():
        return
    with known_hosts.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            ["ssh-keygen", "-q", "-R", entry(address, port), "-f", str(known_hosts)],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        Path(f"{known_hosts}.old").unlink(missing_ok=True)
