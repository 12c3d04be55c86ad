"""The gateway of a cluster at work: nginx with the rendered files, as an Ingress that ended TLS asks it."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from testing.process import free_port, give, own_directory
from testing.shop import nginx

from hostwright import application
from hostwright.render import Cluster, Environment, pinned, render

CLIENT = "198.51.100.7"
INGRESS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": CLIENT, "Host": "shop.example.com"}


class Service(BaseHTTPRequestHandler):
    """Answers with the request as it saw it, and authenticates the token "good"."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/api/v1/validate":
            known = self.headers.get("Authorization") == "Bearer good"
            return self.say(200 if known else 401, {}, {"X-User-Id": "7", "X-User-Role": "admin"})
        return self.say(200, {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}})

    def say(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Gateway:
    ports: dict[int, int]
    """Of the container -> here."""

    def ask(self, path: str, port: int = 10443, **headers: str) -> tuple[int, dict[str, str], Any]:
        connection = HTTPConnection("127.0.0.1", self.ports[port], timeout=60)
        try:
            connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            text = answer.read().decode()
            return answer.status, found, json.loads(text) if text.startswith("{") else text
        finally:
            connection.close()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """All services are one here, but for `analytics`: its Service has nobody behind it."""
    app = application.load("warehouse")
    environment = Environment(
        name="prod",
        topology="cluster",
        names=("shop.example.com",),
        ipv6=False,
        cluster=Cluster(pins=pinned(app, ["one"]), pods=("127.0.0.0/8",)),
    )
    files = yaml.safe_load(render(app, environment)["1-base/configmap-gateway.yaml"])["data"]
    folder = own_directory("gateway-files")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = {int(port): free_port() for port in re.findall(r"listen (\d+);", files["nginx.conf"])}
    places = {"/tmp/": "@HERE@/", "/dev/stdout": "@HERE@/access", "/dev/stderr": "stderr"}  # noqa: S108
    places |= {"/etc/hostwright/": f"{folder}/"}
    places |= {f"{name}:8080": f"127.0.0.1:{server.server_port}" for name in app.services}
    places |= {"analytics:8080": f"127.0.0.1:{free_port()}"}
    places |= {f"listen {port};": f"listen 127.0.0.1:{here};" for port, here in ports.items()}
    # Ports of the container, by which the configuration tells its listeners apart.
    places |= {f"~^{port}:": f"~^{here}:" for port, here in ports.items()}
    for name, text in files.items():
        for there, here_ in places.items():
            text = text.replace(there, here_)
        files[name] = text
        (folder / name).write_text(text)
        give(folder / name)
    try:
        with nginx("cluster", files["nginx.conf"], ports[10443]):
            yield Gateway(ports)
    finally:
        server.shutdown()
        server.server_close()
        shutil.rmtree(folder)


def test_what_came_in_plain_is_sent_to_https(gateway: Gateway) -> None:
    for proto in ({}, {"X-Forwarded-Proto": "http"}, {"X-Forwarded-Proto": "ws"}):
        status, headers, _ = gateway.ask("/panel/?a=b", Host="shop.example.com", **proto)
        assert (status, headers["location"]) == (308, "https://shop.example.com/panel/?a=b")
        assert "strict-transport-security" not in headers


@pytest.mark.parametrize(("path", "status"), [("/api/orders/%00", 400), (f"/?{'x' * 20000}", 414)])
def test_what_is_refused_is_sent_nowhere(gateway: Gateway, path: str, status: int) -> None:
    """nginx has not read its headers by then."""
    for headers in (INGRESS, {"Host": "shop.example.com"}):
        told, _, body = gateway.ask(path, **headers)
        assert (told, list(body)) == (status, ["error"])


def test_what_came_over_tls_is_served_as_on_a_host(gateway: Gateway) -> None:
    status, headers, seen = gateway.ask("/panel/", **INGRESS)
    assert status == 200
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"
    sent = seen["headers"]
    assert sent["x-forwarded-proto"] == "https"
    assert sent["x-forwarded-host"] == sent["host"] == "shop.example.com"
    assert sent["x-forwarded-for"] == CLIENT
    assert headers["x-request-id"] == sent["x-request-id"]


def test_a_websocket_over_tls_is_one_whatever_the_controller_calls_it(gateway: Gateway) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "X-Forwarded-Proto": "wss"}
    status, _, seen = gateway.ask("/ws", **(INGRESS | upgrade))
    assert status == 200  # of this service, which knows of no WebSockets
    assert seen["headers"]["upgrade"] == "websocket"
    assert seen["headers"]["x-forwarded-proto"] == "https"


def test_who_asks_is_known_from_authentication_alone(gateway: Gateway) -> None:
    assert gateway.ask("/api/orders", **INGRESS)[::2] == (401, {"error": "Authentication required"})
    status, _, seen = gateway.ask(
        "/api/orders", **INGRESS, Authorization="Bearer good", X_User_Role="root", X_User_Id="1"
    )
    assert status == 200
    assert (seen["headers"]["x-user-id"], seen["headers"]["x-user-role"]) == ("7", "admin")


def test_a_trace_of_the_ingress_is_a_strangers(gateway: Gateway) -> None:
    given = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    seen = gateway.ask("/panel/", **INGRESS, traceparent=given)[2]
    assert seen["headers"]["traceparent"] != given


def test_nobody_ready_is_unavailable(gateway: Gateway) -> None:
    """On a host the service says so itself while its database is away; here its Service leaves it out."""
    status, _, body = gateway.ask("/api/reports", **INGRESS, Authorization="Bearer good")
    assert (status, body) == (503, {"error": "Service unavailable"})


def test_internals_are_served_to_nobody(gateway: Gateway) -> None:
    for path in ("/metrics", "/health/live", "/health/ready"):
        assert gateway.ask(path, **INGRESS)[0] == 404


def test_listeners_of_services_are_there_in_plain(gateway: Gateway) -> None:
    status, headers, seen = gateway.ask("/anything", 8081)
    assert (status, seen["path"], seen["headers"]["x-forwarded-proto"]) == (200, "/anything", "http")
    assert "strict-transport-security" not in headers


def test_the_kubelet_is_told_which_configuration_is_in_use(gateway: Gateway) -> None:
    status, _, text = gateway.ask("/", 10000)
    assert status == 200
    assert re.fullmatch(r"[0-9a-f]{12}\n", text)
