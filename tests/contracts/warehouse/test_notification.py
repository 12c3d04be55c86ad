"""What staff are told of orders: a list, and a feed for desktops."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hostwright.proof.feed import Feed
from tests.environment import Gateway, following, heard, refused

PATH = "/api/notifications"
FIELDS = {
    "id", "event_id", "order_id", "status", "customer_name", "total_amount", "text", "text_pl", "text_en",
    "channel", "source", "customer_email", "occurred_at", "created_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def notification(customer, place, told) -> dict[str, Any]:
    """Of an order that was just placed."""
    (found,) = told(place(customer, customer_name="Zofia Żak", total_amount=1299.9))
    return found


@pytest.mark.shows("notification/service", "notification/queue", "integration/events", "db/notifications")
def test_an_order_is_told(notification) -> None:
    assert notification.keys() == FIELDS
    assert (notification["status"], notification["customer_name"], notification["total_amount"]) == (
        "new",
        "Zofia Żak",
        1299.9,
    )
    assert notification["channel"] in ("rabbitmq", "webhook")
    assert uuid.UUID(notification["event_id"])


@pytest.mark.shows("notification/integration", "integration/calls")
def test_what_the_event_lacks_is_asked_of_orders(customer, place, told) -> None:
    """source and e-mail are not in the event: notification asks orders over HTTP, which may be late"""

    def enriched() -> dict[str, Any] | None:
        (found,) = told(place(customer, source="manual"))
        return found if found["source"] else None

    found = heard(enriched, "a notification with what orders knows")
    assert found
    assert (found["source"], found["customer_email"]) == ("manual", customer.email)


@pytest.mark.shows("notification/formatting")
def test_texts_are_for_people(notification, employee) -> None:
    number = notification["order_id"]
    assert (
        notification["text"] == notification["text_en"] == f"New order no. {number}: Zofia Żak, PLN 1,299.90"
    )
    assert notification["text_pl"] == f"Nowe zamówienie nr {number}: Zofia Żak, 1299,90 zł"
    polish = employee.ask("GET", f"{PATH}/{notification['id']}?language=pl").json()
    assert polish["text"] == polish["text_pl"]


@pytest.mark.shows("notification/formatting")
def test_each_status_has_its_text(customer, employee, place, told) -> None:
    order = place(customer)
    for status in ("confirmed", "shipped", "delivered"):
        employee.ask("PATCH", f"/api/orders/{order['id']}/status", json={"status": status})

    found = told(order, 4)
    assert sorted(each["status"] for each in found) == ["confirmed", "delivered", "new", "shipped"]
    assert len({each["text_pl"] for each in found} | {each["text_en"] for each in found}) == 8


def test_get(notification, employee, admin) -> None:
    for staff in (employee, admin):
        assert staff.ask("GET", f"{PATH}/{notification['id']}").json() == notification
    refused(employee.ask("GET", f"{PATH}/9223372036854775807"), 404)
    refused(employee.ask("GET", f"{PATH}/0"), 400, fields=["notification_id"])


def test_pages(notification, employee, customer, place, told) -> None:
    (later,) = told(place(customer))
    assert later["id"] > notification["id"]
    after = {"after": notification["id"]}
    page = employee.ask("GET", PATH, params={"limit": 2})
    newest, older = page.json()
    assert newest["id"] > older["id"]
    assert int(page.headers["X-Total-Count"]) >= 2
    ids = [each["id"] for each in employee.ask("GET", PATH, params=after).json()]
    assert ids == sorted(ids), "what was missed comes oldest first"
    assert later["id"] in ids
    assert employee.ask("GET", f"{PATH}/").status_code == 200
    for bad, field in (
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=-1", "after"),
        ("language=de", "language"),
    ):
        refused(employee.ask("GET", f"{PATH}?{bad}"), 400, fields=[field])


@pytest.mark.shows("auth/middleware")
@pytest.mark.parametrize("path", [PATH, f"{PATH}/1"])
def test_they_are_for_staff(http, customer, path: str) -> None:
    refused(http.get(path), 401)
    body = refused(customer.ask("GET", path), 403)
    assert (body["error"], body["user_role"]) == ("insufficient_permissions", "customer")
    assert sorted(body["required_roles"]) == ["admin", "employee"]


@pytest.mark.shows("notification/webhook")
def test_the_webhook_is_not_for_the_world(http, admin) -> None:
    """events come in from the application's own network and the host; the gateway knows no such path"""
    for answer in (http.post("/webhooks/orders", json={}), admin.ask("POST", "/webhooks/orders", json={})):
        refused(answer, 404, 405)


# --- The feed ---


def feed(gateway: Gateway, query: str = "", **options: Any) -> Feed:
    return gateway.feed(f"/ws/notifications{query}", **options)


def told_of(connection: Feed, order: dict[str, Any]) -> dict[str, Any]:
    """The next notification of the order."""

    def wanted(message: dict[str, Any]) -> bool:
        return message["type"] == "notification" and message["payload"]["order_id"] == order["id"]

    found: dict[str, Any] = following(connection, wanted)["payload"]
    return found


@pytest.mark.shows("notification/desktop", "notification/integration")
def test_feed(gateway, employee, customer, place) -> None:
    """a desktop hears of an order and of its change as they happen"""
    with feed(gateway, additional_headers=employee.bearer) as desktop:
        order = place(customer)
        first = told_of(desktop, order)
        assert first.keys() == FIELDS
        employee.ask("PATCH", f"/api/orders/{order['id']}/status", json={"status": "confirmed"})
        assert told_of(desktop, order)["status"] == "confirmed"


@pytest.mark.shows("notification/desktop")
def test_feed_catches_up(gateway, employee, notification) -> None:
    """one that was away asks for what it missed, in its language"""
    query = f"?after={notification['id'] - 1}&language=pl"
    with feed(gateway, query, subprotocols=["bearer", employee.token]) as desktop:
        missed = json.loads(desktop.recv())["payload"]
    assert missed == notification | {"text": notification["text_pl"]}


@pytest.mark.parametrize("who", ["nobody", "nonsense", "customer"])
def test_feed_is_for_staff(gateway, customer, who: str) -> None:
    headers = {"nobody": {}, "nonsense": {"Authorization": "Bearer x"}, "customer": customer.bearer}[who]
    with (
        pytest.raises((InvalidStatus, ConnectionClosed)) as end,
        feed(gateway, additional_headers=headers) as it,
    ):
        it.recv()
    assert code(end.value) in (401, 403, 1008)


@pytest.mark.parametrize("query", ["?after=x", "?after=-1", "?after=99999999999999999999", "?language=de"])
def test_feed_of_nonsense(gateway, employee, query: str) -> None:
    with (
        pytest.raises((InvalidStatus, ConnectionClosed)) as end,
        feed(gateway, query, additional_headers=employee.bearer) as it,
    ):
        it.recv()
    assert code(end.value) in (400, 403, 1008)


def code(end: Exception) -> int:
    """Why a WebSocket was refused or closed: of HTTP, or of RFC 6455."""
    return end.response.status_code if isinstance(end, InvalidStatus) else end.rcvd.code  # type: ignore[attr-defined]
