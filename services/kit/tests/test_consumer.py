"""Consumers against a real RabbitMQ and a real PostgreSQL, with everything failing that can."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from kit import broker, context, dead, logging, outbox
from kit.broker import RabbitPublisher
from kit.consumer import Consumer, Message, Poison
from kit.database import Database
from kit.effects import once
from kit.outbox import Event, Relay
from kit.tests.conftest import Settings, lines, messages
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from testing.postgres import Postgres
from testing.process import free_port
from testing.rabbitmq import RabbitMQ

SERVICES = Path(broker.__file__).parents[1]
SHORT = (0.1, 0.2)  # delays


def event(queue: str, n: int, **more: Any) -> Event:
    return Event("order.created", "order", str(n), queue, {"n": n}, **more)


async def effect(session: AsyncSession, message: Message) -> None:
    values = {"id": message.id, "n": message.payload["n"]}
    await session.execute(text("INSERT INTO effects VALUES (:id, :n)"), values)


async def effects(database: Database) -> list[int]:
    async with database.transaction() as session:
        return sorted((await session.scalars(text("SELECT n FROM effects"))).all())


async def until(true: Callable[[], Awaitable[bool]], within: float = 60.0) -> None:
    async with asyncio.timeout(within):
        while not await true():
            await asyncio.sleep(0.05)


class Shop:
    """A consumer's surroundings: what it did, and what it counted."""

    def __init__(
        self, settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
    ) -> None:
        self.settings, self.database, self.publisher, self.queue = settings, database, publisher, queue
        self.registry = CollectorRegistry()

    def consumer(self, handler: Any = effect, **more: Any) -> Consumer:
        options: dict[str, Any] = {
            "database": self.database,
            "delays": SHORT,
            "registry": self.registry,
        } | more
        settings = options.pop("settings", self.settings)
        return Consumer(settings, self.queue, once(self.database, settings.service_name, handler), **options)

    async def publish(self, *numbers: int, **more: Any) -> list[Event]:
        found = [event(self.queue, n, **more) for n in numbers]
        for each in found:
            await self.publisher.publish(each)
        return found

    async def did(self, *numbers: int, within: float = 60.0) -> None:
        async def done() -> bool:
            return await effects(self.database) == sorted(numbers)

        await until(done, within)

    async def counted(self, outcome: str, number: int) -> None:
        async def done() -> bool:
            return self.count(outcome) == number

        await until(done)

    def count(self, outcome: str) -> float:
        labels = {"queue": self.queue, "outcome": outcome}
        return self.registry.get_sample_value("consumer_messages_total", labels) or 0

    def connected(self) -> float | None:
        return self.registry.get_sample_value("consumer_connected", {"queue": self.queue})

    async def left(self, queue: str = "") -> list[aio_pika.abc.AbstractIncomingMessage]:
        return await messages(self.settings, queue or self.queue)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        async with await aio_pika.connect(str(broker.url(self.settings))) as connection:
            yield await connection.channel()


@pytest.fixture
def shop(settings: Settings, database: Database, publisher: RabbitPublisher, queue: str) -> Shop:
    return Shop(settings, database, publisher, queue)


async def test_what_a_handler_is_given(shop: Shop) -> None:
    seen: list[Message] = []

    async def look(session: AsyncSession, message: Message) -> None:
        seen.append(message)
        await effect(session, message)

    async with shop.consumer(look).running():
        (sent,) = await shop.publish(1, headers={"tenant": "a"})
        await shop.did(1)
        await shop.counted("consumed", 1)
        assert shop.connected() == 1
    (message,) = seen
    assert (message.id, message.type, message.source) == (sent.id, "order.created", "/shop")
    assert (message.time, message.payload, message.headers["tenant"]) == (sent.time, {"n": 1}, "a")
    assert await shop.left() == []
    assert shop.connected() == 0


async def test_a_failing_message_is_tried_again_after_each_delay(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.configure("shop")
    tries = Counter[int]()

    async def flaky(session: AsyncSession, message: Message) -> None:
        n = message.payload["n"]
        tries[n] += 1
        await effect(session, message)
        if n == 1 and tries[n] <= len(SHORT):
            raise RuntimeError("not yet")

    async with shop.consumer(flaky).running():
        await shop.publish(1, 2, headers={"X-Request-ID": "request-12345"})
        await shop.did(1, 2)
        await shop.counted("consumed", 2)
    assert tries == {1: 3, 2: 1}
    assert (shop.count("retried"), shop.count("dead")) == (2, 0)
    failed = [each for each in lines(capsys) if each["message"] == "event failed"]
    assert [(each["failures"], each["again_in"], each["request_id"]) for each in failed] == [
        (1, 0.1, "request-12345"),
        (2, 0.2, "request-12345"),
    ]
    for queue in (shop.queue, f"{shop.queue}.retry.0.1", f"{shop.queue}.retry.0.2", f"{shop.queue}.dead"):
        async with shop.channel() as channel:
            found = await channel.declare_queue(queue, passive=True)
            assert found.declaration_result.message_count == 0


async def test_after_the_last_delay_it_is_dead_and_the_others_went_by(shop: Shop) -> None:
    tries = 0

    async def bad(session: AsyncSession, message: Message) -> None:
        nonlocal tries
        if message.payload["n"] == 1:
            tries += 1
            raise RuntimeError("never")
        await effect(session, message)

    async with shop.consumer(bad).running() as consumer:
        (sent, *_) = await shop.publish(1, 2, 3)
        await shop.did(2, 3)
        await shop.counted("dead", 1)
    assert tries == 1 + len(SHORT)
    (dead,) = await shop.left(consumer.dead)
    assert (dead.message_id, json.loads(dead.body)) == (str(sent.id), {"n": 1})
    assert dead.headers["cloudEvents:id"] == str(sent.id)
    assert dead.headers["x-error"] == "RuntimeError: never"
    assert dead.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert await effects(shop.database) == [2, 3]


async def test_a_dead_message_that_a_person_sends_again_has_its_effect(shop: Shop) -> None:
    mended = False

    async def bad(session: AsyncSession, message: Message) -> None:
        if not mended:
            raise RuntimeError("never")
        await effect(session, message)

    async with shop.consumer(bad).running() as consumer:
        await shop.publish(1)
        await shop.counted("dead", 1)
        mended = True
        (dead,) = await shop.left(consumer.dead)
        async with shop.channel() as channel:
            again = aio_pika.Message(dead.body, headers=dead.headers, message_id=dead.message_id)
            await channel.default_exchange.publish(again, shop.queue)
        await shop.did(1)


@pytest.mark.parametrize(
    ("body", "attributes", "error"),
    [
        (b"{", {}, "Misfit"),
        (b"[1]", {}, "is not an object"),
        (b"\xff", {}, "Misfit"),
        (b'{"n": 1}', {"cloudEvents:id": "17"}, "badly formed"),
        (b'{"n": 1}', {"cloudEvents:time": "yesterday"}, "isoformat"),
        (b'{"n": 13}', {}, "Poison: thirteen"),
    ],
)
async def test_poison_is_dead_at_once(
    shop: Shop, body: bytes, attributes: dict[str, str], error: str
) -> None:
    async def superstitious(session: AsyncSession, message: Message) -> None:
        if message.payload["n"] == 13:
            raise Poison("thirteen")
        await effect(session, message)

    headers: dict[str, Any] = {
        "cloudEvents:id": str(uuid.uuid4()),
        "cloudEvents:type": "order.created",
        "cloudEvents:source": "/shop",
        "cloudEvents:time": "2026-01-01T00:00:00+00:00",
    } | attributes
    async with shop.consumer(superstitious).running() as consumer, shop.channel() as channel:
        await channel.declare_queue(shop.queue, durable=True)
        await channel.default_exchange.publish(aio_pika.Message(body, headers=headers), shop.queue)
        await shop.publish(2)
        await shop.did(2)
        await shop.counted("dead", 1)
    assert shop.count("retried") == 0
    (dead,) = await shop.left(consumer.dead)
    assert dead.body == body
    assert error in str(dead.headers["x-error"])


async def test_a_body_that_breaks_its_schema_is_dead_at_once(shop: Shop) -> None:
    shop.queue = "order_analytics"
    async with shop.consumer().running() as consumer:
        await shop.publish(1)
        await shop.counted("dead", 1)
    (dead,) = await shop.left(consumer.dead)
    assert str(dead.headers["x-error"]).startswith("Misfit: order_analytics: body: ")


async def test_an_event_that_comes_twice_has_its_effect_once(shop: Shop) -> None:
    """Sent twice by the broker's channel, and once more by another, as a webhook is."""
    twin = event(shop.queue, 1)
    async with shop.database.transaction() as session:
        assert await outbox.first_time(session, "shop", twin.id)
        await session.execute(text("INSERT INTO effects VALUES (:id, 1)"), {"id": twin.id})
    both = event(shop.queue, 2)
    async with shop.consumer(concurrency=3).running():
        for each in (twin, both, both, both):
            await shop.publisher.publish(each)
        await shop.counted("repeated", 3)
    assert await effects(shop.database) == [1, 2]
    assert shop.count("consumed") == 1


async def test_dead_events_are_listed_and_returned(
    rabbitmq: RabbitMQ, shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an operator does it. Each has its effect once, and nothing of its failures is left."""
    given = {"service_name": "shop", "application": "warehouse", **rabbitmq.settings()}
    for name, value in given.items():
        monkeypatch.setenv(name.upper(), str(value))

    async def command(*arguments: str) -> tuple[int, list[str], str]:
        capsys.readouterr()
        status = await asyncio.to_thread(dead.main, [shop.queue, *arguments])
        written = capsys.readouterr()
        return status, written.out.splitlines(), written.err

    async def refuse(_: AsyncSession, __: Message) -> None:
        raise Poison("no such\nthing")

    async def look(session: AsyncSession, message: Message) -> None:
        assert not [name for name in message.headers if name.startswith("x-")]
        await effect(session, message)

    assert (await command())[0] == 2
    async with shop.consumer(refuse).running():
        told = await shop.publish(1, 2)
        await shop.counted("dead", 2)
    wanted = {f"{each.time.isoformat()} {each.id} {each.type} Poison: no such thing" for each in told}
    for _ in range(2):  # who looks takes nothing
        status, (*each, count), _ = await command()
        assert (status, set(each), count) == (0, wanted, f"2 in {shop.queue}.dead")
    status, (*each, count), _ = await command("--return")
    assert (status, set(each), count) == (0, wanted, f"2 returned to {shop.queue}")
    async with shop.consumer(look).running():
        await shop.did(1, 2)
        await shop.counted("consumed", 2)
    assert await command() == (0, [f"0 in {shop.queue}.dead"], "")
    monkeypatch.setenv("BROKER_PORT", str(free_port()))
    status, lines, error = await command("--return")
    assert (status, lines) == (1, [])
    assert error.startswith("error: RabbitMQ at 127.0.0.1:")


async def test_the_broker_goes_away_while_consuming(rabbitmq: RabbitMQ, shop: Shop) -> None:
    relay = Relay(shop.database, shop.publisher, queues=[shop.queue], interval=0.05, lease=120)
    async with relay.running(), shop.consumer().running():
        await shop.publish(*range(5))
        await shop.did(*range(5))
        await asyncio.to_thread(rabbitmq.stop)
        try:
            async with shop.database.transaction() as session:
                await outbox.add(session, *(event(shop.queue, n) for n in range(5, 10)))
            await until(lambda: asyncio.sleep(0, shop.connected() == 0))
        finally:
            rabbitmq.start()  # in this thread: the server ends together with the thread that started it
        await shop.did(*range(10))
    assert await shop.left() == []
    assert shop.count("retried") == shop.count("dead") == 0


async def test_starts_without_a_broker_and_stops_without_one(shop: Shop) -> None:
    nowhere = shop.settings.model_copy(update={"broker_port": free_port()})
    async with asyncio.timeout(40), shop.consumer(settings=nowhere).running():
        await asyncio.sleep(0.3)
        assert shop.connected() == 0


async def test_a_deleted_queue_is_declared_again(shop: Shop) -> None:
    async with shop.consumer().running():
        await shop.publish(1)
        await shop.did(1)
        async with shop.channel() as channel:
            await channel.queue_delete(shop.queue)
        await until(lambda: asyncio.sleep(0, shop.connected() == 0))
        await until(lambda: asyncio.sleep(0, shop.connected() == 1))
        await shop.publish(2)
        await shop.did(1, 2)


async def test_a_retry_queue_that_is_gone_loses_nothing(shop: Shop) -> None:
    """RabbitMQ returns what it cannot route; the message comes again and finds its queue declared."""
    tries = 0

    async def flaky(session: AsyncSession, message: Message) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            async with shop.channel() as channel:
                await channel.queue_delete(f"{shop.queue}.retry.0.1")
        if tries <= 2:
            raise RuntimeError("not yet")
        await effect(session, message)

    async with shop.consumer(flaky).running():
        await shop.publish(1)
        await shop.did(1)
    assert (tries, shop.count("retried")) == (3, 1)


async def test_the_database_goes_away_and_no_attempt_is_counted(postgres: Postgres, shop: Shop) -> None:
    async with shop.consumer(prefetch=2).running():
        await shop.publish(1)
        await shop.did(1)
        await asyncio.to_thread(postgres.stop)
        try:
            await shop.publish(*range(2, 8))
            await asyncio.sleep(1.5)
        finally:
            postgres.start()  # in this thread: the server ends together with the thread that started it
        await shop.counted("consumed", 7)
    await shop.did(*range(1, 8))
    assert shop.count("retried") == shop.count("dead") == 0


FULL = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON effects EXECUTE FUNCTION full_disk();
"""


async def test_on_a_full_disk_events_wait_and_no_attempt_is_counted(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.configure("shop")
    tries = 0

    async def counting(session: AsyncSession, message: Message) -> None:
        nonlocal tries
        tries += 1
        await effect(session, message)

    async with shop.database.engine.begin() as connection:
        await connection.execute(text(FULL))
    async with shop.consumer(counting, delays=(0.05,)).running():
        await shop.publish(1, 2)
        await until(lambda: asyncio.sleep(0, tries > 1))  # after the second it would be dead
        assert await effects(shop.database) == []
        async with shop.database.engine.begin() as connection:
            await connection.execute(text("DROP TRIGGER full_disk ON effects"))
        await shop.did(1, 2)
        await shop.counted("consumed", 2)
    assert shop.count("retried") == shop.count("dead") == 0
    waited = [each for each in lines(capsys) if each["message"] == "consumer waits for the database"]
    assert "No space left on device" in waited[0]["reason"]


async def test_stops_while_the_database_is_away(postgres: Postgres, shop: Shop) -> None:
    try:
        async with asyncio.timeout(60), shop.consumer().running():
            await until(lambda: asyncio.sleep(0, shop.connected() == 1))
            await asyncio.to_thread(postgres.stop)
            await shop.publish(1)
            await asyncio.sleep(0.5)
    finally:
        postgres.start()
    assert [json.loads(each.body)["n"] for each in await shop.left()] == [1]


KILLED = """
import asyncio, os, signal, sys
from aio_pika import IncomingMessage
from kit.consumer import Consumer
from kit.database import Database
from kit.effects import once
from kit.settings import BrokerSettings, DatabaseSettings, load
from sqlalchemy import text

class Settings(DatabaseSettings, BrokerSettings):
    pass

acknowledge, done = IncomingMessage.ack, 0

async def ack(self, multiple=False):
    global done
    done += 1
    if done == 3:  # its effect is committed, and RabbitMQ does not know
        os.kill(os.getpid(), signal.SIGKILL)
    await acknowledge(self, multiple)

IncomingMessage.ack = ack

async def effect(session, message):
    values = {"id": message.id, "n": message.payload["n"]}
    await session.execute(text("INSERT INTO effects VALUES (:id, :n)"), values)

async def main():
    settings = load(Settings)
    async with Database.open(settings) as database:
        await Consumer(
            settings, sys.argv[1], once(database, settings.service_name, effect), database=database
        ).run()

asyncio.run(main())
"""


async def test_killed_between_effect_and_acknowledgement(shop: Shop) -> None:
    await shop.publish(*range(6))
    variables = {
        name.upper(): str(getattr(value, "get_secret_value", lambda value=value: value)())
        for name, value in shop.settings
        if value not in (None, ())
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED, shop.queue],
        env=variables | {"PYTHONPATH": str(SERVICES)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert await effects(shop.database) == [0, 1, 2]
    # With the delays of the dead one: a queue cannot be declared with others.
    async with shop.consumer(delays=(5, 30, 120)).running():
        await shop.counted("consumed", 3)
        # The third, and those before whose acknowledgements went down with it.
        await until(lambda: asyncio.sleep(0, 1 <= shop.count("repeated") <= 3))
    assert await effects(shop.database) == list(range(6))


async def test_two_consumers_share_a_queue(shop: Shop) -> None:
    took = Counter[str]()
    met = asyncio.Barrier(2)

    def named(name: str) -> Callable[[AsyncSession, Message], Awaitable[None]]:
        async def handle(session: AsyncSession, message: Message) -> None:
            if not took[name]:
                await met.wait()  # neither has all before the other has one
            took[name] += 1
            await effect(session, message)

        return handle

    async with (
        shop.consumer(named("one"), prefetch=1).running(),
        shop.consumer(named("other"), prefetch=1).running(),
    ):
        await until(lambda: asyncio.sleep(0, shop.connected() == 2))
        await shop.publish(*range(40))
        await shop.did(*range(40))
    assert took.total() == 40
    assert set(took) == {"one", "other"}


async def test_one_at_a_time_keeps_the_order(shop: Shop) -> None:
    seen: list[int] = []

    async def slow_at_first(session: AsyncSession, message: Message) -> None:
        await asyncio.sleep(0.2 if not seen else 0)
        seen.append(message.payload["n"])

    await shop.publish(*range(20))
    async with shop.consumer(slow_at_first).running():
        await shop.counted("consumed", 20)
    assert seen == list(range(20))


async def test_a_handler_that_hangs_does_not_hold_up_the_rest(shop: Shop) -> None:
    async def hangs(session: AsyncSession, message: Message) -> None:
        if message.payload["n"] == 1:
            consumer._timeout = 60.0  # the next may be slow, if the machine is
            await asyncio.Event().wait()
        await effect(session, message)

    consumer = shop.consumer(hangs, delays=(), timeout=1.0)
    async with consumer.running():
        await shop.publish(1, 2)
        await shop.did(2)
        await shop.counted("dead", 1)
    (dead,) = await shop.left(consumer.dead)
    assert str(dead.headers["x-error"]).startswith("TimeoutError")


async def test_on_stop_the_message_in_hand_is_finished_and_the_rest_stays(shop: Shop) -> None:
    in_hand, go_on = asyncio.Event(), asyncio.Event()

    async def slow(session: AsyncSession, message: Message) -> None:
        in_hand.set()
        await go_on.wait()
        await effect(session, message)

    await shop.publish(1, 2, 3)
    async with shop.consumer(slow).running():
        await in_hand.wait()
        asyncio.get_running_loop().call_later(0.3, go_on.set)
    assert await effects(shop.database) == [1]
    assert shop.count("consumed") == 1
    assert [json.loads(each.body)["n"] for each in await shop.left()] == [2, 3]


async def test_a_request_is_followed_through_the_outbox_and_the_queue(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One trace, and one request id in the log lines, from who caused an event to who takes it."""
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr(context, "tracer", tracer)
    logging.configure("shop")

    async def tell(session: AsyncSession, message: Message) -> None:
        logging.get("shop").info("taken")
        await effect(session, message)

    with context.bound({"X-Request-ID": "request-12345"}), tracer.start_as_current_span("request"):
        async with shop.database.transaction() as session:
            await outbox.add(session, event(shop.queue, 1))
    await Relay(shop.database, shop.publisher, queues=[shop.queue]).once()
    async with shop.consumer(tell).running():
        await shop.did(1)
    (taken,) = [each for each in lines(capsys) if each["message"] == "taken"]
    assert taken["request_id"] == "request-12345"
    spans = {span.name: span for span in exported.get_finished_spans()}
    request, sent, processed = (
        spans.pop(name) for name in ("request", f"send {shop.queue}", f"process {shop.queue}")
    )
    assert not spans
    assert (sent.parent, processed.parent) == (remote(request), remote(sent))


def remote(span: ReadableSpan) -> SpanContext:
    """A span as others name it."""
    found = span.get_span_context()
    assert found is not None
    return SpanContext(found.trace_id, found.span_id, is_remote=True, trace_flags=found.trace_flags)
