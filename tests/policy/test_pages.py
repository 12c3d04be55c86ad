"""The gateway's own pages, its log, its headers, and pages of others that may ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.policy.gateway import Gateway, desk, running, token

ORIGIN = "https://pages.example.com"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    document = desk()
    document["gateway"]["listeners"] += [
        {"port": 8082, "protocol": "http", "scope": "host", "service": "orders"},
        {"port": 8090, "protocol": "http", "scope": "host", "service": "gateway"},
    ]
    with running(document) as found:
        yield found


def test_health_has_every_breaker(gateway: Gateway) -> None:
    answer = gateway.ask("/health")
    closed = {"state": "closed", "requests": 0, "failures": 0}
    breakers = answer.json["data"]["circuit_breakers"]
    assert answer.json == {
        "success": True,
        "data": {"status": "healthy", "service": "gateway", "circuit_breakers": breakers},
    }
    assert {*breakers} == {"auth", "orders"}
    assert breakers["auth"] == closed


def test_metrics_are_for_who_has_a_token(gateway: Gateway) -> None:
    assert gateway.ask("/metrics").status == 401
    before = gateway.ask("/metrics", token=token()).json["data"]["requests"]
    gateway.ask("/open")
    gateway.ask("/nowhere")
    after = gateway.ask("/metrics", token=token()).json["data"]
    assert after["requests"]["orders"]["2xx"] == before.get("orders", {}).get("2xx", 0) + 1
    assert after["requests"]["refused"]["404"] == before["refused"].get("404", 0) + 1
    assert after["circuit_breakers"]["orders"]["state"] == "closed"
    assert after["uptime_seconds"] >= 0


def test_a_listener_of_its_own_shows_them_to_who_is_on_the_host(gateway: Gateway) -> None:
    assert gateway.ask("/metrics", port=8090).json["success"] is True
    assert gateway.ask("/health", port=8090).status == 200
    assert gateway.ask("/open", port=8090).status == 404


def test_a_listener_of_a_service_leads_there_alone(gateway: Gateway) -> None:
    assert gateway.ask("/any/path", port=8082).json["instance"] == "orders"
    assert gateway.ask("/v1/users/login", "POST", b"{}", port=8082).json["instance"] == "orders"
    assert gateway.ask("/v1/orders", port=8082).status == 401  # what has a route keeps to it
    for path in ("/health/live", "/health/live/", "/health/ready/", "/metrics", "/metrics/", "/metrics/?x"):
        assert gateway.ask(path, port=8082).status == 404


def test_a_line_says_who_asked_for_what(gateway: Gateway) -> None:
    answer = gateway.ask(
        "/v1/orders?secret=1", token=token(), X_Request_ID="of-the-client", User_Agent='a "b"'
    )
    line = gateway.line("of-the-client")
    assert answer.headers["x-request-id"] == "of-the-client"
    assert answer.seen["x-request-id"] == "of-the-client"
    assert datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00"))
    assert re.fullmatch("[0-9a-f]{32}", line["trace_id"])
    assert answer.seen["traceparent"].split("-")[1] == line["trace_id"]
    wanted = {
        "level": "info", "logger": "haproxy", "message": "GET /v1/orders 200", "service": "gateway",
        "user_id": "3f1c", "method": "GET", "path": "/v1/orders", "status": "200", "client": "127.0.0.1",
        "upstream": "orders", "agent": 'a "b"',
    }  # fmt: skip
    assert {name: line[name] for name in wanted} == wanted
    assert "secret" not in str(line)


def test_a_name_that_is_none_is_replaced(gateway: Gateway) -> None:
    for name in ("short", 'x"},{"a', "x" * 200):
        answer = gateway.ask("/open", X_Request_ID=name)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_every_line_is_json(gateway: Gateway) -> None:
    gateway.ask("/open/'\"x")
    gateway.raw(b"G\x01T / HTTP/1.1\r\n\r\n")
    gateway.line(gateway.ask("/open", User_Agent="\\\t\x7f").headers["x-request-id"])
    assert len(gateway.lines()) >= 3


def test_a_page_of_a_declared_origin_may_ask(gateway: Gateway) -> None:
    asked = gateway.ask("/v1/orders", "OPTIONS", Origin=ORIGIN, Access_Control_Request_Method="POST")
    assert asked.status == 204
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    answer = gateway.ask("/v1/orders", token="x", Origin=ORIGIN)  # a refusal can be read too
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, ORIGIN)
    assert "Origin" in answer.headers["vary"]


def test_a_page_of_any_other_may_not(gateway: Gateway) -> None:
    for origin in ("https://evil.example", f"{ORIGIN}.evil.example", "null"):
        answer = gateway.ask("/v1/orders", "OPTIONS", Origin=origin, Access_Control_Request_Method="POST")
        assert "access-control-allow-origin" not in answer.headers, origin


def test_answers_are_kept_by_nobody_and_framed_by_nobody(gateway: Gateway) -> None:
    for answer in (gateway.ask("/open"), gateway.ask("/nowhere"), gateway.ask("/health")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
