"""What analytics is told, beyond what every service is."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kit.settings import BrokerSettings, DatabaseSettings, TokenSettings
from pydantic import Field, field_validator

from analytics.schedule import Run, parse


class CalendarSettings(DatabaseSettings):
    """All that the migration job needs: in whose time zone a day begins."""

    time_zone: str = "Europe/Warsaw"

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is not a time zone, such as Europe/Warsaw") from None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class AnalyticsSettings(CalendarSettings, BrokerSettings, TokenSettings):
    """Of the service."""

    report_schedule: str = Field(default="daily@06:00", description="daily@06:00,weekly@07:30 or off")

    @field_validator("report_schedule")
    @classmethod
    def _schedule(cls, value: str) -> str:
        parse(value)
        return value

    @property
    def runs(self) -> tuple[Run, ...]:
        return parse(self.report_schedule)
