"""A container fails while a shop is at work: what was accepted is there, and happened once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hostwright import application
from tests.faults import rounds
from tests.faults.faults import possible
from tests.faults.needs import containers
from tests.faults.rounds import Shop

APPLICATION = application.load("warehouse")
ROUNDS = [(name, fault) for name in containers(APPLICATION) for fault in possible(APPLICATION, name)]
SHORT = ("orders", "kill")  # all take a quarter of an hour


@pytest.fixture(scope="module")
def shop(live: Any) -> Shop:
    return Shop.of(live)


@pytest.mark.parametrize(
    ("container", "fault"),
    [pytest.param(*each, marks=[] if each == SHORT else [pytest.mark.slow]) for each in ROUNDS],
)
def test_no_order_is_lost_and_none_counts_twice(shop: Shop, container: str, fault: str) -> None:
    row = asyncio.run(rounds.run(shop, container, fault))
    assert row.kept, f"{rounds.table([row])}\n" + "\n".join(row.details)
