"""`Idempotency-Key`: one request, however often it is sent, places one order."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx2
import psycopg
import pytest
from kit.database import Database
from kit.lanes import Lanes
from orders import idempotency
from orders.settings import WarehouseSettings
from orders.tests.conftest import EWA, JAN, ORDER, Api, Start, rows

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


async def place(api: Api, key: str, path: str = "/api/orders", **changes: object) -> httpx2.Response:
    return await api.call("POST", path, {**ORDER, **changes}, **{"Idempotency-Key": key})


def placed(api: Api) -> int:
    found: int = rows(api.database, "SELECT count(*) FROM orders")[0][0]
    return found


async def test_a_repeated_request_gets_the_first_answer(api: Api) -> None:
    jan = api.as_user(JAN)
    first = await place(jan, KEY, total_amount=299.9)
    assert first.status_code == 201
    assert "idempotent-replayed" not in first.headers
    await jan.change(first.json()["id"], "cancelled")
    for path, changes in (
        ("/api/orders", {"total_amount": 299.9}),
        ("/api/orders/", {"total_amount": "299.90"}),
        ("/api/orders", {"total_amount": 299.9, "customer_name": f" {ORDER['customer_name']}"}),
        ("/api/orders", {"total_amount": 299.9, "customer_email": "JAN@example.com"}),
    ):
        again = await place(jan, KEY, path, **changes)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
    assert placed(api) == 1
    assert rows(api.database, "SELECT count(*) FROM outbox WHERE type = 'order.created'") == [(3,)]


@pytest.mark.parametrize(
    "changes",
    [{"customer_name": "A"}, {"customer_email": "a@b.pl"}, {"source": "manual"}, {"total_amount": 1}],
)
async def test_a_key_stands_for_one_request(api: Api, changes: dict[str, object]) -> None:
    jan = api.as_user(JAN)
    first = await place(jan, KEY)
    other = await place(jan, KEY, **changes)
    assert other.status_code == 422
    assert other.json() == {"error": "This Idempotency-Key was used for another request"}
    assert (await place(jan, KEY)).content == first.content
    assert placed(api) == 1


async def test_keys_belong_to_a_user(api: Api) -> None:
    mine, others = await place(api.as_user(JAN), KEY), await place(api.as_user(EWA), KEY)
    assert mine.json()["id"] != others.json()["id"]
    assert "idempotent-replayed" not in others.headers
    assert (await place(api.as_user(EWA), KEY)).content == others.content


async def test_without_a_key_each_request_is_an_order(api: Api) -> None:
    for _ in range(2):
        await api.as_user(JAN).place()
    assert (placed(api), rows(api.database, "SELECT count(*) FROM idempotency_keys")) == (2, [(0,)])


async def test_a_refused_request_keeps_no_key(api: Api) -> None:
    jan = api.as_user(JAN)
    assert (await place(jan, KEY, total_amount=-1)).status_code == 400
    assert (await place(jan, KEY)).status_code == 201


async def test_keys(api: Api) -> None:
    jan = api.as_user(JAN)
    for good in ("1", f'"{KEY}"', "a b", "%_'; DROP TABLE orders", "k" * 255):
        assert (await place(jan, good)).status_code == 201
        assert (await place(jan, good)).headers["idempotent-replayed"] == "true"
    for bad in ("", "k" * 256, "a\tb", "\u00fc"):
        answer = await jan.http.post(
            "/api/orders",
            json=ORDER,
            headers=[
                (b"authorization", f"Bearer {jan.token}".encode()),
                (b"idempotency-key", bad.encode("latin-1")),
            ],
        )
        assert answer.status_code == 400, bad
        assert list(answer.json()["fields"]) == ["Idempotency-Key"]
    assert placed(api) == 5


async def test_racing_requests_place_one_order(start: Start) -> None:
    """Two instances: who is told 409 finds the first answer when asking again."""
    async with start() as one, start() as other:
        for round_ in range(10):
            key = f"{KEY}-{round_}"
            answers = await asyncio.gather(*(place(each.as_user(JAN), key) for each in (one, other) * 4))
            assert {answer.status_code for answer in answers} <= {201, 409}
            bodies = {answer.content for answer in answers if answer.status_code == 201}
            assert len(bodies) == 1
            fresh = [
                each
                for each in answers
                if each.status_code == 201 and "idempotent-replayed" not in each.headers
            ]
            assert len(fresh) == 1
            again = await place(other.as_user(JAN), key)
            assert (again.status_code, {again.content}) == (201, bodies)
        assert placed(one) == 10


async def test_a_request_in_flight(api: Api) -> None:
    """Held up in the middle of its transaction: its twin is refused at once, others go on."""
    jan = api.as_user(JAN)
    with connection(api) as held:
        held.execute("LOCK TABLE order_status_history IN SHARE MODE")
        first = asyncio.create_task(place(jan, KEY))
        await locked(api)
        twins = await asyncio.gather(*(place(jan, KEY) for _ in range(20)))
        assert Counter(each.status_code for each in twins) == {409: 20}
        assert twins[0].json() == {"error": "A request with this Idempotency-Key is under way"}
        assert not first.done()
        held.rollback()
    assert (await first).status_code == 201
    assert (await place(jan, KEY)).content == (await first).content
    assert placed(api) == 1


async def test_a_failed_request_may_be_tried_again(api: Api) -> None:
    """The connection breaks in the middle: no order, no key, and the next request is the first."""
    jan = api.as_user(JAN)
    with connection(api) as held:
        held.execute("LOCK TABLE order_status_history IN SHARE MODE")
        first = asyncio.create_task(place(jan, KEY))
        await locked(api)
        rows(
            api.database,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        assert (await first).status_code == 503
        held.rollback()
    assert (placed(api), rows(api.database, "SELECT count(*) FROM idempotency_keys")) == (0, [(0,)])
    again = await place(jan, KEY)
    assert (again.status_code, "idempotent-replayed" in again.headers) == (201, False)


async def test_a_key_is_kept_for_a_day(api: Api) -> None:
    jan = api.as_user(JAN)
    first = await place(jan, KEY)
    aged(api, "23 hours 59 minutes")
    assert (await place(jan, KEY)).content == first.content
    aged(api, "24 hours 1 minute")
    second = await place(jan, KEY, total_amount=5)
    assert (second.status_code, "idempotent-replayed" in second.headers) == (201, False)
    assert second.json()["id"] != first.json()["id"]
    assert (await place(jan, KEY, total_amount=5)).content == second.content
    assert (await place(jan, KEY)).status_code == 422


async def test_old_keys_are_purged(api: Api, own_settings: dict[str, object]) -> None:
    jan = api.as_user(JAN)
    for n in range(7):
        await place(jan, f"old-{n}")
    aged(api, "25 hours")
    await place(jan, KEY)
    settings = WarehouseSettings.model_validate(own_settings)
    async with (
        Database.open(settings) as database,
        Lanes.open(database, 1) as lanes,
        idempotency.purging(lanes, interval=0.05),
        asyncio.timeout(60),
    ):
        while rows(api.database, "SELECT count(*) FROM idempotency_keys") != [(1,)]:
            await asyncio.sleep(0.05)
        aged(api, "25 hours")
        while rows(api.database, "SELECT count(*) FROM idempotency_keys") != [(0,)]:
            await asyncio.sleep(0.05)
    assert placed(api) == 8


def connection(api: Api) -> psycopg.Connection:
    """In a transaction, past the service."""
    found = {name.removeprefix("database_"): value for name, value in api.database.items()}
    return psycopg.connect(
        host=found["host"],
        port=found["port"],
        dbname=found["name"],
        user=found["user"],
        password=found["password"],
    )


async def locked(api: Api, within: float = 60) -> None:
    """Until a request holds its key."""
    query = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with asyncio.timeout(within):
        while rows(api.database, query) != [(1,)]:
            await asyncio.sleep(0.02)


def aged(api: Api, by: str) -> None:
    """As if every key had been used that long ago."""
    query = "UPDATE idempotency_keys SET created_at = now() - %s::interval RETURNING key"
    assert rows(api.database, query, by)
