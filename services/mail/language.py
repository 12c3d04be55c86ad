"""Numbers, times and words as people write them in Polish and in English."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

Language = Literal["pl", "en"]
LANGUAGES: tuple[Language, ...] = ("pl", "en")

SPACE = "\N{NO-BREAK SPACE}"

MONTHS = {
    "pl": "stycznia lutego marca kwietnia maja czerwca "
    "lipca sierpnia września października listopada grudnia",
    "en": "January February March April May June July August September October November December",
}

STATUSES = {
    "pl": {
        "new": "nowe",
        "confirmed": "potwierdzone",
        "shipped": "wysłane",
        "delivered": "dostarczone",
        "cancelled": "anulowane",
    },
    "en": {
        "new": "new",
        "confirmed": "confirmed",
        "shipped": "shipped",
        "delivered": "delivered",
        "cancelled": "cancelled",
    },
}

SOURCES = {
    "pl": {
        "website": "sklep internetowy",
        "manual": "wprowadzone przez pracownika",
        "zrodlo_jeden": "źródło jeden",
        "zrodlo_dwa": "źródło dwa",
    },
    "en": {
        "website": "website",
        "manual": "entered by our staff",
        "zrodlo_jeden": "source one",
        "zrodlo_dwa": "source two",
    },
}

UNITS = {
    "pl": {"minute": ("minutę", "minuty", "minut"), "hour": ("godzinę", "godziny", "godzin")},
    "en": {"minute": ("minute", "minutes", "minutes"), "hour": ("hour", "hours", "hours")},
}


def money(amount: object, language: Language) -> str:
    """Złoty: `1234,50 zł` and `12 345,00 zł` (Polish groups from five digits on), `PLN 1,234.50`."""
    exact = Decimal(str(amount)).quantize(Decimal("0.01"))
    if language == "en":
        return f"PLN{SPACE}{exact:,}"
    text = f"{exact:,}" if abs(exact) >= 10_000 else str(exact)
    return text.replace(",", SPACE).replace(".", ",") + f"{SPACE}zł"


def moment(time: datetime, language: Language, zone: ZoneInfo) -> str:
    """`21 listopada 2026, 13:45`."""
    local = time.astimezone(zone)
    return f"{local.day}{SPACE}{MONTHS[language].split()[local.month - 1]} {local.year}, {local:%H:%M}"


def counted(number: int, unit: str, language: Language) -> str:
    """`1 godzinę`, `2 godziny`, `5 godzin`, `22 godziny`; `1 hour`, `2 hours`."""
    return f"{number}{SPACE}{UNITS[language][unit][PLURALS[language](number)]}"


def duration(seconds: float, language: Language) -> str:
    """In minutes, from two hours on in whole hours."""
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return counted(minutes, "minute", language)
    return counted(minutes // 60, "hour", language)


def _polish(number: int) -> int:
    if number == 1:
        return 0
    return 1 if number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14) else 2


PLURALS: dict[str, Callable[[int], int]] = {"pl": _polish, "en": lambda number: 0 if number == 1 else 1}
