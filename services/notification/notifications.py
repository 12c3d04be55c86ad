"""What notification does: an event becomes a notification, once, which is kept, told, listed, forgotten."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Literal

from kit import context, logging, outbox
from kit.database import Database
from kit.effects import Effect, together
from kit.errors import NotFound, Unavailable
from kit.events import Message
from kit.live import Feed
from pydantic import TypeAdapter
from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from notification.enrichment import Enrichment
from notification.models import Logged
from notification.texts import TEXTS
from notification.texts import text as words

log = logging.get("notification")

STAFF = ("admin", "employee")  # whom notifications are for
QUEUE = "order_notifications"
CHANNEL = "notifications"
CREATED = "order.created"
EVENTS = (CREATED, "order.status_changed")
Channel = Literal["rabbitmq", "webhook"]  # by which an event came
KEPT = "notification kept"  # the log's line
MISSED = 200  # notifications read at a time for who catches up


@dataclass(frozen=True, slots=True)
class Notification:
    """One as it is in the log; `total_amount` has two decimals."""

    id: int
    event_id: uuid.UUID
    order_id: int
    status: str
    customer_name: str
    total_amount: Decimal
    text_pl: str
    text_en: str
    channel: str
    source: str | None
    customer_email: str | None
    occurred_at: datetime
    created_at: datetime


class NotificationNotFound(NotFound):
    text = "Notification not found"


class Notifications:
    """The use cases."""

    def __init__(
        self, database: Database, enrichment: Enrichment, consumer: str, retention: timedelta
    ) -> None:
        """`consumer` is whose inbox: one for all channels, so that the twin of an event is dropped.

        `received` is the effect of an event by each channel.
        """
        self.database = database
        self.enrichment = enrichment
        self.retention = retention
        self.received: dict[Channel, Effect] = {
            "rabbitmq": together(database, consumer, partial(self._record, "rabbitmq"), KEPT),
            "webhook": together(database, consumer, partial(self._record, "webhook"), KEPT),
        }

    async def _record(self, channel: Channel, session: AsyncSession, events: Sequence[Message]) -> None:
        """Keeps the notifications of events that came for the first time, and tells them with the commit."""
        rows = await asyncio.gather(*(self._row(channel, each) for each in events))
        # One at a time from here to the commit: ids become visible in their order, so that who has seen one
        # has missed none before it.
        await session.execute(LOCK)
        kept = (await session.execute(insert(Logged).values(rows).returning(*COLUMNS))).all()
        told = [ADAPTER.dump_json(Notification(**row._mapping)).decode() for row in kept]
        await session.execute(TELL, {"channel": CHANNEL, "told": told})

    async def _row(self, channel: Channel, event: Message) -> dict[str, Any]:
        payload = event.payload
        order_id, status, name = payload["order_id"], payload["status"], payload["customer_name"]
        amount = Decimal(str(payload["total_amount"])).quantize(Decimal("0.01"))
        with context.bound(event.headers):  # of several events that are handled together, each its own
            details = await self.enrichment.of(order_id) if event.type == CREATED else None
        return {
            "event_id": event.id,
            "order_id": order_id,
            "status": status,
            "customer_name": name,
            "total_amount": amount,
            **{f"text_{each}": words(each, status, order_id, name, amount) for each in TEXTS},
            "channel": channel,
            "source": details.source if details else None,
            "customer_email": details.customer_email if details else None,
            "occurred_at": datetime.fromisoformat(payload["timestamp"]),
        }

    async def find(self, notification_id: int) -> Notification:
        """Raises `NotificationNotFound`."""
        async with self.database.transaction() as session:
            row = (await session.execute(select(*COLUMNS).where(Logged.id == notification_id))).first()
        if row is None:
            raise NotificationNotFound
        return Notification(**row._mapping)

    async def page(self, after: int | None, limit: int) -> tuple[list[Notification], int]:
        """The newest first, or those after an id, oldest first; and how many there are of such."""
        chosen = Logged.id > (after or 0)
        order = Logged.id.desc() if after is None else Logged.id.asc()
        async with self.database.transaction() as session:
            rows = (await session.execute(select(*COLUMNS).where(chosen).order_by(order).limit(limit))).all()
            total = len(rows)
            if total == limit:
                total = (
                    await session.execute(select(func.count()).select_from(Logged).where(chosen))
                ).scalar_one()
        return [Notification(**row._mapping) for row in rows], total

    async def newest(self) -> int:
        """The last notification's id; 0 where there is none."""
        async with self.database.transaction() as session:
            return await session.scalar(select(func.max(Logged.id))) or 0

    async def since(self, after: int) -> AsyncIterator[Notification]:
        """All after an id, oldest first. Raises `Unavailable` without the database."""
        while True:
            query = select(*COLUMNS).where(Logged.id > after).order_by(Logged.id).limit(MISSED)
            try:
                async with self.database.transaction() as session:
                    found = (await session.execute(query)).all()
            except SQLAlchemyError as error:
                raise Unavailable from error
            if not found:
                return
            for row in found:
                after = row.id
                yield Notification(**row._mapping)

    async def purge(self) -> int:
        """Forgets what is older than the retention; returns how many notifications that was."""
        old = func.now() - self.retention
        async with self.database.transaction() as session:
            gone = await session.execute(delete(Logged).where(Logged.created_at < old))
            await outbox.purge(session, self.retention)
        return int(gone.rowcount)  # type: ignore[attr-defined]


COLUMNS = Logged.__table__.columns
ADAPTER = TypeAdapter(Notification)
TELL = text("SELECT pg_notify(:channel, each) FROM unnest(CAST(:told AS text[])) AS each")
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('notifications_log'))")

# During an upgrade the other version may tell more than we know.
FEED: Feed[Notification] = Feed(CHANNEL, ADAPTER.validate_json, lambda identity, _: identity.has(*STAFF))
