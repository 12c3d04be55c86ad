"""RabbitMQ by FastStream: publishes events with confirmation, and comes back by itself after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

import orjson
from aiormq.abc import FieldValue
from aiormq.exceptions import AMQPError, ChannelClosed, DeliveryError
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange
from yarl import URL

from kit.outbox import BrokerDown, Event
from kit.settings import BrokerSettings

TIMEOUT = 5.0  # seconds to connect, and to be confirmed


class QueueRefused(Exception):
    """RabbitMQ refuses to declare a queue or an exchange: it exists with other arguments, for example."""


class RabbitPublisher:
    """Publishes to durable queues through the default exchange, persistent, mandatory and confirmed.

    `topics` are those of an event's queues that are topic exchanges instead, for facts of which nobody need
    hear: who wants them binds a queue of their own, by the event's type; without any they are gone.
    """

    def __init__(self, settings: BrokerSettings, topics: Collection[str] = ()) -> None:
        self._settings = settings
        self._topics = topics
        self._broker: RabbitBroker | None = None
        self._queues: set[str] = set()
        self._lock = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: BrokerSettings, topics: Collection[str] = ()
    ) -> AsyncIterator[RabbitPublisher]:
        """Connects on first use, so a service starts without its broker."""
        publisher = cls(settings, topics)
        try:
            yield publisher
        finally:
            await publisher._drop(publisher._broker)

    async def publish(self, event: Event) -> None:
        """Returns when RabbitMQ has confirmed the event. Message id = event id, for consumers' inboxes."""
        broker = None
        try:
            broker = await self._connected()
            await self._declared(broker, event.queue)
            topic = event.queue in self._topics
            await broker.publish(
                orjson.dumps(event.payload),
                exchange=_topic(event.queue) if topic else None,
                routing_key=event.type if topic else event.queue,
                mandatory=not topic,
                persist=True,
                timeout=TIMEOUT,
                message_id=str(event.id),
                message_type=event.type,
                timestamp=event.time,
                content_type="application/json",
                headers=cloud_event(event, self._settings.service_name),
            )
        except DeliveryError:  # refused, or its queue is gone
            self._queues.discard(event.queue)
            raise
        except QueueRefused:
            raise
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            await self._drop(broker)
            raise BrokerDown(f"{self._settings.broker_host}: {type(error).__name__}: {error}") from error

    async def ping(self) -> None:
        """Raises unless the broker can be reached: for readiness, where a service wants it."""
        await self._connected()

    async def _connected(self) -> RabbitBroker:
        async with self._lock:  # the first of many callers does the work
            if self._broker is None:
                broker = RabbitBroker(
                    str(url(self._settings)),
                    timeout=TIMEOUT,
                    default_channel=Channel(publisher_confirms=True, on_return_raises=True),
                    logger=None,
                    app_id=self._settings.service_name,
                )
                async with asyncio.timeout(TIMEOUT):
                    await broker.connect()
                self._broker = broker
            return self._broker

    async def _declared(self, broker: RabbitBroker, queue: str) -> None:
        """On a channel of its own: RabbitMQ closes the channel, and all under way there, on a refusal."""
        async with self._lock:
            if queue in self._queues:
                return
            connection = await broker.connect()
            async with asyncio.timeout(TIMEOUT), connection.channel() as channel:
                try:
                    if queue in self._topics:
                        await channel.declare_exchange(queue, ExchangeType.TOPIC.value, durable=True)
                    else:
                        await channel.declare_queue(queue, durable=True)
                except ChannelClosed as error:
                    raise QueueRefused(f"{queue}: {error}") from error
            self._queues.add(queue)

    async def _drop(self, broker: RabbitBroker | None) -> None:
        """Forgets a connection, once, however many publishes it failed; the next one makes a new one."""
        if broker is not None and broker is self._broker:
            self._broker = None
            self._queues.clear()
            with suppress(Exception):  # it is broken already
                async with asyncio.timeout(TIMEOUT):
                    await broker.stop()


def _topic(name: str) -> RabbitExchange:
    """One that was declared."""
    return RabbitExchange(name, type=ExchangeType.TOPIC, durable=True, declare=False)


def url(settings: BrokerSettings) -> URL:
    """The AMQP URL; the name of the connection shows in RabbitMQ's listings."""
    return URL.build(
        scheme="amqp",
        user=settings.broker_user,
        password=settings.broker_password.get_secret_value(),
        host=settings.broker_host,
        port=settings.broker_port,
        path="/" + ("" if settings.broker_vhost == "/" else settings.broker_vhost.lstrip("/")),
        query={"heartbeat": "15", "name": settings.service_name},
    )


def cloud_event(event: Event, source: str) -> dict[str, FieldValue]:
    """CloudEvents 1.0 attributes as message headers, in the AMQP binding's spelling."""
    return {
        **event.headers,
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": str(event.id),
        "cloudEvents:source": f"/{source}",
        "cloudEvents:type": event.type,
        "cloudEvents:subject": event.aggregate_id,
        "cloudEvents:time": event.time.isoformat(),
    }
