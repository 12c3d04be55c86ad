"""The warehouse's contract: paths, fields, codes and texts."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import re
import uuid
import xml.etree.ElementTree as ET
from typing import Any

import openpyxl
import pytest
from analytics.tests.conftest import BOSS, ORDERS, STAFF, Api, Start, fill, rows

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
REPORT = [
    *("id", "type", "period_start", "period_end", "total_orders", "total_amount", "file_path", "status"),
    *("sources", "files", "created_at"),
]
SOURCES = [
    {"source_name": "website", "count": 3, "amount": 31.49},
    {"source_name": "manual", "count": 1, "amount": 30.0},
    {"source_name": "zrodlo_jeden", "count": 1, "amount": 40.0},
]


@pytest.mark.parametrize("path", ["/api/reports/stats", "/api/reports/stats/"])
async def test_stats(staff: Api, path: str) -> None:
    answer = await staff.get(path)
    assert answer.status_code == 200
    assert '"total_amount":101.49,"average_amount":20.30,' in answer.text
    assert answer.json() == {
        "total_orders": 5,
        "total_amount": 101.49,
        "average_amount": 20.3,
        "most_frequent_status": "delivered",
        "sources": SOURCES,
        "statuses": [
            {"status": "new", "count": 1},
            {"status": "delivered", "count": 3},
            {"status": "cancelled", "count": 1},
        ],
    }


async def test_stats_of_nothing(api: Api) -> None:
    assert await api.as_user(STAFF).json("/api/reports/stats?start=2026-03-01") == {
        "total_orders": 0,
        "total_amount": 0.0,
        "average_amount": 0.0,
        "most_frequent_status": None,
        "sources": [],
        "statuses": [],
    }


PERIODS = [
    ("start=2026-03-01&end=2026-03-01", [1]),  # a date is a day of the shop
    ("start=2026-03-02&end=2026-03-02", [2, 3]),
    ("start=2026-03-02", [2, 3, 4, 5]),
    ("end=2026-03-02", [1, 2, 3]),
    ("start=2026-03-01T00:00:00Z&end=2026-03-02T00:00:00Z", [1, 2]),
    ("start=2026-03-01T11:00:00Z&end=2026-03-01T11:00:00.000001Z", [1]),
    ("start=2026-03-01T11:00:01Z&end=2026-03-02T12:00:00Z", [2]),  # the end is exclusive
    ("start=2026-03-02T00:00:00%2B01:00&end=2026-03-03T00:00:00%2B01:00", [2, 3]),
    ("start=2026-03-02&end=2026-03-05T12:00:01Z", [2, 3, 4]),
    ("start=2027-01-01", []),
]


async def test_periods(staff: Api) -> None:
    amounts = {number: float(amount) for number, _, _, amount, _ in ORDERS}
    for query, wanted in PERIODS:
        found = await staff.json(f"/api/reports/stats?{query}")
        assert found["total_orders"] == len(wanted), query
        assert found["total_amount"] == pytest.approx(sum(amounts[each] for each in wanted)), query


BAD_QUERIES = [
    ("start=yesterday", "start", "is neither a date nor a time of RFC 3339"),
    ("start=2026-02-30", "start", "is neither a date nor a time of RFC 3339"),
    ("start=2026-03-01T00:00:00", "start", "needs a zone, as in 2026-01-31T12:00:00Z"),
    ("end=0001-01-01", "end", "is out of range"),
    ("end=9999-12-31T23:59:59-23:00", "end", "is out of range"),
    ("start=2026-03-02&end=2026-03-01", "end", "must be after start"),
    ("start=2026-03-02T00:00:00Z&end=2026-03-02T00:00:00Z", "end", "must be after start"),
    ("start=", "start", "is neither a date nor a time of RFC 3339"),
    ("start=%00", "start", "is neither a date nor a time of RFC 3339"),
    ("start='; DROP TABLE orders", "start", "is neither a date nor a time of RFC 3339"),
]


async def test_bad_queries(api: Api) -> None:
    for path in ("stats", "series"):
        for query, field, error in BAD_QUERIES:
            answer = await api.as_user(STAFF).get(f"/api/reports/{path}?{query}")
            assert answer.status_code == 400, query
            assert answer.json() == {"error": "Invalid request", "fields": {field: error}}


async def test_series(staff: Api) -> None:
    answer = await staff.get("/api/reports/series?start=2026-02-28&end=2026-03-03")
    assert '"average_amount":25.25' in answer.text
    assert answer.json() == {
        "interval": "day",
        "time_zone": "Europe/Warsaw",
        "points": [
            {"start": day, "total_orders": orders, "total_amount": amount, "average_amount": average}
            for day, orders, amount, average in (
                ("2026-02-28", 0, 0, 0),
                ("2026-03-01", 1, 10, 10),
                ("2026-03-02", 2, 50.5, 25.25),
                ("2026-03-03", 0, 0, 0),
            )
        ],
    }


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("interval=week", [("2026-02-23", 1), ("2026-03-02", 3), ("2026-03-09", 1)]),
        ("interval=month&start=2026-01-31", [("2026-01-01", 0), ("2026-02-01", 0), ("2026-03-01", 5)]),
        ("interval=month&end=2026-04-01", [("2026-03-01", 5), ("2026-04-01", 0)]),
        ("start=2026-03-05&end=2026-03-05T12:00:00Z", [("2026-03-05", 0)]),
        ("start=2027-01-01", []),
    ],
)
async def test_points_of_series(staff: Api, query: str, wanted: list[tuple[str, int]]) -> None:
    found = await staff.json(f"/api/reports/series?{query}")
    assert [(each["start"], each["total_orders"]) for each in found["points"]] == wanted


async def test_a_series_has_a_bound(staff: Api) -> None:
    answer = await staff.get("/api/reports/series?start=1971-01-01&end=2998-12-31")
    assert (answer.status_code, answer.json()["fields"]) == (400, {"interval": "gives more than 2000 points"})
    assert (await staff.get("/api/reports/series?interval=year")).status_code == 400


@pytest.mark.parametrize("end", ["", "/"])
async def test_generate(staff: Api, end: str) -> None:
    answer = await staff.call(
        "POST",
        f"/api/reports/generate{end}",
        {
            "type": "custom",
            "period_start": "2026-03-01T00:00:00Z",
            "period_end": "2026-04-01T00:00:00+02:00",
        },
    )
    assert answer.status_code == 201
    report = answer.json()
    assert list(report) == REPORT
    assert (report["type"], report["status"]) == ("custom", "completed")
    assert (report["period_start"], report["period_end"]) == ("2026-03-01T00:00:00Z", "2026-03-31T22:00:00Z")
    assert '"total_orders":5,"total_amount":101.49,' in answer.text
    assert report["sources"] == SOURCES
    assert [each["format"] for each in report["files"]] == ["txt", "csv", "xlsx"]
    assert TIME.match(report["created_at"])
    assert await staff.json(f"/api/reports/{report['id']}") == report
    assert await staff.json("/api/reports") == [report]


async def test_files(staff: Api) -> None:
    report = await staff.generate()
    for each in report["files"]:
        answer = await staff.get(each["url"])
        assert len(answer.content) == each["size"]
        assert hashlib.sha256(answer.content).hexdigest() == each["sha256"]
        name = f'attachment; filename="report-custom-2026-03-01-{report["id"]}.{each["format"]}"'
        assert answer.headers["content-disposition"] == name
    text, table, book = [await staff.get(each["url"]) for each in report["files"]]
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text.startswith("Report\n")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    read = csv.DictReader(io.StringIO(table.content.decode("utf-8-sig")))
    assert sum(int(each["orders"]) for each in read) == 5
    assert book.headers["content-type"].endswith("spreadsheetml.sheet")
    summary = openpyxl.load_workbook(io.BytesIO(book.content)).worksheets[0]
    assert summary["B5"].value == 5
    assert len(summary._charts) == 1


async def test_one_format_is_enough(staff: Api) -> None:
    report = await staff.generate(format="csv")
    assert [each["format"] for each in report["files"]] == ["csv"]
    answer = await staff.get(report["file_path"])
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    answer = await staff.get(f"{report['file_path']}?format=xlsx")
    assert (answer.status_code, answer.json()) == (404, {"error": "The report has no such file"})
    assert (await staff.get(f"{report['file_path']}?format=pdf")).status_code == 400


async def test_without_a_format_the_richest(staff: Api) -> None:
    report = await staff.generate()
    answer = await staff.get(report["file_path"])
    assert answer.headers["content-type"].endswith("spreadsheetml.sheet")


@pytest.mark.parametrize(
    ("query", "accept", "title", "language"),
    [
        ("", "", "Report\n", "en"),
        ("", "pl-PL,pl;q=0.9,en;q=0.8", "Raport\n", "pl"),
        ("&language=pl", "en", "Raport\n", "pl"),
        ("&language=en", "pl", "Report\n", "en"),
    ],
)
async def test_languages(staff: Api, query: str, accept: str, title: str, language: str) -> None:
    report = await staff.generate(format="txt")
    answer = await staff.get(f"{report['file_path']}?format=txt{query}", **{"Accept-Language": accept})
    assert answer.text.startswith(title)
    assert answer.headers["content-language"] == language
    shown = await staff.get(f"/api/reports/{report['id']}?{query}", **{"Accept-Language": accept})
    assert [each["url"] for each in shown.json()["files"]] == [
        f"{report['file_path']}?format=txt&language={language}"
    ]


@pytest.mark.parametrize(("kind", "days"), [("daily", 1), ("weekly", 7), ("monthly", 27)])
async def test_without_a_period_it_is_the_last(staff: Api, kind: str, days: int) -> None:
    answer = await staff.call("POST", "/api/reports/generate", {"type": kind})
    assert answer.status_code == 201
    found = rows(
        staff.database,
        "SELECT type, extract(days FROM period_end - period_start)::int, period_end <= now(),"
        " (period_end AT TIME ZONE 'Europe/Warsaw')::time::text FROM reports",
    )
    assert [found[0][0], *found[0][2:]] == [kind, True, "00:00:00"]
    assert found[0][1] >= days - 1  # a day of 23 hours is no whole one


BAD_REPORTS: list[tuple[Any, str]] = [
    ({}, "type"),
    ({"type": "yearly"}, "type"),
    ({"type": "custom"}, "period_start"),
    ({"type": "daily", "period_start": "2026-03-01"}, "period_end"),
    ({"type": "custom", "period_start": "2026-03-02", "period_end": "2026-03-01"}, "period_end"),
    ({"type": "custom", "period_start": "2001-01-01", "period_end": "2026-03-01"}, "period_end"),
    ({"type": "custom", "period_start": 1, "period_end": "2026-03-01"}, "period_start"),
    ({"type": "custom", "period_start": "2026-03-01T00:00:00", "period_end": "2026-03-02"}, "period_start"),
    ({"type": "daily", "format": "pdf"}, "format"),
    ({"type": "daily", "format": ["txt"]}, "format"),
    ([], "body"),
    ("daily", "body"),
]


async def test_bad_reports(api: Api) -> None:
    for body, field in BAD_REPORTS:
        answer = await api.as_user(STAFF).call("POST", "/api/reports/generate", body)
        assert answer.status_code == 400, body
        assert field in answer.json()["fields"], body
    assert rows(api.database, "SELECT count(*) FROM reports") == [(0,)]


async def test_a_report_stays_what_it_was(staff: Api) -> None:
    report = await staff.generate()
    chart = (await staff.get(f"/api/reports/{report['id']}/chart.svg")).text
    fill(staff.database, [(6, "website", "new", "1000.00", "2026-03-03T12:00:00Z")])
    assert await staff.json(f"/api/reports/{report['id']}") == report
    assert (await staff.get(f"/api/reports/{report['id']}/chart.svg")).text == chart
    assert (await staff.generate())["total_orders"] == 6


async def test_pages(staff: Api) -> None:
    answer = await staff.get("/api/reports")
    assert (answer.text, answer.headers["x-total-count"]) == ("[]", "0")
    ids = [(await staff.generate(format="txt"))["id"] for _ in range(5)][::-1]
    for query, wanted in (
        ("", ids),
        ("?limit=2", ids[:2]),
        ("?limit=2&offset=2", ids[2:4]),
        ("?offset=5", []),
    ):
        answer = await staff.get(f"/api/reports{query}")
        assert [each["id"] for each in answer.json()] == wanted
        assert answer.headers["x-total-count"] == "5"
    for query in ("limit=0", "limit=1001", "offset=-1", "limit=x"):
        assert (await staff.get(f"/api/reports?{query}")).status_code == 400


@pytest.mark.parametrize("end", ["", "/"])
async def test_chart(staff: Api, end: str) -> None:
    report = await staff.generate()
    answer = await staff.get(f"/api/reports/{report['id']}/chart.svg{end}?language=pl")
    assert answer.headers["content-type"] == "image/svg+xml"
    drawn = ET.fromstring(answer.content)  # noqa: S314
    assert drawn.attrib["role"] == "img"
    assert (drawn.findtext("{*}title") or "").startswith("Zamówienia w czasie, 2026-03-01")
    assert (drawn.findtext("{*}desc") or "").startswith("Zamówień: 5, na kwotę 101,49")
    assert len(drawn.findall("{*}rect")) == 14


async def test_delete(staff: Api) -> None:
    report = await staff.generate()
    answer = await staff.as_user(BOSS).call("DELETE", f"/api/reports/{report['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert rows(staff.database, "SELECT count(*) FROM report_files") == [(0,)]
    again = await staff.as_user(BOSS).call("DELETE", f"/api/reports/{report['id']}")
    assert again.status_code == 404


async def test_unknown_and_bad_ids(api: Api) -> None:
    for place in ("", "/download", "/chart.svg"):
        answer = await api.as_user(STAFF).get(f"/api/reports/999{place}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Report not found"})
        for wrong in ("0", "-1", "2147483648", "one", "%00"):
            answer = await api.as_user(STAFF).get(f"/api/reports/{wrong}{place}")
            assert (answer.status_code, list(answer.json()["fields"])) == (400, ["report_id"])


async def test_any_instance_has_the_files(start: Start, staff: Api) -> None:
    report = await staff.generate(format="txt")
    async with start() as other:
        assert (await other.as_user(STAFF).get(report["file_path"])).text.startswith("Report\n")


async def test_events_of_long_ago_are_forgotten(start: Start, own_settings: dict[str, object]) -> None:
    """And those of today are known: one that comes again is not counted again."""
    new = uuid.uuid4()
    for event_id, days in ((uuid.uuid4(), 100), (new, 0)):
        rows(
            own_settings,
            "INSERT INTO inbox VALUES ('analytics', %s, now() - make_interval(days => %s))",
            event_id,
            days,
        )
    async with start(), asyncio.timeout(60):  # it tidies up when it starts
        while len(rows(own_settings, "SELECT event_id FROM inbox")) == 2:
            await asyncio.sleep(0.05)
    assert rows(own_settings, "SELECT event_id FROM inbox") == [(new,)]


async def test_health(api: Api) -> None:
    answer = await api.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": "analytics"})
    assert (await api.get("/health/live")).status_code == 200
    # RabbitMQ is down here: figures are told all the same.
    assert (await api.get("/health/ready")).json() == {"status": "ok", "checks": {"database": "ok"}}


async def test_metrics(staff: Api) -> None:
    await staff.get("/api/reports/stats")
    text = (await staff.get("/metrics")).text
    assert 'http_requests_total{method="GET",route="/api/reports/stats",status="200"} 1.0' in text
    assert "report_schedule_failures_total 0.0" in text
