"""A report as CSV (RFC 4180), for spreadsheets and programs: one row a cell, the same in every language."""

from __future__ import annotations

import csv
import io

from analytics.documents.content import Content
from analytics.texts import Texts

HEAD = ("date", "source", "status", "orders", "amount")
# What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write(content: Content, _: Texts) -> bytes:
    """UTF-8 with a byte order mark, without which a spreadsheet takes it for the local code page."""
    found = io.StringIO(newline="")
    rows = csv.writer(found, lineterminator="\r\n")
    rows.writerow(HEAD)
    for cell in content.figures.cells:
        rows.writerow([cell.day, guarded(cell.source), guarded(cell.status), cell.orders, cell.amount])
    return found.getvalue().encode("utf-8-sig")


def guarded(text: str) -> str:
    """As text also to a spreadsheet."""
    return f"'{text}" if text.startswith(FORMULA) else text
