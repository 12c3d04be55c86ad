"""What orders amount to: pure sums over cells, the counts of one interval, source and status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

K = TypeVar("K")

CENT = Decimal("0.01")
LIFE = ("new", "confirmed", "shipped", "delivered", "cancelled")  # the order in which statuses are listed


class Interval(StrEnum):
    """How a period is cut; weeks begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Cell(NamedTuple):
    """`day` is the first of its interval, or None where the period was not cut."""

    day: date | None
    source: str
    status: str
    orders: int
    amount: Decimal


class Sum(NamedTuple):
    """Of some cells. `amount` has two decimals."""

    orders: int
    amount: Decimal

    @property
    def average(self) -> Decimal:
        """Rounded to cents; 0.00 of no order."""
        return (self.amount / self.orders if self.orders else self.amount).quantize(CENT, ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a report shows. Sources are the greatest first, statuses in the order of an order's life."""

    cells: Sequence[Cell]

    @property
    def total(self) -> Sum:
        return total(self.cells)

    @property
    def sources(self) -> list[tuple[str, Sum]]:
        found = grouped(self.cells, lambda cell: cell.source)
        return sorted(found.items(), key=lambda each: (-each[1].orders, each[0]))

    @property
    def statuses(self) -> list[tuple[str, Sum]]:
        found = grouped(self.cells, lambda cell: cell.status)
        return sorted(found.items(), key=lambda each: _age(each[0]))

    @property
    def most_frequent_status(self) -> str | None:
        """Of several the earliest in an order's life; None of no order."""
        found = self.statuses
        return max(found, key=lambda each: each[1].orders)[0] if found else None

    def points(self, days: Iterable[date]) -> list[tuple[date, Sum]]:
        """A sum for each of the days, also where nothing was ordered."""
        found = grouped(self.cells, lambda cell: cell.day)
        return [(day, found.get(day, total(()))) for day in days]


def total(cells: Iterable[Cell]) -> Sum:
    orders, amount = 0, Decimal(0)
    for cell in cells:
        orders += cell.orders
        amount += cell.amount
    return Sum(orders, amount.quantize(CENT))


def grouped(cells: Iterable[Cell], key: Callable[[Cell], K]) -> dict[K, Sum]:
    groups: dict[K, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return {each: total(group) for each, group in groups.items()}


def begin(day: date, interval: Interval) -> date:
    """The first day of the interval that `day` is in."""
    if interval is Interval.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval is Interval.MONTH else day


def after(day: date, interval: Interval) -> date:
    """The first day of the next interval, where `day` is the first of one."""
    if interval is Interval.MONTH:
        return (day + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 if interval is Interval.WEEK else 1)


def days(start: datetime, end: datetime, interval: Interval, zone: ZoneInfo) -> list[date]:
    """The first days of all intervals that [start, end) touches."""
    day = begin(start.astimezone(zone).date(), interval)
    found = []
    while midnight(day, zone) < end:
        found.append(day)
        day = after(day, interval)
    return found


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins there."""
    return datetime.combine(day, time(), zone)


def readable(start: datetime, end: datetime) -> Interval:
    """The interval that cuts the period into as many points as a page and a chart can hold."""
    length = end - start
    if length <= timedelta(days=62):
        return Interval.DAY
    return Interval.WEEK if length <= timedelta(days=400) else Interval.MONTH


def _age(status: str) -> tuple[int, str]:
    return (LIFE.index(status) if status in LIFE else len(LIFE), status)
