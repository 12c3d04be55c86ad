"""Takes events from a queue: each has its effect once, whatever fails, and a bad one holds up no other.

A message is acknowledged after the transaction that holds both its effect and its row in the inbox. One that
fails waits in `QUEUE.retry.SECONDS`, whose time-to-live brings it back, for each of the delays in turn, and
after the last is in `QUEUE.dead`, with `x-error`, for a person. So others overtake it: a handler must bear
an older event after a newer. While the database is away, or has no room, messages wait where they are, and no
attempt counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue, FieldValue
from pamqp.common import FieldTable
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy.exc import DBAPIError

from kit import broker, context, logging
from kit.database import Database, exhausted
from kit.effects import Effect
from kit.events import Message, Misfit, read
from kit.settings import BrokerSettings

__all__ = ["Consumer", "Message", "Poison"]

log = logging.get("kit.consumer")

DELAYS = (5, 30, 120)  # seconds
TIMEOUT = 5.0  # seconds for the broker, or the database, to answer
GRACE = 15.0  # seconds for messages in hand when the consumer stops
PAUSE, MAX_PAUSE = 0.5, 5.0  # seconds between looks for a broker or database that is away
LOST = 3  # connections to the database that one message may lose while others live

ATTEMPTS, ERROR = "x-attempts", "x-error"  # headers of a message that failed


class Poison(Exception):
    """No attempt can succeed: to the dead letters at once."""


class Consumer:
    """Takes the messages of one queue; any number may share it."""

    def __init__(
        self,
        settings: BrokerSettings,
        queue: str,
        effect: Effect,
        *,
        database: Database,
        prefetch: int = 10,
        concurrency: int = 1,
        delays: Sequence[float] = DELAYS,
        timeout: float = 60.0,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """`database` is the one that `effect` works in.

        `concurrency` is how many messages are in hand at once, which gives up their order where their effects
        do not keep it; `timeout` seconds for one to be handled.
        """
        self._settings = settings
        self._queue = queue
        self._effect = effect
        self._database = database
        self._prefetch = max(prefetch, concurrency)
        self._concurrency = concurrency
        self._delays = tuple(delays)
        self._timeout = timeout
        self._stop = asyncio.Event()
        self._over = asyncio.Event()  # of the connection of this moment
        self._sessions = 0
        self._metrics = _metrics(registry or CollectorRegistry())
        self._metrics.connected.labels(queue)  # there from the start, as an alert cannot ask for what is not

    @property
    def dead(self) -> str:
        """The queue of messages that were given up."""
        return f"{self._queue}.dead"

    def _retry(self, delay: float) -> str:
        """Named by its delay, for RabbitMQ refuses to declare a queue again with another one."""
        return f"{self._queue}.retry.{delay:g}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Consumer]:
        """Runs in the background; on exit messages in hand are finished first."""
        task = asyncio.create_task(self.run(), name=f"consumer {self._queue}")
        try:
            yield self
        finally:
            self._stop.set()
            self._over.set()
            _, pending = await asyncio.wait({task}, timeout=GRACE + 2 * TIMEOUT)
            for each in pending:
                each.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def run(self) -> None:
        """Consumes until stopped; a broker that is down is waited for, with one warning."""
        down: str | None = None
        pause = PAUSE
        while not self._stop.is_set():
            self._over = asyncio.Event()
            begun = self._sessions
            try:
                await self._session(self._over)
            except Exception as error:  # whatever it is: a consumer that ended would take no more
                if self._sessions > begun:
                    down, pause = None, PAUSE
                if down != (reason := type(error).__name__):
                    log.warning("consumer waits", queue=self._queue, reason=reason, detail=str(error)[:300])
                down = reason
                await _within(self._stop, pause)
                pause = min(pause * 2, MAX_PAUSE)

    async def _session(self, over: asyncio.Event) -> None:
        """One connection, until the consumer is stopped; raises when the connection or the queue is gone."""
        waiting: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        connection = await aio_pika.connect(str(broker.url(self._settings)), timeout=TIMEOUT)
        async with connection:
            async with asyncio.timeout(TIMEOUT):
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                channel.close_callbacks.add(lambda *_: over.set())
                under = await channel.get_underlay_channel()
                under.on_consumer_cancel_callbacks.add(lambda _: over.set())  # the queue was deleted
                await channel.set_qos(prefetch_count=self._prefetch)
                queue = await self._declared(channel)
                await queue.consume(waiting.put)
            self._sessions += 1
            log.info("consuming", queue=self._queue)
            hands = [
                asyncio.create_task(self._work(channel, waiting, over)) for _ in range(self._concurrency)
            ]
            ended = asyncio.create_task(over.wait())
            with self._metrics.connected.labels(self._queue).track_inprogress():
                await asyncio.wait({*hands, ended}, return_when=asyncio.FIRST_COMPLETED)
            over.set()
            for _ in hands:
                waiting.put_nowait(None)
            # What is in hand is finished; what only waits goes back to the queue with the channel.
            _, late = await asyncio.wait({*hands, ended}, timeout=GRACE)
            for each in late:
                each.cancel()
            for result in await asyncio.gather(*hands, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result
        if not self._stop.is_set():
            raise ConnectionError("the connection, or the queue, is gone")

    async def _declared(self, channel: AbstractChannel) -> AbstractQueue:
        for delay in self._delays:
            arguments: FieldTable = {
                "x-message-ttl": round(delay * 1000),
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self._queue,
            }
            await channel.declare_queue(self._retry(delay), durable=True, arguments=arguments)
        await channel.declare_queue(self.dead, durable=True)
        return await channel.declare_queue(self._queue, durable=True)

    async def _work(
        self,
        channel: AbstractChannel,
        waiting: asyncio.Queue[AbstractIncomingMessage | None],
        over: asyncio.Event,
    ) -> None:
        """Raises when the broker does not take what we tell it: the message will come again."""
        while (incoming := await waiting.get()) is not None and not over.is_set():
            with context.incoming(incoming.headers, f"process {self._queue}"):
                if (outcome := await self._outcome(channel, incoming, over)) is not None:
                    await incoming.ack()
                    self._metrics.messages.labels(self._queue, outcome).inc()

    async def _outcome(
        self, channel: AbstractChannel, incoming: AbstractIncomingMessage, over: asyncio.Event
    ) -> str | None:
        """What became of a message; None if nothing did before we had to stop."""
        try:
            first = await self._applied(_message(self._queue, incoming), over)
        except (Poison, Misfit) as error:
            await self._bury(channel, incoming, error)
            return "dead"
        except Exception as error:  # the effect's own, whatever it is
            failures = _failures(incoming) + 1
            if failures > len(self._delays):
                await self._bury(channel, incoming, error)
                return "dead"
            delay = self._delays[failures - 1]
            log.warning(
                "event failed",
                queue=self._queue,
                event_id=incoming.message_id,
                failures=failures,
                again_in=delay,
                exc_info=True,
            )
            await _send(channel, self._retry(delay), incoming, {ATTEMPTS: failures, ERROR: _reason(error)})
            return "retried"
        if first is None:
            return None
        return "consumed" if first else "repeated"

    async def _bury(
        self, channel: AbstractChannel, incoming: AbstractIncomingMessage, error: Exception
    ) -> None:
        log.error(
            "event given up",
            queue=self._queue,
            event_id=incoming.message_id,
            detail=_reason(error),
            exc_info=not isinstance(error, (Poison, Misfit)),
        )
        await _send(channel, self.dead, incoming, {ERROR: _reason(error)})

    async def _applied(self, message: Message, over: asyncio.Event) -> bool | None:
        """Whether the event came for the first time; None if we must stop while the database is away."""
        lost = 0
        pause = PAUSE
        while not over.is_set():
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._effect(message)
            except Poison:
                raise
            except Exception as error:
                if exhausted(error):
                    # It answers, and has no room for any event: to bury them all would help nobody.
                    reason = str(error).partition("\n")[0]
                    log.warning("consumer waits for the database", queue=self._queue, reason=reason)
                    await _within(over, pause)
                    pause = min(pause * 2, MAX_PAUSE)
                elif await self._database_answers():
                    # A connection that a restart of the database closed is no fault of the event either.
                    lost += 1
                    if lost > LOST or not (isinstance(error, DBAPIError) and error.connection_invalidated):
                        raise
                else:
                    await self._database_back(over)
        return None

    async def _database_answers(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._database.ping()
        except Exception:  # whatever it is, it is no answer
            return False
        return True

    async def _database_back(self, over: asyncio.Event) -> None:
        log.warning("consumer waits for the database", queue=self._queue)
        pause = PAUSE
        while not await _within(over, pause) and not await self._database_answers():
            pause = min(pause * 2, MAX_PAUSE)


def _message(queue: str, incoming: AbstractIncomingMessage) -> Message:
    """Raises `Misfit`."""
    headers = incoming.headers
    return read(
        queue,
        incoming.body,
        id=str(headers.get("cloudEvents:id") or incoming.message_id),
        type=str(headers.get("cloudEvents:type") or incoming.type),
        source=str(headers.get("cloudEvents:source") or incoming.app_id),
        time=str(headers.get("cloudEvents:time") or incoming.timestamp),
        headers=headers,
    )


async def _send(
    channel: AbstractChannel, queue: str, incoming: AbstractIncomingMessage, more: dict[str, FieldValue]
) -> None:
    """The same message elsewhere; returns when the broker has confirmed it."""
    copy = aio_pika.Message(
        incoming.body,
        headers=incoming.headers | more,
        content_type=incoming.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=incoming.message_id,
        timestamp=incoming.timestamp,
        type=incoming.type,
        app_id=incoming.app_id,
    )
    await channel.default_exchange.publish(copy, queue, mandatory=True, timeout=TIMEOUT)


def _failures(incoming: AbstractIncomingMessage) -> int:
    found = incoming.headers.get(ATTEMPTS)
    return found if isinstance(found, int) and found > 0 else 0


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it came within that time."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


@dataclass(frozen=True, slots=True)
class Metrics:
    messages: Counter
    connected: Gauge


@cache
def _metrics(registry: CollectorRegistry) -> Metrics:
    """One set for all consumers of a service. Outcomes: consumed, repeated, retried, dead."""
    return Metrics(
        Counter("consumer_messages", "Messages done with", ["queue", "outcome"], registry=registry),
        Gauge("consumer_connected", "Consumers that can be sent messages", ["queue"], registry=registry),
    )
