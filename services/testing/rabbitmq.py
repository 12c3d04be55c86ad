"""A real RabbitMQ of our own, which tests may stop and start."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testing.process import Process, free_port, give, listens, own_directory

# One scheduler that does not spin: tests share two cores with much else.
ERLANG = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQ:
    """One node with its own name, port, cookie and epmd. `stop` and `start` keep its durable queues."""

    host = "127.0.0.1"
    user = "hostwright"
    password = "not-a-secret"  # noqa: S105  # of a server that lives for one run of the tests

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._epmd: Process | None = None
        self._process: Process | None = None
        self._epmd_port = free_port()
        self.port = free_port()

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[RabbitMQ]:
        directory = own_directory("rabbitmq")
        server = cls(directory)
        try:
            server._configure()
            server.start()
            yield server
        finally:
            server.stop()
            if server._epmd:
                server._epmd.end()
            shutil.rmtree(directory)

    def start(self) -> None:
        """Takes 4 to 8 seconds."""
        if self._epmd is None:  # else the node starts one as a daemon, which nobody ends
            self._epmd = Process(
                ["epmd", "-address", "127.0.0.1"],
                log=self.directory / "epmd.log",
                environment=self._environment(),
            )
            self._epmd.wait_for(lambda: listens(self._epmd_port))
        self._process = Process([program()], log=self.directory / "log", environment=self._environment())
        self._process.wait_for(self._answers)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """As a crash unless told otherwise: what was confirmed must be there after `start`."""
        if self._process:
            self._process.end(how)

    def settings(self) -> dict[str, str | int]:
        """What a service is told of this broker: fields of `kit.settings.BrokerSettings`."""
        return {
            "broker_host": self.host,
            "broker_port": self.port,
            "broker_user": self.user,
            "broker_password": self.password,
        }

    @property
    def url(self) -> str:
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/"

    def _configure(self) -> None:
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"default_user = {self.user}\n"
            f"default_pass = {self.password}\n"
            "disk_free_limit.absolute = 50MB\n"
            "log.console.level = warning\n"
            "log.file = false\n"
        )
        (self.directory / "enabled_plugins").write_text("[].\n")
        (self.directory / "rabbitmq-env.conf").touch()
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(10))
        cookie.chmod(0o400)
        give(cookie)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.directory),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"rabbit{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_LOGS": "-",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node instead of watching it
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
        }

    def _answers(self) -> bool:
        """It speaks AMQP: the port alone opens before the node accepts connections."""
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False


def program() -> Path:
    """The server itself, not Debian's wrapper in /usr/sbin, which insists on the system's own node."""
    packaged = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    found = packaged if packaged.exists() else shutil.which("rabbitmq-server")
    if found is None:
        raise FileNotFoundError("RabbitMQ is not here: apt-get install rabbitmq-server")
    return Path(found)
