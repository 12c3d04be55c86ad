"""A server process that cannot outlive its tests: on a free port, unprivileged, ended by its pid."""

from __future__ import annotations

import itertools
import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

START = 60.0  # seconds for any server to answer
BLOCK = 300  # ports for a process that starts servers
KEPT: list[socket.socket] = []


class Process:
    """A child in the foreground; output goes to `log`. The kernel ends it together with whoever made it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        orphaned: signal.Signals = signal.SIGKILL,
    ) -> None:
        """`orphaned` is what the kernel sends it: one with children must be asked to end them itself."""
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    orphaned.name.removeprefix("SIG"),
                    *unprivileged(),
                    "--",
                    *map(str, command),
                ],
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        self.pid = self._child.pid

    def wait_for(self, answers: Callable[[], object], timeout: float = START) -> None:
        """Until `answers()` is true. RuntimeError with the end of the log if the process ends first."""
        deadline = time.monotonic() + timeout
        while not answers():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._child.args!r} did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def wait(self, timeout: float = 60.0) -> int:
        """The exit status of a process that ends by itself; raises subprocess.TimeoutExpired."""
        return self._child.wait(timeout)

    def end(self, how: signal.Signals = signal.SIGTERM, timeout: float = 60.0) -> None:
        """Signals the process and waits; SIGKILL if it is still there after `timeout` seconds."""
        if self._child.poll() is None:
            self._child.send_signal(how)
            try:
                self._child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """At once, and with all children, who would go on listening at its port."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()


def unprivileged() -> tuple[str, ...]:
    """Arguments of setpriv that make us nobody where we are root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return ()
    nobody = pwd.getpwnam("nobody")
    return (f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")


def own_directory(name: str) -> Path:
    """A new directory that belongs to whom `unprivileged` makes us."""
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    give(directory)
    return directory


def give(path: Path) -> None:
    """To whom `unprivileged` makes us."""
    if unprivileged():
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def free_port() -> int:
    """Free on loopback, and given to nobody else while hundreds of others are: a server may stop meanwhile.

    Not one of those that the kernel gives to whoever asks for any, and to connections.
    """
    return next(filter(_free, itertools.islice(_ports(), BLOCK)))


@cache
def _ports() -> Iterator[int]:
    """Round and round a block that no other process has: the name of a socket keeps it."""
    for block in range(26_000, 32_000, BLOCK):
        keeper = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            keeper.bind(f"\0hostwright-ports-{block}")
            KEPT.append(keeper)
            return itertools.cycle(range(block, block + BLOCK))
        keeper.close()
    raise RuntimeError("as many processes as there are blocks of ports ask for one")


def _free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def until(true: Callable[[], object], within: float = 60.0) -> None:
    """Waits for what happens by itself; AssertionError if it does not within so many seconds."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"it does not come within {within:g} s")
        time.sleep(0.05)


def listens(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0
