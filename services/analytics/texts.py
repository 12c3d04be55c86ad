"""The words of reports in English and Polish, and how each writes its numbers."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo


class Language(StrEnum):
    PL = "pl"
    EN = "en"


NBSP = "\u00a0"

_ENGLISH = {
    "daily": "Daily report",
    "weekly": "Weekly report",
    "monthly": "Monthly report",
    "custom": "Report",
    "period": "Period",
    "made": "Made",
    "orders": "Orders",
    "amount": "Amount",
    "average": "Average",
    "share": "Share",
    "most_frequent_status": "Most frequent status",
    "none": "none",
    "summary": "Summary",
    "sources": "Sources",
    "source": "Source",
    "statuses": "Statuses",
    "status": "Status",
    "day": "Day",
    "week": "Week from",
    "month": "Month from",
    "over_time": "Over time",
    "chart": "Orders over time",
    "chart_desc": "{orders} orders, {amount} in all; most in one column: {most} ({when})",
    "no_orders": "No orders in this period",
    "new": "new",
    "confirmed": "confirmed",
    "shipped": "shipped",
    "delivered": "delivered",
    "cancelled": "cancelled",
    "website": "website",
    "manual": "by hand",
    "zrodlo_jeden": "first source",
    "zrodlo_dwa": "second source",
}
_POLISH = {
    "daily": "Raport dzienny",
    "weekly": "Raport tygodniowy",
    "monthly": "Raport miesięczny",
    "custom": "Raport",
    "period": "Okres",
    "made": "Sporządzono",
    "orders": "Zamówienia",
    "amount": "Kwota",
    "average": "Średnia",
    "share": "Udział",
    "most_frequent_status": "Najczęstszy status",
    "none": "brak",
    "summary": "Podsumowanie",
    "sources": "Źródła",
    "source": "Źródło",
    "statuses": "Statusy",
    "status": "Status",
    "day": "Dzień",
    "week": "Tydzień od",
    "month": "Miesiąc od",
    "over_time": "W czasie",
    "chart": "Zamówienia w czasie",
    "chart_desc": "Zamówień: {orders}, na kwotę {amount}; najwięcej w jednej kolumnie: {most} ({when})",
    "no_orders": "Brak zamówień w tym okresie",
    "new": "nowe",
    "confirmed": "potwierdzone",
    "shipped": "wysłane",
    "delivered": "dostarczone",
    "cancelled": "anulowane",
    "website": "strona internetowa",
    "manual": "ręcznie",
    "zrodlo_jeden": "źródło jeden",
    "zrodlo_dwa": "źródło dwa",
}


class Texts:
    """`texts["orders"]`; a name that it does not know, such as a new source's, stands for itself."""

    def __init__(self, language: Language, zone: ZoneInfo) -> None:
        self.language = language
        self.zone = zone
        self._words = _POLISH if language is Language.PL else _ENGLISH

    def __getitem__(self, name: str) -> str:
        return self._words.get(name, name)

    def whole(self, number: int) -> str:
        """1,234 or 1 234."""
        return self._local(f"{number:,}")

    def money(self, amount: Decimal) -> str:
        """1,234.50 or 1 234,50."""
        return self._local(f"{amount:,.2f}")

    def percent(self, part: int, whole: int) -> str:
        return self._local(f"{100 * part / whole if whole else 0:.1f}") + f"{NBSP}%"

    def moment(self, moment: datetime) -> str:
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M}"

    def day(self, day: date) -> str:
        return day.isoformat()

    def _local(self, number: str) -> str:
        if self.language is Language.EN:
            return number
        return number.translate({ord(","): NBSP, ord("."): ","})


def preferred(accept: str, otherwise: Language = Language.EN) -> Language:
    """The language of an `Accept-Language` header that we speak and the reader likes best."""
    liked: dict[str, float] = {}
    for each in accept.split(","):
        tag, _, weight = each.partition(";")
        liked.setdefault(tag.strip().lower().partition("-")[0], _weight(weight))
    best = max(Language, key=lambda each: (liked.get(each, 0.0), each is otherwise))
    return best if liked.get(best, 0.0) > 0 else otherwise


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0
