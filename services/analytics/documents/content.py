"""What a report says, before it has a form or a language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from analytics.figures import Figures, Interval, Sum, days


@dataclass(frozen=True, slots=True)
class Content:
    """The period is [start, end), cut into intervals that begin in `zone`."""

    type: str
    start: datetime
    end: datetime
    interval: Interval
    figures: Figures
    made: datetime
    zone: ZoneInfo

    @property
    def points(self) -> list[tuple[date, Sum]]:
        return self.figures.points(days(self.start, self.end, self.interval, self.zone))
