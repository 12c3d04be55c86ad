"""Sums and intervals, without a database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from analytics.figures import Cell, Figures, Interval, after, begin, days, readable

WARSAW = ZoneInfo("Europe/Warsaw")


def cell(status: str, orders: int, amount: str = "1.00", source: str = "website") -> Cell:
    return Cell(None, source, status, orders, Decimal(amount))


def test_of_nothing() -> None:
    nothing = Figures([])
    assert (nothing.total.orders, str(nothing.total.amount), str(nothing.total.average)) == (
        0,
        "0.00",
        "0.00",
    )
    assert (nothing.most_frequent_status, nothing.sources, nothing.statuses) == (None, [], [])


def test_averages_are_rounded_as_people_do() -> None:
    for amount, orders, average in (("10.00", 3, "3.33"), ("0.05", 2, "0.03"), ("20.00", 3, "6.67")):
        assert str(Figures([cell("new", orders, amount)]).total.average) == average


def test_lists_have_a_fixed_order() -> None:
    figures = Figures(
        [
            cell("cancelled", 3, source="manual"),
            cell("lost", 3, source="website"),
            cell("new", 2, source="website"),
            cell("delivered", 3, source="a"),
        ]
    )
    assert [name for name, _ in figures.statuses] == ["new", "delivered", "cancelled", "lost"]
    assert [name for name, _ in figures.sources] == ["website", "a", "manual"]
    assert figures.most_frequent_status == "delivered"


@pytest.mark.parametrize(
    ("interval", "first", "following"),
    [
        (Interval.DAY, date(2026, 12, 31), date(2027, 1, 1)),
        (Interval.WEEK, date(2026, 12, 28), date(2027, 1, 4)),
        (Interval.MONTH, date(2026, 12, 1), date(2027, 1, 1)),
    ],
)
def test_intervals(interval: Interval, first: date, following: date) -> None:
    assert begin(date(2026, 12, 31), interval) == first
    assert after(first, interval) == following


def test_months_follow_each_other() -> None:
    month, found = date(2026, 1, 1), []
    for _ in range(13):
        found.append((month.year, month.month))
        month = after(month, Interval.MONTH)
    assert found == [(2026, each) for each in range(1, 13)] + [(2027, 1)]


def test_days_are_the_shops() -> None:
    start = datetime(2026, 3, 28, 23, tzinfo=UTC)  # midnight in Warsaw, before the night of 23 hours
    found = days(start, start + timedelta(hours=23), Interval.DAY, WARSAW)
    assert found == [date(2026, 3, 29)]
    found = days(start - timedelta(seconds=1), start + timedelta(hours=23, seconds=1), Interval.DAY, WARSAW)
    assert found == [date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)]


def test_a_long_period_is_cut_into_fewer_points() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    for length, interval in ((31, "day"), (62, "day"), (63, "week"), (366, "week"), (3660, "month")):
        end = start + timedelta(days=length)
        assert readable(start, end) == interval
        assert len(days(start, end, Interval(interval), WARSAW)) <= 123
