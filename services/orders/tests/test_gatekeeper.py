"""The gatekeeper's contract, as its document prints it, and the holes that it leaves open."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from kit.tokens import Issuer
from orders.tests.conftest import Start, rows
from testing.keys import Keys

LAPTOP = {"product": "Laptop", "quantity": 1, "price": 75000.00}
IVAN, OLGA, BOSS = (uuid.UUID(int=n, version=4) for n in (11, 12, 31))
NUMBERS = {IVAN: 11, OLGA: 12, BOSS: 31}
WORDS = ("created", "processing", "in_progress", "completed", "cancelled")


@dataclass
class Keeper:
    """A client that speaks as one of the users, or as nobody."""

    http: httpx2.AsyncClient
    issuer: Issuer
    database: dict[str, Any]
    token: str | None = None

    def as_user(self, uid: uuid.UUID, email: str | None = None) -> Keeper:
        token = self.issuer.issue(
            user_id=NUMBERS[uid],
            email=email or f"user{NUMBERS[uid]}@example.com",
            role="admin" if uid == BOSS else "customer",
            session=str(uuid.uuid4()),
            more={"user_id": str(uid)},
        )
        return replace(self, token=token)

    async def ask(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await self.http.request(method, f"/v1{path}", json=json, headers={**own, **headers})

    async def place(self, *items: dict[str, Any]) -> dict[str, Any]:
        answer = await self.ask("POST", "/orders", {"items": items or [LAPTOP]})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found

    async def move(self, order: dict[str, Any], status: str) -> httpx2.Response:
        return await self.ask("PUT", f"/orders/{order['id']}/status", {"status": status})

    async def listed(self, query: str = "") -> list[str]:
        answer = await self.ask("GET", f"/orders?{query}")
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["data"]]


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal, which has the documented form."""
    body = answer.json()
    assert list(body) == ["success", "error"], body
    assert body["success"] is False
    assert {"code", "message"} <= body["error"].keys() <= {"code", "message", "fields"}
    return answer.status_code, body["error"]["code"]


@pytest.fixture
async def api(start: Start, keys: Keys, own_settings: dict[str, Any]) -> AsyncIterator[Keeper]:
    async with start(contract="gatekeeper", application="gatekeeper") as found:
        yield Keeper(found.http, Issuer(keys.private, "gatekeeper"), own_settings)


@pytest.fixture
def ivan(api: Keeper) -> Keeper:
    return api.as_user(IVAN)


@pytest.fixture
def olga(api: Keeper) -> Keeper:
    return api.as_user(OLGA)


@pytest.fixture
def boss(api: Keeper) -> Keeper:
    return api.as_user(BOSS)


async def test_an_order_is_placed(ivan: Keeper) -> None:
    answer = await ivan.ask("POST", "/orders", {"items": [LAPTOP, {**LAPTOP, "quantity": 3, "price": 0.1}]})
    assert answer.status_code == 201
    order = answer.json()["data"]
    assert list(order) == ["id", "user_id", "items", "status", "total_amount", "created_at", "updated_at"]
    assert (order["user_id"], order["status"]) == (str(IVAN), "created")
    assert order["id"] == str(uuid.UUID(order["id"]))
    assert order["created_at"].endswith("Z")
    # Money as it was meant, to the digit, in compact JSON.
    items = (
        '"items":[{"product":"Laptop","quantity":1,"price":75000.00},'
        '{"product":"Laptop","quantity":3,"price":0.10}]'
    )
    assert items in answer.text
    assert '"total_amount":75000.30' in answer.text
    got = await ivan.ask("GET", f"/orders/{order['id']}")
    assert got.json() == answer.json()
    assert items in got.text


async def test_money_is_exact(ivan: Keeper, boss: Keeper) -> None:
    for _ in range(10):
        await ivan.place({"product": "Nail", "quantity": 1, "price": 0.1})
    big = await ivan.place({"product": "Ship", "quantity": 1, "price": 99999999.99})
    assert big["total_amount"] == 99999999.99
    stats = await ivan.ask("GET", "/orders/my-stats")
    assert '"total_spent":100000000.99' in stats.text
    assert '"total":100000000.99' in (await boss.ask("GET", "/orders/stats")).text


@pytest.mark.parametrize(
    "items",
    [
        [],
        None,
        "Laptop",
        [LAPTOP] * 101,
        [{**LAPTOP, "product": ""}],
        [{**LAPTOP, "product": " "}],
        [{**LAPTOP, "product": "x" * 201}],
        [{**LAPTOP, "product": "a\nb"}],
        [{**LAPTOP, "quantity": 0}],
        [{**LAPTOP, "quantity": 10_001}],
        [{**LAPTOP, "quantity": 1.5}],
        [{**LAPTOP, "price": 0}],
        [{**LAPTOP, "price": -1}],
        [{**LAPTOP, "price": 0.001}],
        [{**LAPTOP, "price": 100_000_000}],
        [{**LAPTOP, "quantity": 10_000}],  # together more than Decimal(10, 2) holds
        [{"product": "Laptop", "quantity": 1}],
    ],
)
async def test_bad_orders(ivan: Keeper, items: object) -> None:
    assert code(await ivan.ask("POST", "/orders", {"items": items})) == (400, "VALIDATION_ERROR")
    assert await ivan.listed() == []


async def test_largest_orders(ivan: Keeper) -> None:
    order = await ivan.place(*[{"product": "x" * 200, "quantity": 10_000, "price": 99.99}] * 100)
    assert (len(order["items"]), order["total_amount"]) == (100, 99_990_000)


async def test_who_may_see_what(api: Keeper, ivan: Keeper, olga: Keeper, boss: Keeper) -> None:
    order = await ivan.place()
    path = f"/orders/{order['id']}"
    for method, rest, body in (
        ("GET", "", None),
        ("PUT", "", {"items": [LAPTOP]}),
        ("PUT", "/status", {"status": "cancelled"}),
    ):
        assert code(await api.ask(method, path + rest, body)) == (401, "UNAUTHORIZED")
        assert code(await olga.ask(method, path + rest, body)) == (403, "FORBIDDEN")
        missing = f"/orders/{uuid.uuid4()}{rest}"
        assert code(await ivan.ask(method, missing, body)) == (404, "NOT_FOUND")
        assert code(await ivan.ask(method, f"/orders/17{rest}", body)) == (400, "INVALID_UUID")
    assert (await boss.ask("GET", path)).status_code == 200
    assert await olga.listed() == []
    assert await ivan.listed() == await boss.listed() == [order["id"]]


async def test_filters_sorting_pages(ivan: Keeper, olga: Keeper, boss: Keeper) -> None:
    mine = [await ivan.place({**LAPTOP, "price": price}) for price in (30, 10, 20)]
    hers = await olga.place({**LAPTOP, "price": 15})
    ids = [each["id"] for each in mine]
    assert await ivan.listed() == ids[::-1], "the newest first"
    assert await ivan.listed("sort_order=asc") == ids
    assert await ivan.listed("sort_by=total_amount&sort_order=asc") == [ids[1], ids[2], ids[0]]
    assert await ivan.listed("min_amount=20") == [ids[2], ids[0]]
    assert await ivan.listed("min_amount=10.01&max_amount=29.99") == [ids[2]]
    assert await ivan.listed("max_amount=0") == []
    assert (await ivan.move(mine[0], "cancelled")).status_code == 200
    assert await ivan.listed("status=cancelled") == [ids[0]]
    assert await ivan.listed("status=created") == [ids[2], ids[1]]
    assert await boss.listed("per_page=100") == [hers["id"], *ids[::-1]]
    assert await boss.listed(f"userId={OLGA}") == [hers["id"]]
    assert await ivan.listed(f"userId={IVAN}") == ids[::-1]
    assert code(await ivan.ask("GET", f"/orders?userId={OLGA}")) == (403, "FORBIDDEN")
    assert code(await boss.ask("GET", "/orders?userId=12")) == (400, "INVALID_UUID")
    page = (await ivan.ask("GET", "/orders?page=2&per_page=2")).json()
    assert [each["id"] for each in page["data"]] == [ids[0]]
    assert page["pagination"] == {"page": 2, "per_page": 2, "total": 3, "pages": 2}
    for bad in ("page=0", "per_page=101", "status=lost", "sort_by=id", "sort_order=up", "min_amount=-1"):
        assert code(await ivan.ask("GET", f"/orders?{bad}")) == (400, "VALIDATION_ERROR"), bad


async def test_an_owner_may_only_cancel(ivan: Keeper, boss: Keeper) -> None:
    order = await ivan.place()
    for status in ("processing", "in_progress", "completed", "created"):
        assert code(await ivan.move(order, status)) == (403, "FORBIDDEN"), status
    cancelled = await ivan.move(order, "cancelled")
    assert (cancelled.status_code, cancelled.json()["data"]["status"]) == (200, "cancelled")
    again = await ivan.move(order, "cancelled")
    assert code(again) == (409, "CONFLICT")
    assert again.json()["error"]["message"] == "An order that is cancelled cannot become cancelled"
    begun = await ivan.place()
    await boss.move(begun, "processing")
    assert (await ivan.move(begun, "cancelled")).status_code == 200
    done = await ivan.place()
    await boss.move(done, "completed")
    assert code(await ivan.move(done, "cancelled")) == (409, "CONFLICT")


@pytest.mark.parametrize("word", ["processing", "in_progress"])
async def test_processing_is_in_progress(ivan: Keeper, boss: Keeper, word: str) -> None:
    order = await ivan.place()
    assert (await boss.move(order, word)).json()["data"]["status"] == "processing"
    for either in ("processing", "in_progress"):
        assert await ivan.listed(f"status={either}") == [order["id"]]
        assert code(await boss.move(order, either)) == (409, "CONFLICT")
    assert (await boss.move(order, "completed")).json()["data"]["status"] == "completed"
    for status in WORDS:
        assert code(await boss.move(order, status)) == (409, "CONFLICT"), "what is completed stays so"
    assert code(await boss.move(order, "lost")) == (400, "VALIDATION_ERROR")


async def test_the_path_as_an_example_spells_it(api: Keeper, ivan: Keeper) -> None:
    order = await ivan.place()
    body = {"status": "cancelled"}
    assert code(await api.ask("PUT", f"/{order['id']}/status", body)) == (401, "UNAUTHORIZED")
    assert code(await ivan.ask("PUT", "/17/status", body)) == (400, "INVALID_UUID")
    answer = await ivan.ask("PUT", f"/{order['id']}/status", body)
    assert answer.json()["data"]["status"] == "cancelled"


async def test_items_are_replaced(ivan: Keeper, boss: Keeper) -> None:
    order = await ivan.place()
    path = f"/orders/{order['id']}"
    mouse = {"product": "Mouse", "quantity": 2, "price": 9.99}
    changed = (await ivan.ask("PUT", path, {"items": [mouse]})).json()["data"]
    assert (changed["items"], changed["total_amount"]) == ([mouse], 19.98)
    assert changed["updated_at"] > order["updated_at"]
    assert code(await ivan.ask("PUT", path, {"status": "processing"})) == (403, "FORBIDDEN")
    both = {"items": [LAPTOP], "status": "processing"}
    assert code(await ivan.ask("PUT", path, both)) == (403, "FORBIDDEN")
    assert (await ivan.ask("GET", path)).json()["data"]["items"] == [mouse], "all or nothing"
    moved = (await boss.ask("PUT", path, both)).json()["data"]
    assert (moved["status"], moved["items"]) == ("processing", [LAPTOP])
    assert code(await ivan.ask("PUT", path, {"items": [mouse]})) == (409, "CONFLICT")
    assert (await boss.ask("PUT", path, {"items": [mouse]})).status_code == 200
    assert (await ivan.ask("PUT", path, {"status": "cancelled"})).status_code == 200
    assert code(await boss.ask("PUT", path, {"items": [LAPTOP]})) == (409, "CONFLICT")
    assert code(await boss.ask("PUT", path, {})) == (400, "VALIDATION_ERROR")
    assert code(await boss.ask("PUT", path, {"items": []})) == (400, "VALIDATION_ERROR")


async def test_only_an_admin_deletes(ivan: Keeper, boss: Keeper, own_settings: dict[str, Any]) -> None:
    order = await ivan.place()
    path = f"/orders/{order['id']}"
    assert code(await ivan.ask("DELETE", path)) == (403, "FORBIDDEN")
    answer = await boss.ask("DELETE", path)
    assert answer.status_code == 200
    assert set(answer.json()["data"]) == {"message", "deletedOrder"}
    assert answer.json()["data"]["deletedOrder"] == order
    assert code(await boss.ask("DELETE", path)) == (404, "NOT_FOUND")
    assert code(await ivan.ask("GET", path)) == (404, "NOT_FOUND")
    assert rows(own_settings, "SELECT count(*) FROM order_status_history") == [(0,)]


async def test_stats(api: Keeper, ivan: Keeper, olga: Keeper, boss: Keeper) -> None:
    empty = (await ivan.ask("GET", "/orders/my-stats")).json()["data"]
    none = {"created": 0, "processing": 0, "completed": 0, "cancelled": 0}
    assert empty == {"total_orders": 0, "by_status": none, "total_spent": 0, "recent_orders": 0}
    nothing = (await boss.ask("GET", "/orders/stats")).json()["data"]["revenue"]
    assert nothing == {"total": 0, "average_order_value": 0}
    mine = [await ivan.place({**LAPTOP, "price": price}) for price in (10, 20, 40)]
    await olga.place({**LAPTOP, "price": 5.01})
    await ivan.move(mine[2], "cancelled")
    await boss.move(mine[1], "in_progress")
    found = (await ivan.ask("GET", "/orders/my-stats")).json()["data"]
    assert found == {
        "total_orders": 3,
        "by_status": {"created": 1, "processing": 1, "completed": 0, "cancelled": 1},
        "total_spent": 30,
        "recent_orders": 3,
    }
    rows(api.database, "UPDATE orders SET created_at = now() - interval '8 days' RETURNING id")
    every = (await boss.ask("GET", "/orders/stats")).json()["data"]
    assert every == {
        "total_orders": 4,
        "by_status": {"created": 2, "processing": 1, "completed": 0, "cancelled": 1},
        "revenue": {"total": 35.01, "average_order_value": 11.67},
        "recent_orders": 0,
    }
    assert code(await ivan.ask("GET", "/orders/stats")) == (403, "FORBIDDEN")
    assert code(await api.ask("GET", "/orders/my-stats")) == (401, "UNAUTHORIZED")


async def test_the_longest_address_places_orders_too(api: Keeper) -> None:
    email = f"{'i' * 64}@{'.'.join(['a' * 61] * 3)}.pl"
    assert len(email) == 253
    order = await api.as_user(IVAN, email).place()
    found = rows(api.database, "SELECT uid, customer_name, customer_email FROM orders")
    assert found == [(uuid.UUID(order["id"]), email[:200], email)]


async def test_a_repeated_request_places_one_order(ivan: Keeper) -> None:
    body = {"items": [LAPTOP]}
    first = await ivan.ask("POST", "/orders", body, **{"Idempotency-Key": "k-1"})
    again = await ivan.ask("POST", "/orders", body, **{"Idempotency-Key": "k-1"})
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    other = {"items": [{**LAPTOP, "product": "Mouse"}]}  # of the same price
    reused = await ivan.ask("POST", "/orders", other, **{"Idempotency-Key": "k-1"})
    assert code(reused) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert len(await ivan.listed()) == 1


async def test_of_two_changes_at_once_one_is_told_no(ivan: Keeper, boss: Keeper) -> None:
    order = await ivan.place()
    answers = await asyncio.gather(ivan.move(order, "cancelled"), boss.move(order, "completed"))
    assert sorted(each.status_code for each in answers) == [200, 409]


async def test_the_gateways_word_for_a_role_counts(
    start: Start, keys: Keys, own_settings: dict[str, Any]
) -> None:
    """Of who asks, and from where the gateway is."""
    changes = {"contract": "gatekeeper", "application": "gatekeeper", "trusted_proxies": ["127.0.0.1/32"]}
    async with start(**changes) as found:
        api = Keeper(found.http, Issuer(keys.private, "gatekeeper"), own_settings)
        path, boss = "/orders/stats", api.as_user(BOSS)
        assert (await boss.ask("GET", path)).status_code == 200
        told = {"X-User-Id": str(BOSS), "X-User-Role": "customer"}
        assert code(await boss.ask("GET", path, **told)) == (403, "FORBIDDEN")
        other = told | {"X-User-Id": str(IVAN)}
        assert (await boss.ask("GET", path, **other)).status_code == 200


async def test_nothing_is_told_to_a_broker(ivan: Keeper, own_settings: dict[str, Any]) -> None:
    await ivan.place()
    assert rows(own_settings, "SELECT count(*) FROM outbox") == [(0,)]


async def test_log_lines_have_the_documents_fields(
    ivan: Keeper, olga: Keeper, capsys: pytest.CaptureFixture[str]
) -> None:
    order = await ivan.place()
    capsys.readouterr()
    await olga.ask("GET", f"/orders/{order['id']}", **{"X-Request-ID": "abc-123-456"})
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    documented = {"timestamp", "level", "logger", "message", "service", "request_id", "user_id", "method"}
    assert documented | {"path"} <= line.keys()
    assert (line["request_id"], line["user_id"]) == ("abc-123-456", str(OLGA))
    assert (line["method"], line["path"]) == ("GET", f"/v1/orders/{order['id']}")
