"""The projection: whatever the order in which events come, its days agree with its orders."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from analytics import projection
from analytics.figures import Cell, Figures, Interval
from analytics.tests.conftest import ORDERS, body, days_agree, fill, life, rows
from kit.consumer import Message
from kit.database import Database
from sqlalchemy import text

WARSAW = ZoneInfo("Europe/Warsaw")
STATE = "SELECT id, source, status, total_amount FROM orders ORDER BY id"


def message(payload: dict[str, Any]) -> Message:
    kind = "order.status_changed" if payload["old_status"] else "order.created"
    return Message(
        id=uuid.uuid4(), type=kind, source="/orders", time=datetime.now(UTC), payload=payload, headers={}
    )


async def tell(database: Database, *payloads: dict[str, Any]) -> None:
    for payload in payloads:
        async with database.transaction() as session:
            await projection.apply(session, [message(payload)])


async def test_every_sequence_of_events_ends_alike(
    database: Database, own_settings: dict[str, object]
) -> None:
    sequences = list(itertools.permutations(range(4)))
    for order_id, places in enumerate(sequences, 1):
        events = life(order_id, "new", "confirmed", "shipped", "delivered")
        await tell(database, *(events[place] for place in places))
    assert rows(own_settings, STATE) == [
        (order_id, "website", "delivered", Decimal("299.90")) for order_id in range(1, len(sequences) + 1)
    ]
    assert days_agree(own_settings)
    assert [each[2:4] for each in rows(own_settings, "SELECT * FROM days WHERE orders > 0")] == [
        ("delivered", len(sequences))
    ]


async def test_a_repeated_event_changes_nothing(database: Database, own_settings: dict[str, object]) -> None:
    events = life(1, "new", "confirmed")
    await tell(database, *events, *events, events[1])
    assert rows(own_settings, "SELECT status, orders FROM days ORDER BY status") == [
        ("confirmed", 1),
        ("new", 0),
    ]
    assert days_agree(own_settings)


async def test_two_changes_of_one_moment(database: Database, own_settings: dict[str, object]) -> None:
    """The clock may not tell them apart; which became which does."""
    for order_id, turned in ((1, False), (2, True)):
        events = [body(order_id), body(order_id, status="cancelled", old_status="new")]
        await tell(database, *(events[::-1] if turned else events))
    assert rows(own_settings, "SELECT status FROM orders") == [("cancelled",)] * 2


async def test_races(database: Database, own_settings: dict[str, object]) -> None:
    """Events of a few orders, taken in by many at once."""
    events = [
        each
        for order_id in range(1, 9)
        for each in life(order_id, "new", "confirmed", "shipped", source=("website", "manual")[order_id % 2])
    ]
    random.Random(7).shuffle(events)  # noqa: S311
    await asyncio.gather(*(tell(database, each) for each in events))
    assert [status for _, _, status, _ in rows(own_settings, STATE)] == ["shipped"] * 8
    assert days_agree(own_settings)


async def test_money_is_exact(database: Database, own_settings: dict[str, object]) -> None:
    amounts = [0, 0.1, 0.2, 1.005e2, 9999999999.99, 299.9]
    await tell(database, *(body(place, total_amount=each) for place, each in enumerate(amounts, 1)))
    kept = rows(own_settings, "SELECT sum(total_amount) FROM orders")
    assert kept == rows(own_settings, "SELECT sum(amount) FROM days")
    assert kept == [(Decimal("10000000400.69"),)]


async def test_another_time_zone_counts_the_days_anew(
    database: Database, own_settings: dict[str, object]
) -> None:
    fill(own_settings, ORDERS)
    before = rows(own_settings, "SELECT DISTINCT day::text FROM days ORDER BY 1")
    assert ("2026-03-02",) in before
    async with database.transaction() as session:
        assert not await projection.set_zone(session, "Europe/Warsaw")
        assert await projection.set_zone(session, "Pacific/Auckland")
    assert days_agree(own_settings)
    after = rows(own_settings, "SELECT DISTINCT day::text FROM days ORDER BY 1")
    assert ("2026-03-11",) not in before
    assert ("2026-03-11",) in after


def counted(orders: list[tuple[int, str, str, str, str]], start: datetime, end: datetime) -> set[Cell]:
    """The same count, done by hand."""
    found: dict[tuple[str, str], list[Decimal]] = {}
    for _, source, status, amount, placed in orders:
        if start <= datetime.fromisoformat(placed) < end:
            found.setdefault((source, status), []).append(Decimal(amount))
    return {Cell(None, *key, len(each), sum(each, Decimal(0))) for key, each in found.items()}


async def test_any_period_is_counted_to_the_second(
    database: Database, own_settings: dict[str, object]
) -> None:
    """Around midnights, and the night in which Warsaw's clocks change: days and their parts add up."""
    chance = random.Random(11)  # noqa: S311
    first = datetime(2026, 3, 27, tzinfo=UTC)
    orders = [
        (
            order_id,
            chance.choice(["website", "manual"]),
            chance.choice(["new", "shipped"]),
            f"{chance.randrange(10000) / 100:.2f}",
            (first + timedelta(minutes=15 * chance.randrange(4 * 24 * 5))).isoformat(),
        )
        for order_id in range(1, 301)
    ]
    fill(own_settings, orders)
    moments = [first + timedelta(minutes=15 * each) for each in range(0, 4 * 24 * 5, 7)]
    moments += [datetime(2026, 3, day, tzinfo=WARSAW) for day in (28, 29, 30)]
    periods = [tuple(sorted(chance.sample(moments, 2))) for _ in range(150)]
    async with database.transaction() as session:
        for start, end in [*periods, projection.EVER]:
            found = await projection.cells(session, start, end)
            assert set(found) == counted(orders, start, end), (start, end)
            for interval in Interval:
                cut = await projection.cells(session, start, end, interval)
                assert Figures(cut).total == Figures(found).total
                together = await projection.cells(session, start, end, interval, apart=False)
                days = sorted({cell.day for cell in cut if cell.day})
                assert Figures(together).points(days) == Figures(cut).points(days)
                assert len(together) == len(days)


@pytest.mark.parametrize(
    ("interval", "wanted"),
    [
        ("day", {"2026-03-01": 1, "2026-03-02": 2, "2026-03-05": 1, "2026-03-10": 1}),
        ("week", {"2026-02-23": 1, "2026-03-02": 3, "2026-03-09": 1}),
        ("month", {"2026-03-01": 5}),
    ],
)
async def test_intervals_begin_where_the_shop_is(
    database: Database, own_settings: dict[str, object], interval: str, wanted: dict[str, int]
) -> None:
    fill(own_settings, ORDERS)
    async with database.transaction() as session:
        found = await projection.cells(session, *projection.EVER, Interval(interval))
    points: dict[str, int] = {}
    for cell in found:
        points[str(cell.day)] = points.get(str(cell.day), 0) + cell.orders
    assert points == wanted


async def test_a_count_reads_no_more_than_it_must(
    database: Database, own_settings: dict[str, object]
) -> None:
    """Of 20 000 orders the days and the rest of two days, from indexes."""
    rows(
        own_settings,
        "INSERT INTO orders SELECT n, 'website', 'new', n, now() - n * interval '1 hour', now()"
        " FROM generate_series(1, 20000) AS n",
    )
    rows(own_settings, "ANALYZE")
    explain = text(f"EXPLAIN {projection.COUNT.text}")
    end = datetime.now(UTC)
    values = {"start": end - timedelta(days=300, hours=3), "end": end, "interval": None, "apart": True}
    async with database.transaction() as session:
        plan = "\n".join((await session.scalars(explain, values)).all())
    assert plan.count("Index Only Scan using orders_created_at_idx") == 2, plan
    assert "Seq Scan on orders" not in plan
