"""Who is told of a change, and what; and that a receiver who is away keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import aio_pika
import pytest
from kit import webhooks
from kit.events import check
from orders.events import ANALYTICS, MAIL, NOTIFICATIONS, QUEUES, WEBHOOK
from orders.tests.conftest import BOSS, JAN, ORDER, SHARED, STAFF, Api, Start, messages, rows
from orders.tests.receiver import Receiver
from testing.rabbitmq import RabbitMQ

ALL = {*QUEUES, WEBHOOK}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver.running(SHARED["webhook_key"]) as found:
        yield found


@pytest.fixture
async def own_settings(
    own_settings: dict[str, object], rabbitmq: RabbitMQ, receiver: Receiver
) -> dict[str, object]:
    """With RabbitMQ, whose queues are empty, and a receiver of webhooks."""
    for queue in QUEUES:
        await messages(rabbitmq, queue)
    return own_settings | rabbitmq.settings() | {"notification_url": f"{receiver.url}/"}


def waiting(api: Api) -> dict[str, int]:
    """Events in the outbox by queue."""
    return dict(rows(api.database, "SELECT queue, count(*) FROM outbox GROUP BY queue"))


async def until(api: Api, expected: dict[str, int], within: float = 60.0) -> None:
    """Until the outbox holds just this."""
    async with asyncio.timeout(within):
        while waiting(api) != expected:
            await asyncio.sleep(0.05)


async def bodies(rabbitmq: RabbitMQ, queue: str) -> list[dict[str, Any]]:
    found = [json.loads(message.body) for message in await messages(rabbitmq, queue)]
    for each in found:
        check(queue, each)
    return found


async def test_every_channel(api: Api, rabbitmq: RabbitMQ, receiver: Receiver) -> None:
    jan = api.as_user(JAN)
    body = {**ORDER, "customer_name": "Żaneta", "source": "manual", "total_amount": 299.9}
    order = (await jan.call("POST", "/api/orders", body, **{"Accept-Language": "en-GB"})).json()
    await api.as_user(STAFF).change(order["id"], "confirmed")
    changed = (await jan.get(f"/api/orders/{order['id']}")).json()["updated_at"]
    await until(api, {})
    common = {"order_id": order["id"], "total_amount": 299.9}
    analytics = {**common, "source": "manual", "created_at": order["created_at"]}
    assert await bodies(rabbitmq, ANALYTICS) == [
        {**analytics, "status": "new", "old_status": None, "changed_at": order["created_at"]},
        {**analytics, "status": "confirmed", "old_status": "new", "changed_at": changed},
    ]
    named = {**common, "customer_name": "Żaneta"}
    mail = {"to": "jan@example.com", "language": "en"}
    placed = {**named, "source": "manual", "created_at": order["created_at"]}
    assert await bodies(rabbitmq, MAIL) == [
        {**mail, "template": "order_placed", "context": placed},
        {
            **mail,
            "template": "status_changed",
            "context": {**named, "status": "confirmed", "old_status": "new"},
        },
    ]
    notifications = [
        {**named, "status": "new", "timestamp": order["created_at"]},
        {**named, "status": "confirmed", "timestamp": changed},
    ]
    assert await bodies(rabbitmq, NOTIFICATIONS) == notifications
    assert [each.body for each in receiver.taken] == notifications
    assert {each.path for each in receiver.taken} == {"/webhooks/orders"}


async def test_the_webhook_is_the_twin_of_the_message(
    api: Api, rabbitmq: RabbitMQ, receiver: Receiver
) -> None:
    order_id = (await api.as_user(JAN).place())["id"]
    await api.as_user(BOSS).change(order_id, "cancelled")
    await until(api, {})
    found = {queue: await messages(rabbitmq, queue) for queue in QUEUES}
    twins = found[NOTIFICATIONS]
    assert [each.id for each in receiver.taken] == [each.message_id for each in twins]
    for webhook, message in zip(receiver.taken, twins, strict=True):
        for name in ("type", "source", "specversion"):
            assert webhook.headers[f"ce-{name}"] == message.headers[f"cloudEvents:{name}"]
        moment = str(message.headers["cloudEvents:time"])
        assert datetime.fromisoformat(webhook.headers["ce-time"]) == datetime.fromisoformat(moment)
    types = {queue: [each.headers["cloudEvents:type"] for each in found[queue]] for queue in QUEUES}
    assert types == {
        NOTIFICATIONS: ["order.created", "order.status_changed"],
        ANALYTICS: ["order.created", "order.status_changed"],
        MAIL: ["mail.requested", "mail.requested"],
    }
    # An id says one thing: who reads two queues with one inbox loses nothing.
    assert len({each.message_id for several in found.values() for each in several}) == 6


async def test_a_change_is_told_whole_or_not_at_all(start: Start, rabbitmq: RabbitMQ) -> None:
    """With every receiver away: each change waits for each of them, a refused one for none."""
    rabbitmq.stop()
    try:
        async with start(notification_url="http://127.0.0.1:1") as api:
            jan = api.as_user(JAN)
            order_id = (await jan.place())["id"]
            assert waiting(api) == dict.fromkeys(ALL, 1)
            assert (await jan.change(order_id, "confirmed")).status_code == 403
            assert (await api.as_user(BOSS).change(order_id, "delivered")).status_code == 409
            assert waiting(api) == dict.fromkeys(ALL, 1)
            assert (await jan.change(order_id, "cancelled")).status_code == 200
            assert waiting(api) == dict.fromkeys(ALL, 2)
    finally:
        rabbitmq.start()


async def test_webhooks_come_while_rabbitmq_is_down(
    start: Start, rabbitmq: RabbitMQ, receiver: Receiver
) -> None:
    async with start() as api:
        rabbitmq.stop()
        try:
            placed = [(await api.as_user(JAN).place())["id"] for _ in range(20)]
            await until(api, dict.fromkeys(QUEUES, 20))
            assert sorted(each.body["order_id"] for each in receiver.taken) == placed
        finally:
            rabbitmq.start()
        await until(api, {})
    for queue in QUEUES:
        assert len(await messages(rabbitmq, queue)) >= 20


@pytest.mark.parametrize("how", ["away", "silent", "unavailable", "cross"])
async def test_messages_come_while_notification_is_down(
    start: Start, rabbitmq: RabbitMQ, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """However it is down: nobody there, no answer, a proxy's 503, or its own 500."""
    if how == "silent":
        monkeypatch.setattr(webhooks, "TIMEOUT", 5)
    if how == "away":
        receiver.stop()
    receiver.delay = 60 if how == "silent" else 0
    receiver.answer = {"unavailable": 503, "cross": 500}.get(how, 202)
    async with start() as api:
        jan, staff = api.as_user(JAN), api.as_user(STAFF)
        placed = [(await jan.place())["id"] for _ in range(20)]
        for order_id in placed:
            assert (await staff.change(order_id, "confirmed")).status_code == 200
        await until(api, {WEBHOOK: 40})
        assert (await api.get("/health/ready")).status_code == 200
        assert receiver.taken == []
        receiver.delay, receiver.answer = 0, 202
        if how == "away":
            receiver.start()
        if how != "silent":  # what it said nothing to is sent again only when its lease is over
            await until(api, {})
            told = [(each.body["order_id"], each.body["status"]) for each in receiver.taken]
            for order_id in placed:
                own = list(dict.fromkeys(status for found, status in told if found == order_id))
                assert own == ["new", "confirmed"]
    ids: set[Any] = set()
    found: list[aio_pika.abc.AbstractIncomingMessage] = await messages(rabbitmq)
    ids.update(each.message_id for each in found)
    assert len(ids) == len(found) == 40


async def test_metrics_by_queue(api: Api) -> None:
    await api.as_user(JAN).place()
    await until(api, {})
    text = (await api.get("/metrics")).text
    for queue in ALL:
        assert f'outbox_published_total{{queue="{queue}"}} 1.0' in text
