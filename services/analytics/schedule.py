"""When reports are made without being asked: pure rules of a calendar, no clock and no database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from analytics.figures import Interval, after, begin, midnight


class Cycle(StrEnum):
    """A report of the day, week or month before."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    @property
    def interval(self) -> Interval:
        return INTERVALS[self]


INTERVALS = {Cycle.DAILY: Interval.DAY, Cycle.WEEKLY: Interval.WEEK, Cycle.MONTHLY: Interval.MONTH}
OFF = "off"


@dataclass(frozen=True, slots=True)
class Run:
    """`weekly@07:30` is due on Mondays, `monthly@...` on the first of each month, at that time there."""

    cycle: Cycle
    at: time

    def due(self, since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
        """When it was due in (since, until], oldest first."""
        day = begin(since.astimezone(zone).date(), self.cycle.interval)
        found = []
        while (moment := datetime.combine(day, self.at, zone)) <= until:
            if moment > since:
                found.append(moment)
            day = after(day, self.cycle.interval)
        return found


def parse(setting: str) -> tuple[Run, ...]:
    """`daily@06:00,weekly@07:30`, each cycle once, or `off`; raises ValueError."""
    if setting.strip() == OFF:
        return ()
    runs = tuple(_run(each.strip()) for each in setting.split(","))
    if len({run.cycle for run in runs}) < len(runs):
        raise ValueError("names a cycle twice")
    return runs


def last(cycle: Cycle, moment: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The last whole day, week or month before `moment`, as [start, end)."""
    ended: date = begin(moment.astimezone(zone).date(), cycle.interval)
    started = begin(ended - timedelta(days=1), cycle.interval)
    return midnight(started, zone), midnight(ended, zone)


def _run(text: str) -> Run:
    cycle, _, at = text.partition("@")
    try:
        return Run(Cycle(cycle), datetime.strptime(at, "%H:%M").time())
    except ValueError:
        raise ValueError(f"{text!r} is not like daily@06:00, weekly@06:00 or monthly@06:00") from None
