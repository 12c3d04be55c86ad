"""Nobody chooses their own address."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from kit import client
from starlette.requests import HTTPConnection

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),  # not from a proxy of ours: ignored
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),  # the client wrote the first one
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),  # two proxies of ours
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", ["rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, rubbish"], "10.0.0.1"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_address(peer: str, forwarded: list[str], expected: str) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    connection = HTTPConnection({"type": "http", "client": (peer, 1), "headers": headers})
    assert client.address(connection, TRUSTED) == expected


def test_without_a_peer() -> None:
    assert client.address(HTTPConnection({"type": "http", "client": None, "headers": []}), TRUSTED) == ""
