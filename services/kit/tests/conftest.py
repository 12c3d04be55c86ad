"""A database with an outbox and an inbox, RabbitMQ, and what happened there."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import aio_pika
import pytest
from kit import broker, outbox
from kit.broker import RabbitPublisher
from kit.database import Database, metadata
from kit.settings import BrokerSettings, DatabaseSettings, ServiceTokenSettings, WebhookSettings
from sqlalchemy import text
from testing.rabbitmq import RabbitMQ


class Settings(DatabaseSettings, BrokerSettings, ServiceTokenSettings, WebhookSettings):
    pass


@pytest.fixture
async def settings(
    rabbitmq: RabbitMQ, new_database: Callable[..., dict[str, Any]]
) -> AsyncIterator[Settings]:
    """With an empty outbox and inbox, and the table of what a consumer did."""
    found = Settings.model_validate(
        {
            "service_name": "shop",
            "application": "warehouse",
            "service_key": "k" * 32,
            "webhook_key": "w" * 32,
            **new_database(),
            **rabbitmq.settings(),
        }
    )
    tables = metadata()
    outbox.tables(tables)
    async with Database.open(found) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(tables.create_all)
            await connection.execute(text("CREATE TABLE effects (event_id uuid, n int)"))
        yield found


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    async with Database.open(settings) as found:
        yield found


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4()}"


@pytest.fixture
async def publisher(settings: Settings) -> AsyncIterator[RabbitPublisher]:
    async with RabbitPublisher.open(settings) as found:
        yield found


async def messages(
    settings: Settings, queue: str, quiet: float = 0.3
) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """All there is in a queue."""
    connection = await aio_pika.connect(str(broker.url(settings)))
    async with connection:
        source = await (await connection.channel()).declare_queue(queue, durable=True)
        found = []
        while message := await source.get(fail=False, timeout=60):
            await message.ack()
            found.append(message)
        await asyncio.sleep(quiet)
        late = await source.get(fail=False, timeout=60)
        assert late is None, "a message came after the outbox was empty"
        return found


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Our log since it was last read."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
