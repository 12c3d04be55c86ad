"""What a report looks like in each form and language, read back as its readers do."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from analytics.documents import Format, chart, write
from analytics.documents.content import Content
from analytics.documents.table import guarded
from analytics.figures import Cell, Figures, Interval
from analytics.texts import _ENGLISH, _POLISH, Language, Texts, preferred

WARSAW = ZoneInfo("Europe/Warsaw")
CELLS = [
    Cell(date(2026, 3, 1), "website", "new", 1200, Decimal("1234567.50")),
    Cell(date(2026, 3, 1), "manual", "delivered", 1, Decimal("30.00")),
    Cell(date(2026, 3, 3), "website", "delivered", 2, Decimal("20.50")),
]
SVG = "{http://www.w3.org/2000/svg}"


def content(cells: list[Cell] = CELLS) -> Content:
    start, end = datetime(2026, 3, 1, tzinfo=WARSAW), datetime(2026, 3, 4, tzinfo=WARSAW)
    made = datetime(2026, 3, 4, 5, tzinfo=UTC)
    return Content("custom", start, end, Interval.DAY, Figures(cells), made, WARSAW)


def sheets(data: bytes) -> openpyxl.Workbook:
    return openpyxl.load_workbook(io.BytesIO(data))


ENGLISH = """\
Report
======

Period                2026-03-01 00:00 – 2026-03-04 00:00 (Europe/Warsaw)
Made                  2026-03-04 06:00
Orders                1,203
Amount                1,234,618.00
Average               1,026.28
Most frequent status  new

Sources
Source   Orders   Share        Amount   Average
-----------------------------------------------
website   1,202  99.9 %  1,234,588.00  1,027.11
by hand       1   0.1 %         30.00     30.00

Statuses
Status     Orders   Share        Amount   Average
-------------------------------------------------
new         1,200  99.8 %  1,234,567.50  1,028.81
delivered       3   0.2 %         50.50     16.83

Over time
Day         Orders   Share        Amount   Average
--------------------------------------------------
2026-03-01   1,201  99.8 %  1,234,597.50  1,027.97
2026-03-02       0   0.0 %          0.00      0.00
2026-03-03       2   0.2 %         20.50     10.25
"""


def test_text() -> None:
    found = write(content(), Format.TXT, Language.EN).decode().replace("\u00a0", " ")
    assert found == ENGLISH


def test_text_in_polish() -> None:
    found = write(content(), Format.TXT, Language.PL).decode().replace("\u00a0", " ")
    assert found.startswith("Raport\n======\n\nOkres")
    assert re.search(r"^Kwota +1 234 618,00$", found, re.MULTILINE)
    assert re.search(r"^strona internetowa +1 202 +99,9 % +1 234 588,00 +1 027,11$", found, re.MULTILINE)
    assert "Najczęstszy status  nowe\n" in found
    assert len({len(line) for line in found.split("Źródła\n")[1].split("\n\n")[0].splitlines()}) == 1


def test_both_languages_have_every_word() -> None:
    assert set(_ENGLISH) == set(_POLISH)
    for language in Language:
        assert Texts(language, WARSAW)["allegro"] == "allegro"


def test_csv() -> None:
    """RFC 4180: CRLF, quotes only where needed, doubled inside; and the mark that spreadsheets want."""
    odd = Cell(date(2026, 3, 3), '=HYPERLINK("http://x";"y")', "a,b", 1, Decimal("1.00"))
    found = write(content([*CELLS, odd]), Format.CSV, Language.EN)
    assert found.startswith(b"\xef\xbb\xbfdate,source,status,orders,amount\r\n")
    assert found.endswith(b"\r\n")
    assert b'2026-03-03,"\'=HYPERLINK(""http://x"";""y"")","a,b",1,1.00\r\n' in found
    assert found.count(b"\n") == found.count(b"\r\n") == 5
    read = list(csv.DictReader(io.StringIO(found.decode("utf-8-sig"), newline="")))
    assert [
        (each["date"], each["source"], int(each["orders"]), Decimal(each["amount"])) for each in read
    ] == [
        *((str(day), source, orders, amount) for day, source, _, orders, amount in CELLS),
        ("2026-03-03", '\'=HYPERLINK("http://x";"y")', 1, Decimal("1.00")),
    ]
    assert write(content(), Format.CSV, Language.EN) == write(content(), Format.CSV, Language.PL)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_nothing_is_a_formula(text: str) -> None:
    assert guarded(text) == f"'{text}"
    assert guarded(f"a{text}") == f"a{text}"


@pytest.mark.parametrize(
    ("language", "names", "source"),
    [
        ("en", ["Summary", "Sources", "Statuses", "Over time"], "by hand"),
        ("pl", ["Podsumowanie", "Źródła", "Statusy", "W czasie"], "ręcznie"),
    ],
)
def test_workbook(language: str, names: list[str], source: str) -> None:
    book = sheets(write(content(), Format.XLSX, Language(language)))
    assert book.sheetnames == names
    summary, sources, statuses, time = book.worksheets
    assert [summary.cell(row, 2).value for row in range(5, 8)] == [1203, 1234618, 1026.28]
    assert summary["B6"].number_format == "#,##0.00"
    assert [[cell.value for cell in row[1:3]] for row in sources.iter_rows(min_row=2)] == [
        [1202, 1234588],
        [1, 30],
    ]
    assert sources["A3"].value == source
    assert [cell.value for cell in statuses["B"][1:]] == [1200, 3]
    assert [cell.value for cell in time["A"][1:]] == [datetime(2026, 3, day) for day in (1, 2, 3)]
    assert [cell.value for cell in time["B"][1:]] == [1201, 0, 2]


def test_the_chart_is_the_spreadsheets_own() -> None:
    summary = sheets(write(content(), Format.XLSX, Language.EN)).worksheets[0]
    (drawn,) = summary._charts
    (line,) = drawn.series
    assert line.val.numRef.f == "'Over time'!$B$2:$B$4"
    assert line.cat.numRef.f == "'Over time'!$A$2:$A$4"


def test_no_text_of_a_workbook_is_a_formula_or_a_link() -> None:
    odd = [Cell(date(2026, 3, 3), each, "new", 1, Decimal("1.00")) for each in ("=1+1", "http://x", "{=1}")]
    sheet = sheets(write(content(odd), Format.XLSX, Language.EN)).worksheets[1]
    found = {row[0].value: (row[0].data_type, row[0].hyperlink) for row in sheet.iter_rows(min_row=2)}
    assert found == {"=1+1": ("s", None), "http://x": ("s", None), "{=1}": ("s", None)}


@pytest.mark.parametrize("wanted", list(Format))
def test_a_report_of_nothing(wanted: Format) -> None:
    found = write(content([]), wanted, Language.EN)
    if wanted is Format.XLSX:
        assert sheets(found).worksheets[0]["B8"].value == "none"
    elif wanted is Format.CSV:
        assert found.decode("utf-8-sig") == "date,source,status,orders,amount\r\n"
    else:
        assert b"Most frequent status  none\n" in found


def test_chart() -> None:
    drawn = ET.fromstring(chart.write(content(), Texts(Language.EN, WARSAW)))  # noqa: S314
    names = drawn.attrib["aria-labelledby"].split()
    assert drawn.attrib["role"] == "img"
    title, desc = (drawn.find(f"*[@id='{name}']") for name in names)
    assert title is not None
    assert title.text == "Orders over time, 2026-03-01 00:00 – 2026-03-04 00:00"
    assert desc is not None
    assert desc.text == "1,203 orders, 1,234,618.00 in all; most in one column: 1,201 (2026-03-01)"
    columns = drawn.findall(f"{SVG}rect")
    tall = [float(each.attrib["height"]) for each in columns]
    assert tall[0] == max(tall) > tall[2] > tall[1] == 0
    assert [each.findtext(f"{SVG}title") for each in columns] == [
        "2026-03-01: 1,201, 1,234,597.50",
        "2026-03-02: 0, 0.00",
        "2026-03-03: 2, 20.50",
    ]


def test_a_chart_of_nothing() -> None:
    drawn = ET.fromstring(chart.write(content([]), Texts(Language.PL, WARSAW)))  # noqa: S314
    assert drawn.findtext(f"{SVG}desc") == "Brak zamówień w tym okresie"


def test_scales_are_round() -> None:
    assert [chart.ceiling(each) for each in (0, 1, 4, 5, 9, 21, 41, 400, 1201)] == [
        *(4, 4, 4, 8, 20, 40, 80, 400, 2000),
    ]


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "en"),
        ("pl", "pl"),
        ("pl-PL,pl;q=0.9,en;q=0.8", "pl"),
        ("de, en;q=0.5, pl;q=0.7", "pl"),
        ("en;q=0, pl;q=0", "en"),
        ("pl;q=none", "en"),
        ("*", "en"),
    ],
)
def test_the_language_a_reader_likes_best(accept: str, language: str) -> None:
    assert preferred(accept) == language
