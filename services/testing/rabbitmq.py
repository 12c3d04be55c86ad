"""A real RabbitMQ of our own, which tests may stop and start."""

from __future__ import annotations

import copy
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testing.process import Process, free_port, give, listens, own_directory

# One scheduler that does not spin: tests share two cores with much else.
ERLANG = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQ:
    """One node with its own name, port, cookie and epmd. `stop` and `start` keep its durable queues.

    Whoever wants nobody else's events has a virtual host: `with server.vhost():`.
    """

    host = "127.0.0.1"
    user = "hostwright"
    password = "not-a-secret"  # noqa: S105  # of a server that lives for one run of the tests

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._epmd_port = free_port()
        self._node_port = free_port()
        self._cookie = secrets.token_hex(10)
        self._vhosts = itertools.count(1)
        self._vhost = "/"
        self._processes: dict[str, Process] = {}  # shared by all views of this server

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
            if epmd := server._processes.get("epmd"):
                epmd.end()
            shutil.rmtree(directory)

    def start(self) -> None:
        """Takes 4 to 8 seconds, unless it runs."""
        if "epmd" not in self._processes:  # else the node starts one as a daemon, which nobody ends
            self._processes["epmd"] = Process(
                ["epmd", "-address", "127.0.0.1"],
                log=self.directory / "epmd.log",
                environment=self._environment(),
            )
            self._processes["epmd"].wait_for(lambda: listens(self._epmd_port))
        if "node" not in self._processes:
            node = Process([program()], log=self.directory / "log", environment=self._environment())
            node.wait_for(self._answers)
            self._processes["node"] = node

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """As a crash unless told otherwise: what was confirmed must be there after `start`."""
        if node := self._processes.pop("node", None):
            node.end(how)

    @contextmanager
    def vhost(self) -> Iterator[RabbitMQ]:
        """A view of this server with an empty virtual host, which goes afterwards."""
        view = copy.copy(self)
        view._vhost = str(next(self._vhosts))
        self._evaluate(f'rabbit_vhost:add(<<"{view._vhost}">>, <<"{self.user}">>)')
        grant = f'<<"{self.user}">>, <<"{view._vhost}">>, <<".*">>, <<".*">>, <<".*">>, <<"{self.user}">>'
        self._evaluate(f"rabbit_auth_backend_internal:set_permissions({grant})")
        yield view
        self._evaluate(f'rabbit_vhost:delete(<<"{view._vhost}">>, <<"{self.user}">>)')

    def settings(self) -> dict[str, str | int]:
        """What a service is told of this broker: fields of `kit.settings.BrokerSettings`."""
        return {
            "broker_host": self.host,
            "broker_port": self.port,
            "broker_vhost": self._vhost,
            "broker_user": self.user,
            "broker_password": self.password,
        }

    @property
    def url(self) -> str:
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/{self._vhost.removeprefix('/')}"

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
        cookie.write_text(self._cookie)
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
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_LOGS": "-",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node instead of watching it
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
        }

    def _evaluate(self, expression: str) -> None:
        """Asks the node as rabbitmqctl does, in a hundredth of its time; RuntimeError unless it says ok."""
        self.start()
        address = f"127.0.0.1:{self._node_port}"
        done = subprocess.run(
            ["erl_call", "-address", address, "-c", self._cookie, "-e"],
            input=f"{expression}.\n",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.stdout != "{ok, ok}":
            raise RuntimeError(f"{expression}: {done.stdout}{done.stderr}")

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
