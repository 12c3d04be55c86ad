"""Waiting until a host lets its operator in: the one sign that it is ready."""

from __future__ import annotations

import fcntl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hostwright.errors import Failure


def wait(props: Mapping[str, Any]) -> None:
    """Return when a command runs on the host of `props` as its login user.

    `props`: name, address, port, user, privateKey, knownHosts, timeout (seconds), and `fresh`: the host was
    just made, so a host key remembered for its address is an earlier host's. Raises Failure.
    """
    known = Path(props["knownHosts"])
    if props["fresh"]:
        forget(known, props["address"], int(props["port"]))
    known.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + float(props["timeout"])
    command = [
        "ssh", *options(Path(props["privateKey"]), known),
        "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-p", str(int(props["port"])),
        f"{props['user']}@{props['address']}", "true",
    ]  # fmt: skip
    while True:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
        )
        if answer.returncode == 0:
            return
        reason = (answer.stderr.strip().splitlines() or ["no answer"])[-1]
        # A changed host key does not change back by waiting.
        if time.monotonic() > deadline or "Host key verification failed" in answer.stderr:
            raise Failure(
                f"{props['name']} ({props['address']}) does not let {props['user']} in: {reason}",
                where=f"{' '.join(command)}",
                fix="look at the host's console and key; a key that changed is in the known_hosts above",
            )
        # OpenSSH shuts out who fails often (PerSourcePenalties): ask soon only where nobody listens yet.
        quiet = ("refused", "timed out", "No route", "unreachable")
        time.sleep(0.5 if any(word in reason for word in quiet) else 6)


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


def forget(known_hosts: Path, address: str, port: int = 22) -> None:
    """Drop what is remembered of the address."""
    if not known_hosts.exists():
        return
    name = address if port == 22 else f"[{address}]:{port}"
    with known_hosts.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            ["ssh-keygen", "-q", "-R", name, "-f", str(known_hosts)],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        Path(f"{known_hosts}.old").unlink(missing_ok=True)
