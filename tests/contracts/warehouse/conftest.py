"""What the warehouse's tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.environment import Account, Gateway, heard

Mails = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def mails(gateway: Gateway, admin: Account) -> Mails:
    """Mails to an address, the newest first, by a part of the subject: `mails("jan@x.pl", "order")`."""
    if not gateway.sink:
        # A live environment may have a relay in place of the sink; the one of the tests has the sink.
        pytest.skip("mails leave by the environment's own relay: what they say cannot be read here")

    def found(to: str, subject: str = "") -> list[dict[str, Any]]:
        listed = admin.ask("GET", "/messages", params={"recipient": to})
        assert listed.status_code == 200, listed.text
        wanted = [each for each in listed.json() if subject.lower() in each["subject"].lower()]
        return [admin.ask("GET", f"/messages/{each['id']}").json() for each in wanted]

    return found


@pytest.fixture(scope="session")
def place() -> Callable[..., dict[str, Any]]:
    """`place(customer, total_amount=1)`: a new order of theirs, as the answer shows it."""

    def placed(who: Account, headers: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        body = {
            "customer_name": "Jan Kowalski",
            "customer_email": who.email,
            "total_amount": 299.99,
            **changes,
        }
        answer = who.ask("POST", "/api/orders", json=body, headers=headers or {})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return placed


Told = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def told(employee: Account) -> Told:
    """`told(order, 2)`: the order's notifications, the newest first, once there are so many."""

    def found(order: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
        def ask() -> list[dict[str, Any]]:
            answer = employee.ask("GET", "/api/notifications", params={"limit": 200})
            assert answer.status_code == 200, answer.text
            own = [each for each in answer.json() if each["order_id"] == order["id"]]
            return own if len(own) >= count else []

        return heard(ask, f"{count} notifications of order {order['id']}")

    return found
