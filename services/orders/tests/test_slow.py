"""A database that is slow, or hangs: every request is answered in time, and nothing piles up behind it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from kit.tokens import Issuer
from orders.tests.conftest import ORDER, STAFF, rows
from testing.proxy import Proxy
from testing.service import Service

PATIENCE = 2  # seconds
CANCELLED = 10  # seconds that the driver takes to give up a query on a server that says nothing
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'orders'"


@pytest.fixture(scope="module")
def token(issuer: Issuer) -> str:
    return issuer.issue(user_id=STAFF, email="staff@example.com", role="employee", session="slow")


@pytest.fixture
def between(own_settings: Mapping[str, Any]) -> Iterator[Proxy]:
    with Proxy.running(own_settings["database_port"]) as proxy:
        yield proxy


@pytest.fixture
def http(own_settings: Mapping[str, Any], between: Proxy, token: str) -> Iterator[httpx2.Client]:
    settings = {**own_settings, "database_port": between.port, "answer_timeout": PATIENCE}
    with (
        Service.running("orders", settings) as service,
        httpx2.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=30
        ) as client,
    ):
        client.post("/api/orders", json=ORDER).raise_for_status()
        yield client


def timed(http: httpx2.Client, path: str) -> tuple[int, float]:
    """Status and seconds."""
    begun = time.monotonic()
    return http.get(path).status_code, time.monotonic() - begun


def together(http: httpx2.Client, path: str, number: int) -> list[tuple[int, float]]:
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(timed, [http] * number, [path] * number))


def test_a_slow_database_makes_answers_late_and_none_wrong(http: httpx2.Client, between: Proxy) -> None:
    between.delay = 0.1
    answers = together(http, "/api/orders", 24)
    assert Counter(status for status, _ in answers) == {200: 24}
    assert min(seconds for _, seconds in answers) >= 0.2, "there and back"


def test_a_database_that_hangs(http: httpx2.Client, between: Proxy, own_settings: Mapping[str, Any]) -> None:
    name = own_settings["database_name"]
    between.hold()
    answers = together(http, "/api/orders", 40)
    assert Counter(status for status, _ in answers) == {503: 40}
    assert max(seconds for _, seconds in answers) < PATIENCE + CANCELLED + 2
    waited = sorted(seconds for _, seconds in answers)
    assert waited[24] < PATIENCE + 2, "who has no connection does not wait for those who have one"
    alive, seconds = timed(http, "/health/live")
    assert (alive, seconds < 1) == (200, True)
    assert timed(http, "/health/ready")[0] == 503

    between.release()
    deadline = time.monotonic() + 10
    while timed(http, "/api/orders")[0] != 200:
        assert time.monotonic() < deadline, "it does not come back"
    assert timed(http, "/api/orders")[1] < 1
    assert timed(http, "/health/ready")[0] == 200
    assert rows(own_settings, CONNECTIONS, name)[0][0] <= 20, "lanes, pool and the listener"
