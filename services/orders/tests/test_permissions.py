"""Who may do what: one table, every line asked of a running service."""

from __future__ import annotations

from dataclasses import replace

from kit.tokens import Issuer, ServiceTokens
from orders.tests.conftest import BOSS, EWA, JAN, ORDER, ROLES, SHARED, STAFF, Api, Start, rows
from testing.keys import Keys

NOBODY = 0

# Who, to whose order, which is in which status, sets which status -> answer.
CHANGES = [
    (JAN, JAN, "new", "cancelled", 200),
    (JAN, JAN, "confirmed", "cancelled", 403),
    (JAN, JAN, "shipped", "cancelled", 409),
    (JAN, JAN, "cancelled", "cancelled", 409),
    (JAN, JAN, "new", "confirmed", 403),
    (JAN, JAN, "new", "new", 403),
    (JAN, JAN, "shipped", "delivered", 403),
    (JAN, EWA, "new", "cancelled", 404),
    (JAN, EWA, "new", "confirmed", 403),
    (JAN, STAFF, "new", "cancelled", 404),
    (STAFF, JAN, "new", "confirmed", 200),
    (STAFF, JAN, "confirmed", "cancelled", 200),
    (STAFF, BOSS, "confirmed", "shipped", 200),
    (STAFF, JAN, "shipped", "cancelled", 409),
    (BOSS, JAN, "shipped", "delivered", 200),
    (BOSS, STAFF, "delivered", "new", 409),
    (NOBODY, JAN, "new", "cancelled", 401),
]
WAY = {
    "new": (),
    "confirmed": ("confirmed",),
    "shipped": ("confirmed", "shipped"),
    "delivered": ("confirmed", "shipped", "delivered"),
    "cancelled": ("cancelled",),
}


async def test_changes(api: Api) -> None:
    for who, whose, status, wanted, answered in CHANGES:
        order_id = (await api.as_user(whose).place())["id"]
        boss = api.as_user(BOSS)
        for each in WAY[status]:
            assert (await boss.change(order_id, each)).status_code == 200
        asking = api.as_user(who) if who else api
        answer = await asking.change(order_id, wanted)
        assert answer.status_code == answered, answer.text
        after = (await boss.get(f"/api/orders/{order_id}")).json()["status"]
        assert after == (wanted if answered == 200 else status)


async def test_the_refusal_is_the_warehouses(api: Api) -> None:
    jan = api.as_user(JAN)
    order_id = (await jan.place())["id"]
    body = {
        "error": "insufficient_permissions",
        "message": "You do not have permission to access this resource",
        "required_roles": ["admin", "employee"],
        "user_role": "customer",
    }
    assert (await jan.change(order_id, "confirmed")).json() == body
    await api.as_user(BOSS).change(order_id, "confirmed")
    own = {**body, "message": "You can cancel an order only while it is new"}
    assert (await jan.change(order_id, "cancelled")).json() == own


async def test_everybody_places_and_sees_own_orders(api: Api) -> None:
    for who in (JAN, EWA, STAFF, BOSS):
        user = api.as_user(who)
        order = await user.place()
        assert (await user.get(f"/api/orders/{order['id']}")).json() == order
        assert order["id"] in await user.listed()


async def test_customers_see_own_orders_only(api: Api) -> None:
    mine = [(await api.as_user(JAN).place())["id"] for _ in range(2)]
    # The address is a contact, not a proof: whoever registers with it must not find the order.
    others = await api.as_user(STAFF).place(customer_email=f"user{JAN}@example.com")
    jan = api.as_user(JAN)
    answer = await jan.get("/api/orders")
    assert [each["id"] for each in answer.json()] == mine[::-1]
    assert answer.headers["x-total-count"] == "2"
    assert await jan.listed(f"customer_email=user{JAN}@example.com") == []
    hidden = await jan.get(f"/api/orders/{others['id']}")
    missing = await jan.get("/api/orders/999999")
    assert (hidden.status_code, hidden.json()) == (missing.status_code, missing.json())
    assert hidden.status_code == 404
    assert len(await api.as_user(STAFF).listed()) == len(await api.as_user(BOSS).listed()) == 3


async def test_an_unknown_role_is_a_customers(api: Api) -> None:
    order_id = (await api.as_user(JAN).place())["id"]
    guest = api.as_user(EWA, role="moderator")
    assert await guest.listed() == []
    assert (await guest.change(order_id, "confirmed")).json()["user_role"] == "moderator"


async def test_a_service_reads_everything_and_changes_nothing(api: Api) -> None:
    ids = [(await api.as_user(who).place())["id"] for who in (JAN, EWA, STAFF)]
    service, boss = api.as_service(), api.as_user(BOSS)
    assert await service.listed() == ids[::-1]
    assert await service.listed("status=new&limit=1") == ids[-1:]
    for path in ("", "/history"):
        answer = await service.get(f"/api/orders/{ids[0]}{path}")
        assert answer.status_code == 200
        assert answer.json() == (await boss.get(f"/api/orders/{ids[0]}{path}")).json()
    assert (await service.get("/api/orders/counts")).json()["new"] == 3
    assert (await service.get("/api/orders/999")).status_code == 404
    before = rows(api.database, "SELECT count(*), max(updated_at) FROM orders")
    for answer in (
        await service.call("POST", "/api/orders", ORDER),
        await service.call("POST", "/api/orders", ORDER, **{"Idempotency-Key": "1"}),
        *[await service.change(ids[0], status) for status in ("confirmed", "cancelled", "new")],
    ):
        assert answer.status_code == 403
        assert answer.json()["user_role"] == "service"
    assert rows(api.database, "SELECT count(*), max(updated_at) FROM orders") == before
    assert rows(api.database, "SELECT count(*) FROM idempotency_keys") == [(0,)]


async def test_not_everybody_is_a_service(api: Api) -> None:
    forged = api.as_service(key="x" * 43).token
    elsewhere = ServiceTokens(SHARED["service_key"], "goshop").issue("analytics")
    for token in (forged, elsewhere):
        answer = await replace(api, token=token).get("/api/orders")
        assert (answer.status_code, answer.json()) == (401, {"error": "Invalid or expired token"})


PATHS = [
    ("GET", "/api/orders"),
    ("GET", "/api/orders/counts"),
    ("GET", "/api/orders/1/history"),
    ("POST", "/api/orders"),
    ("GET", "/api/orders/1"),
    ("PATCH", "/api/orders/1/status"),
]


async def test_nobody(api: Api, keys: Keys) -> None:
    old = Issuer(keys.private, "warehouse", lifetime=-60)
    expired = old.issue(user_id=JAN, email="jan@example.com", role="admin", session="s")
    refused: list[tuple[dict[str, str], str]] = [
        ({}, "Authentication required"),
        ({"Authorization": "Basic amFuOmphbg=="}, "Authentication required"),
        ({"Authorization": "Bearer nonsense"}, "Invalid or expired token"),
        ({"Authorization": f"Bearer {expired}"}, "Invalid or expired token"),
        ({"X-User-Id": str(BOSS), "X-User-Role": "admin"}, "Authentication required"),
    ]
    for method, path in PATHS:
        for headers, error in refused:
            answer = await api.call(method, path, None, **headers)
            assert (answer.status_code, answer.json()) == (401, {"error": error})
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_gateways_word_on_the_role_counts(start: Start, api: Api) -> None:
    """A demoted admin's token still says admin; what auth told the gateway just now does not."""
    order_id = (await api.as_user(JAN).place())["id"]
    told = {"X-User-Id": str(BOSS), "X-User-Role": "customer"}
    body = {"status": "confirmed"}
    path = f"/api/orders/{order_id}/status"
    async with start(trusted_proxies=["127.0.0.1/32"]) as behind:
        boss = behind.as_user(BOSS)
        assert (await boss.call("PATCH", path, body, **told)).status_code == 403
        promoted = {"X-User-Id": str(EWA), "X-User-Role": "employee"}
        assert (await behind.as_user(EWA).call("PATCH", path, body, **promoted)).status_code == 200
    # Without a declared proxy the headers are anybody's.
    assert (await api.as_user(EWA).call("PATCH", path, {"status": "shipped"}, **promoted)).status_code == 403


def test_the_table_is_whole() -> None:
    assert {who for who, *_ in CHANGES} == {JAN, STAFF, BOSS, NOBODY}
    assert set(ROLES.values()) == {"customer", "employee", "admin"}
