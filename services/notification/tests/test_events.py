"""From an order to its notification, through real services, and while one of them is away."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aio_pika
import pytest
from notification.notifications import QUEUE
from notification.tests.conftest import STAFF, Api, Deployed, Start, event, publish, rows, signed, until
from testing import patient
from testing.process import free_port
from testing.rabbitmq import RabbitMQ

DETAILS = "SELECT source, customer_email FROM notifications_log WHERE order_id = %s"


@pytest.fixture
async def own_settings(own_settings: dict[str, object], rabbitmq: RabbitMQ) -> dict[str, object]:
    """With RabbitMQ, whose queues are empty."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        for name in (QUEUE, f"{QUEUE}.dead"):
            await (await channel.declare_queue(name, durable=True)).purge()
    return own_settings | rabbitmq.settings()


async def dead(rabbitmq: RabbitMQ) -> int:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(f"{QUEUE}.dead", durable=True)
        return queue.declaration_result.message_count or 0


async def handled(api: Api) -> float:
    """Messages of the queue that are done with."""
    outcomes = ("consumed", "repeated")
    return sum([await api.counted(f'consumer_messages_total{{outcome="{each}"') for each in outcomes])


async def test_each_event_once_by_whichever_way_it_comes(start: Start, rabbitmq: RabbitMQ) -> None:
    """Twins race through queue and webhook."""
    happened = [event(n, status) for n in range(1, 11) for status in ("new", "confirmed")]
    async with start() as api:
        staff = api.as_user(STAFF)
        await asyncio.gather(
            publish(rabbitmq, *happened, *happened), *(api.hook(each) for each in reversed(happened))
        )
        async with asyncio.timeout(60):
            while await handled(api) < 40:
                await asyncio.sleep(0.05)
        found = await staff.listed("limit=1000")
    assert sorted(each["event_id"] for each in found) == sorted(str(each.id) for each in happened)
    assert rows(api.database, "SELECT count(*) FROM inbox") == [(20,)]


async def test_poison_goes_to_the_dead_letters_and_the_rest_flows_on(
    start: Start, rabbitmq: RabbitMQ
) -> None:
    good = event(7)
    await publish(rabbitmq, event(status="lost"))
    await publish(rabbitmq, event(), body=b"{")
    await publish(rabbitmq, good)
    async with start() as api:
        staff = api.as_user(STAFF)
        async with asyncio.timeout(60):
            while not (found := await staff.listed()):
                await asyncio.sleep(0.05)
    assert [(each["event_id"], each["channel"]) for each in found] == [(str(good.id), "rabbitmq")]
    assert await dead(rabbitmq) == 2


async def test_without_orders_there_is_a_notification_all_the_same(start: Start) -> None:
    """Orders is asked once, then left alone for a while."""
    async with start(orders_pause=600) as api:
        await api.hook(event(1))
        await api.hook(event(2))
        await api.hook(event(3, "confirmed"))
        assert rows(api.database, "SELECT order_id, source FROM notifications_log ORDER BY id") == [
            (1, None),
            (2, None),
            (3, None),
        ]
        assert await api.counted('enrichment_total{outcome="failed"}') == 1
        assert await api.counted('enrichment_total{outcome="skipped"}') == 1


async def test_a_slow_orders_counts_as_away(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with start(orders_url=url, orders_timeout=0.3) as api:
            assert (await api.hook(event(1))).status_code == 202
            assert await api.counted('enrichment_total{outcome="failed"}') == 1
            assert rows(api.database, DETAILS, 1) == [(None, None)]


async def test_it_is_asked_again_after_the_pause(start: Start) -> None:
    async with start(orders_url=f"http://127.0.0.1:{free_port()}", orders_pause=0) as api:
        await api.hook(event(1))
        await api.hook(event(2))
        assert await api.counted('enrichment_total{outcome="failed"}') == 2


async def test_an_order_becomes_notifications(deployed: Deployed) -> None:
    """The webhook and the message of one event are one notification, with what orders told besides."""
    log = "SELECT status, source, customer_email, text_pl FROM notifications_log WHERE order_id = %s"
    for _ in range(3):
        order_id = await asyncio.to_thread(deployed.place, customer_name="Żaneta", source="zrodlo_dwa")
        await asyncio.to_thread(deployed.change, order_id, "confirmed")
        await until(lambda: len(rows(deployed.settings, log, order_id)) == 2)  # noqa: B023  (asked at once)
        found: set[Any] = set(rows(deployed.settings, log, order_id))
        if any(source for _, source, *_ in found):
            break  # else orders was late to tell, which a notification does not wait for
    assert found == {
        ("new", "zrodlo_dwa", "jan@example.com", f"Nowe zamówienie nr {order_id}: Żaneta, 299,99 zł"),
        ("confirmed", None, None, f"Zamówienie nr {order_id} potwierdzone: Żaneta, 299,99 zł"),
    }


async def test_both_ways_are_used(deployed: Deployed) -> None:
    ways = (
        "consumer_messages_total{",
        'http_requests_total{method="POST",route="/webhooks/orders",status="202"}',
    )

    def counted() -> list[float]:
        lines = patient.get(f"{deployed.notification.url}/metrics").text.splitlines()
        return [sum(float(each.split()[-1]) for each in lines if each.startswith(way)) for way in ways]

    before = counted()
    await asyncio.to_thread(deployed.place)
    await until(lambda: all(now > then for now, then in zip(counted(), before, strict=True)))


async def test_what_nobody_signed_changes_nothing(deployed: Deployed) -> None:
    content, headers = signed(event(999_999))
    headers["webhook-signature"] = "v1,nonsense"
    answer = patient.post(f"{deployed.notification.url}/webhooks/orders", content=content, headers=headers)
    assert answer.status_code == 401
    assert rows(deployed.settings, DETAILS, 999_999) == []
