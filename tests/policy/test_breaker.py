"""Breakers at work: one for each service, moved by what the service does, and by nothing a client can."""

from __future__ import annotations

from collections.abc import Iterator
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


@pytest.mark.parametrize(("how", "status"), [("hang", 504), ("reset", 502)])
def test_time_outs_and_resets_count(how: str, status: int) -> None:
    with running(quick(), gateway=GatewayOptions(timeout=1)) as gateway:
        gateway.services["orders"].how = how
        found = [gateway.ask("/open", "POST", b"{}") for _ in range(5)]
        assert {answer.status for answer in found} == {status}
        assert found[0].json["error"]["service"] == "orders"
        assert state(gateway) == "open"


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
