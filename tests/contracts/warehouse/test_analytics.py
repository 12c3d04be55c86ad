"""Figures of the shop, and reports as files."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.environment import heard, refused

pytestmark = pytest.mark.shows("picture/analytics")

PATH = "/api/reports"
SUM = {"total_orders", "total_amount", "average_amount"}
REPORT = {
    "id", "type", "period_start", "period_end", "total_orders", "total_amount", "file_path", "status",
    "sources", "files", "created_at",
}  # fmt: skip
TYPES = {
    "txt": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


@pytest.fixture(scope="module")
def period(customer, employee, place) -> dict[str, str]:
    """One second, whose order analytics has heard of."""
    order = place(customer, total_amount=123.45, source="zrodlo_dwa")
    placed = datetime.fromisoformat(order["created_at"])
    found = {"start": placed.isoformat(), "end": (placed + timedelta(seconds=1)).isoformat()}
    heard(lambda: stats(employee, found)["total_orders"], "the order among the figures")
    return found


def stats(who: Any, period: dict[str, str]) -> dict[str, Any]:
    answer = who.ask("GET", f"{PATH}/stats", params=period)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.shows("integration/events")
def test_stats(employee, admin, period) -> None:
    """count, sum, mean, the most frequent status, by source and by status"""
    found = stats(employee, period)
    assert found.keys() == SUM | {"most_frequent_status", "sources", "statuses"}
    assert found == stats(admin, period)
    assert found["average_amount"] == pytest.approx(found["total_amount"] / found["total_orders"], abs=0.005)
    assert found["most_frequent_status"] in {each["status"] for each in found["statuses"]}
    source = next(each for each in found["sources"] if each["source_name"] == "zrodlo_dwa")
    assert source.keys() == {"source_name", "count", "amount"}
    assert source["amount"] >= 123.45
    assert sum(each["count"] for each in found["sources"]) == found["total_orders"]


@pytest.mark.parametrize("interval", ["day", "week", "month"])
def test_series(employee, period, interval: str) -> None:
    found = employee.ask("GET", f"{PATH}/series", params={**period, "interval": interval}).json()
    assert found.keys() == {"interval", "time_zone", "points"}
    assert found["interval"] == interval
    assert {frozenset(each) for each in found["points"]} == {frozenset(SUM | {"start"})}
    assert sum(each["total_orders"] for each in found["points"]) >= 1


@pytest.mark.parametrize("path", ["stats", "series"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("start=yesterday", "start"),
        ("start=2026-01-31T12:00:00", "start"),
        ("end=2026-02-30", "end"),
        ("start=2026-02-02&end=2026-02-01", "end"),
        ("start=0001-01-01", "start"),
    ],
)
def test_no_such_period(employee, path: str, query: str, field: str) -> None:
    refused(employee.ask("GET", f"{PATH}/{path}?{query}"), 400, fields=[field])


@pytest.fixture(scope="module")
def report(employee, admin, period) -> Iterator[dict[str, Any]]:
    """Of the period, in every format."""
    body = {"type": "custom", "period_start": period["start"], "period_end": period["end"]}
    answer = employee.ask("POST", f"{PATH}/generate", json=body)
    assert answer.status_code == 201, answer.text
    yield answer.json()
    admin.ask("DELETE", f"{PATH}/{answer.json()['id']}")


def test_a_report_is_made_and_kept(employee, period, report) -> None:
    assert report.keys() == REPORT
    assert (report["type"], report["status"]) == ("custom", "completed")
    assert report["total_orders"] == stats(employee, period)["total_orders"]
    assert [each["format"] for each in report["files"]] == list(TYPES)
    assert employee.ask("GET", f"{PATH}/{report['id']}").json() == report
    listed = employee.ask("GET", f"{PATH}?limit=1")
    assert listed.json()[0]["id"] >= report["id"]
    assert int(listed.headers["X-Total-Count"]) >= 1


@pytest.mark.parametrize("format", TYPES)
@pytest.mark.parametrize("language", ["pl", "en"])
def test_download(employee, report, format: str, language: str) -> None:
    answer = employee.ask("GET", report["file_path"], params={"format": format, "language": language})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == TYPES[format]
    assert answer.headers["Content-Language"] == language
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="report-custom-')
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
        assert sum(int(each["orders"]) for each in rows) == report["total_orders"]
    elif format == "xlsx":
        book = zipfile.ZipFile(io.BytesIO(answer.content))
        assert book.testzip() is None
        assert any(name.startswith("xl/worksheets/") for name in book.namelist())
    else:
        assert {"pl": "Raport", "en": "Report"}[language].lower() in answer.text.lower()


def test_chart(employee, report) -> None:
    answer = employee.ask("GET", f"{PATH}/{report['id']}/chart.svg?language=en")
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    picture = ElementTree.fromstring(answer.content)  # noqa: S314  (our own)
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert picture.find("{http://www.w3.org/2000/svg}title") is not None


@pytest.mark.parametrize("type_", ["daily", "weekly", "monthly"])
def test_the_last_whole_one(employee, admin, type_: str) -> None:
    answer = employee.ask("POST", f"{PATH}/generate", json={"type": type_, "format": "csv"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert [each["format"] for each in made["files"]] == ["csv"]
    days = (datetime.fromisoformat(made["period_end"]) - datetime.fromisoformat(made["period_start"])).days
    assert days in {"daily": (0, 1), "weekly": (6, 7), "monthly": range(27, 32)}[type_]
    path = f"{PATH}/{made['id']}"
    refused(employee.ask("GET", f"{path}/download?format=xlsx"), 404)
    refused(employee.ask("DELETE", path), 403)
    assert admin.ask("DELETE", path).status_code == 204
    for gone in (path, f"{path}/download", f"{path}/chart.svg"):
        refused(employee.ask("GET", gone), 404)
    refused(admin.ask("DELETE", path), 404)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["type"]),
        ({"type": "yearly"}, ["type"]),
        ({"type": "custom"}, ["period_end", "period_start"]),
        ({"type": "daily", "format": "pdf"}, ["format"]),
        ({"type": "custom", "period_start": "2026-02-02", "period_end": "2026-02-01"}, ["period_end"]),
        ({"type": "custom", "period_start": "1990-01-01", "period_end": "2026-01-01"}, ["period_end"]),
    ],
)
def test_no_such_report(employee, body: dict[str, str], fields: list[str]) -> None:
    refused(employee.ask("POST", f"{PATH}/generate", json=body), 400, fields=fields)


@pytest.mark.shows("auth/middleware", "auth/roles")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/stats"),
        ("GET", "/series"),
        ("POST", "/generate"),
        ("GET", "/1"),
        ("GET", "/1/download"),
        ("GET", "/1/chart.svg"),
        ("DELETE", "/1"),
    ],
)
def test_figures_are_for_staff(http, customer, method: str, path: str) -> None:
    body = {"json": {"type": "daily"}} if method == "POST" else {}
    refused(http.request(method, PATH + path, **body), 401)
    assert refused(customer.ask(method, PATH + path, **body), 403)["user_role"] == "customer"
