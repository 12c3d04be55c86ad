"""A report as plain text, for people: aligned columns, at most 78 wide unless a name is longer."""

from __future__ import annotations

from collections.abc import Sequence

from analytics.documents.content import Content
from analytics.texts import Texts


def write(content: Content, texts: Texts) -> bytes:
    """UTF-8, lines end with a line feed."""
    figures, total = content.figures, content.figures.total
    title = texts[content.type]
    most = figures.most_frequent_status
    facts = [
        (texts["period"], f"{texts.moment(content.start)} – {texts.moment(content.end)} ({content.zone})"),
        (texts["made"], texts.moment(content.made)),
        (texts["orders"], texts.whole(total.orders)),
        (texts["amount"], texts.money(total.amount)),
        (texts["average"], texts.money(total.average)),
        (texts["most_frequent_status"], texts[most] if most else texts["none"]),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [title, "=" * len(title), "", *(f"{name:<{width}}  {value}" for name, value in facts)]
    heads = [texts["orders"], texts["share"], texts["amount"], texts["average"]]
    for name, head, rows in (
        ("sources", "source", [(texts[source], each) for source, each in figures.sources]),
        ("statuses", "status", [(texts[status], each) for status, each in figures.statuses]),
        ("over_time", content.interval.value, [(texts.day(day), each) for day, each in content.points]),
    ):
        if total.orders:
            body = [
                [
                    label,
                    texts.whole(each.orders),
                    texts.percent(each.orders, total.orders),
                    texts.money(each.amount),
                    texts.money(each.average),
                ]
                for label, each in rows
            ]
            lines += ["", texts[name], *_table([[texts[head], *heads], *body])]
    return ("\n".join(lines) + "\n").encode()


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, numbers to the right, a rule below the heads."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]
