"""Connections: how many a client has at once, and what is left for who watches when the door is full."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from testing.process import until

from tests.policy.gateway import PATIENCE, Gateway, desk

OF_ONE, PUBLIC, ALL = 500, 3800, 4000
BEGUN = b"GET /open HTTP/1.1\r\nHost: desk\r\n"
ENDED = b"Connection: close\r\n\r\n"
SLOW = {"timeout http-request 10s": "timeout http-request 10m", "timeout client 15s": "timeout client 10m"}


@contextmanager
def patient(**environment: object) -> Iterator[Gateway]:
    """One that waits longer for a request than opening many may take here."""
    gateway = Gateway(desk(), **environment)
    gateway.changed = SLOW
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """What is open until the test is over, and may be more than a process has by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        yield stack
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def begin(gateway: Gateway, held: ExitStack, client: str, number: int) -> list[socket.socket]:
    """So many requests of which a part is sent."""
    found = []
    for _ in range(number):
        one = held.enter_context(socket.socket())
        one.settimeout(PATIENCE)
        one.bind((client, 0))
        found.append(one)
        with suppress(ConnectionError):  # it may be closed already, and before we know that it was open
            one.connect((gateway.address, 8080))
            one.sendall(BEGUN)
    return found


def end(one: socket.socket) -> bytes:
    """What comes back once the rest is sent: nothing, where the connection was closed."""
    with suppress(ConnectionError):
        one.sendall(ENDED)
        return one.recv(65536)
    return b""


def test_one_address_leaves_room_for_others(held: ExitStack) -> None:
    with patient() as gateway:
        many = begin(gateway, held, "127.0.0.20", OF_ONE + 50)
        assert {end(one) for one in many[OF_ONE:]} == {b""}
        assert gateway.ask("/open", client="127.0.0.21").status == 200
        assert gateway.fresh()
        for one in (many[0], many[OF_ONE - 1]):
            assert end(one).startswith(b"HTTP/1.1 200 ")


def test_everybody_may_come_by_a_declared_proxy(held: ExitStack) -> None:
    with patient(trusted_proxies=("127.0.0.9/32",)) as gateway:
        many = begin(gateway, held, "127.0.0.9", OF_ONE + 50)
        assert end(many[-1]).startswith(b"HTTP/1.1 200 ")
        assert end(begin(gateway, held, "127.0.0.20", OF_ONE + 1)[-1]) == b""


def test_who_watches_gets_in_where_nobody_else_does(held: ExitStack) -> None:
    with patient() as gateway:
        for number in range(ALL // OF_ONE + 1):
            for _ in range(OF_ONE):
                one = held.enter_context(socket.socket())
                one.setblocking(False)
                one.bind((f"127.0.0.{20 + number}", 0))
                one.connect_ex((gateway.address, 8080))
        until(lambda: connections(gateway) >= PUBLIC, PATIENCE)
        assert gateway.fresh()
        assert connections(gateway) == PUBLIC
        held.close()
        assert gateway.ask("/open", client="127.0.0.19").status == 200


def connections(gateway: Gateway) -> int:
    """At the public door, by HAProxy's own count."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(gateway.folder / "haproxy.sock"))
        asked.sendall(b"show stat main 1 -1 typed\n")
        said = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
    (line,) = [line for line in said.splitlines() if ".scur." in line]
    return int(line.rpartition(":")[2])
