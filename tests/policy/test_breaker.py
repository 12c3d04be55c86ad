"""Breakers at work: one for each service, moved by what the service does, and by nothing a client can."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from testing.process import until

from hostwright.render import GatewayOptions
from tests.policy.gateway import PATIENCE, Gateway, desk, running, token


def quick() -> dict[str, Any]:
    document = desk()
    document["gateway"]["policy"]["breaker"] = {"seconds": 2}
    document["gateway"]["policy"]["limits"]["default"]["requests"] = 1000
    return document


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running(quick()) as found:
        yield found


def state(gateway: Gateway, service: str = "orders") -> str:
    return str(gateway.ask("/health").json["data"]["circuit_breakers"][service]["state"])


def test_a_killed_service_is_seen_in_every_state_and_comes_back(gateway: Gateway) -> None:
    assert (gateway.ask("/open").status, state(gateway)) == (200, "closed")
    gateway.services["orders"].stop()
    answer = gateway.ask("/open")
    assert answer.status == 503
    assert answer.json["error"] == {
        "code": "SERVICE_UNAVAILABLE", "message": "Service unavailable: orders", "service": "orders",
    }  # fmt: skip
    while state(gateway) == "closed":
        gateway.ask("/open")
    health = gateway.ask("/health").json["data"]
    assert (health["status"], health["circuit_breakers"]["orders"]["state"]) == ("degraded", "open")
    refused = gateway.ask("/open")
    assert (refused.status, refused.json["error"]["service"]) == (503, "orders")
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    # The neighbour does not notice.
    assert gateway.ask("/v1/users/profile", token=token()).status == 200
    assert state(gateway, "auth") == "closed"
    gateway.serve("orders")
    until(lambda: state(gateway) == "half_open", PATIENCE)
    assert gateway.ask("/open").status == 200
    assert state(gateway) == "half_open"
    assert gateway.ask("/open").status == 200
    assert state(gateway) == "closed"


def test_an_open_breaker_spares_the_service(gateway: Gateway) -> None:
    orders = gateway.services["orders"]
    orders.status = 500
    assert [gateway.ask("/open").status for _ in range(5)] == [500] * 5  # which pass as they are
    before = len(orders.asked)
    assert [gateway.ask("/open").status for _ in range(3)] == [503] * 3
    assert len(orders.asked) == before
    # A trial that fails opens it again.
    until(lambda: state(gateway) == "half_open", PATIENCE)
    assert gateway.ask("/open").status == 500
    assert state(gateway) == "open"


def test_what_clients_do_wrong_never_counts(gateway: Gateway) -> None:
    for status in (400, 404, 409, 422, 429):
        gateway.services["orders"].status = status
        assert {gateway.ask("/open").status for _ in range(5)} == {status}
    for _ in range(10):
        gateway.ask("/v1/orders", token="x")
    assert state(gateway) == "closed"
    assert gateway.ask("/health").json["data"]["circuit_breakers"]["orders"]["failures"] == 0


def test_fewer_than_half_do_not_open_it(gateway: Gateway) -> None:
    orders = gateway.services["orders"]
    for status, times in ((200, 6), (500, 5)):
        orders.status = status
        for _ in range(times):
            gateway.ask("/open")
    assert state(gateway) == "closed"
    gateway.ask("/open")
    assert state(gateway) == "open"


@pytest.mark.parametrize(
    ("how", "status"), [("hang", 504), ("reset", 502), ("flood of headers", 502), ("fail", 500)]
)
def test_who_fails_is_spared_until_it_is_well_and_its_neighbours_notice_nothing(
    how: str, status: int
) -> None:
    def neighbour() -> tuple[int, str]:
        return gateway.ask("/v1/users/profile", token=token()).status, state(gateway, "auth")

    with running(quick(), gateway=GatewayOptions(timeout=1)) as gateway, ThreadPoolExecutor(5) as threads:
        orders = gateway.services["orders"]
        orders.how = how
        asked = [threads.submit(gateway.ask, "/open", "POST", b"{}") for _ in range(5)]
        assert neighbour() == (200, "closed")
        found = [each.result() for each in asked]
        assert {each.status for each in found} == {status}
        if how != "fail":  # whose answers pass as they are
            assert {each.json["error"]["service"] for each in found} == {"orders"}
        assert state(gateway) in ("open", "half_open")
        assert neighbour() == (200, "closed")
        orders.how = ""
        orders.released.set()
        until(lambda: state(gateway) == "half_open", PATIENCE)
        assert [gateway.ask("/open").status for _ in range(2)] == [200, 200]
        assert state(gateway) == "closed"


def test_an_answer_without_end_is_its_readers_affair_alone(gateway: Gateway) -> None:
    orders = gateway.services["orders"]
    orders.how = "flood"
    with socket.create_connection((gateway.address, 8080), timeout=PATIENCE) as reader:
        reader.sendall(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
        read = 0
        while read < 32 * 2**20:
            read += len(reader.recv(2**16))
        assert orders.flooding == 1
        orders.how = ""
        assert gateway.ask("/open").status == 200
        assert gateway.ask("/v1/users/profile", token=token()).status == 200
    until(lambda: orders.flooding == 0, PATIENCE)  # nobody reads any more, which the service is told
    assert (state(gateway), state(gateway, "auth")) == ("closed", "closed")


def test_reads_outlive_their_service_where_the_application_says_so(gateway: Gateway) -> None:
    orders = gateway.services["orders"]
    jan, ewa = token(), token(user_id="other")
    first = gateway.ask("/v1/orders?page=1", token=jan)
    again = gateway.ask("/v1/orders?page=1", token=jan, Accept_Encoding="gzip")
    assert [each for each in orders.asked if each == "GET /v1/orders?page=1"] == ["GET /v1/orders?page=1"] * 2
    assert again.seen["authorization"] == f"Bearer {jan}"
    assert (first.headers["cache-control"], "warning" in first.headers) == ("no-store", False)
    orders.stop()
    while state(gateway) == "closed":
        gateway.ask("/open")
    kept = gateway.ask("/v1/orders?page=1", token=jan)
    assert (kept.status, kept.text) == (200, again.text)
    assert (kept.headers["warning"], kept.headers["cache-control"]) == (
        '110 - "Response is Stale"',
        "no-store",
    )
    # Of somebody else, of another page, or by somebody who is nobody: nothing.
    assert gateway.ask("/v1/orders?page=1", token=ewa).status == 503
    assert gateway.ask("/v1/orders?page=2", token=jan).status == 503
    assert gateway.ask("/v1/orders?page=1", token="x").status == 401
    assert gateway.ask("/v1/orders/7", token=jan).status == 503
    assert gateway.ask("/v1/orders?page=1", "POST", b"{}", token=jan).status == 503
