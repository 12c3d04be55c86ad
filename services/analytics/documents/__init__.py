"""The forms of a report: each a pure function from what it says to the bytes of a file."""

from __future__ import annotations

from enum import StrEnum

from analytics.documents import table, text, workbook
from analytics.documents.content import Content
from analytics.texts import Language, Texts


class Format(StrEnum):
    TXT = "txt"
    CSV = "csv"
    XLSX = "xlsx"


MEDIA_TYPES = {
    Format.TXT: "text/plain; charset=utf-8",
    Format.CSV: "text/csv; charset=utf-8",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

_WRITERS = {Format.TXT: text.write, Format.CSV: table.write, Format.XLSX: workbook.write}


def write(content: Content, wanted: Format, language: Language) -> bytes:
    return _WRITERS[wanted](content, Texts(language, content.zone))
