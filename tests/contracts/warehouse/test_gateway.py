"""The warehouse's front door: what it lets through, as what, and what it does with those who try its lock."""

from __future__ import annotations

import contextlib
import socket
import ssl

import httpx2
import pytest

from tests import environment
from tests.environment import Gateway

pytestmark = pytest.mark.shows("picture/gateway", "integration/gateway")

# What no gateway serves: metrics, probes, the address it asks itself, the description of the API.
INTERNAL = ("/metrics", "/health/live", "/health/ready", "/_authenticate", "/openapi.json", "/docs")


def test_http_redirects_to_https(http, gateway) -> None:
    answer = http.get(f"http://{gateway.host}/api/orders?limit=1")
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{gateway.url}/api/orders?limit=1"


def test_certificate_is_the_environments_own(http, gateway) -> None:
    with (
        environment.client(gateway, tls=ssl.create_default_context()) as stranger,
        pytest.raises(httpx2.ConnectError, match="certificate"),
    ):
        stranger.get("/")
    assert http.get("/api/v1/health").status_code == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(gateway, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((gateway.address, 443), 60) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        context.wrap_socket(plain, server_hostname=gateway.name)


@pytest.mark.shows("integration/errors")
@pytest.mark.parametrize("path", [*INTERNAL, "/api", "/api/", "/nothing", "/api/orderss", "/.git/config"])
def test_what_is_not_served(http, customer, path: str) -> None:
    for answer in (http.get(path), customer.ask("GET", path)):
        assert answer.status_code == 404
        assert answer.json() == {"error": "Not found"}


@pytest.mark.shows("integration/discovery")
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/panel/", "text/html"),
        ("/api/v1/health", "application/json"),
        ("/api/auth/users", "application/json"),
        ("/api/orders", "application/json"),
        ("/api/notifications", "application/json"),
        ("/api/reports", "application/json"),
        ("/api/mail", "application/json"),
        ("/messages", "application/json"),
    ],
)
def test_each_service_is_found(admin, path: str, kind: str) -> None:
    answer = admin.ask("GET", path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(kind)


def test_headers(http) -> None:
    answer = http.get("/api/v1/health")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "max-age=" in answer.headers["Strict-Transport-Security"]
    assert not any(character.isdigit() for character in answer.headers.get("Server", ""))
    assert "X-Powered-By" not in answer.headers
    assert answer.headers.get_list("Content-Security-Policy") == [
        "default-src 'none'; frame-ancestors 'none'"
    ]
    assert answer.headers.get_list("Cache-Control") == ["no-store"]


def test_pages_keep_their_own_rules(http) -> None:
    answer = http.get("/", headers={"Accept": "text/html"})
    (policy,) = answer.headers.get_list("Content-Security-Policy")
    assert "script-src 'self'" in policy
    assert answer.headers.get_list("Cache-Control") == ["no-cache"]


def test_request_id(http) -> None:
    mine = http.get("/api/v1/health", headers={"X-Request-ID": "order-7c1e.from_here"})
    assert mine.headers.get_list("X-Request-ID") == ["order-7c1e.from_here"]
    for bad in ("x", 'a"b\\c{}$(id)', "y" * 200):
        given = http.get("/api/v1/health", headers={"X-Request-ID": bad}).headers.get_list("X-Request-ID")
        assert len(given) == 1
        assert given[0] != bad


@pytest.mark.shows("auth/cors")
def test_cors(http, gateway) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    own = http.options("/api/auth/login", headers=ask | {"Origin": gateway.url})
    assert own.status_code == 200
    assert own.headers["Access-Control-Allow-Origin"] == gateway.url
    assert "POST" in own.headers["Access-Control-Allow-Methods"]
    strange = http.options("/api/auth/login", headers=ask | {"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in strange.headers
    assert (
        "Access-Control-Allow-Origin"
        not in http.get("/api/v1/health", headers={"Origin": "https://evil.example"}).headers
    )


@pytest.mark.shows("auth/cors")
def test_cors_of_orders(http, customer, gateway) -> None:
    ask = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    preflight = http.options("/api/orders", headers=ask | {"Origin": gateway.url})
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (200, gateway.url)
    real = customer.ask("GET", "/api/orders", headers={"Origin": gateway.url})
    assert real.headers["Access-Control-Allow-Origin"] == gateway.url


@pytest.mark.shows("auth/middleware")
@pytest.mark.parametrize("name", ["X-User-Role", "x-user-role", "X_User_Role", "X-USER-ROLE"])
def test_nobody_says_who_he_is(http, customer, name: str) -> None:
    """Identity comes from auth alone; headers that a client sends in its place are dropped."""
    claim = {"X-User-Id": str(customer.id), "X-User-Email": "admin@hostwright.invalid", name: "admin"}
    assert customer.ask("GET", "/api/auth/users", headers=claim).status_code == 403
    order = customer.ask(
        "POST",
        "/api/orders",
        headers=claim,
        json={"customer_name": "J", "customer_email": "j@hostwright.invalid", "total_amount": 1},
    ).json()
    path = f"/api/orders/{order['id']}/status"
    assert customer.ask("PATCH", path, json={"status": "shipped"}, headers=claim).status_code == 403
    assert http.get("/api/orders", headers=claim).status_code == 401


@pytest.mark.shows("auth/limits")
def test_nobody_says_where_he_is(http, account) -> None:
    """A limit of failed logins that a header could reset would be none."""
    victim = account()
    wrong = {"email": victim.email, "password": "nie-to-haslo1"}
    codes = [
        http.post(
            "/api/auth/login",
            json=wrong,
            headers={"X-Forwarded-For": f"203.0.113.{n}", "X-Real-IP": f"203.0.113.{n}"},
        ).status_code
        for n in range(6)
    ]
    assert codes == [401] * 5 + [429]


@pytest.mark.shows("integration/errors")
def test_limits_of_size(http, customer) -> None:
    assert customer.ask("POST", "/api/orders", content=b"x" * (2 << 20)).status_code == 413
    assert http.get("/api/v1/health", headers={"X-Long": "x" * 20_000}).status_code in (400, 431, 494)
    assert http.get("/api/v1/health?" + "x" * 20_000).status_code in (400, 414)


def test_methods(customer) -> None:
    assert customer.ask("DELETE", "/api/orders").status_code == 405
    assert customer.ask("TRACE", "/api/orders").status_code == 405


# --- Bytes on the wire ---


def raw(gateway: Gateway, request: bytes, wait: float = 3.0) -> bytes:
    """Everything that is answered to exactly these bytes until the other side closes or is silent.

    It may be long about the first of it, and silent `wait` seconds after that.
    """
    answer = b""
    with (
        socket.create_connection((gateway.address, 443), 60) as plain,
        gateway.tls.wrap_socket(plain, server_hostname=gateway.name) as wire,
    ):
        wire.sendall(request)
        with contextlib.suppress(TimeoutError, ConnectionResetError, ssl.SSLError):
            while part := wire.recv(65536):
                answer += part
                wire.settimeout(wait)
    return answer


def status(answer: bytes) -> int:
    return int(answer[9:12])


TRICKS = [
    "/api/orders/../../metrics",
    "/api/v1/../../metrics",
    "/api/v1/..%2f..%2fmetrics",
    "/api/v1/%2e%2e/%2e%2e/metrics",
    "/api/auth/..;/metrics",
    "/api/auth/.%00./metrics",
    "/%2e/metrics",
    "//metrics",
    "/metrics/",
    "/metrics?x=/api/v1/health",
    "/metrics%20",
    "/METRICS",
    "/api/v1/health/../../../health/ready",
    "/health/ready/",
    "/health//ready",
    "/_authenticate/",
    "/%5fauthenticate",
    "/api/v1/../../../../etc/passwd",
    "/..%c0%af..%c0%afetc/passwd",
]


@pytest.mark.parametrize("path", TRICKS)
def test_no_path_leads_around_the_routes(gateway, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {gateway.host}\r\nConnection: close\r\n\r\n"
    answer = raw(gateway, request.encode("latin-1"))
    assert status(answer) in (400, 401, 404), answer[:300]
    assert b"# HELP" not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "path",
    [
        "//api/orders",
        "/api//orders",
        "/api/./orders",
        "/api/x/../orders",
        "/api/%6frders",
        "/api/orders/.",
        "/api/orders/%2e",
    ],
)
def test_no_spelling_of_a_path_loses_its_authentication(gateway, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {gateway.host}\r\nConnection: close\r\n\r\n"
    assert status(raw(gateway, request.encode())) in (400, 401, 404)


SMUGGLES = {
    "length and chunked": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "list of lengths": b"Content-Length: 0, 44\r\n\r\n",
    "signed length": b"Content-Length: +0\r\n\r\n",
    "chunked in disguise": b"Transfer-Encoding: xchunked\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked among others": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "space before colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded header": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": b"Transfer-Encoding: chunked\r\n\r\n-1\r\nX\r\n0\r\n\r\n",
    "null in header": b"X-Null: a\x00b\r\n\r\n",
}


@pytest.mark.parametrize("how", SMUGGLES)
def test_no_request_is_smuggled(gateway, how: str) -> None:
    """Two servers that read one message differently: here the first of them refuses it and hangs up."""
    hidden = f"GET /api/v1/health HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode()
    request = f"POST /api/auth/login HTTP/1.1\r\nHost: {gateway.host}\r\n".encode() + SMUGGLES[how] + hidden
    answer = raw(gateway, request)
    if gateway.ingress and (status(answer) not in (400, 501) or answer.count(b"HTTP/1.1 ") > 1):
        pytest.xfail(f"the Ingress controller reads requests first, and here it says {status(answer)}")
    assert status(answer) in (400, 501), answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1, "the hidden request was answered"


def test_requests_on_one_connection_stay_apart(gateway) -> None:
    one = f"GET /api/v1/health HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n"
    last = f"GET /api/orders HTTP/1.1\r\nHost: {gateway.host}\r\nConnection: close\r\n\r\n"
    answer = raw(gateway, (one * 2 + last).encode(), wait=60)
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, 401]


@pytest.mark.parametrize(
    "request_line", ["GET /api/v1/health HTTP/1.1", "GET /api/v1/health HTTP/3.7", "GET\t/ HTTP/1.1"]
)
def test_no_host_no_answer(gateway, request_line: str) -> None:
    assert status(raw(gateway, f"{request_line}\r\nConnection: close\r\n\r\n".encode())) in (400, 505)


def test_plain_http_on_the_tls_port(gateway) -> None:
    with socket.create_connection((gateway.address, 443), 60) as wire:
        wire.sendall(f"GET /api/orders HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode())
        assert status(wire.recv(4096)) in (308, 400, 404)  # 404 of a controller; who were served is told 401


def test_address_is_reached_over_both_families(gateway) -> None:
    """the same door at every address of the host"""
    for address in gateway.names:
        with environment.client(gateway, address) as client:
            assert client.get("/api/v1/health").status_code == 200
