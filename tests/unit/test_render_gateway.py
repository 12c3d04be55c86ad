"""The rendered gateway at work: nginx in its own image, before services that say what they were asked."""

from __future__ import annotations

import itertools
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPSConnection
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool
from testing.process import until

from hostwright import application, secrets
from hostwright.render import Environment, GatewayOptions, render
from lab import images
from tests.live import claim, inside

NETWORK = IPv4Network("10.97.252.0/24")
NUMBERS = {"auth": 16, "orders": 17, "orders-2": 39, "storefront": 21, "auth-spare": 170}  # in it
PLACES = {name: f"{NETWORK[number]}:8080" for name, number in NUMBERS.items()}
PROXY = f"{NETWORK[39]}/32"  # where an instance of orders is
MARK = {"hostwright.test": "gateway"}

# A service for the tests: it answers with the request as it saw it, and authenticates the token "good".
SERVICE = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/api/v1/validate":
            status = {"Bearer good": 200, "Bearer broken": 500}.get(self.headers.get("Authorization"), 401)
            if status == 401:
                return self.say(401, {"error": "nobody knows you"}, {"WWW-Authenticate": "Bearer"})
            who = {"X-User-Id": "7", "X-User-Email": "a@b.example", "X-User-Role": "admin"}
            return self.say(status, {}, who)
        if self.headers.get("Upgrade"):
            self.send_response(101)
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.wfile.write(b"ready\\n")
            self.close_connection = True
            return
        status = int(self.path.rpartition("/")[2]) if "/status/" in self.path else 200
        seen = {"method": self.command, "path": self.path, "headers": self.headers.items()}
        seen |= {"instance": sys.argv[1], "body": body.decode()}
        page = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "no-cache"}
        self.say(status, seen, {"X-Request-ID": "of the service", **(page if "/page" in self.path else {})})

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    def say(self, status, body, headers):
        text = json.dumps(body).encode()
        self.send_response(status)
        usual = {"Content-Length": str(len(text)), "Content-Type": "application/json"}
        for name, value in {**usual, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def sent(self) -> dict[str, str]:
        """The headers that the service saw."""
        return {name.lower(): value for name, value in self.json["headers"]}


class Gateway:
    """A running gateway with two instances of orders, and one of auth that has somebody to stand in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = docker.from_env()
        self.image, self.python = (loaded(name) for name in ("nginx", "python"))
        self.application = application.load("warehouse")
        self.containers: dict[str, Container] = {}
        self.write(replicas=2)

    def write(self, replicas: int, timeout: int = 30) -> None:
        """Render for so many instances of orders, as the container has them; it waits `timeout` seconds."""
        values = secrets.complete(self.application, self._held(), "trial", [self.address])
        environment = Environment(
            name="trial",
            replicas={"orders": replicas},
            network=NETWORK,
            digests={"gateway": f"{replicas}-{timeout}"},
            trusted_proxies=(PROXY,),
            gateway=GatewayOptions(timeout=timeout),
        )
        self.files = render(self.application, environment)
        for path, text in self.files.items():
            if path.startswith("gateway/"):
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / path).write_text(text)
        secrets.write(self.folder / "secrets", self.application, values)
        self.ca = values["ca_certificate"]

    def _held(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.folder / "secrets" / ".store").glob("*")}

    @property
    def address(self) -> str:
        return str(NETWORK[2])

    def start(self) -> None:
        pool = IPAMPool(
            subnet=str(NETWORK), gateway=str(NETWORK[1]), iprange=str(list(NETWORK.subnets(new_prefix=26))[3])
        )
        self.network = self.engine.networks.create(
            "hostwright-test-gateway", ipam=IPAMConfig(pool_configs=[pool]), labels=MARK
        )
        for name, number in NUMBERS.items():
            self._run(name, str(NETWORK[number]), self.python, ["python3", "-c", SERVICE, name], user="65534")
        self._run(
            "gateway",
            self.address,
            self.image,
            ["nginx", "-e", "/dev/stderr", "-c", "/etc/hostwright/nginx.conf", "-g", "daemon off;"],
            user="101:101",
            volumes=[
                f"{self.folder}/gateway:/etc/hostwright:ro",
                f"{self.folder}/secrets/gateway:/run/secrets:ro",
            ],
            tmpfs={"/tmp": "mode=1777"},  # noqa: S108
        )
        self.await_digest()

    def _run(self, name: str, address: str, image: str, command: list[str], **options: Any) -> None:
        container = self.engine.containers.create(
            image, command, name=f"hostwright-test-{name}", labels=MARK, read_only=True, cap_drop=["ALL"],
            network="none", **options,
        )  # fmt: skip
        self.engine.networks.get("none").disconnect(container)
        self.network.connect(container, ipv4_address=address)
        container.start()
        self.containers[name] = container

    def reload(self) -> None:
        self.containers["gateway"].kill("HUP")
        self.await_digest()

    def await_digest(self) -> None:
        """Until the health check of the rendered Compose project answers with the digest of the files."""
        compose = yaml.safe_load(self.files["compose.yaml"])
        test = [part.replace("$$", "$") for part in compose["services"]["gateway"]["healthcheck"]["test"][1:]]
        digest = self.files["gateway/digest"].strip()
        deadline = time.monotonic() + 60
        while True:
            found = self.containers["gateway"].exec_run(test)
            if found.exit_code == 0 and digest in found.output.decode():
                return
            assert time.monotonic() < deadline, self.containers["gateway"].logs().decode()
            time.sleep(0.1)

    def ask(
        self, path: str, method: str = "GET", port: int = 10443, body: bytes | None = None, **headers: str
    ) -> Answer:
        connection: HTTPConnection
        if port == 10443:
            context = ssl.create_default_context(cadata=self.ca)
            connection = HTTPSConnection(self.address, port, timeout=60, context=context)
        else:
            connection = HTTPConnection(self.address, port, timeout=60)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read().decode(errors="replace"))
        finally:
            connection.close()

    def log(self) -> str:
        return str(self.containers["gateway"].logs().decode())

    def line(self, request_id: str) -> dict[str, Any]:
        """The log line of a request, which is written after its answer."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self.log().splitlines():
                if line.startswith("{") and json.loads(line)["request_id"] == request_id:
                    return dict(json.loads(line))
            time.sleep(0.1)
        raise AssertionError(f"no line of {request_id}")

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """The instance is set aside, as it is before it is made anew."""
        mark = self.folder / "gateway" / "aside" / name
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        try:
            yield
        finally:
            mark.unlink()


def loaded(name: str) -> str:
    """The lab's image of that name in the local engine; its reference."""
    reference = f"hostwright-test/{name}:latest"
    subprocess.run(
        ["skopeo", "copy", "--quiet", f"oci:{images.base(name)}", f"docker-daemon:{reference}"], check=True
    )
    return reference


def purge() -> None:
    engine = docker.from_env()
    for container in engine.containers.list(all=True, filters={"label": "hostwright.test=gateway"}):
        container.remove(force=True)
    for network in engine.networks.list(filters={"label": "hostwright.test=gateway"}):
        network.remove()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    claim("gateway")
    purge()
    found = Gateway(tmp_path_factory.mktemp("gateway"))
    try:
        found.start()
        yield found
    finally:
        purge()


def test_nginx_finds_nothing_to_complain_of(gateway: Gateway) -> None:
    check = ("nginx", "-t", "-e", "/dev/stderr", "-c", "/etc/hostwright/nginx.conf")
    code, said = inside(gateway.containers["gateway"], *check)
    assert (code, "test is successful" in said) == (0, True), said
    assert "[warn]" not in said


def test_plain_http_is_sent_to_https(gateway: Gateway) -> None:
    answer = gateway.ask("/api/orders?page=2", port=10080)
    assert (answer.status, answer.headers["location"]) == (
        308,
        f"https://{gateway.address}/api/orders?page=2",
    )


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/api/auth/login", "auth"),
        ("/auth/login", "auth"),
        ("/logout", "auth"),
        ("/api/v1/profile", "auth"),
        ("/ws", "orders"),
    ],
)
def test_routes(gateway: Gateway, path: str, service: str) -> None:
    answer = gateway.ask(path, "POST", body=b"{}")
    assert answer.status == 200
    assert answer.json["instance"].startswith(service)
    assert (answer.json["path"], answer.json["body"]) == (path, "{}")


@pytest.mark.parametrize("path", ["/", "/nope", "/logouts", "/api/ordersx"])
def test_what_is_no_other_route_goes_to_the_storefront(gateway: Gateway, path: str) -> None:
    answer = gateway.ask(path)
    assert (answer.json["instance"], answer.json["path"]) == ("storefront", path)


@pytest.mark.parametrize("path", ["/metrics", "/health/ready", "/_authenticate"])
def test_what_is_no_route_is_404(gateway: Gateway, path: str) -> None:
    answer = gateway.ask(path, Authorization="Bearer good")
    assert (answer.status, answer.json) == (404, {"error": "Not found"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/health/live", "/health/ready", "/metrics/", "/health/live/", "/health/ready/"),
        *("//metrics", "/metrics//", "/%6detrics", "/x/../metrics"),
    ],
)
def test_internals_are_served_to_nobody(gateway: Gateway, path: str) -> None:
    assert gateway.ask(path, port=8080).status == 404
    assert gateway.ask(path, port=8081).status == 404


def test_a_listener_belongs_to_its_service(gateway: Gateway) -> None:
    assert gateway.ask("/anything", port=8080).json["instance"].startswith("orders")
    assert gateway.ask("/anything", port=8081).json["instance"] == "auth"
    assert gateway.ask("/api/orders", port=8080).status == 401


def test_who_has_no_token_is_turned_away(gateway: Gateway) -> None:
    for headers in ({}, {"Authorization": "Bearer revoked"}, {"X-User-Id": "7", "X-User-Role": "admin"}):
        answer = gateway.ask("/api/orders/1", **headers)
        assert (answer.status, answer.json) == (401, {"error": "Authentication required"})
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_service_learns_who_asks_from_authentication_alone(gateway: Gateway) -> None:
    forged = {
        "X-User-Id": "1",
        "X-User-Email": "x@y.example",
        "X-User-Role": "root",
        "X-Forwarded-For": "6.6.6.6",
    }
    sent = gateway.ask("/api/orders", Authorization="Bearer good", **forged).sent
    assert (sent["x-user-id"], sent["x-user-email"], sent["x-user-role"]) == ("7", "a@b.example", "admin")
    assert sent["authorization"] == "Bearer good"
    assert sent["x-forwarded-proto"] == "https"
    assert sent["x-forwarded-for"] == str(NETWORK[1])
    for port, path in ((10443, "/auth/login"), (10443, "/ws"), (8080, "/x"), (8081, "/x")):
        sent = gateway.ask(path, port=port, **forged).sent
        assert not [name for name in sent if name.startswith("x-user-")]
        assert sent["x-forwarded-for"] == str(NETWORK[1])


def test_broken_authentication_is_503_and_lets_nobody_in(gateway: Gateway) -> None:
    answer = gateway.ask("/api/orders", Authorization="Bearer broken")
    assert (answer.status, answer.json) == (503, {"error": "Service unavailable"})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 500, 503])
def test_what_services_answer_passes_untouched(gateway: Gateway, status: int) -> None:
    answer = gateway.ask(f"/auth/status/{status}")
    assert (answer.status, answer.json["instance"]) == (status, "auth")


def test_a_request_keeps_its_name(gateway: Gateway) -> None:
    answer = gateway.ask("/auth/x", X_Request_ID="order-form-1234")
    assert answer.sent["x-request-id"] == answer.headers["x-request-id"] == "order-form-1234"
    answer = gateway.ask("/auth/x", X_Request_ID='evil"\\')
    assert answer.sent["x-request-id"] == answer.headers["x-request-id"] != 'evil"\\'
    assert len(answer.headers["x-request-id"]) == 32


def test_answers_carry_security_headers(gateway: Gateway) -> None:
    for path in ("/auth/x", "/nope"):
        headers = gateway.ask(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["strict-transport-security"] == "max-age=31536000"
        assert headers["server"] == "nginx"
    assert "strict-transport-security" not in gateway.ask("/x", port=8080).headers


def test_pages_keep_their_own_rules_and_data_is_neither_shown_nor_kept(gateway: Gateway) -> None:
    for path in ("/auth/x", "/metrics"):
        headers = gateway.ask(path).headers
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["cache-control"] == "no-store"
    headers = gateway.ask("/page").headers
    assert headers["content-security-policy"] == "default-src 'self'"
    assert headers["cache-control"] == "no-cache"


def test_data_is_compressed_but_nothing_that_holds_tokens(gateway: Gateway) -> None:
    def encoding(path: str, port: int = 10443, size: int = 2000) -> str | None:
        headers = {"Accept_Encoding": "gzip", "Authorization": "Bearer good"}
        return gateway.ask(path, "POST", port, b"x" * size, **headers).headers.get("content-encoding")

    assert encoding("/api/orders") == encoding("/anything", port=8080) == "gzip"
    assert encoding("/api/orders", size=10) is None
    for path in ("/api/auth/login", "/auth/login", "/logout", "/api/v1/validate-token"):
        assert encoding(path) is None
    assert encoding("/api/auth/login", port=8081) is None


def test_a_body_has_a_limit(gateway: Gateway) -> None:
    assert gateway.ask("/auth/x", "POST", body=b"x" * 1024 * 1024).status == 200
    answer = gateway.ask("/auth/x", "POST", body=b"x" * (1024 * 1024 + 1))
    assert (answer.status, answer.json) == (413, {"error": "Request body too large"})


def test_headers_have_a_limit(gateway: Gateway) -> None:
    answer = gateway.ask("/auth/x", X_Long="x" * 9000)
    assert answer.status in (400, 494)
    assert answer.json == {"error": "Request header too large"}


def test_a_websocket_is_upgraded_on_its_route_only(gateway: Gateway) -> None:
    def upgrade(path: str, protocol: str) -> bytes:
        context = ssl.create_default_context(cadata=gateway.ca)
        with (
            socket.create_connection((gateway.address, 10443), 10) as plain,
            context.wrap_socket(plain, server_hostname=gateway.address) as connection,
        ):
            lines = (f"GET {path} HTTP/1.1", "Host: x", "Connection: Upgrade", f"Upgrade: {protocol}", "", "")
            connection.sendall("\r\n".join(lines).encode())
            answer = connection.recv(65536)
            if b" 101 " in answer and b"ready" not in answer:
                answer += connection.recv(65536)
            return answer

    switched = upgrade("/ws", "WebSocket")
    assert switched.startswith(b"HTTP/1.1 101 ")
    assert b"ready" in switched
    assert upgrade("/ws", "h2c").startswith(b"HTTP/1.1 200 ")
    assert upgrade("/auth/x", "websocket").startswith(b"HTTP/1.1 200 ")


def test_http2_is_offered(gateway: Gateway) -> None:
    context = ssl.create_default_context(cadata=gateway.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((gateway.address, 10443), 10) as plain,
        context.wrap_socket(plain, server_hostname=gateway.address) as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(gateway: Gateway) -> None:
    context = ssl.create_default_context(cadata=gateway.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with socket.create_connection((gateway.address, 10443), 10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname=gateway.address)


def test_every_request_is_a_line_of_json_and_no_token_is_in_it(gateway: Gateway) -> None:
    gateway.ask(
        "/api/orders?token=verysecret1", Authorization="Bearer verysecret2", X_Request_ID="find-me-again"
    )
    gateway.ask("/auth/login?password=verysecret3", "POST", body=b"verysecret4", Cookie="verysecret5")
    found = gateway.line("find-me-again")
    assert (found["path"], found["status"], found["method"]) == ("/api/orders", "401", "GET")
    assert (found["service"], found["logger"], found["level"]) == ("gateway", "nginx", "info")
    assert found["message"] == "GET /api/orders 401"
    assert datetime.fromisoformat(found["timestamp"]).tzinfo
    assert "verysecret" not in gateway.log()


def test_a_trace_begins_here_whatever_a_stranger_sends(gateway: Gateway) -> None:
    """It is called what the request is, in the log line too, and its twin of authentication is of it."""
    strange = f"00-{'a' * 32}-{'b' * 16}-01"
    answer = gateway.ask("/api/orders", Authorization="Bearer good", traceparent=strange, tracestate="x=1")
    request_id = answer.headers["x-request-id"]
    assert re.fullmatch(f"00-{request_id}-[0-9a-f]{{16}}-01", answer.sent["traceparent"])
    assert "tracestate" not in answer.sent
    assert gateway.line(request_id)["trace_id"] == request_id
    named = gateway.ask("/auth/x", X_Request_ID="of-a-stranger")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", named.sent["traceparent"])


def test_a_trusted_proxy_has_begun_the_trace(gateway: Gateway) -> None:
    """Where it sends what is one; the request comes from the container that is declared as a proxy."""
    given = f"00-{'a' * 31}0-{'b' * 16}-00"
    zero = f"00-{'0' * 32}-{'b' * 16}-01"
    script = f"""
import http.client, json
for each in ({given!r}, {zero!r}, "00-xyz"):
    to = http.client.HTTPConnection("{gateway.address}", 8081)
    to.request("GET", "/auth/x", headers={{"traceparent": each}})
    print(dict(json.load(to.getresponse())["headers"])["traceparent"])
"""
    code, output = inside(gateway.containers["orders-2"], "python3", "-c", script)
    assert code == 0, output
    first, *others = output.split()
    assert first == given
    assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", each) for each in others)
    assert zero not in others


def test_an_instance_that_dies_is_not_noticed(gateway: Gateway) -> None:
    with under_load(lambda: gateway.ask("/api/orders", Authorization="Bearer good").status) as seen:
        gateway.containers["orders"].kill()
        time.sleep(3)
        gateway.containers["orders"].start()
        time.sleep(1)
    assert len(seen) > 20
    assert set(seen) == {200}


def test_who_is_set_aside_is_asked_no_more(gateway: Gateway) -> None:
    """Without a reload: connections that are open stay open, and what they carry next goes elsewhere."""
    context = ssl.create_default_context(cadata=gateway.ca)
    kept = HTTPSConnection(gateway.address, 10443, timeout=60, context=context)

    def ask(method: str, path: str = "/api/orders", **headers: str) -> str:
        headers = {"Authorization": "Bearer good", **{k.replace("_", "-"): v for k, v in headers.items()}}
        kept.request(method, path, b"{}" if method == "POST" else None, headers)
        answer = kept.getresponse()
        assert answer.status == 200
        return str(json.loads(answer.read())["instance"])

    ask("GET")
    socket_ = kept.sock
    for aside, other in (("orders", "orders-2"), ("orders-2", "orders")):
        with gateway.aside(aside):
            gateway.containers[aside].kill()
            asked = {f"without-{aside}-{number}": ("GET", "POST")[number % 2] for number in range(20)}
            assert {ask(method, X_Request_ID=name) for name, method in asked.items()} == {other}
            found = {gateway.line(name)["upstream"] for name in asked}
            assert found == {PLACES[other]}, "nobody waited for the dead one"
            gateway.containers[aside].start()
            _listens(gateway, aside)
    assert {ask("POST") for _ in range(20)} == {"orders", "orders-2"}
    with gateway.aside("auth"):
        gateway.containers["auth"].kill()
        assert ask("GET", "/auth/x") == "auth-spare"
        assert ask("POST") in ("orders", "orders-2"), "who stands in says who it is"
        gateway.containers["auth"].start()
        _listens(gateway, "auth")
    assert ask("POST", "/auth/x") == "auth"
    assert kept.sock is socket_


def test_what_may_be_done_twice_is_asked_of_another(gateway: Gateway) -> None:
    """Of an instance that takes requests and answers none; after two such it is left alone for a while."""
    good = {"Authorization": "Bearer good"}
    numbers = itertools.count()

    def left_alone() -> bool:
        name = f"thrice-post-{next(numbers)}"
        answer = gateway.ask("/api/orders", "POST", body=b"{}", X_Request_ID=name, **good)
        return answer.status == 200 and gateway.line(name)["upstream"] == PLACES["orders-2"]

    gateway.write(2, timeout=2)
    gateway.reload()
    with gateway.aside("orders-2"):
        gateway.containers["orders"].pause()
        try:
            assert gateway.ask("/api/orders", X_Request_ID="twice-get", **good).json["instance"] == "orders-2"
            answer = gateway.ask("/api/orders", "POST", body=b"{}", X_Request_ID="twice-post", **good)
            assert (answer.status, answer.json) == (504, {"error": "Gateway timeout"})
            until(left_alone)
        finally:
            gateway.containers["orders"].unpause()
            gateway.write(2)
            gateway.reload()
    asked = {name: gateway.line(name)["upstream"].split(", ") for name in ("twice-get", "twice-post")}
    one, two = PLACES["orders"], PLACES["orders-2"]
    assert (asked["twice-get"][-2:], asked["twice-post"][-1:]) == ([one, two], [one])
    assert two not in asked["twice-post"]


def test_a_reload_drops_nothing(gateway: Gateway) -> None:
    with under_load(lambda: gateway.ask("/ws").json["instance"]) as seen:
        for replicas, wanted in ((1, {"orders"}), (2, {"orders", "orders-2"})) * 2:
            gateway.write(replicas)
            gateway.reload()
            # What the workers of before have begun ends first.
            since = len(seen)
            until(lambda since=since, wanted=wanted: len(seen) > since + 20 and set(seen[-20:]) == wanted)
    assert set(seen) == {"orders", "orders-2"}


def test_a_configuration_that_is_wrong_is_not_taken(gateway: Gateway) -> None:
    file = gateway.folder / "gateway" / "nginx.conf"
    text = file.read_text()
    file.write_text(text.replace("worker_processes", "worker_processez"))
    gateway.containers["gateway"].kill("HUP")
    until(lambda: 'unknown directive "worker_processez"' in gateway.log())
    assert gateway.ask("/auth/x").status == 200
    file.write_text(text)


def test_without_any_service_the_answer_is_json(gateway: Gateway) -> None:
    for name in ("orders", "orders-2"):
        gateway.containers[name].stop(timeout=0)
    try:
        answer = gateway.ask("/ws")
        assert answer.status in (502, 504)
        assert answer.json == {"error": {502: "Bad gateway", 504: "Gateway timeout"}[answer.status]}
    finally:
        for name in ("orders", "orders-2"):
            gateway.containers[name].start()


def _listens(gateway: Gateway, name: str) -> None:
    """Wait for a service of the tests to take connections again."""
    gateway.containers[name].reload()
    address = gateway.containers[name].attrs["NetworkSettings"]["Networks"]["hostwright-test-gateway"][
        "IPAddress"
    ]
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((address, 8080), 1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@contextmanager
def under_load(ask: Callable[[], object]) -> Iterator[list[Any]]:
    """Ask from four threads all the while; what came back, or the error, is in the list."""
    seen: list[Any] = []
    stop = threading.Event()

    def go() -> None:
        while not stop.wait(0.02):
            try:
                seen.append(ask())
            except OSError as error:
                seen.append(error)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
