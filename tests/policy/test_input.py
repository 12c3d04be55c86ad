"""What no client should send: smuggled requests, endless bodies and headers, paths that lead elsewhere."""

from __future__ import annotations

import socket
import string
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.policy.gateway import PATIENCE, Gateway, desk, running, token

LARGEST = 64 * 1024
PUBLIC, OF_ORDERS, OF_GATEWAY = 8080, 8082, 8090
UNRESERVED = "-._~" + string.ascii_letters + string.digits  # RFC 3986 2.3


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    document = desk()
    document["gateway"]["policy"]["limits"]["default"]["requests"] = 1000
    document["gateway"]["listeners"] += [
        {"port": OF_ORDERS, "protocol": "http", "scope": "host", "service": "orders"},
        {"port": OF_GATEWAY, "protocol": "http", "scope": "host", "service": "gateway"},
    ]
    with running(document) as found:
        yield found


def posted(headers: str, body: bytes = b"") -> bytes:
    return f"POST /open HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + body


SMUGGLED = b"GET /open/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        posted("Content-Length: 5\r\nContent-Length: 6\r\n", b"hello" + SMUGGLED),
        posted("Content-Length: 5, 6\r\n", b"hello" + SMUGGLED),
        posted("Content-Length: +5\r\n", b"hello" + SMUGGLED),
        posted("Content-Length: -1\r\n", SMUGGLED),
        posted("Content-Length: 5 5\r\n", b"hello" + SMUGGLED),
        posted("Content-Length: 18446744073709551616\r\n", SMUGGLED),
        posted("Content-Length: 18446744073709551621\r\n", b"hello" + SMUGGLED),
        posted("Content-Length: 9223372036854775807\r\n", SMUGGLED),
        posted("Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + SMUGGLED),
        posted("Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n" + SMUGGLED),
        posted("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", b"0\r\n\r\n" + SMUGGLED),
        posted("Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
        posted("Transfer-Encoding: chunked\r\n", b"zz\r\n\r\n" + SMUGGLED),
        posted("Transfer-Encoding: chunked\r\n", b"ffffffffffffffff1\r\n\r\n" + SMUGGLED),
        b"GET /open HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + SMUGGLED,
        b"GET /open HTTP/1.1\r\nHost: x\r\nX\x00Y: z\r\n\r\n",
        b"GET /open\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda sent: repr(sent[:70]),
)
def test_what_can_be_read_in_two_ways_is_refused(gateway: Gateway, sent: bytes) -> None:
    with socket.create_connection((gateway.address, 8080), timeout=PATIENCE) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    # Nothing: a client that has hung up before its body was there, to HAProxy 2.8.
    assert answer[:13] in (b"", b"HTTP/1.1 400 ", b"HTTP/1.1 413 ", b"HTTP/1.1 422 ", b"HTTP/1.1 501 ")
    assert not [each for each in gateway.services["orders"].asked if "smuggled" in each]


def test_of_two_lengths_the_chunks_count_and_the_connection_ends(gateway: Gateway) -> None:
    """As RFC 9112 has it; the service is told one of them."""
    sent = posted("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED)
    answer = gateway.raw(sent)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not [each for each in gateway.services["orders"].asked if "smuggled" in each]


@pytest.mark.parametrize("path", [
    "//open", "/open//x", "/open/..", "/open/../v1/users", "/open/./x", "/open/%2e%2e/v1/users",
    "/open/.%2E/x", "/open/a%2fb", "/open/a%2Fb", "/open/a%5cb", "/open/a\\b", "/open/%00",
    "/open/;x=1", "/open/%252f",
])  # fmt: skip
def test_a_path_that_leads_elsewhere_once_decoded_is_refused(gateway: Gateway, path: str) -> None:
    answer = gateway.ask(path)
    assert (answer.status, answer.json["error"]["code"]) == (400, "BAD_REQUEST")
    assert not [each for each in gateway.services["orders"].asked if path in each]


@pytest.mark.parametrize("port", [PUBLIC, OF_ORDERS, OF_GATEWAY])
@pytest.mark.parametrize("spell", ["%{:02x}", "%{:02X}"])
def test_what_needs_no_encoding_has_none(gateway: Gateway, port: int, spell: str) -> None:
    """No letter of a route, a hidden path or a page of the gateway's own is one that services alone read."""
    asked = len(gateway.services["orders"].asked)
    for each in UNRESERVED:
        path = f"/open/{spell.format(ord(each))}"
        answer = gateway.ask(path, port=port)
        wanted = (404, "NOT_FOUND") if port == OF_GATEWAY else (400, "BAD_REQUEST")
        assert (answer.status, answer.json["error"]["code"]) == wanted, path
    assert len(gateway.services["orders"].asked) == asked


@pytest.mark.parametrize(("path", "port"), [
    ("/v1/%75sers", PUBLIC), ("/v1/users/%70rofile", PUBLIC), ("/%6Detrics", PUBLIC), ("/%6f%70en", PUBLIC),
    ("/%6detrics", OF_ORDERS), ("/health/%6Cive", OF_ORDERS), ("/v1/order%73", OF_ORDERS),
    ("/v%31/orders", OF_ORDERS),
])  # fmt: skip
def test_no_rule_is_missed_by_a_letter_that_is_encoded(gateway: Gateway, path: str, port: int) -> None:
    answer = gateway.ask(path, port=port, token=token())
    assert (answer.status, answer.json["error"]["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("port", [PUBLIC, OF_ORDERS])
def test_what_needs_encoding_passes_with_it(gateway: Gateway, port: int) -> None:
    named = {*UNRESERVED, *"\0%/\\"}
    path = "/open/" + "".join(f"%{each:02X}%{each:02x}" for each in range(256) if chr(each) not in named)
    assert gateway.ask(path, port=port).json["path"] == path


@pytest.mark.parametrize(
    "path", ["/open/a.b", "/open/..a", "/open/caf%C3%A9", "/open/a%20b", "/open?x=//../%2f%61"]
)
def test_any_other_passes_as_it_is(gateway: Gateway, path: str) -> None:
    assert gateway.ask(path).json["path"] == path


def test_a_body_of_the_largest_size_passes_and_no_larger(gateway: Gateway) -> None:
    assert len(gateway.ask("/open", "POST", b"x" * LARGEST).json["body"]) == LARGEST
    answer = gateway.ask("/open", "POST", b"x" * (LARGEST + 1))
    assert (answer.status, answer.json["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


def chunked(*sizes: int) -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in sizes)
    return posted("Transfer-Encoding: chunked\r\nConnection: close\r\n", chunks + b"0\r\n\r\n")


def test_a_body_without_its_length_may_be_small(gateway: Gateway) -> None:
    assert gateway.raw(chunked(3, 4000)).startswith(b"HTTP/1.1 200 ")
    for sizes in ((9000,), (4000, 4000, 4000), (60_000, 60_000)):
        assert gateway.raw(chunked(*sizes)).startswith(b"HTTP/1.1 411 ")


def test_a_megabyte_of_headers_is_refused(gateway: Gateway) -> None:
    sent = b"GET /open HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 1_000_000
    with socket.create_connection((gateway.address, 8080), timeout=PATIENCE) as connection:
        answer = b""
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        with suppress(ConnectionResetError):
            answer = connection.recv(65536)
    assert answer[:13] in (b"", b"HTTP/1.1 400 ")
    assert gateway.ask("/open").status == 200


def test_who_sends_slowly_is_not_waited_for(gateway: Gateway) -> None:
    """A header at a time keeps nothing open for longer than the time there is for all of them."""
    with socket.create_connection((gateway.address, 8080), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /open HTTP/1.1\r\nHost: x\r\n")
        connection.settimeout(0.5)
        answer, deadline = b"", time.monotonic() + PATIENCE
        while not answer and time.monotonic() < deadline:
            try:
                connection.sendall(b"X-Slow: x\r\n")
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_an_upgrade_goes_to_no_service_that_is_no_websocket(gateway: Gateway) -> None:
    seen = gateway.ask(
        "/open", Upgrade="h2c", Connection="Upgrade, HTTP2-Settings", HTTP2_Settings="AAMAAABk"
    ).seen
    assert "upgrade" not in seen
