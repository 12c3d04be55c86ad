"""The warehouse's own interface, as its document and its code have it: `/api/reports`, `/health`.

Deliberate differences: errors are JSON, like everybody's; the period's end is exclusive, so that reports of
two days in a row count no order twice; `file_path` is where the file can be fetched, for it is on no disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from kit.authentication import Identity, require
from kit.errors import Forbidden, Invalid, Unauthorized, responses
from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema

from analytics import schedule
from analytics.documents import MEDIA_TYPES, Format, chart
from analytics.figures import Figures, Interval, Sum, days, midnight
from analytics.projection import EVER
from analytics.reports import Found, ReportNotFound, Reports
from analytics.schedule import Cycle
from analytics.texts import Language, Texts, preferred

MAX_PAGE = 1000
MAX_POINTS = 2000
MAX_PERIOD = timedelta(days=3660)  # of one report
DATE = re.compile(r"^\d{4}-\d\d-\d\d$", re.ASCII)
STAFF = ("admin", "employee")


class Type(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CUSTOM = "custom"


def _moment(given: object) -> date | datetime:
    """A day, or a moment of RFC 3339, which always names its zone."""
    if not isinstance(given, str):
        raise ValueError("is neither a date nor a time of RFC 3339")
    try:
        found = date.fromisoformat(given) if DATE.match(given) else datetime.fromisoformat(given)
    except ValueError:
        raise ValueError("is neither a date nor a time of RFC 3339") from None
    if isinstance(found, datetime) and found.tzinfo is None:
        raise ValueError("needs a zone, as in 2026-01-31T12:00:00Z")
    if not EVER[0].year < found.year < EVER[1].year:
        raise ValueError("is out of range")
    return found


Moment = Annotated[
    date | datetime,
    PlainValidator(_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": kind} for kind in ("date-time", "date")]}),
]
Start = Annotated[
    Moment | None, Query(description="inclusive; a date is its midnight in the shop's time zone")
]
End = Annotated[Moment | None, Query(description="exclusive; a date is included as a whole")]
Money = Annotated[float, Field(description="two decimals", examples=[299.99])]
ReportId = Annotated[int, Path(ge=1, le=2**31 - 1)]


class SourceOut(BaseModel):
    source_name: str
    count: int
    amount: Money


class StatusOut(BaseModel):
    status: str
    count: int


class StatsOut(BaseModel):
    """Of the orders placed in the period, whatever became of them."""

    total_orders: int
    total_amount: Money
    average_amount: Money
    most_frequent_status: str | None
    sources: list[SourceOut]
    statuses: list[StatusOut]


class PointOut(BaseModel):
    """`start` is the first day of the interval, in the shop's time zone."""

    start: date
    total_orders: int
    total_amount: Money
    average_amount: Money


class SeriesOut(BaseModel):
    """`time_zone` is the shop's, in which days begin and end, by its name in the IANA's database."""

    interval: Interval
    time_zone: str
    points: list[PointOut]


class GenerateIn(BaseModel):
    """Without a period a report is of the last whole day, week or month."""

    type: Type
    format: Annotated[Format | None, Field(description="all of them, if none is named")] = None
    period_start: Annotated[Moment | None, Field(description="inclusive")] = None
    period_end: Annotated[Moment | None, Field(description="exclusive; a date is included as a whole")] = None


class FileOut(BaseModel):
    format: Format
    url: str
    size: int
    sha256: str


class ReportOut(BaseModel):
    """Times are UTC. `files` are in the language that was asked for."""

    id: int
    type: Type
    period_start: datetime
    period_end: datetime
    total_orders: int
    total_amount: Money
    file_path: str
    status: Literal["completed"]
    sources: list[SourceOut]
    files: list[FileOut]
    created_at: datetime


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    service: str


async def _reports(request: Request) -> Reports:
    found: Reports = request.state.reports
    return found


async def _language(
    language: Annotated[Language | None, Query(description="before `Accept-Language`")] = None,
    accept_language: Annotated[str, Header(include_in_schema=False)] = "",
) -> Language:
    return language or preferred(accept_language)


UseCases = Annotated[Reports, Depends(_reports)]
Asked = Annotated[Language, Depends(_language)]
Staff = Annotated[Identity, Depends(require(*STAFF))]
Admin = Annotated[Identity, Depends(require("admin"))]


async def stats(_: Staff, use: UseCases, start: Start = None, end: End = None) -> Response:
    figures = await use.figures(*_period(use, start, end, ("start", "end")))
    total = figures.total
    return _json(
        {
            **_sum(total),
            "most_frequent_status": figures.most_frequent_status,
            "sources": _sources(figures.sources),
            "statuses": [{"status": name, "count": each.orders} for name, each in figures.statuses],
        }
    )


async def series(
    _: Staff, use: UseCases, start: Start = None, end: End = None, interval: Interval = Interval.DAY
) -> Response:
    first, last = _period(use, start, end, ("start", "end"))
    figures = await use.series(first, last, interval)
    cut = _cut(use, figures, first if start else None, last if end else None, interval)
    points = [{"start": day, **_sum(each)} for day, each in figures.points(cut)]
    return _json({"interval": interval, "time_zone": use.zone.key, "points": points})


async def generate(_: Staff, use: UseCases, asked: Asked, body: GenerateIn) -> Response:
    if body.type is not Type.CUSTOM and body.period_start is None and body.period_end is None:
        start, end = schedule.last(Cycle(body.type), datetime.now(UTC), use.zone)
    else:
        names = ("period_start", "period_end")
        given = {"period_start": body.period_start, "period_end": body.period_end}
        if missing := {name: "Field required" for name in names if given[name] is None}:
            raise Invalid(missing)
        start, end = _period(use, body.period_start, body.period_end, names)
        if end - start > MAX_PERIOD:
            raise Invalid({"period_end": f"must be at most {MAX_PERIOD.days} days after period_start"})
    formats = [body.format] if body.format else list(Format)
    return _json(_shown(await use.generate(body.type, start, end, formats), asked), status=201)


async def list_reports(
    _: Staff,
    use: UseCases,
    asked: Asked,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    found, total = await use.page(limit, offset)
    return _json([_shown(each, asked) for each in found], headers={"X-Total-Count": str(total)})


async def get_report(_: Staff, use: UseCases, asked: Asked, report_id: ReportId) -> Response:
    return _json(_shown(await use.find(report_id), asked))


async def delete_report(_: Admin, use: UseCases, report_id: ReportId) -> Response:
    await use.delete(report_id)
    return Response(status_code=204)


async def download(
    _: Staff,
    use: UseCases,
    asked: Asked,
    report_id: ReportId,
    format: Annotated[Format | None, Query(description="the richest there is, if none is named")] = None,
) -> Response:
    found, chosen, content = await use.file(report_id, format, asked)
    name = f"report-{found.report.type}-{_day(use, found)}-{report_id}.{chosen}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Language": asked.value,
    }
    return Response(content, 200, headers, MEDIA_TYPES[chosen])


async def draw(_: Staff, use: UseCases, asked: Asked, report_id: ReportId) -> Response:
    content = await use.content(report_id)
    headers = {"Content-Language": asked.value}
    return Response(chart.write(content, Texts(asked, use.zone)), 200, headers, "image/svg+xml")


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


def _period(
    use: Reports, start: date | datetime | None, end: date | datetime | None, names: tuple[str, str]
) -> tuple[datetime, datetime]:
    """As [start, end); raises `Invalid`."""
    first, last = EVER
    if start:
        first = start if isinstance(start, datetime) else midnight(start, use.zone)
    if end:
        last = end if isinstance(end, datetime) else midnight(end + timedelta(days=1), use.zone)
    if first >= last:
        raise Invalid({names[1]: f"must be after {names[0]}"})
    return first, last


def _cut(
    use: Reports, figures: Figures, start: datetime | None, end: datetime | None, interval: Interval
) -> list[date]:
    """The days where points begin; where an end is open, the first and the last order end it."""
    found = [cell.day for cell in figures.cells if cell.day]
    if not found and not (start and end):
        return []
    first = start or midnight(min(found), use.zone)
    last = end or midnight(max(found) + timedelta(days=1), use.zone)
    least = {Interval.DAY: 1, Interval.WEEK: 7, Interval.MONTH: 28}[interval]
    if (last - first).days / least > MAX_POINTS:
        raise Invalid({"interval": f"gives more than {MAX_POINTS} points"})
    return days(first, last, interval, use.zone)


def _shown(found: Found, language: Language) -> dict[str, Any]:
    report = found.report
    place = f"/api/reports/{report.id}/download"
    return {
        "id": report.id,
        "type": report.type,
        "period_start": report.period_start,
        "period_end": report.period_end,
        "total_orders": report.total_orders,
        "total_amount": orjson.Fragment(str(report.total_amount)),
        "file_path": place,
        "status": "completed",
        "sources": [
            {"source_name": name, "count": orders, "amount": orjson.Fragment(amount)}
            for name, orders, amount in report.sources
        ],
        "files": [
            {
                "format": each.format,
                "url": f"{place}?format={each.format}&language={each.language}",
                "size": each.size,
                "sha256": each.sha256,
            }
            for each in found.files
            if each.language is language
        ],
        "created_at": report.created_at,
    }


def _sum(each: Sum) -> dict[str, Any]:
    return {
        "total_orders": each.orders,
        "total_amount": orjson.Fragment(str(each.amount)),  # as a float 299.90 would lose its zero
        "average_amount": orjson.Fragment(str(each.average)),
    }


def _sources(found: list[tuple[str, Sum]]) -> list[dict[str, Any]]:
    return [
        {"source_name": name, "count": each.orders, "amount": orjson.Fragment(str(each.amount))}
        for name, each in found
    ]


def _day(use: Reports, found: Found) -> str:
    return found.report.period_start.astimezone(use.zone).date().isoformat()


def _json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, headers, "application/json")


LIST: dict[str, Any] = {
    "headers": {"X-Total-Count": {"description": "Reports on all pages", "schema": {"type": "integer"}}}
}
FILE: dict[str, Any] = {
    "content": {each: {"schema": {"type": "string", "format": "binary"}} for each in MEDIA_TYPES.values()},
    "headers": {"Content-Disposition": {"description": "A name for the file", "schema": {"type": "string"}}},
}
SVG: dict[str, Any] = {"content": {"image/svg+xml": {"schema": {"type": "string"}}}}
ROUTES: list[tuple[str, str, Callable[..., Any], dict[str, Any]]] = [
    ("/api/reports/stats", "GET", stats, {"response_model": StatsOut}),
    ("/api/reports/series", "GET", series, {"response_model": SeriesOut}),
    ("/api/reports/generate", "POST", generate, {"response_model": ReportOut, "status_code": 201}),
    ("/api/reports", "GET", list_reports, {"response_model": list[ReportOut], "responses": {200: LIST}}),
    ("/api/reports/{report_id}", "GET", get_report, {"response_model": ReportOut}),
    ("/api/reports/{report_id}", "DELETE", delete_report, {"status_code": 204}),
    (
        "/api/reports/{report_id}/download",
        "GET",
        download,
        {"response_class": Response, "responses": {200: FILE}},
    ),
    (
        "/api/reports/{report_id}/chart.svg",
        "GET",
        draw,
        {"response_class": Response, "responses": {200: SVG}},
    ),
]

router = APIRouter(tags=["reports"])
for path, method, handler, more in ROUTES:
    missing = (ReportNotFound,) if "{report_id}" in path else ()
    own: dict[int | str, dict[str, Any]] = more.pop("responses", {})
    documented = own | responses(Unauthorized, Forbidden, *missing)
    for end, shown in (("", True), ("/", False)):
        router.add_api_route(
            path + end, handler, methods=[method], responses=documented, include_in_schema=shown, **more
        )
router.add_api_route("/health", health)
