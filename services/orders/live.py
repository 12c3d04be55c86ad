"""Live updates of orders: told with the change, heard by every instance (`kit.live`)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import orjson
import psycopg

CHANNEL = "order_updates"


@dataclass(frozen=True, slots=True)
class Update:
    """An order has become `new_status`; `owner_id` decides who is told."""

    order_id: int
    owner_id: int
    new_status: str
    updated_by: str


async def tell(connection: psycopg.AsyncConnection, update: Update) -> None:
    """Told to every instance if, and when, the caller's transaction commits."""
    await connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, orjson.dumps(update).decode()])


def read(payload: str) -> Update:
    """During an upgrade the other version may tell more than we know."""
    told = orjson.loads(payload)
    return Update(**{field.name: told[field.name] for field in fields(Update)})
