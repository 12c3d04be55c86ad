"""What people read."""

from __future__ import annotations

from decimal import Decimal

import pytest
from notification.texts import TEXTS, Language, money, text


@pytest.mark.parametrize(
    ("amount", "pl", "en"),
    [
        ("0.00", "0,00 zł", "PLN 0.00"),
        ("299.99", "299,99 zł", "PLN 299.99"),
        ("299.90", "299,90 zł", "PLN 299.90"),
        ("1234.50", "1234,50 zł", "PLN 1,234.50"),
        ("12345.67", "12\u00a0345,67 zł", "PLN 12,345.67"),
        ("9999999999.99", "9\u00a0999\u00a0999\u00a0999,99 zł", "PLN 9,999,999,999.99"),
    ],
)
def test_money(amount: str, pl: str, en: str) -> None:
    assert money(Decimal(amount), "pl") == pl
    assert money(Decimal(amount), "en") == en


@pytest.mark.parametrize(
    ("language", "status", "said"),
    [
        ("pl", "new", "Nowe zamówienie nr 12: Jan Kowalski, 299,99 zł"),
        ("pl", "confirmed", "Zamówienie nr 12 potwierdzone: Jan Kowalski, 299,99 zł"),
        ("pl", "shipped", "Zamówienie nr 12 wysłane: Jan Kowalski, 299,99 zł"),
        ("pl", "delivered", "Zamówienie nr 12 doręczone: Jan Kowalski, 299,99 zł"),
        ("pl", "cancelled", "Zamówienie nr 12 anulowane: Jan Kowalski, 299,99 zł"),
        ("en", "new", "New order no. 12: Jan Kowalski, PLN 299.99"),
        ("en", "confirmed", "Order no. 12 confirmed: Jan Kowalski, PLN 299.99"),
        ("en", "shipped", "Order no. 12 shipped: Jan Kowalski, PLN 299.99"),
        ("en", "delivered", "Order no. 12 delivered: Jan Kowalski, PLN 299.99"),
        ("en", "cancelled", "Order no. 12 cancelled: Jan Kowalski, PLN 299.99"),
    ],
)
def test_texts(language: Language, status: str, said: str) -> None:
    assert text(language, status, 12, "Jan Kowalski", Decimal("299.99")) == said


def test_a_name_is_no_template() -> None:
    said = text("en", "new", 1, "{order_id} {0} %s", Decimal(1))
    assert said == "New order no. 1: {order_id} {0} %s, PLN 1.00"


def test_every_status_has_its_words_in_every_language() -> None:
    assert {tuple(each) for each in TEXTS.values()} == {
        ("new", "confirmed", "shipped", "delivered", "cancelled")
    }
