"""What a notification says, in Polish and in English."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

Language = Literal["pl", "en"]

TEXTS: dict[Language, dict[str, str]] = {
    "pl": {
        "new": "Nowe zamówienie nr {order_id}: {customer_name}, {amount}",
        "confirmed": "Zamówienie nr {order_id} potwierdzone: {customer_name}, {amount}",
        "shipped": "Zamówienie nr {order_id} wysłane: {customer_name}, {amount}",
        "delivered": "Zamówienie nr {order_id} doręczone: {customer_name}, {amount}",
        "cancelled": "Zamówienie nr {order_id} anulowane: {customer_name}, {amount}",
    },
    "en": {
        "new": "New order no. {order_id}: {customer_name}, {amount}",
        "confirmed": "Order no. {order_id} confirmed: {customer_name}, {amount}",
        "shipped": "Order no. {order_id} shipped: {customer_name}, {amount}",
        "delivered": "Order no. {order_id} delivered: {customer_name}, {amount}",
        "cancelled": "Order no. {order_id} cancelled: {customer_name}, {amount}",
    },
}


def text(language: Language, status: str, order_id: int, customer_name: str, amount: Decimal) -> str:
    """One line for people. KeyError for a status that orders do not have."""
    return TEXTS[language][status].format(
        order_id=order_id, customer_name=customer_name, amount=money(amount, language)
    )


def money(amount: Decimal, language: Language) -> str:
    """`12 345,67 zł`, `PLN 12,345.67`. Polish groups from five digits on, by a space that does not break."""
    grouped = f"{amount:,.2f}"
    if language == "en":
        return f"PLN {grouped}"
    return (grouped if abs(amount) >= 10_000 else f"{amount:.2f}").translate(POLISH) + " zł"


POLISH = str.maketrans({",": "\u00a0", ".": ","})
