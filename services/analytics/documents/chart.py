"""A report's chart as SVG: columns of orders over time, readable aloud, on light and dark pages."""

from __future__ import annotations

from html import escape

from analytics.documents.content import Content
from analytics.texts import Texts

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 40
LABELS = 8  # at most, below the columns

STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2933}.head{font-size:16px;font-weight:600}"
    ".grid{stroke:#9aa5b1;stroke-width:.5}.column{fill:#2563a8}"
    "@media(prefers-color-scheme:dark){text{fill:#e4e7eb}.column{fill:#7cb5ec}}"
)


def write(content: Content, texts: Texts) -> str:
    """A document of its own; every column has its value as a title."""
    points, total = content.points, content.figures.total
    title = f"{texts['chart']}, {texts.moment(content.start)} – {texts.moment(content.end)}"
    if total.orders:
        when, most = max(points, key=lambda each: each[1].orders)
        desc = texts["chart_desc"].format(
            orders=texts.whole(total.orders),
            amount=texts.money(total.amount),
            most=texts.whole(most.orders),
            when=texts.day(when),
        )
    else:
        desc = texts["no_orders"]
    top = ceiling(max((each.orders for _, each in points), default=0))
    wide, high = (WIDTH - LEFT - RIGHT) / max(len(points), 1), HEIGHT - TOP - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' lang="{texts.language}" aria-labelledby="chart-title chart-desc">',
        f'<title id="chart-title">{escape(title)}</title>',
        f'<desc id="chart-desc">{escape(desc)}</desc>',
        f"<style>{STYLE}</style>",
        f'<text class="head" x="{LEFT}" y="22">{escape(title)}</text>',
    ]
    for step in range(5):
        y = TOP + high * (1 - step / 4)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = texts.whole(top * step // 4)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    every = -(-len(points) // LABELS)
    for place, (day, each) in enumerate(points):
        x, tall = LEFT + place * wide, high * each.orders / top
        value = f"{texts.day(day)}: {texts.whole(each.orders)}, {texts.money(each.amount)}"
        parts.append(
            f'<rect class="column" x="{x + wide * 0.1:.1f}" y="{TOP + high - tall:.1f}"'
            f' width="{wide * 0.8:.1f}" height="{tall:.1f}"><title>{escape(value)}</title></rect>'
        )
        if place % every == 0:
            middle = x + wide / 2
            parts.append(
                f'<text x="{middle:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{texts.day(day)}</text>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def ceiling(most: int) -> int:
    """The top of the scale: a round number that four steps divide."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if 4 * factor * step >= most:
                return 4 * factor * step
        step *= 10
