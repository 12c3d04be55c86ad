"""A report as a workbook: a summary with a chart, a sheet by source, one over time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from typing import Any

import xlsxwriter

from analytics.documents.content import Content
from analytics.figures import Sum
from analytics.texts import Texts


def write(content: Content, texts: Texts) -> bytes:
    """In memory throughout: the file system of a service is read-only. Text is never taken for a formula."""
    found = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(found, options) as book:
        book.set_properties({"title": texts[content.type], "created": content.made.replace(tzinfo=None)})
        _Sheets(book, content, texts).write()
    return found.getvalue()


class _Sheets:
    def __init__(self, book: Any, content: Content, texts: Texts) -> None:
        self.book = book
        self.content = content
        self.texts = texts
        self.bold = book.add_format({"bold": True})
        self.title = book.add_format({"bold": True, "font_size": 16})
        self.whole = book.add_format({"num_format": "#,##0"})
        self.money = book.add_format({"num_format": "#,##0.00"})
        self.date = book.add_format({"num_format": "yyyy-mm-dd", "align": "left"})

    def write(self) -> None:
        figures, texts = self.content.figures, self.texts
        summary = self.book.add_worksheet(texts["summary"])
        self._summary(summary)
        self._groups(texts["sources"], "source", figures.sources)
        self._groups(texts["statuses"], "status", figures.statuses)
        points = self.content.points
        self._groups(texts["over_time"], self.content.interval.value, points)
        summary.insert_chart("A11", self._chart(len(points)))

    def _summary(self, sheet: Any) -> None:
        content, texts = self.content, self.texts
        total, most = content.figures.total, content.figures.most_frequent_status
        sheet.set_column(0, 0, 24)
        sheet.set_column(1, 1, 36)
        sheet.write_string(0, 0, texts[content.type], self.title)
        period = f"{texts.moment(content.start)} – {texts.moment(content.end)}"
        facts: list[tuple[str, str | Sum]] = [
            ("period", f"{period} ({content.zone})"),
            ("made", texts.moment(content.made)),
        ]
        for row, (name, value) in enumerate(facts, 2):
            sheet.write_string(row, 0, texts[name], self.bold)
            sheet.write_string(row, 1, value)
        for row, (name, number, form) in enumerate(
            (
                ("orders", total.orders, self.whole),
                ("amount", total.amount, self.money),
                ("average", total.average, self.money),
            ),
            4,
        ):
            sheet.write_string(row, 0, texts[name], self.bold)
            sheet.write_number(row, 1, number, form)
        sheet.write_string(7, 0, texts["most_frequent_status"], self.bold)
        sheet.write_string(7, 1, texts[most] if most else texts["none"])

    def _groups(self, name: str, head: str, groups: Sequence[tuple[str | date, Sum]]) -> None:
        """A sheet of its own: a row for each of the groups."""
        sheet, texts = self.book.add_worksheet(name), self.texts
        sheet.set_column(0, 3, 18)
        sheet.freeze_panes(1, 0)
        for column, each in enumerate((head, "orders", "amount", "average")):
            sheet.write_string(0, column, texts[each], self.bold)
        for row, (key, sums) in enumerate(groups, 1):
            if isinstance(key, date):
                sheet.write_datetime(row, 0, key, self.date)
            else:
                sheet.write_string(row, 0, texts[key])
            sheet.write_number(row, 1, sums.orders, self.whole)
            sheet.write_number(row, 2, sums.amount, self.money)
            sheet.write_number(row, 3, sums.average, self.money)

    def _chart(self, points: int) -> Any:
        """Orders over time, drawn by the spreadsheet from the sheet that holds them."""
        texts = self.texts
        sheet = texts["over_time"]
        chart = self.book.add_chart({"type": "column"})
        chart.add_series(
            {
                "name": [sheet, 0, 1],
                "categories": [sheet, 1, 0, points, 0],
                "values": [sheet, 1, 1, points, 1],
            }
        )
        chart.set_title({"name": texts["chart"]})
        chart.set_legend({"none": True})
        chart.set_x_axis({"date_axis": self.content.interval == "day", "num_format": "yyyy-mm-dd"})
        chart.set_size({"width": 720, "height": 320})
        return chart
