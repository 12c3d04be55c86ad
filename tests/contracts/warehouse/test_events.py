"""One order through the gateway, and all that becomes of it elsewhere."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.environment import heard

pytestmark = pytest.mark.shows("integration/events")


@pytest.mark.shows("notification/queue", "db/rabbitmq", "tech/queue", "picture/mail", "picture/analytics")
@pytest.mark.parametrize(
    ("language", "placed", "changed"),
    [
        ("en", "Order no. {} received", "Order no. {}: confirmed"),
        ("pl", "Zamówienie nr {} przyjęte", "Zamówienie nr {}: potwierdzone"),
    ],
)
def test_an_order_is_heard_of_everywhere(
    account, employee, place, told, mails, language: str, placed: str, changed: str
) -> None:
    """notification, analytics and the customer's mails hear of it and of its change, each once"""
    buyer = account()
    order = place(buyer, {"Accept-Language": language}, source="zrodlo_jeden", total_amount=77.7)
    employee.ask("PATCH", f"/api/orders/{order['id']}/status", json={"status": "confirmed"})

    def counted() -> bool:
        began = datetime.fromisoformat(order["created_at"])
        period = {"start": began.isoformat(), "end": (began + timedelta(milliseconds=1)).isoformat()}
        found = employee.ask("GET", "/api/reports/stats", params=period).json()
        return {"status": "confirmed", "count": 1} in found["statuses"]

    def received(count: int, subject: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = mails(buyer.email, subject)
        return found if len(found) >= count else []

    assert sorted(each["status"] for each in told(order, 2)) == ["confirmed", "new"]
    heard(counted, "the confirmed order among the figures")
    # In whichever order: one that fails at first is overtaken.
    subjects = [each["subject"] for each in heard(lambda: received(2, str(order["id"])), "two mails")]
    for wanted in (placed, changed):
        assert [wanted.format(order["id"]) in each for each in subjects].count(True) == 1, subjects
    assert len(heard(lambda: received(3), "the welcome too")) == 3, "and no more"
