"""Applications of the tests' own: on a host, and without any on this machine's loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from testing.postgres import Postgres
from testing.process import free_port
from testing.service import Service, migrate

from hostwright import application, paths, secrets
from hostwright.application import Setting
from tests import environment
from tests.contracts.plain import Trial
from tests.host import Node, until
from tests.live import make, temporary
from tests.policy.gateway import PLACES, Gateway

PORT = 8080  # of services
PATIENCE = 120.0  # seconds for a container to be healthy


def _file(name: str) -> Path:
    return paths.toolkit() / "services" / "apps" / f"{name}.yml"


class Containers:
    """Those of an environment's one host: killed ones are not started again by the engine."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def kill(self, name: str) -> None:
        self._node.run("docker", "kill", self._node.service(name))

    def start(self, name: str) -> None:
        self._node.run("docker", "start", self._node.service(name))
        until(lambda: self._node.healthy(name), PATIENCE, f"{name} is healthy")


@contextmanager
def hosted(name: str, folder: Path, network: dict[str, str]) -> Iterator[Trial]:
    """Up and proven, on a host that is a container."""
    with temporary(make(folder, f"test-{name}", network, application=_file(name))) as live:
        live.hostwright("up")
        entrance = environment.entrance(application.load(_file(name)))
        node = Node(live.hosts()[0]["name"])
        yield Trial(environment.gateway(live, **entrance), Containers(node))


class Local:
    """HAProxy, rendered, before real services, one instance of each.

    They are told what their containers would be, and differ in places alone: databases are of one PostgreSQL,
    and nobody listens in the place of RabbitMQ, for whom no answer waits.
    """

    def __init__(self, gateway: Gateway, values: Mapping[str, str], stack: ExitStack) -> None:
        names = {gateway.address: gateway.address}
        self.door = environment.Gateway(names, values, **environment.entrance(gateway.application))
        self._gateway = gateway
        self._stack = stack
        self._settings: dict[str, dict[str, Any]] = {}
        self._running: dict[str, Service] = {}

    def serve(self, postgres: Postgres) -> None:
        """All services of the application, with their tables made."""
        gateway = self._gateway
        files = secrets.files_of(gateway.application, self.door.secrets)
        containers = yaml.safe_load(gateway.files["compose.yaml"])["services"]
        elsewhere: dict[str, Any] = {"BROKER_HOST": "127.0.0.1", "BROKER_PORT": free_port()}
        elsewhere |= {f"{name.upper()}_URL": f"http://{self._place(name)}:{PORT}" for name in PLACES}
        for name in gateway.application.services:
            told = containers[name]["environment"]
            database = {key.upper(): value for key, value in postgres.settings(postgres.create()).items()}
            places = {key: value for key, value in elsewhere.items() if key in told} | database
            folder = _written(gateway.folder / "services" / name, files[name])
            self._settings[name] = {**told, **places, "SECRETS_DIR": folder}
            migrate(name, self._settings[name])
            self.start(name)

    def start(self, name: str) -> None:
        running = Service.running(name, self._settings[name], PORT, address=self._place(name))
        self._running[name] = self._stack.enter_context(running)

    def kill(self, name: str) -> None:
        self._running[name].kill()

    def _place(self, name: str) -> str:
        return str(self._gateway.network[PLACES[name]])


@contextmanager
def local(
    name: str,
    limits: Mapping[str, int],
    settings: Mapping[str, Mapping[str, Setting]] | None = None,
    tls: bool = False,
) -> Iterator[Local]:
    """`limits`: name -> requests, in place of the application's; `settings` are those of an environment."""
    document = yaml.safe_load(_file(name).read_text())
    for limit, requests in limits.items():
        document["gateway"]["policy"]["limits"][limit]["requests"] = requests
    if tls:
        document["gateway"]["listeners"][0]["protocol"] = "https"
    with ExitStack() as stack:
        gateway = Gateway(document, settings=settings or {})
        stack.callback(gateway.stop)
        gateway.write()
        values = secrets.complete(gateway.application, {}, "trial", [gateway.address])
        gateway.secrets = secrets.files_of(gateway.application, values)["gateway"]
        found = Local(gateway, values, stack)
        found.serve(stack.enter_context(Postgres.running()))
        gateway.run()
        yield found


def _written(folder: Path, texts: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder
