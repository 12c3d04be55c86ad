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
from testing.process import until
from testing.proxy import Proxy
from testing.service import Service

PATIENCE = 2  # seconds
TAKEN = 5  # seconds that a request waits for a lane
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
def patience() -> float:
    """Seconds for an answer."""
    return 25


@pytest.fixture
def http(
    own_settings: Mapping[str, Any], between: Proxy, token: str, patience: float
) -> Iterator[httpx2.Client]:
    settings = {**own_settings, "database_port": between.port, "answer_timeout": patience}
    with (
        Service.running("orders", settings) as service,
        httpx2.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=60
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
    good = [status == 200 for status, _ in answers]
    assert any(good)
    assert all(well or seconds >= TAKEN for well, (_, seconds) in zip(good, answers, strict=True)), answers
    assert min(seconds for _, seconds in answers) >= 0.2, "there and back"


@pytest.mark.parametrize("patience", [PATIENCE])
def test_a_database_that_hangs(http: httpx2.Client, between: Proxy, own_settings: Mapping[str, Any]) -> None:
    name = own_settings["database_name"]
    between.hold()
    answers = together(http, "/api/orders", 40)
    assert Counter(status for status, _ in answers) == {503: 40}
    waited = sorted(seconds for _, seconds in answers)
    assert waited[-1] < PATIENCE + CANCELLED + 12, "without a limit it would be as long as it hangs"
    assert waited[24] < waited[-1] - 2, "who has no connection does not wait for those who have one"
    assert timed(http, "/health/live")[0] == 200
    assert timed(http, "/health/ready")[0] == 503

    between.release()

    def back(path: str) -> bool:
        status, seconds = timed(http, path)
        return status == 200 and seconds < 1

    until(lambda: back("/api/orders"))
    until(lambda: back("/health/ready"))
    assert rows(own_settings, CONNECTIONS, name)[0][0] <= 20, "lanes, pool and the listener"
