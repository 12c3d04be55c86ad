"""What analytics does: stats and series on the spot, reports that stay, and those that nobody asks for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from kit import logging
from kit.database import Database
from kit.errors import NotFound
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from analytics import documents, projection, schedule
from analytics.documents import Format
from analytics.documents.content import Content
from analytics.figures import Cell, Figures, Interval, readable
from analytics.models import Report, ReportFile, ScheduledRun
from analytics.schedule import Run
from analytics.texts import Language

log = logging.get("analytics.reports")

LOCK = 7_305_811_947  # one advisory lock: the schedule is one instance's at a time
LOOK = 30.0  # seconds between looks at the schedule
MOST_MISSED = 31  # runs that are made up for after a long absence


class ReportNotFound(NotFound):
    text = "Report not found"


class FileNotFound(NotFound):
    """404: the report was not made in this format."""

    text = "The report has no such file"


class File(NamedTuple):
    """Of a report, without its content."""

    format: Format
    language: Language
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Found:
    """A report and its files in all languages."""

    report: Report
    files: Sequence[File]


@dataclass(frozen=True, slots=True)
class Reports:
    """The use cases; `zone` is where days begin."""

    database: Database
    zone: ZoneInfo

    async def figures(self, start: datetime, end: datetime) -> Figures:
        """Of the orders placed in [start, end)."""
        async with self.database.transaction() as session:
            return Figures(await projection.cells(session, start, end))

    async def series(self, start: datetime, end: datetime, interval: Interval) -> Figures:
        """The same over time, sources and statuses together."""
        async with self.database.transaction() as session:
            return Figures(await projection.cells(session, start, end, interval, apart=False))

    async def generate(self, kind: str, start: datetime, end: datetime, formats: Sequence[Format]) -> Found:
        async with self.database.transaction() as session:
            report = await self.make(session, kind, start, end, formats)
            return Found(report, await _files(session, report.id))

    async def make(
        self, session: AsyncSession, kind: str, start: datetime, end: datetime, formats: Sequence[Format]
    ) -> Report:
        """A report in the caller's transaction, its files in every language."""
        interval = readable(start, end)
        figures = Figures(await projection.cells(session, start, end, interval))
        content = Content(kind, start, end, interval, figures, datetime.now(UTC), self.zone)
        total = figures.total
        report = Report(
            type=kind,
            period_start=start.astimezone(UTC),
            period_end=end.astimezone(UTC),
            interval=interval.value,
            total_orders=total.orders,
            total_amount=total.amount,
            sources=[[name, each.orders, str(each.amount)] for name, each in figures.sources],
            cells=[[str(each.day), *each[1:4], str(each.amount)] for each in figures.cells],
            created_at=content.made,
        )
        session.add(report)
        await session.flush()
        for wanted in formats:
            for language in Language:
                # Some tenths of a second of a long report are the other requests' too.
                made = await asyncio.to_thread(documents.write, content, wanted, language)
                session.add(
                    ReportFile(
                        report_id=report.id,
                        format=wanted.value,
                        language=language.value,
                        content=made,
                        size=len(made),
                        sha256=hashlib.sha256(made).hexdigest(),
                    )
                )
        await session.flush()
        return report

    async def page(self, limit: int, offset: int) -> tuple[list[Found], int]:
        """Newest first, and how many there are on all pages."""
        async with self.database.transaction() as session:
            newest = select(Report).order_by(Report.created_at.desc(), Report.id.desc())
            found = (await session.scalars(newest.limit(limit).offset(offset))).all()
            count = await session.scalar(select(func.count()).select_from(Report))
            files = await _files_of(session, [each.id for each in found])
        return [Found(each, files.get(each.id, [])) for each in found], count or 0

    async def find(self, report_id: int) -> Found:
        """Raises `ReportNotFound`."""
        async with self.database.transaction() as session:
            report = await session.get(Report, report_id)
            if report is None:
                raise ReportNotFound
            return Found(report, await _files(session, report_id))

    async def content(self, report_id: int) -> Content:
        """What the report said when it was made; raises `ReportNotFound`."""
        async with self.database.transaction() as session:
            report = await session.get(Report, report_id, options=[undefer(Report.cells)])
        if report is None:
            raise ReportNotFound
        return Content(
            report.type,
            report.period_start,
            report.period_end,
            Interval(report.interval),
            Figures([_cell(*each) for each in report.cells]),
            report.created_at,
            self.zone,
        )

    async def file(
        self, report_id: int, wanted: Format | None, language: Language
    ) -> tuple[Found, Format, bytes]:
        """The file in this format, or in the richest there is; raises `ReportNotFound`, `FileNotFound`."""
        found = await self.find(report_id)
        formats = {each.format for each in found.files}
        chosen = wanted or next((each for each in reversed(Format) if each in formats), None)
        if chosen is None or chosen not in formats:
            raise FileNotFound
        async with self.database.transaction() as session:
            content = await session.scalar(
                select(ReportFile.content).where(
                    ReportFile.report_id == report_id,
                    ReportFile.format == chosen.value,
                    ReportFile.language == language.value,
                )
            )
        if content is None:  # deleted meanwhile
            raise ReportNotFound
        return found, chosen, content

    async def delete(self, report_id: int) -> None:
        """With its files; raises `ReportNotFound`."""
        async with self.database.transaction() as session:
            gone = await session.execute(delete(Report).where(Report.id == report_id).returning(Report.id))
            if gone.first() is None:
                raise ReportNotFound


async def _files(session: AsyncSession, report_id: int) -> Sequence[File]:
    return (await _files_of(session, [report_id])).get(report_id, [])


async def _files_of(session: AsyncSession, ids: Sequence[int]) -> dict[int, list[File]]:
    columns = (
        ReportFile.report_id,
        ReportFile.format,
        ReportFile.language,
        ReportFile.size,
        ReportFile.sha256,
    )
    found: dict[int, list[File]] = {}
    for row in await session.execute(select(*columns).where(ReportFile.report_id.in_(ids))):
        file = File(Format(row.format), Language(row.language), row.size, row.sha256)
        found.setdefault(row.report_id, []).append(file)
    order = list(Format)
    for files in found.values():
        files.sort(key=lambda each: (order.index(each.format), each.language))
    return found


def _cell(day: str, source: str, status: str, orders: int, amount: str) -> Cell:
    return Cell(date.fromisoformat(day), source, status, orders, Decimal(amount))


def _now() -> datetime:
    return datetime.now(UTC)


class Scheduler:
    """Makes the reports that are due; any number of instances may run, one of them does the work.

    What fell due while all were away is made up for, once: until when runs have been made is kept with them.
    """

    def __init__(
        self,
        reports: Reports,
        runs: Sequence[Run],
        *,
        registry: CollectorRegistry,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._reports = reports
        self._runs = runs
        self._clock = clock
        self._made = Counter("reports_scheduled", "Reports made on schedule", ["type"], registry=registry)
        self._failed = Counter("report_schedule_failures", "Looks that failed", registry=registry)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Scheduler]:
        task = asyncio.create_task(self._run(), name="report-schedule")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def once(self) -> int:
        """Makes what is due now; how many reports that were."""
        now, made = self._clock(), []
        async with self._reports.database.transaction() as session:
            if await session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}):
                for run in self._runs:
                    made += await self._catch_up(session, run, now)
        for report in made:
            self._made.labels(report.type).inc()
            log.info("report made", type=report.type, report_id=report.id, period_end=report.period_end)
        return len(made)

    async def _catch_up(self, session: AsyncSession, run: Run, now: datetime) -> list[Report]:
        kept = await session.get(ScheduledRun, run.cycle.value)
        if kept is None:  # nothing was missed before there was a schedule
            session.add(ScheduledRun(type=run.cycle.value, made_until=now))
            return []
        made = []
        for moment in run.due(kept.made_until, now, self._reports.zone)[-MOST_MISSED:]:
            start, end = schedule.last(run.cycle, moment, self._reports.zone)
            made.append(await self._reports.make(session, run.cycle.value, start, end, list(Format)))
            kept.made_until = moment
        return made

    async def _run(self) -> None:
        down: str | None = None
        while True:
            try:
                await self.once()
            except Exception as error:  # whatever it is, the next look may do better
                self._failed.inc()
                if down != type(error).__name__:
                    down = type(error).__name__
                    expected = isinstance(error, (SQLAlchemyError, OSError))
                    log.warning("schedule waits", reason=down, exc_info=not expected)
            else:
                down = None
            await asyncio.sleep(LOOK)
