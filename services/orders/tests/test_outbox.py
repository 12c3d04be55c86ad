"""Orders and their events while RabbitMQ, or the service itself, is away: none lost, none counted twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

import aio_pika
import httpx2
import pytest
from kit.outbox import Relay
from kit.tokens import Issuer
from orders import bootstrap
from orders.events import NOTIFICATIONS
from orders.tests.conftest import BOSS, JAN, ORDER, STAFF, Api, Start, messages, rows
from testing import patient
from testing.rabbitmq import RabbitMQ
from testing.service import Service

BODY = ["order_id", "customer_name", "status", "total_amount", "timestamp"]


@pytest.fixture
async def own_settings(own_settings: dict[str, object], rabbitmq: RabbitMQ) -> dict[str, object]:
    """With RabbitMQ, whose queue is empty; notification is away."""
    await messages(rabbitmq)
    return own_settings | rabbitmq.settings()


WAITING = "SELECT count(*) FROM outbox WHERE queue NOT LIKE 'webhook:%%'"


async def relayed(database: Mapping[str, Any], within: float = 120.0) -> None:
    """Until RabbitMQ has everything; what a killed relay had in hand waits for the end of its lease, 30 s."""
    async with asyncio.timeout(within):
        while rows(database, WAITING) != [(0,)]:
            await asyncio.sleep(0.1)


def bodies(found: list[aio_pika.abc.AbstractIncomingMessage]) -> list[dict[str, Any]]:
    """Each event once, as a consumer with an inbox sees them."""
    return list({message.message_id: json.loads(message.body) for message in found}.values())


async def test_the_message(api: Api, rabbitmq: RabbitMQ) -> None:
    jan = api.as_user(JAN)
    order = await jan.place(customer_name="Żaneta", total_amount=299.9)
    await api.as_user(STAFF).change(order["id"], "confirmed")
    changed = (await jan.get(f"/api/orders/{order['id']}")).json()
    stored = rows(api.database, "SELECT id FROM outbox WHERE queue = %s", NOTIFICATIONS)
    await relayed(api.database)
    first, second = await messages(rabbitmq)
    assert json.loads(first.body) == {
        "order_id": order["id"],
        "customer_name": "Żaneta",
        "status": "new",
        "total_amount": 299.9,
        "timestamp": order["created_at"],
    }
    assert json.loads(second.body)["status"] == "confirmed"
    assert json.loads(second.body)["timestamp"] == changed["updated_at"]
    assert sorted(json.loads(second.body)) == sorted(BODY)
    assert {first.message_id, second.message_id} >= {str(each) for (each,) in stored}
    assert first.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert first.content_type == "application/json"
    attributes = {
        name.removeprefix("cloudEvents:"): value
        for name, value in second.headers.items()
        if name.startswith("cloudEvents:")
    }
    assert attributes == {
        "specversion": "1.0",
        "id": second.message_id,
        "source": "/orders",
        "type": "order.status_changed",
        "subject": str(order["id"]),
        "time": attributes["time"],
    }
    told = datetime.fromisoformat(str(attributes["time"]))
    assert told == datetime.fromisoformat(changed["updated_at"].replace("Z", "+00:00"))
    assert first.headers["cloudEvents:type"] == "order.created"


async def test_events_leave_with_the_commit_that_made_them(
    start: Start, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order placed, and one changed; the relay would look by itself in an hour."""
    monkeypatch.setattr(bootstrap, "Relay", partial(Relay, interval=3600))
    async with start() as api:
        jan, staff = api.as_user(JAN), api.as_user(STAFF)
        for _ in range(2):
            order = await jan.place()
            await relayed(api.database)
            for status in ("confirmed", "shipped"):
                assert (await staff.change(order["id"], status)).status_code == 200
                await relayed(api.database)
    found = [each["status"] for each in bodies(await messages(rabbitmq))]
    assert found == ["new", "confirmed", "shipped"] * 2


async def test_a_refused_change_tells_nobody(api: Api, rabbitmq: RabbitMQ) -> None:
    jan = api.as_user(JAN)
    order_id = (await jan.place())["id"]
    assert (await jan.change(order_id, "confirmed")).status_code == 403
    assert (await api.as_user(BOSS).change(order_id, "delivered")).status_code == 409
    await relayed(api.database)
    assert [each["status"] for each in bodies(await messages(rabbitmq))] == ["new"]


async def test_orders_are_taken_while_rabbitmq_is_down(start: Start, rabbitmq: RabbitMQ) -> None:
    async with start() as api:
        jan, staff = api.as_user(JAN), api.as_user(STAFF)
        before = await jan.place()
        await relayed(api.database)
        rabbitmq.stop()
        try:
            # One that waited for RabbitMQ would be given up.
            placed = [await jan.place(total_amount=n) for n in range(30)]
            for order in placed[:10]:
                assert (await staff.change(order["id"], "confirmed")).status_code == 200
            assert (await api.get("/health/ready")).status_code == 200
            assert rows(api.database, WAITING) == [(3 * 40,)]
        finally:
            rabbitmq.start()
        await relayed(api.database)
    found = bodies(await messages(rabbitmq))
    statuses: dict[int, list[str]] = defaultdict(list)
    for each in found:
        statuses[each["order_id"]].append(each["status"])
    assert statuses == {
        before["id"]: ["new"],
        **{order["id"]: ["new", "confirmed"] for order in placed[:10]},
        **{order["id"]: ["new"] for order in placed[10:]},
    }


def test_a_service_killed_between_commit_and_publish(
    own_settings: dict[str, object], issuer: Issuer, rabbitmq: RabbitMQ
) -> None:
    """Killed three times under load: whoever was told 201 finds the order, and its event comes."""
    token = issuer.issue(user_id=JAN, email="jan@example.com", role="customer", session="s")
    headers = {"Authorization": f"Bearer {token}"}
    taken: list[int] = []

    def customer(url: str) -> None:
        with httpx2.Client(headers=headers, timeout=60) as http:
            while True:
                try:
                    answer = http.post(f"{url}/api/orders", json=ORDER)
                except httpx2.HTTPError:
                    return
                if answer.status_code == 201:
                    taken.append(answer.json()["id"])

    for _ in range(3):
        with Service.running("orders", own_settings) as service, ThreadPoolExecutor(4) as threads:
            customers = [threads.submit(customer, service.url) for _ in range(4)]
            had = len(taken)
            while len(taken) < had + 40:
                assert not any(each.done() for each in customers)
                time.sleep(0.02)
            service.kill()
            for each in customers:
                each.result()
    waiting = rows(own_settings, WAITING)[0][0]
    assert waiting > 0, "none was killed between commit and publish"
    with Service.running("orders", own_settings):
        asyncio.run(relayed(own_settings))
    kept = {each for (each,) in rows(own_settings, "SELECT id FROM orders")}
    told = [each["order_id"] for each in bodies(asyncio.run(messages(rabbitmq)))]
    assert set(taken) <= kept, "an order was confirmed to a customer and is gone"
    assert sorted(told) == sorted(kept), "an event was lost, or two events tell the same"


async def test_two_instances_share_the_work(start: Start, rabbitmq: RabbitMQ) -> None:
    async with start() as one, start() as other:
        for _ in range(5):
            await asyncio.gather(*(each.as_user(JAN).place() for each in (one, other) * 10))
        await relayed(one.database)
    found = await messages(rabbitmq)
    assert len(found) == len(bodies(found)) == 100


def test_stopping_in_order_leaves_nothing_behind(
    own_settings: dict[str, object], issuer: Issuer, rabbitmq: RabbitMQ
) -> None:
    """An event whose publishing has begun is finished before the process ends, so it comes only once."""
    token = issuer.issue(user_id=JAN, email="jan@example.com", role="customer", session="s")
    with Service.running("orders", own_settings) as service:
        for _ in range(20):
            patient.post(
                f"{service.url}/api/orders", json=ORDER, headers={"Authorization": f"Bearer {token}"}
            ).raise_for_status()
        service.stop()
    with Service.running("orders", own_settings):
        asyncio.run(relayed(own_settings))
    found = asyncio.run(messages(rabbitmq))
    assert len(found) == len(bodies(found)) == 20
