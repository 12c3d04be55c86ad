"""When reports fall due, and that each is made once, whoever looks and however late."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from analytics.reports import MOST_MISSED, Reports, Scheduler
from analytics.schedule import Cycle, last, parse
from analytics.tests.conftest import ORDERS, fill, rows
from kit.database import Database
from prometheus_client import CollectorRegistry

WARSAW = ZoneInfo("Europe/Warsaw")
MADE = "SELECT type, period_start, period_end, total_orders FROM reports ORDER BY period_start, type DESC"


def warsaw(*when: int) -> datetime:
    return datetime(*when, tzinfo=WARSAW)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("setting", "since", "until", "wanted"),
    [
        ("daily@06:00", (2026, 3, 1, 6), (2026, 3, 3, 6), [(2026, 3, 2, 6), (2026, 3, 3, 6)]),
        ("daily@06:00", (2026, 3, 1, 5, 59), (2026, 3, 1, 6), [(2026, 3, 1, 6)]),
        ("daily@06:00", (2026, 3, 1, 6), (2026, 3, 2, 5, 59), []),
        ("weekly@07:30", (2026, 3, 2, 7, 30), (2026, 3, 16, 7), [(2026, 3, 9, 7, 30)]),
        ("monthly@00:00", (2026, 11, 2), (2027, 1, 1), [(2026, 12, 1), (2027, 1, 1)]),
        ("daily@06:00", (2026, 3, 28, 7), (2026, 3, 29, 7), [(2026, 3, 29, 6)]),  # clocks change
        ("daily@02:30", (2026, 3, 28, 7), (2026, 3, 29, 7), [(2026, 3, 29, 2, 30)]),  # there is no such time
        ("daily@02:30", (2026, 10, 24, 7), (2026, 10, 25, 7), [(2026, 10, 25, 2, 30)]),  # there it is twice
    ],
)
def test_due(setting: str, since: Any, until: Any, wanted: list[Any]) -> None:
    (run,) = parse(setting)
    assert run.due(warsaw(*since), warsaw(*until), WARSAW) == [warsaw(*each) for each in wanted]


def test_the_last_whole_period() -> None:
    moment = warsaw(2026, 3, 1, 6)  # a Sunday
    assert last(Cycle.DAILY, moment, WARSAW) == (warsaw(2026, 2, 28), warsaw(2026, 3, 1))
    assert last(Cycle.WEEKLY, moment, WARSAW) == (warsaw(2026, 2, 16), warsaw(2026, 2, 23))
    assert last(Cycle.MONTHLY, moment, WARSAW) == (warsaw(2026, 2, 1), warsaw(2026, 3, 1))


@pytest.mark.parametrize(
    "setting", ["", "daily", "daily@25:00", "hourly@06:00", "daily@06:00,daily@07:00", "off,daily@06:00"]
)
def test_settings_that_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"is not like|twice"):
        parse(setting)


def test_off() -> None:
    assert parse("off") == ()
    assert [run.cycle for run in parse("daily@06:00, monthly@07:00")] == ["daily", "monthly"]


class Clock:
    def __init__(self, *now: int) -> None:
        self.now = warsaw(*now)

    def __call__(self) -> datetime:
        return self.now.astimezone(UTC)


def scheduler(database: Database, clock: Clock, setting: str = "daily@06:00") -> Scheduler:
    reports = Reports(database, WARSAW)
    return Scheduler(reports, parse(setting), registry=CollectorRegistry(), clock=clock)


async def test_a_report_is_made_when_it_is_due(database: Database, own_settings: dict[str, object]) -> None:
    fill(own_settings, ORDERS)
    clock = Clock(2026, 3, 2, 12)
    own = scheduler(database, clock)
    assert await own.once() == 0  # nothing was missed before there was a schedule
    clock.now = warsaw(2026, 3, 3, 5, 59)
    assert await own.once() == 0
    clock.now = warsaw(2026, 3, 3, 6)
    assert await own.once() == 1
    assert await own.once() == 0
    assert rows(own_settings, MADE) == [("daily", warsaw(2026, 3, 2), warsaw(2026, 3, 3), 2)]
    assert rows(own_settings, "SELECT count(*) FROM report_files") == [(6,)]


async def test_what_was_missed_is_made_up_once(database: Database, own_settings: dict[str, object]) -> None:
    fill(own_settings, ORDERS)
    clock = Clock(2026, 3, 1, 12)
    await scheduler(database, clock, "daily@06:00,weekly@06:00").once()
    clock.now = warsaw(2026, 3, 11, 3)  # everything was away for ten days
    assert await scheduler(database, clock, "daily@06:00,weekly@06:00").once() == 9 + 2
    found = rows(own_settings, MADE)
    assert [(kind, total) for kind, _, _, total in found if kind == "weekly"] == [
        ("weekly", 1),
        ("weekly", 3),
    ]
    assert sum(total for kind, _, _, total in found if kind == "daily") == 4  # the tenth is not over
    rows(own_settings, "DELETE FROM reports")
    assert await scheduler(database, clock, "daily@06:00,weekly@06:00").once() == 0  # deleted on purpose


async def test_a_long_absence_has_a_bound(database: Database, own_settings: dict[str, object]) -> None:
    clock = Clock(2025, 3, 1, 12)
    await scheduler(database, clock).once()
    clock.now += timedelta(days=400)
    assert await scheduler(database, clock).once() == MOST_MISSED
    assert await scheduler(database, clock).once() == 0


async def test_of_many_instances_one_makes_it(database: Database, own_settings: dict[str, object]) -> None:
    clock = Clock(2026, 3, 1, 12)
    own = [scheduler(database, clock) for _ in range(4)]
    await own[0].once()
    clock.now = warsaw(2026, 3, 4, 6)
    made = await asyncio.gather(*(each.once() for each in own))
    assert sorted(made) == [0, 0, 0, 3]
    assert rows(own_settings, "SELECT count(*) FROM reports") == [(3,)]


async def test_the_database_may_be_away(own_settings: dict[str, object]) -> None:
    """A look that fails is counted, and is not the last."""
    from analytics.settings import AnalyticsSettings

    away = AnalyticsSettings.model_validate(own_settings | {"database_port": own_settings["broker_port"]})
    registry = CollectorRegistry()
    async with Database.open(away) as database:
        own = Scheduler(Reports(database, WARSAW), parse("daily@06:00"), registry=registry)
        async with own.running(), asyncio.timeout(60):
            while not registry.get_sample_value("report_schedule_failures_total"):
                await asyncio.sleep(0.05)
