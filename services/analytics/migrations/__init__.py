"""Migrations of analytics_db, and the time zone of its days."""

from __future__ import annotations

from kit import logging
from kit.database import Database
from kit.settings import load

from analytics import projection
from analytics.settings import CalendarSettings

log = logging.get("analytics.migrations")


async def after_upgrade() -> None:
    """Counts the days anew where the time zone is no longer the one they were counted in."""
    settings = load(CalendarSettings)
    async with Database.open(settings) as database, database.transaction() as session:
        if await projection.set_zone(session, settings.time_zone):
            log.info("days counted anew", time_zone=settings.time_zone)
