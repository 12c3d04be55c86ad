"""One of our own services as its container runs it: granian, environment variables, one process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from testing.process import Process, free_port, listens, own_directory

Settings = Mapping[str, object]  # fields of the service's settings class, secrets included
Server = Callable[[str], list[str]]  # what serves at an address; the port and the application come last

ROOT = Path(__file__).parents[1]
LOOPBACK = "127.0.0.1"


class Service:
    """A running instance. `kill` is what a crash is; `log` holds its JSON lines."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        directory: Path,
        port: int | None = None,
        starter: Sequence[str] = (),
        server: Server | None = None,
        address: str = LOOPBACK,
    ) -> None:
        self.name = name
        self.port = port or free_port()
        self.url = f"http://{address}:{self.port}"
        self.log = directory / "log"
        self._process = Process(
            [*starter, *(server or granian)(address), "--port", str(self.port), f"{name}.app:app"],
            log=self.log,
            environment=environment(name, settings),
            orphaned=signal.SIGTERM,
        )
        self.pid = self._process.pid
        self._process.wait_for(lambda: listens(self.port, address))

    @classmethod
    @contextmanager
    def running(
        cls,
        name: str,
        settings: Settings,
        port: int | None = None,
        starter: Sequence[str] = (),
        server: Server | None = None,
        address: str = LOOPBACK,
    ) -> Iterator[Service]:
        """`port` for one whose place others must know before it is there; else a free one of loopback's.

        `starter` is the command that the service's own is given to, as in `nice COMMAND`; `server` is what
        serves it, in place of its container's granian.
        """
        directory = own_directory(name)
        service = None
        try:
            service = cls(name, settings, directory, port, starter, server, address)
            yield service
        finally:
            if service:
                service.stop()
            shutil.rmtree(directory)

    def stop(self) -> None:
        """In order, as a deployment does."""
        self._process.end()

    def kill(self) -> None:
        """At once, as the kernel does. Granian serves in a child of its own, which goes too."""
        self._process.kill()


def granian(address: str = LOOPBACK) -> list[str]:
    program = [sys.executable, "-m", "granian", "--interface", "asgi", "--host", address]
    return [*program, "--workers", "1", "--log-level", "warning", "--ws"]


def environment(name: str, settings: Settings) -> dict[str, str]:
    """The environment of a service's process, or of its migration."""
    return {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "SERVICE_NAME": name,
        "SECRETS_DIR": "/nonexistent",
        **{key.upper(): str(value) for key, value in settings.items()},
    }


def migrate(name: str, settings: Settings) -> None:
    """Runs the service's migration job; raises RuntimeError with its output if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "kit.migrate", name],
        env=environment(name, settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"migration of {name} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
