"""A service is killed, and `/health` shows it until it is back. Never where people are at work."""

from __future__ import annotations

import uuid

import httpx2
import pytest

from tests.contracts.plain import Trial
from tests.environment import heard

NAME = "orders"


@pytest.mark.shows("breaker/states")
def test_a_breaker_is_seen_in_every_state(trial: Trial, nobody: httpx2.Client, ivan) -> None:
    def state() -> str:
        found = nobody.get("/health").json()["data"]["circuit_breakers"]
        assert found["auth"]["state"] == "closed", "a neighbour notices nothing"
        if seen[-1:] != [found[NAME]["state"]]:
            seen.append(found[NAME]["state"])
        return seen[-1]

    def ask() -> int:
        """The status; none where a kept connection was closed in place of an answer, as HAProxy does."""
        try:
            return ivan.ask("GET", f"/v1/orders/{uuid.uuid4()}").status_code
        except httpx2.RemoteProtocolError:
            return 0

    seen: list[str] = []
    assert (ask(), state()) == (404, "closed")
    assert trial.hands
    trial.hands.kill(NAME)
    heard(lambda: ask() == 503 and state() == "open", "an open breaker")
    trial.hands.start(NAME)
    heard(lambda: state() == "half_open", "a breaker that gives it a try")
    assert (ask(), ask(), state()) == (404, 404, "closed")
    assert seen == ["closed", "open", "half_open", "closed"]
