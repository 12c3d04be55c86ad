"""From the queue to the figures, with a real RabbitMQ: each event once, bad ones aside, none lost."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import aio_pika
from analytics.projection import QUEUE
from analytics.tests.conftest import Deployed, Start, body, days_agree, life, rows
from kit.broker import cloud_event
from kit.context import REQUEST_ID
from kit.outbox import Event
from testing import patient
from testing.process import until as waited
from testing.rabbitmq import RabbitMQ


async def publish(
    rabbitmq: RabbitMQ, *bodies: Any, event_id: uuid.UUID | None = None, **headers: str
) -> None:
    """As orders does."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(QUEUE, durable=True)
        for each in bodies:
            event = Event("order.created", "order", "1", QUEUE, {}, headers, event_id or uuid.uuid4())
            message = aio_pika.Message(
                json.dumps(each).encode(),
                message_id=str(event.id),
                headers=cloud_event(event, "orders"),
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await channel.default_exchange.publish(message, QUEUE)


async def until(deployed: Deployed, orders: int, within: float = 60.0) -> dict[str, Any]:
    """The stats, as soon as they count so many orders."""
    async with asyncio.timeout(within):
        while True:
            found: dict[str, Any] = await asyncio.to_thread(deployed.get, "/api/reports/stats")
            if found["total_orders"] >= orders:
                return found
            await asyncio.sleep(0.1)


async def dead(rabbitmq: RabbitMQ) -> list[Any]:
    """Bodies of the dead letters, which are taken."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        queue = await (await connection.channel()).declare_queue(f"{QUEUE}.dead", durable=True)
        found = []
        while message := await queue.get(fail=False, timeout=60):
            await message.ack()
            found.append(json.loads(message.body))
        return found


async def test_events_become_figures(deployed: Deployed, rabbitmq: RabbitMQ) -> None:
    twin = uuid.uuid4()
    await publish(rabbitmq, body(1), event_id=twin)
    await publish(rabbitmq, body(1), event_id=twin)
    unreadable = {"order_id": 2}
    too_much, no_time = body(3, total_amount=1e300), body(4, changed_at="2026-06-30T23:59:60Z")
    await publish(rabbitmq, unreadable, too_much, no_time)
    await publish(rabbitmq, *life(5, "new", "confirmed", source="manual", total_amount=0.1)[::-1])
    found = await until(deployed, 2)
    while rows(deployed.settings, "SELECT count(*) FROM inbox") != [(3,)]:
        await asyncio.sleep(0.1)
    assert await asyncio.to_thread(deployed.get, "/api/reports/stats") == found
    assert found == {
        "total_orders": 2,
        "total_amount": 300.0,
        "average_amount": 150.0,
        "most_frequent_status": "new",
        "sources": [
            {"source_name": "manual", "count": 1, "amount": 0.1},
            {"source_name": "website", "count": 1, "amount": 299.9},
        ],
        "statuses": [{"status": "new", "count": 1}, {"status": "confirmed", "count": 1}],
    }
    assert days_agree(deployed.settings)
    # Each at least once, as a broker that is slow to confirm is told again.
    found_dead = [json.dumps(each) for each in await dead(rabbitmq)]
    assert list(dict.fromkeys(found_dead)) == [json.dumps(each) for each in (unreadable, too_much, no_time)]


async def test_what_was_counted_is_logged_under_the_id_of_its_request(
    deployed: Deployed, rabbitmq: RabbitMQ
) -> None:
    event_id = uuid.uuid4()
    await publish(rabbitmq, body(50), event_id=event_id, **{REQUEST_ID: "placed-1"})

    def lines() -> list[dict[str, Any]]:
        written = deployed.log.read_text().rpartition("\n")[0]
        return [json.loads(each) for each in written.splitlines() if "event counted" in each]

    async with asyncio.timeout(60):
        while not (found := [each for each in lines() if each["event_id"] == str(event_id)]):
            await asyncio.sleep(0.1)
    (line,) = found
    assert (line["logger"], line["level"], line["request_id"]) == ("analytics", "info", "placed-1")


async def test_the_broker_may_be_away(deployed: Deployed, rabbitmq: RabbitMQ) -> None:
    """What was counted is told meanwhile, and what was not is counted afterwards."""
    known = (await until(deployed, 0))["total_orders"]
    await publish(rabbitmq, body(100))
    before = await until(deployed, known + 1)
    rabbitmq.stop()
    ready = {"status": "ok", "checks": {"database": "ok"}}
    waited(lambda: patient.get(f"{deployed.url}/health/ready").json() == ready)
    assert await asyncio.to_thread(deployed.get, "/api/reports/stats") == before
    rabbitmq.start()  # in this very thread: the kernel ends a server together with the thread that made it
    now = datetime.now(UTC).isoformat()
    wanted = before["total_orders"] + 20
    await publish(rabbitmq, *(body(200 + each, created_at=now, changed_at=now) for each in range(20)))
    assert (await until(deployed, wanted))["total_orders"] == wanted
    assert days_agree(deployed.settings)


async def test_two_instances_share_the_queue(start: Start, deployed: Deployed, rabbitmq: RabbitMQ) -> None:
    """And the rows of one day, into which both count."""
    taken = 'consumer_messages_total{outcome="consumed",queue="order_analytics"}'
    mine = "FROM orders WHERE id BETWEEN 1001 AND 1040"
    async with start(**deployed.settings) as other, asyncio.timeout(60):
        while 'consumer_connected{queue="order_analytics"} 1.0' not in (await other.get("/metrics")).text:
            await asyncio.sleep(0.1)
        await publish(
            rabbitmq, *(each for number in range(1001, 1041) for each in life(number, "new", "confirmed"))
        )
        while rows(deployed.settings, f"SELECT count(*) {mine} AND status = 'confirmed'") != [(40,)]:
            await asyncio.sleep(0.1)
        for metrics in (
            (await other.get("/metrics")).text,
            (await asyncio.to_thread(patient.get, f"{deployed.url}/metrics")).text,
        ):
            (line,) = (each for each in metrics.splitlines() if each.startswith(taken))
            assert float(line.split()[1]) > 0
    assert days_agree(deployed.settings)
