"""The warehouse's contract: paths, fields, codes and texts."""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import urlencode

import pytest
from kit import outbox
from orders.events import QUEUES, WEBHOOK
from orders.tests.conftest import BOSS, EWA, JAN, ORDER, STAFF, Api, rows

FIELDS = [
    "id",
    "customer_name",
    "customer_email",
    "source",
    "status",
    "total_amount",
    "created_at",
    "updated_at",
]
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


@pytest.mark.parametrize("path", ["/api/orders", "/api/orders/"])
async def test_create(api: Api, path: str) -> None:
    answer = await api.as_user(JAN).call("POST", path, ORDER)
    assert answer.status_code == 201
    order = answer.json()
    assert list(order) == FIELDS
    assert {name: order[name] for name in ORDER} == ORDER
    assert order["status"] == "new"
    assert TIME.match(order["created_at"])
    assert order["created_at"] == order["updated_at"]


AMOUNTS = [
    ("0", "0.00"),
    ("0.1", "0.10"),
    ("299.9", "299.90"),
    ("299.99", "299.99"),
    ("9999999999.99", "9999999999.99"),
    ('"19.90"', "19.90"),
    ("1e3", "1000.00"),
]


async def test_money_is_exact(api: Api) -> None:
    for given, shown in AMOUNTS:
        body = f'{{"customer_name": "A", "customer_email": "a@b.pl", "total_amount": {given}}}'
        headers = {"Authorization": f"Bearer {api.as_user(JAN).token}", "Content-Type": "application/json"}
        answer = await api.http.request("POST", "/api/orders", content=body, headers=headers)
        assert f'"total_amount":{shown},' in answer.text
        assert f'"total_amount":{shown},' in (await api.as_user(JAN).get("/api/orders")).text
        kept = rows(api.database, "SELECT total_amount FROM orders ORDER BY id DESC LIMIT 1")
        assert str(kept[0][0]) == shown


SOURCES = [
    ("website", "website"),
    ("manual", "manual"),
    ("zrodlo_jeden", "zrodlo_jeden"),
    ("zrodlo_dwa", "zrodlo_dwa"),
    ("źródło_jeden", "zrodlo_jeden"),
    ("źródło_dwa", "zrodlo_dwa"),
    ("źródło_jeden".replace("ó", "o\u0301"), "zrodlo_jeden"),
]


async def test_sources(api: Api) -> None:
    for given, kept in SOURCES:
        jan = api.as_user(JAN)
        order = await jan.place(source=given)
        assert order["source"] == kept
        assert (await jan.get(f"/api/orders?source={given}&limit=1")).json() == [order]


async def test_without_a_source_it_is_the_website(api: Api) -> None:
    body = {name: value for name, value in ORDER.items() if name != "source"}
    answer = await api.as_user(JAN).call("POST", "/api/orders", body)
    assert answer.json()["source"] == "website"


async def test_names_and_addresses_are_tidied(api: Api) -> None:
    order = await api.as_user(JAN).place(customer_name="  Żółw Łódź ", customer_email="Zolw@Example.COM")
    assert order["customer_name"] == "Żółw Łódź"
    assert order["customer_email"] == "zolw@example.com"


BAD_FIELDS = [
    ("customer_name", ""),
    ("customer_name", "   "),
    ("customer_name", "a" * 201),
    ("customer_name", "a\u0000b"),
    ("customer_name", None),
    ("customer_email", "jan"),
    ("customer_email", "jan@example"),
    ("customer_email", "jan@exa mple.com"),
    ("customer_email", "jan\u0000@example.com"),
    ("customer_email", "a" * 250 + "@b.pl"),
    ("customer_email", "jan@example.com\n"),
    ("customer_email", "jan\ufeff@example.com"),
    ("customer_email", "jan@exam\ufeffple.com"),
    ("customer_email", '"jan"@example.com'),
    ("customer_email", "jan,x@example.com"),
    ("customer_email", "Jan<jan@example.com>"),
    ("customer_email", "jan@example..com"),
    ("customer_email", "jan@example.com."),
    ("customer_email", f"jan@{'a' * 64}.pl"),
    (
        "customer_email",
        f"jan@{'.'.join(['İ' * 10] * 20)}.pl",
    ),  # 226 characters, in small letters twice as many
    ("source", "e-mail"),
    ("source", 1),
    ("total_amount", -0.01),
    ("total_amount", 0.001),
    ("total_amount", 10**10),
    ("total_amount", "much"),
    ("total_amount", None),
]


async def test_bad_fields(api: Api) -> None:
    for field, value in BAD_FIELDS:
        answer = await api.as_user(JAN).call("POST", "/api/orders", {**ORDER, field: value})
        assert answer.status_code == 400, value
        assert answer.json()["error"] == "Invalid request"
        assert list(answer.json()["fields"]) == [field]
        if field == "customer_email":
            assert answer.json()["fields"] == {field: "is not an e-mail address"}
        assert rows(api.database, "SELECT count(*) FROM orders") == [(0,)]


NO_NUMBERS = ["NaN", "Infinity", "-Infinity"]


async def test_no_number(api: Api) -> None:
    for amount in NO_NUMBERS:
        body = f'{{"customer_name": "A", "customer_email": "a@b.pl", "total_amount": {amount}}}'
        headers = {"Authorization": f"Bearer {api.as_user(JAN).token}", "Content-Type": "application/json"}
        answer = await api.http.request("POST", "/api/orders", content=body, headers=headers)
        assert answer.status_code == 400


async def test_the_client_sets_no_status_and_no_owner(api: Api) -> None:
    order = await api.as_user(JAN).place(status="delivered", id=7, owner_id=EWA)
    assert order["status"] == "new"
    assert rows(api.database, "SELECT id, owner_id FROM orders") == [(order["id"], JAN)]


async def test_list_is_a_bare_array_newest_first(api: Api) -> None:
    jan, staff = api.as_user(JAN), api.as_user(STAFF)
    answer = await staff.get("/api/orders")
    assert (answer.text, answer.headers["x-total-count"]) == ("[]", "0")
    placed = [await jan.place(total_amount=n) for n in range(5)]
    for path in ("/api/orders", "/api/orders/"):
        answer = await staff.get(path)
        assert answer.json() == placed[::-1]
        assert answer.headers["x-total-count"] == "5"


async def test_pages(api: Api) -> None:
    staff = api.as_user(STAFF)
    ids = [(await staff.place())["id"] for _ in range(7)][::-1]
    for query, wanted in (
        ("limit=3", ids[:3]),
        ("limit=3&offset=3", ids[3:6]),
        ("limit=3&offset=6", ids[6:]),
        ("limit=7", ids),
        ("limit=7&offset=7", []),
        ("offset=100", []),
    ):
        answer = await staff.get(f"/api/orders?{query}")
        assert [each["id"] for each in answer.json()] == wanted, query
        assert answer.headers["x-total-count"] == "7", query


async def test_a_page_has_a_hundred_unless_told(api: Api) -> None:
    staff = api.as_user(STAFF)
    for _ in range(101):
        await staff.place()
    answer = await staff.get("/api/orders")
    assert (len(answer.json()), answer.headers["x-total-count"]) == (100, "101")
    assert len((await staff.get("/api/orders?limit=1000")).json()) == 101


async def test_filters(api: Api) -> None:
    boss = api.as_user(BOSS)
    one = await boss.place(customer_email="a@example.com", source="manual")
    two = await boss.place(customer_email="b@example.com", source="zrodlo_dwa")
    three = await boss.place(customer_email="a@example.com")
    await boss.change(two["id"], "confirmed")
    await boss.change(three["id"], "cancelled")
    for query, wanted in (
        ("status=new", [one]),
        ("status=new&status=confirmed", [two, one]),
        ("status=shipped", []),
        ("source=manual", [one]),
        ("source=manual&source=website", [three, one]),
        ("customer_email=A@Example.com", [three, one]),
        ("customer_email=a@example.com&status=cancelled", [three]),
        (f"created_from={two['created_at']}", [three, two]),
        (f"created_to={two['created_at']}", [one]),
        (f"created_from={two['created_at']}&created_to={three['created_at']}", [two]),
        ("created_from=2999-01-01", []),
        ("created_to=2999-01-01T00:00:00", [three, two, one]),
        ("query=kowal&source=manual", [one]),
        ("unknown=1", [three, two, one]),
    ):
        assert await boss.listed(query) == [each["id"] for each in wanted], query


async def test_a_part_of_the_name(api: Api) -> None:
    """Its letters mean themselves, whatever they mean to SQL."""
    boss, jan = api.as_user(BOSS), api.as_user(JAN)
    names = ["Żółta Łódź S.A.", "Jan 100% Kowalski", "Jan_Nowak", r"Jan\Kot", "O'Neill; DROP TABLE orders"]
    ids = [(await boss.place(customer_name=name))["id"] for name in names]
    own = (await jan.place(customer_name="Jan Własny"))["id"]
    for query, wanted in (
        ("jan", [own, ids[3], ids[2], ids[1]]),
        ("JAN", [own, ids[3], ids[2], ids[1]]),
        (" jan ", [own, ids[3], ids[2], ids[1]]),
        ("żółta łó", [ids[0]]),
        ("ŻÓŁTA", [ids[0]]),
        ("%", [ids[1]]),
        ("100%", [ids[1]]),
        ("_", [ids[2]]),
        ("n_n", [ids[2]]),
        ("\\", [ids[3]]),
        ("o'neill; drop", [ids[4]]),
        ("kowalski%", []),
        ("nobody", []),
    ):
        assert await boss.listed(urlencode({"query": query})) == wanted, query
    assert await jan.listed("query=jan") == [own]
    page = await boss.get("/api/orders?query=jan&limit=1")
    assert page.headers["x-total-count"] == "4"


async def test_counts(api: Api) -> None:
    jan, boss = api.as_user(JAN), api.as_user(BOSS)
    empty = dict.fromkeys(["new", "confirmed", "shipped", "delivered", "cancelled"], 0)
    assert (await boss.get("/api/orders/counts")).json() == empty
    ids = [(await jan.place())["id"] for _ in range(5)]
    await boss.change(ids[0], "confirmed")
    await boss.change(ids[1], "cancelled")
    await boss.change(ids[2], "cancelled")
    for path in ("/api/orders/counts", "/api/orders/counts/"):
        for who in (api.as_user(STAFF), boss):
            answer = await who.get(path)
            assert answer.status_code == 200
            assert answer.json() == {**empty, "new": 2, "confirmed": 1, "cancelled": 2}
    assert (await jan.get("/api/orders/counts")).status_code == 403
    assert (await api.get("/api/orders/counts")).status_code == 401


async def test_times_without_a_zone_are_utc(api: Api) -> None:
    boss = api.as_user(BOSS)
    order = await boss.place()
    naive = order["created_at"].removesuffix("Z")
    assert await boss.listed(f"created_from={naive}") == [order["id"]]
    assert await boss.listed(f"created_from={naive}%2B00:01") == [order["id"]]
    assert await boss.listed(f"created_from={naive}-00:01") == []


async def test_sorting(api: Api) -> None:
    boss = api.as_user(BOSS)
    ids = [(await boss.place(total_amount=amount))["id"] for amount in (5, 9, 5)]
    await boss.change(ids[0], "confirmed")
    for sort, wanted in (
        ("created_at", [0, 1, 2]),
        ("-created_at", [2, 1, 0]),
        ("total_amount", [0, 2, 1]),
        ("-total_amount", [1, 2, 0]),
        ("updated_at", [1, 2, 0]),
        ("-updated_at", [0, 2, 1]),
    ):
        assert await boss.listed(f"sort={sort}") == [ids[each] for each in wanted], sort


BAD_QUERIES = [
    "status=lost",
    "source=e-mail",
    "customer_email=jan",
    "query=",
    "query=%20",
    "query=a%00b",
    "query=" + "a" * 201,
    "customer_email=a%00@b.pl",
    "created_from=yesterday",
    "sort=customer_name",
    "sort=id;DROP TABLE orders",
    "limit=0",
    "limit=1001",
    "limit=x",
    "offset=-1",
]


async def test_bad_queries(api: Api) -> None:
    for query in BAD_QUERIES:
        answer = await api.as_user(BOSS).get(f"/api/orders?{query}")
        assert answer.status_code == 400
        assert [each.partition(".")[0] for each in answer.json()["fields"]] == [query.partition("=")[0]]


async def test_get(api: Api) -> None:
    jan = api.as_user(JAN)
    order = await jan.place()
    for path in (f"/api/orders/{order['id']}", f"/api/orders/{order['id']}/"):
        answer = await jan.get(path)
        assert (answer.status_code, answer.json()) == (200, order)


UNKNOWN_IDS = ["999", "2147483647"]


async def test_unknown_orders(api: Api) -> None:
    for order_id in UNKNOWN_IDS:
        boss = api.as_user(BOSS)
        for answer in (
            await boss.get(f"/api/orders/{order_id}"),
            await boss.get(f"/api/orders/{order_id}/history"),
            await boss.change(int(order_id), "confirmed"),
        ):
            assert (answer.status_code, answer.json()) == (404, {"error": "Order not found"})


BAD_IDS = ["0", "-1", "2147483648", "9" * 30, "one", "1.5", "%00"]


async def test_bad_ids(api: Api) -> None:
    for order_id in BAD_IDS:
        boss = api.as_user(BOSS)
        for answer in (
            await boss.get(f"/api/orders/{order_id}"),
            await boss.get(f"/api/orders/{order_id}/history"),
            await boss.call("PATCH", f"/api/orders/{order_id}/status", {"status": "confirmed"}),
        ):
            assert answer.status_code == 400
            assert list(answer.json()["fields"]) == ["order_id"]


@pytest.mark.parametrize("end", ["", "/"])
async def test_change_of_status(api: Api, end: str) -> None:
    jan, staff = api.as_user(JAN), api.as_user(STAFF)
    order = await jan.place()
    answer = await staff.call("PATCH", f"/api/orders/{order['id']}/status{end}", {"status": "confirmed"})
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "Order status updated successfully",
        "order_id": order["id"],
        "new_status": "confirmed",
    }
    seen = (await jan.get(f"/api/orders/{order['id']}")).json()
    assert seen["updated_at"] > order["updated_at"]
    assert seen == {**order, "status": "confirmed", "updated_at": seen["updated_at"]}


async def test_an_illegal_change(api: Api) -> None:
    staff = api.as_user(STAFF)
    order_id = (await staff.place())["id"]
    for status, error, allowed in (
        ("shipped", "An order that is new cannot become shipped, only confirmed or cancelled", 2),
        ("new", "The order is already new", 2),
    ):
        answer = await staff.change(order_id, status)
        assert answer.status_code == 409
        assert answer.json() == {
            "error": error,
            "status": "new",
            "allowed": ["confirmed", "cancelled"][:allowed],
        }
    await staff.change(order_id, "cancelled")
    answer = await staff.change(order_id, "confirmed")
    assert answer.json() == {
        "error": "The order is cancelled, which is final",
        "status": "cancelled",
        "allowed": [],
    }


BAD_STATUSES = [{}, {"status": "lost"}, {"status": None}, {"status": 1}, [], "new"]


async def test_bad_statuses(api: Api) -> None:
    for body in BAD_STATUSES:
        staff = api.as_user(STAFF)
        order_id = (await staff.place())["id"]
        answer = await staff.call("PATCH", f"/api/orders/{order_id}/status", body)
        assert answer.status_code == 400


async def test_history(api: Api) -> None:
    order_id = (await api.as_user(JAN).place())["id"]
    await api.as_user(STAFF).change(order_id, "confirmed")
    await api.as_user(STAFF).change(order_id, "delivered")  # refused
    await api.as_user(BOSS).change(order_id, "shipped")
    other = (await api.as_user(EWA).place())["id"]
    for path in (f"/api/orders/{order_id}/history", f"/api/orders/{order_id}/history/"):
        for who in (JAN, STAFF, BOSS):
            answer = await api.as_user(who).get(path)
            assert answer.status_code == 200
            history = answer.json()
            times = [each.pop("changed_at") for each in history]
            assert history == [
                {"old_status": None, "new_status": "new", "changed_by": JAN, "role": "customer"},
                {"old_status": "new", "new_status": "confirmed", "changed_by": STAFF, "role": "employee"},
                {"old_status": "confirmed", "new_status": "shipped", "changed_by": BOSS, "role": "admin"},
            ]
            assert all(TIME.match(each) for each in times)
            assert times == sorted(set(times))
        assert (await api.get(path)).status_code == 401
    order = (await api.as_user(JAN).get(f"/api/orders/{order_id}")).json()
    assert (order["created_at"], order["updated_at"]) == (times[0], times[-1])
    hidden = await api.as_user(JAN).get(f"/api/orders/{other}/history")
    assert (hidden.status_code, hidden.json()) == (404, {"error": "Order not found"})


async def test_what_was_done_is_logged_under_the_id_of_its_request(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, and without what a customer said of themselves."""
    jan, staff = api.as_user(JAN), api.as_user(STAFF)
    capsys.readouterr()
    answers = [
        await jan.call("POST", "/api/orders", ORDER, **{"X-Request-ID": name, "Idempotency-Key": key})
        for name, key in (("placed-1", "k-1"), ("placed-2", "k-2"), ("placed-3", "k-2"))
    ]
    one, two, again = (each.json()["id"] for each in answers)
    assert again == two
    path, confirmed = f"/api/orders/{one}/status", {"status": "confirmed"}
    assert (await staff.call("PATCH", path, confirmed, **{"X-Request-ID": "changed-1"})).status_code == 200
    written = capsys.readouterr().out
    lines = [json.loads(each) for each in written.splitlines()]
    told = [
        (each["request_id"], each["level"], each["message"], each["order_id"], each["status"])
        for each in lines
        if each["logger"] == "orders"
    ]
    assert told == [
        ("placed-1", "info", "order placed", one, "new"),
        ("placed-2", "info", "order placed", two, "new"),
        ("changed-1", "info", "order changed", one, "confirmed"),
    ]
    assert "Kowalski" not in written
    assert "jan@example.com" not in written


async def test_health(api: Api) -> None:
    answer = await api.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": "orders"})
    assert (await api.get("/health/live")).status_code == 200
    # RabbitMQ is down here: orders are taken all the same.
    assert (await api.get("/health/ready")).json() == {"status": "ok", "checks": {"database": "ok"}}


async def test_metrics(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ and notification are down here: how much waits for them is told all the same."""
    monkeypatch.setattr(outbox, "MEASURE", 0.0)
    await api.as_user(JAN).place()
    text = (await api.get("/metrics")).text
    assert 'http_requests_total{method="POST",route="/api/orders",status="201"} 1.0' in text
    assert "websocket_clients 0.0" in text
    async with asyncio.timeout(60):
        for queue in (*QUEUES, WEBHOOK):
            assert f'outbox_published_total{{queue="{queue}"}} 0.0' in text
            while f'outbox_pending{{queue="{queue}"}} 1.0' not in text:
                await asyncio.sleep(0.1)
                text = (await api.get("/metrics")).text
