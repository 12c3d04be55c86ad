"""The outbox against a real PostgreSQL and a real RabbitMQ, with everything failing that can."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from kit import broker, outbox
from kit.broker import RabbitPublisher
from kit.database import Database
from kit.events import Misfit
from kit.lanes import Lanes
from kit.outbox import BrokerDown, Event, Relay
from kit.tests.conftest import Settings, messages
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from testing.postgres import Postgres
from testing.process import free_port
from testing.rabbitmq import RabbitMQ

SERVICES = Path(broker.__file__).parents[1]

# A lease, and half of it is how long a confirmation may take, that no machine stands still for.
FAST: dict[str, Any] = {"interval": 0.05, "lease": 120.0, "backoff": 0.05}


def event(queue: str, n: int, aggregate: str | None = None) -> Event:
    return Event("order.created", "order", aggregate or str(n), queue, {"n": n})


async def write(database: Database, *events: Event) -> None:
    async with database.transaction() as session:
        await outbox.add(session, *events)


async def waiting(database: Database) -> int:
    async with database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(outbox.outbox)) or 0


async def given_up(database: Database) -> int:
    async with database.transaction() as session:
        dead = outbox.outbox.c.dead_at.is_not(None)
        return await session.scalar(select(func.count()).where(dead)) or 0


async def emptied(database: Database, within: float = 60.0) -> None:
    async with asyncio.timeout(within):
        while await waiting(database):
            await asyncio.sleep(0.05)


async def measured(registry: CollectorRegistry, queue: str, pending: int) -> None:
    """Until the relay tells that so many wait: after a try or two, each as long as a connection may take."""
    async with asyncio.timeout(120):
        while registry.get_sample_value("outbox_pending", {"queue": queue}) != pending:
            await asyncio.sleep(0.05)


def numbers(found: list[aio_pika.abc.AbstractIncomingMessage]) -> list[int]:
    return [json.loads(each.body)["n"] for each in found]


async def test_message(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    told = Event(
        "order.created", "order", "17", queue, {"order_id": 17, "customer_name": "Żółć"}, {"tenant": "a"}
    )
    await write(database, told)
    relay = Relay(database, publisher, queues=[queue])
    assert await relay.once() == 1
    assert await relay.once() == 0
    assert await waiting(database) == 0
    (message,) = await messages(settings, queue)
    assert json.loads(message.body) == {"order_id": 17, "customer_name": "Żółć"}
    assert message.message_id == str(told.id)
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.content_type, message.type) == ("application/json", "order.created")
    expected = {
        "tenant": "a",
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": str(told.id),
        "cloudEvents:source": "/shop",
        "cloudEvents:type": "order.created",
        "cloudEvents:subject": "17",
        "cloudEvents:time": told.time.isoformat(),
    }
    assert {name: message.headers[name] for name in expected} == expected


async def test_only_what_was_committed(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    async def change_of_mind() -> None:
        async with database.transaction() as session:
            await outbox.add(session, event(queue, 1))
            raise RuntimeError("change of mind")

    with pytest.raises(RuntimeError, match="change of mind"):
        await change_of_mind()
    await write(database, event(queue, 2))
    await Relay(database, publisher, queues=[queue]).once()
    assert numbers(await messages(settings, queue)) == [2]


async def test_order_within_an_aggregate(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    for n in range(60):
        await write(database, event(queue, n, aggregate=str(n % 3)))
    async with asyncio.timeout(90):
        async with (
            Relay(database, publisher, queues=[queue], **FAST).running(),
            Relay(database, publisher, queues=[queue], **FAST).running(),
        ):
            await emptied(database)
    found = numbers(await messages(settings, queue))
    assert sorted(found) == list(range(60))
    by_aggregate: dict[int, list[int]] = defaultdict(list)
    for n in found:
        by_aggregate[n % 3].append(n)
    assert all(each == sorted(each) for each in by_aggregate.values())


async def test_many_relays_at_once_send_each_event_once(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    await write(database, *(event(queue, n) for n in range(300)))
    relays = [Relay(database, publisher, queues=[queue], batch=7, **FAST) for _ in range(4)]
    while sum(await asyncio.gather(*(relay.once() for relay in relays))):
        pass
    assert sorted(numbers(await messages(settings, queue))) == list(range(300))


async def test_broker_down_then_up(
    rabbitmq: RabbitMQ,
    settings: Settings,
    database: Database,
    publisher: RabbitPublisher,
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events written before, during and after an outage all arrive, once, and none is charged an attempt.

    How many wait is told meanwhile.
    """
    monkeypatch.setattr(outbox, "MEASURE", 0.0)
    registry = CollectorRegistry()
    relay = Relay(database, publisher, queues=[queue], max_attempts=1, registry=registry, **FAST)
    async with relay.running():
        await write(database, *(event(queue, n) for n in range(10)))
        await emptied(database)
        await asyncio.to_thread(rabbitmq.stop)
        try:
            for n in range(10, 30):
                await write(database, event(queue, n, aggregate=str(n % 4)))
                await asyncio.sleep(0.02)
            await measured(registry, queue, 20)
            assert await waiting(database) == 20
        finally:
            rabbitmq.start()  # in this thread: the server ends together with the thread that started it
        await write(database, event(queue, 30))
        await emptied(database)
        await measured(registry, queue, 0)
    found = await messages(settings, queue)
    assert sorted(numbers(found)) == list(range(31))
    assert len({each.message_id for each in found}) == 31


async def test_starts_without_a_broker(settings: Settings, database: Database, queue: str) -> None:
    nowhere = settings.model_copy(update={"broker_port": free_port()})
    async with RabbitPublisher.open(nowhere) as publisher:
        await write(database, event(queue, 1))
        with pytest.raises(BrokerDown):
            await Relay(database, publisher, queues=[queue]).once()
        with pytest.raises(BrokerDown):
            await publisher.publish(event(queue, 2))
        registry = CollectorRegistry()
        relay = Relay(database, publisher, queues=[queue], registry=registry)
        assert registry.get_sample_value("outbox_published_total", {"queue": queue}) == 0
        async with relay.running():
            await measured(registry, queue, 1)
    async with RabbitPublisher.open(
        settings
    ) as publisher:  # the row was given back: no waiting for its lease
        assert await Relay(database, publisher, queues=[queue]).once() == 1
    assert numbers(await messages(settings, queue)) == [1]


async def test_a_refused_event_backs_off_dies_and_lets_the_others_by(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    bad = f"bad-{queue}"
    connection = await aio_pika.connect(str(broker.url(settings)))
    async with connection:  # not as we declare it: RabbitMQ refuses
        await (await connection.channel()).declare_queue(bad, durable=False, exclusive=True)
        await write(
            database, event(bad, 1, "same"), event(queue, 2, "same"), event(queue, 3, "same"), event(queue, 4)
        )
        registry = CollectorRegistry()
        relay = Relay(database, publisher, queues=[bad, queue], max_attempts=3, registry=registry, **FAST)
        async with relay.running(), asyncio.timeout(60):
            while await waiting(database) > 1 or await given_up(database) == 0:
                await asyncio.sleep(0.05)
    found = numbers(await messages(settings, queue))
    assert sorted(found) == [2, 3, 4]
    assert found.index(2) < found.index(3)
    async with database.transaction() as session:
        (row,) = (await session.execute(select(outbox.outbox))).all()
    assert (row.attempts, row.payload, row.lease_token) == (3, {"n": 1}, None)
    assert row.dead_at is not None
    assert row.error
    assert registry.get_sample_value("outbox_refused_total", {"queue": bad}) == 3
    assert registry.get_sample_value("outbox_published_total", {"queue": queue}) == 3


async def test_a_deleted_queue_is_declared_again(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    await write(database, event(queue, 1))
    await Relay(database, publisher, queues=[queue]).once()
    connection = await aio_pika.connect(str(broker.url(settings)))
    async with connection:
        await (await connection.channel()).queue_delete(queue)
    await write(database, event(queue, 2))
    async with Relay(database, publisher, queues=[queue], max_attempts=2, **FAST).running():
        await emptied(database)
    assert numbers(await messages(settings, queue)) == [2]


CRASHING = """
import asyncio, os, signal, sys
from kit.broker import RabbitPublisher
from kit.database import Database
from kit.outbox import Relay
from kit.settings import BrokerSettings, DatabaseSettings, load

class Settings(DatabaseSettings, BrokerSettings):
    pass

class Crashing:
    def __init__(self, inner):
        self.inner = inner
        self.published = 0

    async def publish(self, event):
        await self.inner.publish(event)  # RabbitMQ has it, the outbox does not know
        self.published += 1
        if self.published == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(60)

async def main():
    settings = load(Settings)
    async with Database.open(settings) as database, RabbitPublisher.open(settings) as publisher:
        await Relay(database, Crashing(publisher), queues=sys.argv[1:], lease=120.0).run()

asyncio.run(main())
"""


async def consume(settings: Settings, database: Database, queue: str, quiet: float) -> int:
    """A consumer as they all should be: effect and inbox in one transaction, then acknowledged."""
    deliveries = 0
    for message in await messages(settings, queue, quiet):
        deliveries += 1
        async with database.transaction() as session:
            if await outbox.first_time(session, "shop", message.message_id or ""):
                effect = {"id": message.message_id, "n": json.loads(message.body)["n"]}
                await session.execute(text("INSERT INTO effects VALUES (CAST(:id AS uuid), :n)"), effect)
    return deliveries


async def test_relay_killed_between_confirmation_and_delete(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    """Sent twice, but none lost and none counted twice; and order holds after the crash."""
    await write(database, *(event(queue, n) for n in range(5)))
    variables = {
        name.upper(): str(getattr(value, "get_secret_value", lambda value=value: value)())
        for name, value in settings
        if value not in (None, ())
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CRASHING, queue],
        env=variables | {"PYTHONPATH": str(SERVICES)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert await waiting(database) == 5
    relay = Relay(database, publisher, queues=[queue], **FAST)
    assert await relay.once() == 0, "the dead relay's lease must hold until it ends"
    async with database.transaction() as session:  # as if that had come
        await session.execute(text("UPDATE outbox SET leased_until = leased_until - interval '120 seconds'"))
    async with relay.running():
        await emptied(database)
    assert await consume(settings, database, queue, 0.3) >= 5 + 3
    async with database.transaction() as session:
        assert sorted((await session.scalars(text("SELECT n FROM effects"))).all()) == list(range(5))


async def test_events_refused_together_are_not_tried_again_together(database: Database, queue: str) -> None:
    class Refusing:
        async def publish(self, _: Event) -> None:
            raise ValueError("no")

    await write(database, *(event(queue, n) for n in range(10)))
    relay = Relay(database, Refusing(), queues=[queue], backoff=1000, max_backoff=1500)
    for attempt, longest in ((1, 1000), (2, 1500)):
        async with database.transaction() as session:
            now = await session.scalar(text("UPDATE outbox SET available_at = now() RETURNING now()"))
        assert now is not None
        assert await relay.once() == 10
        async with database.transaction() as session:
            rows = (
                await session.execute(select(outbox.outbox.c.available_at, outbox.outbox.c.attempts))
            ).all()
        assert {row.attempts for row in rows} == {attempt}
        waits = {(row.available_at - now).total_seconds() for row in rows}
        assert len(waits) == 10, "one moment for all of them"
        assert longest / 2 <= min(waits) <= max(waits) <= longest + 600, (
            "of which the machine may take its time"
        )


async def test_a_lease_that_ran_out_is_not_settled_by_its_old_holder(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    await write(database, event(queue, 1))

    class Slow:
        async def publish(self, _: Event) -> None:
            async with database.engine.begin() as connection:  # as if its lease had ended meanwhile
                await connection.execute(text("UPDATE outbox SET lease_token = :t"), {"t": uuid.uuid4()})

    await Relay(database, Slow(), queues=[queue]).once()
    assert await waiting(database) == 1


async def test_the_database_goes_away_and_comes_back(
    postgres: Postgres, settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    async with Relay(database, publisher, queues=[queue], **FAST).running():
        await write(database, event(queue, 1))
        await emptied(database)
        await asyncio.to_thread(postgres.stop)
        await asyncio.sleep(0.3)
        postgres.start()  # in this thread: the server ends together with the thread that started it
        await asyncio.sleep(0.1)
        for _ in range(20):
            try:
                await write(database, event(queue, 2))
                break
            except SQLAlchemyError:  # a pooled connection of before
                await asyncio.sleep(0.1)
        await emptied(database)
    assert numbers(await messages(settings, queue)) == [1, 2]


async def test_inbox_counts_once_under_concurrency(database: Database) -> None:
    first = uuid.uuid4()

    async def handle(event_id: uuid.UUID, consumer: str = "shop", fail: bool = False) -> bool:
        async with database.transaction() as session:
            new = await outbox.first_time(session, consumer, event_id)
            await asyncio.sleep(0.02)
            if fail:
                raise RuntimeError("the effect failed")
            return bool(new)

    with pytest.raises(RuntimeError, match="effect"):
        await handle(first, fail=True)
    assert sum(await asyncio.gather(*(handle(first) for _ in range(5)))) == 1
    assert await handle(first, consumer="mail")
    with pytest.raises(ValueError, match="UUID"):
        await handle("not an id")  # type: ignore[arg-type]


async def test_one_event_cannot_be_written_twice_to_a_queue(database: Database, queue: str) -> None:
    once = event(queue, 1)
    await write(database, *once.to(queue, f"other-{queue}"))
    with pytest.raises(IntegrityError):
        await write(database, once)


async def test_an_event_that_breaks_its_schema_is_not_written(database: Database) -> None:
    for queue in ("order_notifications", "webhook:notification"):
        with pytest.raises(Misfit, match=queue):
            await write(database, event(queue, 1))
    assert await waiting(database) == 0


async def test_an_event_goes_to_several_queues_in_the_order_of_each(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    other = f"other-{queue}"
    told = [event(queue, n, aggregate="same") for n in range(5)]
    for each in told:
        await write(database, *each.to(queue, other))
    async with Relay(database, publisher, queues=[queue, other], **FAST).running():
        await emptied(database)
    for name in (queue, other):
        found = await messages(settings, name)
        assert numbers(found) == list(range(5))
        assert [each.message_id for each in found] == [str(each.id) for each in told]


BACKLOG = text(
    """
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, queue, payload)
    SELECT gen_random_uuid(), 'order', n::text, 'order.created', 'webhook:nobody', '{}'
    FROM generate_series(1, 20000) AS n
    """
)


@pytest.mark.parametrize("analyze", [False, True])
async def test_a_relay_leaves_other_queues_alone(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str, analyze: bool
) -> None:
    """Nor does it read what waits there, whether or not the database's statistics know of it."""
    async with database.transaction() as session:
        await session.execute(BACKLOG)
    await write(database, *(event(queue, n) for n in range(3)))
    async with database.engine.begin() as connection:
        if analyze:
            await connection.execute(text("ANALYZE outbox"))
        values = {"queues": [queue], "batch": 100, "token": uuid.uuid4(), "lease": 1}
        explained = await connection.execute(text(f"EXPLAIN {outbox.CLAIM.text}"), values)
        plan = "\n".join(explained.scalars())
    assert "Index Scan using outbox_queue_idx on outbox candidate" in plan
    assert "Index Scan using outbox_pending_idx on outbox older" in plan
    async with Relay(database, publisher, queues=[queue], **FAST).running(), asyncio.timeout(60):
        while await waiting(database) > 20000:
            await asyncio.sleep(0.05)
    assert sorted(numbers(await messages(settings, queue))) == [0, 1, 2]


async def test_two_relays_of_one_service_share_their_metrics(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    other, registry = f"other-{queue}", CollectorRegistry()
    await write(database, *event(queue, 1).to(queue, other))
    for name in (queue, other):
        relay = Relay(database, publisher, queues=[name], registry=registry)
        assert await relay.once() == 1
        assert registry.get_sample_value("outbox_published_total", {"queue": name}) == 1


async def test_the_migration_of_an_older_outbox(settings: Settings, database: Database) -> None:
    """From one queue an event to several, and back: the schema is that of the table in each case."""
    schema = text("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'outbox' ORDER BY 1")

    def there_and_back(connection: Connection) -> None:
        operations = Operations(MigrationContext.configure(connection))
        new = connection.execute(schema).all()
        outbox.to_one_queue(operations)
        old = {name for name, _ in connection.execute(schema)}
        assert old == {"outbox_pkey", "outbox_id_key", "outbox_pending_idx"}
        outbox.to_several_queues(operations)
        assert connection.execute(schema).all() == new

    await write(database, *event("a", 1).to("a", "webhook:b"))
    async with database.engine.begin() as connection:
        await connection.run_sync(there_and_back)
    assert await waiting(database) == 1


async def test_a_commit_that_added_events_wakes_the_relay(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    """Through a session and on a lane: none waits for the relay's next look, which would be in an hour."""
    async with (
        Lanes.open(database) as lanes,
        Relay(database, publisher, queues=[queue], interval=3600).running(),
    ):
        for n in range(3):
            await write(database, event(queue, 2 * n))
            await emptied(database)
            async with lanes.transaction() as lane:
                await outbox.add(lane, event(queue, 2 * n + 1))
            await emptied(database)
    assert numbers(await messages(settings, queue)) == list(range(6))


async def test_what_a_commit_adds_during_a_look_is_found_by_the_next(database: Database, queue: str) -> None:
    class Held:
        def __init__(self) -> None:
            self.asked, self.answer = asyncio.Event(), asyncio.Event()

        async def publish(self, _: Event) -> None:
            self.asked.set()
            await self.answer.wait()

    held = Held()
    async with Relay(database, held, queues=[queue], interval=3600).running():
        await write(database, event(queue, 1))
        await held.asked.wait()
        await write(database, event(queue, 2))
        held.answer.set()
        await emptied(database)


async def test_only_a_commit_that_added_events_wakes(database: Database, queue: str) -> None:
    woken: list[str] = []
    database.relays.add(lambda: woken.append("woken"))
    async with database.transaction() as session:
        await session.execute(text("SELECT 1"))
    async with Lanes.open(database) as lanes:
        for expected in (0, 1):
            async with lanes.transaction() as lane:
                await lane.execute("SELECT 1")
                if expected:
                    await outbox.add(lane, event(queue, 1))
                assert not woken, "nobody would find the event yet"
            assert len(woken) == expected
        async with lanes.transaction() as lane:
            await lane.execute("SELECT 1")
    assert len(woken) == 1


async def test_a_burst_of_commits_is_moved_in_few_batches(
    database: Database, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them wakes, and yet events gather: for a second here, lest it matter how fast a commit is."""
    monkeypatch.setattr(outbox, "GATHER", 1.0)
    moved: list[int] = []

    class Counting(Relay):
        async def once(self) -> int:
            moved.append(await super().once())
            return moved[-1]

    class Taking:
        async def publish(self, _: Event) -> None:
            return None

    async with Counting(database, Taking(), queues=[queue], interval=3600).running():
        for n in range(50):
            await write(database, event(queue, n))
        await emptied(database)
    assert sum(moved) == 50
    assert len([each for each in moved if each]) <= 10


async def test_orderly_stop(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    async with Relay(database, publisher, queues=[queue], interval=3600).running():
        await write(database, event(queue, 1))
        await emptied(database)
    await write(database, event(queue, 2))
    await asyncio.sleep(0.5)
    assert await waiting(database) == 1, "after the stop nobody relays"
    assert numbers(await messages(settings, queue)) == [1]
