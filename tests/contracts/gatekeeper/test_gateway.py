"""What the gatekeeper's gateway does by itself: health, metrics, limits, and what it lets nobody do."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.contracts import plain
from tests.contracts.plain import code
from tests.environment import Gateway, fresh_email

STATES = {"closed", "open", "half_open"}


@pytest.fixture
def hasty(door: Gateway) -> Iterator[httpx2.Client]:
    """A client that takes no for an answer."""
    with plain.client(door, patient=False) as found:
        yield found


@pytest.mark.shows("monitoring/health", "breaker/metrics", "component/gateway")
def test_health_has_the_breakers(nobody: httpx2.Client) -> None:
    answer = nobody.get("/health")
    assert answer.status_code == 200
    breakers = answer.json()["data"]["circuit_breakers"]
    assert breakers.keys() == {"auth", "orders"}
    for breaker in breakers.values():
        assert breaker["state"] in STATES
        assert breaker.keys() >= {"state", "requests", "failures"}


@pytest.mark.shows("monitoring/metrics", "breaker/metrics")
def test_metrics_are_for_who_has_a_token(nobody: httpx2.Client, ivan) -> None:
    assert code(nobody.get("/metrics")) == (401, "UNAUTHORIZED")
    found = ivan.ask("GET", "/metrics").json()
    assert found["success"] is True
    assert found["data"]["circuit_breakers"].keys() == {"auth", "orders"}


def test_the_document_tells_what_is_let_through(nobody: httpx2.Client) -> None:
    """Without a token each of its operations is there, and asks for one where it says so."""
    found = nobody.get("/openapi.json").json()
    assert found["paths"].keys() >= {"/v1/users/login", "/v1/orders", "/health", "/metrics"}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            answer = nobody.request(method, path.replace("{", "").replace("}", ""))
            asks = operation["security"] != []
            assert (answer.status_code == 401) is asks, f"{method} {path}: {answer.status_code}"
            assert str(answer.status_code) in operation["responses"], f"{method} {path}"


def test_a_refusal_is_no_failure_of_the_service(ivan, nobody: httpx2.Client) -> None:
    """Of which the original's breaker counted every 4xx but 404."""
    before = nobody.get("/health").json()["data"]["circuit_breakers"]["orders"]["failures"]
    for _ in range(10):
        assert code(ivan.ask("GET", "/v1/orders/17")) == (400, "INVALID_UUID")
    after = nobody.get("/health").json()["data"]["circuit_breakers"]["orders"]
    assert (after["state"], after["failures"]) == ("closed", before)


@pytest.mark.slow
@pytest.mark.shows("limit/entry", "limit/answer", "security/limits")
def test_the_eleventh_login_of_a_minute_waits(hasty: httpx2.Client) -> None:
    body = {"email": fresh_email(), "password": "not-this-one"}
    answers = [hasty.post("/v1/users/login", json=body) for _ in range(11)]
    limited = next(each for each in answers if each.status_code == 429)
    assert code(limited) == (429, "RATE_LIMIT_EXCEEDED")
    error = limited.json()["error"]
    assert error["message"] == "Too many requests. Please try again later."
    assert 1 <= error["retry_after"] <= 60
    assert int(limited.headers["Retry-After"]) == error["retry_after"]
    time.sleep(error["retry_after"])
    # Of another account, as auth has counted those of this one a moment later than the gateway.
    body["email"] = fresh_email()
    assert hasty.post("/v1/users/login", json=body).status_code == 401, "the time that is told is true"


@pytest.mark.shows("limit/orders")
def test_the_twenty_first_order_of_a_minute_waits(hasty: httpx2.Client, enrol) -> None:
    user = enrol()
    user.http = hasty
    items = {"items": [{"product": "Nail", "quantity": 1, "price": 0.1}]}
    answers = [user.ask("POST", "/v1/orders", json=items) for _ in range(21)]
    assert [each.status_code for each in answers] == [201] * 20 + [429]
    assert [int(each.headers["X-RateLimit-Remaining"]) for each in answers[:20]] == [*range(19, -1, -1)]
    assert user.ask("GET", "/v1/orders").status_code == 200, "reading has a window of its own"


@pytest.mark.shows("limit/others")
def test_the_hundred_and_first_request_of_a_minute_waits(hasty: httpx2.Client, enrol) -> None:
    user = enrol()
    user.http = hasty
    codes = [user.ask("GET", "/v1/users/profile").status_code for _ in range(101)]
    assert codes == [200] * 100 + [429]


@pytest.mark.shows("component/gateway")
def test_what_is_for_the_application_alone(nobody: httpx2.Client, boss) -> None:
    for path in ("/sessions/ended", "/health/live", "/health/ready"):
        assert code(nobody.get(path)) == (404, "NOT_FOUND"), path
        assert code(boss.ask("GET", path)) == (404, "NOT_FOUND"), path


def test_a_request_keeps_its_name(nobody: httpx2.Client, ivan) -> None:
    named = ivan.ask("GET", "/v1/orders", headers={"X-Request-ID": "abc-123-456"})
    assert named.headers["X-Request-ID"] == "abc-123-456"
    assert nobody.get("/health").headers["X-Request-ID"]
