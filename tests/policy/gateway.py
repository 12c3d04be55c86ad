"""The rendered gateway at work: HAProxy itself, before services that say what they were asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import jwt
import yaml
from testing.process import Process, until

from hostwright import application
from hostwright.render import Environment, render

DESK = Path(__file__).with_name("desk.yml")
SECRET = "of a test, and longer than the thirty-two characters that it must have"
PATIENCE = 60.0  # seconds
HEARD = 2.0  # seconds in which a signal that was heard has been obeyed
PLACES = {
    "auth": 16,
    "orders": 17,
    "orders-2": 39,
    "auth-spare": 170,
}  # in the network, as compose.py gives them

# What an answer without end begins with, and goes on with.
FLOODS = {
    "flood": (b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "flood of headers": (b"", b"X-Flood: " + b"x" * 1000 + b"\r\n"),
}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def seen(self) -> dict[str, str]:
        """The headers that the service saw, by their names in lower case."""
        return {name.lower(): value for name, value in self.json["headers"]}


@dataclass
class Service:
    """Answers with the request as it saw it, and `status`; or misbehaves as `how` says.

    That is hang, reset, fail (500), or one of FLOODS. `flooding`: how many such answers are on their way.
    """

    name: str
    address: str
    status: int = 200
    how: str = ""
    flooding: int = 0
    asked: list[str] = field(default_factory=list)
    special: dict[str, Callable[[str], str]] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                service.connections.append(self.connection)

            def answer(self) -> None:
                body = self._body()
                service.asked.append(f"{self.command} {self.path}")
                if said := service.special.get(self.path.partition("?")[0]):
                    return self.say(200, said(self.path).encode(), "text/plain")
                if service.how == "hang":
                    service.released.wait(PATIENCE)
                if service.how == "reset":
                    self.close_connection = True
                    return None
                if service.how in FLOODS:
                    return self.flood(*FLOODS[service.how])
                status = 500 if service.how == "fail" else service.status
                seen = {
                    "method": self.command, "path": self.path, "headers": self.headers.items(),
                    "instance": service.name, "body": body.decode(errors="replace"),
                }  # fmt: skip
                return self.say(status, json.dumps(seen).encode(), "application/json")

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = answer

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found = b""
                while size := int(self.rfile.readline(), 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return found

            def flood(self, head: bytes, piece: bytes) -> None:
                """Without end, as long as somebody listens."""
                self.close_connection = True
                service.flooding += 1
                try:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n" + head)
                    while not service.released.is_set():
                        self.wfile.write(piece)
                finally:
                    service.flooding -= 1

            def say(self, status: int, text: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.send_header("X-Request-ID", "of the service")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.connections: list[socket.socket] = []
        self.server = ThreadingHTTPServer((self.address, 8080), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that left
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def stop(self) -> None:
        """As a process that is killed: no connection outlives it."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        for each in self.connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Gateway:
    """HAProxy with the files that render() makes, moved to a folder and a loopback address of its own."""

    def __init__(self, document: Mapping[str, Any] | None = None, **environment: Any) -> None:
        """`document` is an application file in place of desk.yml; `environment` of what render() is told."""
        self.network, self.claim = _network()
        self.address = str(self.network[2])
        self.folder = Path(tempfile.mkdtemp(prefix="hostwright-policy-"))
        self.folder.chmod(0o755)
        self.document = dict(document or desk())
        self.environment: dict[str, Any] = {"name": "trial", "names": ("desk.example.com",), **environment}
        self.services: dict[str, Service] = {}
        self.secrets = {"jwt_secret": SECRET}
        self.components: str | tuple[str, ...] = ()
        self.changed: dict[str, str] = {}
        """What a test has otherwise in the rendered files."""
        self.process: Process | None = None

    def write(self, **environment: Any) -> None:
        """The files, anew where it runs already."""
        self.environment |= environment
        path = self.folder / "desk.yml"
        path.write_text(yaml.safe_dump(self.document, sort_keys=False))
        self.application = application.load(path, components=self.components)
        told = Environment(network=self.network, ipv6=False, **self.environment)
        self.files = render(self.application, told)
        moves = {
            "/etc/hostwright/": f"{self.folder}/gateway/",
            "/run/secrets/": f"{self.folder}/secrets/",
            "/tmp/haproxy.sock": f"{self.folder}/haproxy.sock",  # noqa: S108
            "bind :": f"bind {self.address}:",
            "127.0.0.1:1000": f"{self.address}:1000",
            **self.changed,
        }
        for name, text in self.files.items():
            if name.startswith("gateway/"):
                for here, there in moves.items():
                    text = text.replace(here, there)
                (self.folder / name).parent.mkdir(exist_ok=True)
                (self.folder / name).write_text(text)
        (self.folder / "secrets").mkdir(exist_ok=True)
        for name, text in self.secrets.items():
            (self.folder / "secrets" / name).write_text(text)

    def start(self, *services: str) -> None:
        """With these instances behind it: all that PLACES names, if none is."""
        for name in services or ("auth", "orders"):
            self.serve(name)
        self.run()

    def run(self) -> None:
        """Before whatever stands at these places."""
        self.folder.chmod(0o777)  # for the socket of who is nobody there
        self.write()
        log = self.folder / "log"
        log.touch()
        command = ["haproxy", "-W", "-db", "-f", self.folder / "gateway" / "haproxy.cfg"]
        self.process = Process(command, log=log, environment=os.environ, orphaned=signal.SIGTERM)
        self.process.wait_for(self.fresh)

    def serve(self, name: str) -> Service:
        self.services[name] = Service(name, str(self.network[PLACES[name]]))
        self.services[name].start()
        return self.services[name]

    def fresh(self) -> bool:
        """Whether it runs with the configuration that is written."""
        with suppress(OSError):
            return self.ask("/", port=10000).text == (self.folder / "gateway" / "digest").read_text()
        return False

    def reload(self, seen: Callable[[], bool] | None = None) -> None:
        """To read its configuration again, which is `seen`: when it runs with it, if nothing else is said.

        Told more than once, as a deployment does: a worker answers before its master hears signals.
        """
        assert self.process
        for _ in range(int(PATIENCE / HEARD)):
            os.kill(self.process.pid, signal.SIGUSR2)
            with suppress(AssertionError):
                return until(seen or self.fresh, HEARD)
        raise AssertionError("its configuration is not read again")

    def stop(self) -> None:
        if self.process:
            self.process.end()
        for service in self.services.values():
            service.stop()
        self.claim.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        *,
        port: int = 8080,
        token: str | None = None,
        client: str = "127.0.0.1",
        **headers: str,
    ) -> Answer:
        """`client` is the address to come from; keywords are headers with underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            named["Authorization"] = f"Bearer {token}"
        connection = HTTPConnection(self.address, port, timeout=PATIENCE, source_address=(client, 0))
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read().decode(errors="replace"))
        finally:
            connection.close()

    def raw(self, text: bytes) -> bytes:
        """What comes back for these bytes, until the gateway closes."""
        with socket.create_connection((self.address, 8080), timeout=PATIENCE) as connection:
            connection.sendall(text)
            found = b""
            with suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    found += piece
            return found

    def lines(self) -> list[dict[str, Any]]:
        """Of the log, those of requests."""
        text = (self.folder / "log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def line(self, request: str) -> dict[str, Any]:
        """The line of a request, which is written after its answer."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [each for each in self.lines() if each["request_id"] == request]
            return bool(found)

        until(there, PATIENCE)
        return found[0]


def _network() -> tuple[IPv4Network, socket.socket]:
    """A network of loopback that no other test has, and the socket that keeps it from them."""
    for number in range(16000):
        network = IPv4Network(f"127.{100 + number // 256}.{number % 256}.0/24")
        claim = socket.socket()
        try:
            claim.bind((str(network[1]), 8080))
        except OSError:
            claim.close()
        else:
            return network, claim
    raise OSError("every network of loopback is taken")


def desk() -> dict[str, Any]:
    """desk.yml, to be changed by a test."""
    found: dict[str, Any] = yaml.safe_load(DESK.read_text())
    return found


def claims(**changed: Any) -> dict[str, Any]:
    """Of a good token of a user, with some changed, or left out where they are None."""
    now = int(time.time())
    good = {
        "user_id": "3f1c", "email": "jan@example.com", "roles": ["user"], "sid": "s-1", "typ": "access",
        "iss": "hostwright", "aud": "desk", "iat": now, "exp": now + 600, **changed,
    }  # fmt: skip
    return {name: value for name, value in good.items() if value is not None}


def token(**changed: Any) -> str:
    return jwt.encode(claims(**changed), SECRET, algorithm="HS256")


@contextmanager
def running(document: Mapping[str, Any] | None = None, **environment: Any) -> Iterator[Gateway]:
    gateway = Gateway(document, **environment)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()
