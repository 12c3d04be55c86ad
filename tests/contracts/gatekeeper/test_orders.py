"""The gatekeeper's orders through its gateway."""

from __future__ import annotations

import uuid

import pytest

from tests.contracts.plain import code

ORDERS = "/v1/orders"


@pytest.mark.shows("orders/create", "orders/by-id", "model/order")
def test_an_order_is_placed(ivan) -> None:
    items = [{"product": "Laptop", "quantity": 1, "price": 75000.00}]
    answer = ivan.ask("POST", ORDERS, json={"items": items})
    assert answer.status_code == 201
    order = answer.json()["data"]
    assert order.keys() == {
        "id",
        "user_id",
        "items",
        "status",
        "total_amount",
        "created_at",
        "updated_at",
    }
    assert (order["user_id"], order["items"], order["status"]) == (ivan.id, items, "created")
    assert '"total_amount":75000.00' in answer.text, "compact, and money with its decimals"
    assert ivan.ask("GET", f"{ORDERS}/{order['id']}").json()["data"] == order


@pytest.mark.shows("orders/list")
def test_lists(ivan, olga, boss, place) -> None:
    cheap, dear = place(olga, price=10), place(olga, price=20)

    def listed(who=olga, **query: object) -> list[str]:
        answer = who.ask("GET", ORDERS, params=query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["data"]]

    assert listed()[:2] == [dear["id"], cheap["id"]]
    assert listed(sort_by="total_amount", sort_order="asc", max_amount=20)[:2] == [cheap["id"], dear["id"]]
    assert listed(page=2, per_page=1)[0] == cheap["id"]
    assert listed(boss, userId=olga.id)[:2] == [dear["id"], cheap["id"]]
    assert cheap["id"] not in listed(ivan, per_page=100)
    assert code(ivan.ask("GET", ORDERS, params={"userId": olga.id})) == (403, "FORBIDDEN")
    assert code(ivan.ask("GET", ORDERS, params={"status": "lost"})) == (400, "VALIDATION_ERROR")


@pytest.mark.shows("orders/status", "status/created", "status/cancelled")
@pytest.mark.parametrize("path", ["/v1/orders/{}/status", "/v1/{}/status"])
def test_an_owner_may_only_cancel(ivan, olga, place, path: str) -> None:
    order = place(ivan)
    own = path.format(order["id"])
    for word in ("processing", "in_progress", "completed"):
        assert code(ivan.ask("PUT", own, json={"status": word})) == (403, "FORBIDDEN")
    assert code(olga.ask("PUT", own, json={"status": "cancelled"})) == (403, "FORBIDDEN")
    done = ivan.ask("PUT", own, json={"status": "cancelled"})
    assert done.json()["data"]["status"] == "cancelled"


@pytest.mark.shows("status/processing", "status/completed")
def test_an_admin_moves_orders(ivan, boss, place) -> None:
    for word in ("processing", "in_progress"):
        order = place(ivan)
        path = f"{ORDERS}/{order['id']}/status"
        assert boss.ask("PUT", path, json={"status": word}).json()["data"]["status"] == "processing"
        done = boss.ask("PUT", path, json={"status": "completed"})
        assert done.json()["data"]["status"] == "completed"
        assert code(ivan.ask("PUT", path, json={"status": "cancelled"})) == (409, "CONFLICT")


@pytest.mark.shows("orders/update")
def test_items_are_replaced(ivan, olga, place) -> None:
    path = f"{ORDERS}/{place(ivan)['id']}"
    items = [{"product": "Mouse", "quantity": 2, "price": 9.99}]
    changed = ivan.ask("PUT", path, json={"items": items}).json()["data"]
    assert (changed["items"], changed["total_amount"]) == (items, 19.98)
    assert code(olga.ask("PUT", path, json={"items": items})) == (403, "FORBIDDEN")


@pytest.mark.shows("orders/delete")
def test_only_an_admin_deletes(ivan, boss, place) -> None:
    order = place(ivan)
    path = f"{ORDERS}/{order['id']}"
    assert code(ivan.ask("DELETE", path)) == (403, "FORBIDDEN")
    assert boss.ask("DELETE", path).json()["data"]["deletedOrder"]["id"] == order["id"]
    assert code(ivan.ask("GET", path)) == (404, "NOT_FOUND")
    assert code(ivan.ask("GET", f"{ORDERS}/{uuid.uuid4()}")) == (404, "NOT_FOUND")
    assert code(ivan.ask("GET", f"{ORDERS}/17")) == (400, "INVALID_UUID")


@pytest.mark.shows("orders/my-stats", "orders/stats")
def test_stats(enrol, boss, place) -> None:
    user = enrol()
    place(user, price=10)
    cancelled = place(user, price=20)
    user.ask("PUT", f"{ORDERS}/{cancelled['id']}/status", json={"status": "cancelled"})
    assert user.ask("GET", f"{ORDERS}/my-stats").json()["data"] == {
        "total_orders": 2,
        "by_status": {"created": 1, "processing": 0, "completed": 0, "cancelled": 1},
        "total_spent": 10,
        "recent_orders": 2,
    }
    every = boss.ask("GET", f"{ORDERS}/stats").json()["data"]
    assert every["total_orders"] >= 2
    assert every["revenue"].keys() == {"total", "average_order_value"}
    assert code(user.ask("GET", f"{ORDERS}/stats")) == (403, "FORBIDDEN")
