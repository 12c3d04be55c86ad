"""The warehouse's orders through its gateway: placed, listed, moved along, pushed to those who may see."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hostwright.proof.feed import Feed
from tests.environment import Gateway, following

FIELDS = {
    "id", "customer_name", "customer_email", "source", "status", "total_amount", "created_at", "updated_at",
}  # fmt: skip


pytestmark = pytest.mark.shows("picture/orders")


def body(**changes: Any) -> dict[str, Any]:
    return {
        "customer_name": "Jan Kowalski",
        "customer_email": "jan@hostwright.invalid",
        "source": "website",
        "total_amount": 299.99,
    } | changes


def place(who: Any, **changes: Any) -> dict[str, Any]:
    answer = who.ask("POST", "/api/orders", json=body(**changes))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def move(who: Any, order: dict[str, Any], status: str) -> Any:
    return who.ask("PATCH", f"/api/orders/{order['id']}/status", json={"status": status})


def test_create(customer) -> None:
    order = place(customer)
    assert order.keys() == FIELDS
    assert order | body() == order, "what was sent comes back"
    assert order["status"] == "new"


def test_money_is_exact(customer) -> None:
    answer = customer.ask("POST", "/api/orders", json=body(total_amount=299.9))
    assert '"total_amount":299.90' in answer.text


@pytest.mark.parametrize("source", ["website", "manual", "zrodlo_jeden", "zrodlo_dwa"])
def test_sources(customer, source: str) -> None:
    assert place(customer, source=source)["source"] == source


def test_sources_with_polish_letters(customer) -> None:
    assert place(customer, source="źródło_jeden")["source"] == "zrodlo_jeden"


@pytest.mark.shows("integration/errors")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("customer_name", ""),
        ("customer_name", "a\x00b"),
        ("customer_name", "x" * 201),
        ("customer_email", "jan"),
        ("source", "elsewhere"),
        ("total_amount", -1),
        ("total_amount", "1e999"),
        ("total_amount", 1.001),
    ],
)
def test_bad_input_is_named(customer, field: str, value: object) -> None:
    answer = customer.ask("POST", "/api/orders", json=body(**{field: value}))
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]


def test_list_is_a_bare_array_of_ones_own(customer, other, employee) -> None:
    mine = place(customer)
    listed = customer.ask("GET", "/api/orders").json()
    assert isinstance(listed, list)
    assert mine == listed[0], "the newest comes first"
    assert mine["id"] not in [each["id"] for each in other.ask("GET", "/api/orders").json()]
    assert mine["id"] in [each["id"] for each in employee.ask("GET", "/api/orders").json()]


def test_filters_and_pages(account) -> None:
    buyer = account()
    first, second, third = (place(buyer, source=s) for s in ("website", "manual", "manual"))

    def ids(query: str) -> list[int]:
        return [each["id"] for each in buyer.ask("GET", f"/api/orders?{query}").json()]

    assert ids("source=manual") == [third["id"], second["id"]]
    assert ids("source=manual&source=website&sort=created_at") == [first["id"], second["id"], third["id"]]
    assert ids("status=shipped") == []
    assert ids("limit=1&offset=1") == [second["id"]]
    assert buyer.ask("GET", "/api/orders?limit=1").headers["X-Total-Count"] == "3"
    for bad in ("status=lost", "limit=0", "limit=1001", "sort=customer_name", "offset=-1"):
        assert buyer.ask("GET", f"/api/orders?{bad}").status_code == 400


def test_get(customer, other, employee) -> None:
    order = place(customer)
    assert customer.ask("GET", f"/api/orders/{order['id']}").json() == order
    assert employee.ask("GET", f"/api/orders/{order['id']}").json() == order
    hidden, missing = (other.ask("GET", f"/api/orders/{n}") for n in (order["id"], 2147483647))
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json() == missing.json(), "a customer cannot find out which orders exist"


def test_life_of_an_order(customer, employee) -> None:
    order = place(customer)
    for status in ("confirmed", "shipped", "delivered"):
        answer = move(employee, order, status)
        assert answer.json() == {
            "message": "Order status updated successfully",
            "order_id": order["id"],
            "new_status": status,
        }
    assert move(employee, order, "cancelled").status_code == 409
    assert customer.ask("GET", f"/api/orders/{order['id']}").json()["status"] == "delivered"


@pytest.mark.shows("auth/roles")
@pytest.mark.parametrize("status", ["confirmed", "shipped", "delivered", "new"])
def test_a_customer_moves_nothing_along(customer, status: str) -> None:
    answer = move(customer, place(customer), status)
    assert answer.status_code == 403
    assert answer.json()["error"] == "insufficient_permissions"
    assert answer.json()["user_role"] == "customer"
    assert set(answer.json()["required_roles"]) == {"admin", "employee"}


def test_a_customer_cancels_while_it_is_new(customer, other, employee) -> None:
    order = place(customer)
    assert move(other, order, "cancelled").status_code == 404
    assert move(customer, order, "cancelled").status_code == 200
    later = place(customer)
    move(employee, later, "confirmed")
    assert move(customer, later, "cancelled").status_code == 403


def test_history(customer, other, employee) -> None:
    order = place(customer)
    move(employee, order, "confirmed")
    path = f"/api/orders/{order['id']}/history"
    first, second = customer.ask("GET", path).json()
    assert first.keys() == {"old_status", "new_status", "changed_by", "role", "changed_at"}
    assert (first["old_status"], first["new_status"], first["changed_by"]) == (None, "new", customer.id)
    assert (second["old_status"], second["new_status"], second["role"]) == ("new", "confirmed", "employee")
    assert employee.ask("GET", path).json() == [first, second]
    assert other.ask("GET", path).status_code == 404


def test_counts_are_for_staff(http, customer, employee) -> None:
    place(customer)
    assert employee.ask("GET", "/api/orders/counts").json()["new"] >= 1
    assert customer.ask("GET", "/api/orders/counts").status_code == 403
    assert http.get("/api/orders/counts").status_code == 401


def test_a_request_that_is_repeated_places_one_order(account) -> None:
    buyer = account()
    key = {"Idempotency-Key": "basket-1"}
    first, again = (buyer.ask("POST", "/api/orders", json=body(), headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other_body = buyer.ask("POST", "/api/orders", json=body(total_amount=1), headers=key)
    assert other_body.status_code == 422
    assert len(buyer.ask("GET", "/api/orders").json()) == 1


@pytest.mark.parametrize("status", ["lost", "", None, 7])
def test_unknown_status(employee, customer, status: object) -> None:
    order = place(customer)
    path = f"/api/orders/{order['id']}/status"
    assert employee.ask("PATCH", path, json={"status": status}).status_code == 400


@pytest.mark.shows("auth/middleware")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/orders"),
        ("POST", "/api/orders"),
        ("GET", "/api/orders/1"),
        ("PATCH", "/api/orders/1/status"),
    ],
)
def test_without_a_token(http, method: str, path: str) -> None:
    answer = http.request(method, path, json=body())
    assert answer.status_code == 401
    assert answer.json().keys() == {"error"}


# --- Live updates ---


def live(gateway: Gateway, headers: dict[str, str] | None = None, protocols: list[str] | None = None) -> Feed:
    return gateway.feed("/ws", additional_headers=headers, subprotocols=protocols)


def update(connection: Feed, *orders: dict[str, Any]) -> dict[str, Any]:
    """The next order_update of one of these orders."""
    ids = [each["id"] for each in orders]

    def wanted(message: dict[str, Any]) -> bool:
        return message["type"] == "order_update" and message["payload"]["order_id"] in ids

    found: dict[str, Any] = following(connection, wanted)["payload"]
    return found


def test_push(gateway, customer, employee) -> None:
    with live(gateway, customer.bearer) as mine, live(gateway, employee.bearer) as staff:
        order = place(customer)
        wanted = {"order_id": order["id"], "new_status": "new", "updated_by": "system"}
        assert update(mine, order) == wanted
        assert update(staff, order) == wanted
        move(employee, order, "confirmed")
        wanted = {"order_id": order["id"], "new_status": "confirmed", "updated_by": "employee"}
        assert update(mine, order) == wanted
        assert update(staff, order) == wanted


def test_push_to_a_page(gateway, customer) -> None:
    """A browser's page cannot send the header: its token comes as a subprotocol."""
    with live(gateway, protocols=["bearer", customer.token]) as page:  # type: ignore[list-item]
        assert page.subprotocol == "bearer"
        order = place(customer)
        assert update(page, order)["new_status"] == "new"


def test_push_tells_nobody_elses_orders(gateway, customer, other) -> None:
    with live(gateway, other.bearer) as theirs:
        hidden = place(customer)
        own = place(other)
        assert update(theirs, hidden, own)["order_id"] == own["id"]


@pytest.mark.parametrize("headers", [None, {"Authorization": "Bearer nonsense"}])
def test_no_push_for_strangers(gateway, headers: dict[str, str] | None) -> None:
    with pytest.raises((InvalidStatus, ConnectionClosed)) as refused, live(gateway, headers) as connection:
        connection.recv()
    error = refused.value
    code = error.response.status_code if isinstance(error, InvalidStatus) else error.rcvd.code  # type: ignore[union-attr]
    assert code in (401, 403, 1008)


def test_no_push_after_logout(gateway, account) -> None:
    leaving = account()
    leaving.ask("POST", "/logout")
    with pytest.raises((InvalidStatus, ConnectionClosed)), live(gateway, leaving.bearer) as connection:
        connection.recv()
