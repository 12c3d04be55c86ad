"""Events that survive: outbox rows written with the change, a relay to the broker, an inbox against twice.

The invariant: an event is committed together with its cause, and its row leaves the outbox only after the
broker confirmed it, by the relay that holds the row's lease. So none is lost; one may be sent twice (a relay
killed between confirmation and delete), and consumers count it once by `first_time`.

Order: of each aggregate and queue only the oldest row is ever in flight. That holds if transactions that add
events of one aggregate are serialised (they lock its row, as an update does).

One event may go to several queues: a row each, with one id. Relays of different queues share nothing, so a
receiver that is away holds up nobody else's events.

An event that the broker keeps refusing is dead: it stays, with its error, and lets those after it by.
To try again: `UPDATE outbox SET dead_at = NULL, attempts = 0 WHERE dead_at IS NOT NULL`.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Protocol

import orjson
import psycopg
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from kit import context, logging
from kit.database import Database, adding, metadata
from kit.events import check

log = logging.get("kit.outbox")


def tables(target: MetaData) -> None:
    """Declares `outbox` and `inbox` in a service's metadata; its first migration creates them."""
    outbox.to_metadata(target)
    inbox.to_metadata(target)


def to_several_queues(op: Any) -> None:
    """What a migration does to an outbox in which an id was unique; `op` is Alembic's."""
    op.drop_constraint("outbox_id_key", "outbox")
    op.create_unique_constraint("outbox_id_queue_key", "outbox", ["id", "queue"])
    op.create_index(
        "outbox_queue_idx", "outbox", ["queue", "position"], postgresql_where=text("dead_at IS NULL")
    )


def to_one_queue(op: Any) -> None:
    """The way back, for `downgrade`. Webhooks go: each has a twin that waits for the broker."""
    op.execute("DELETE FROM outbox WHERE queue LIKE 'webhook:%'")
    op.drop_index("outbox_queue_idx", "outbox")
    op.drop_constraint("outbox_id_queue_key", "outbox")
    op.create_unique_constraint("outbox_id_key", "outbox", ["id"])


_metadata = metadata()

# Debezium's names for what an event is, so that change data capture can read the table some day.
outbox = Table(
    "outbox",
    _metadata,
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("aggregatetype", String(64), nullable=False),
    Column("aggregateid", String(64), nullable=False),
    Column("type", String(128), nullable=False),
    Column("queue", String(128), nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("headers", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("available_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("lease_token", Uuid),
    Column("leased_until", DateTime(timezone=True)),
    Column("dead_at", DateTime(timezone=True)),
    Column("error", Text),
    UniqueConstraint("id", "queue"),
)
Index(
    "outbox_pending_idx",
    outbox.c.aggregatetype,
    outbox.c.aggregateid,
    outbox.c.position,
    postgresql_where=outbox.c.dead_at.is_(None),
)
# So that a relay finds its own rows however many of a receiver that is away lie before them.
Index("outbox_queue_idx", outbox.c.queue, outbox.c.position, postgresql_where=outbox.c.dead_at.is_(None))

inbox = Table(
    "inbox",
    _metadata,
    Column("consumer", String(64), primary_key=True),
    Column("event_id", Uuid, primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


@dataclass(frozen=True, slots=True)
class Event:
    """A fact to tell: `payload` is the message's JSON body, the rest travels as CloudEvents attributes."""

    type: str  # order.created
    aggregate: str  # order
    aggregate_id: str
    queue: str
    payload: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to(self, *queues: str) -> list[Event]:
        """The same event for each of these queues, `webhook:NAME` among them."""
        return [replace(self, queue=queue) for queue in queues]


async def add(session: AsyncSession | psycopg.AsyncConnection, *events: Event) -> None:
    """Writes events in the caller's transaction: they are published if, and only if, it commits.

    The transaction is `Database.transaction`, or `Lanes.transaction` on a connection of the driver itself:
    their commit wakes the relays. Raises `kit.events.Misfit` for what no consumer would take.
    """
    if not events:
        return
    for each in events:
        check(each.queue, each.payload)
    adding.add(session)
    if isinstance(session, AsyncSession):
        await session.execute(insert(outbox), [_row(each) for each in events])
        return
    await session.execute(INSERT, [orjson.dumps([_row(each) for each in events]).decode()])


def _row(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "aggregatetype": event.aggregate,
        "aggregateid": event.aggregate_id,
        "type": event.type,
        "queue": event.queue,
        "payload": dict(event.payload),
        "headers": context.outgoing() | dict(event.headers),
        "created_at": event.time,
    }


# However many they are, in one statement, and in their order.
INSERT = b"""
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, queue, payload, headers, created_at)
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS event (
        id uuid, aggregatetype text, aggregateid text, type text, queue text, payload jsonb, headers jsonb,
        created_at timestamptz)
"""


async def first_time(session: AsyncSession, consumer: str, *event_ids: uuid.UUID | str) -> set[uuid.UUID]:
    """Those of the events that `consumer` sees for the first time; in the transaction of their effect."""
    # Sorted, as another transaction with some of the same waits for us: two must not wait for each other.
    rows = [
        {"consumer": consumer, "event_id": each} for each in sorted({uuid.UUID(str(id)) for id in event_ids})
    ]
    statement = upsert(inbox).values(rows).on_conflict_do_nothing().returning(inbox.c.event_id)
    return set((await session.scalars(statement)).all())


async def purge(session: AsyncSession, age: timedelta | None = None) -> None:
    """Takes out of the inbox what came that long ago, INBOX unless given."""
    await session.execute(delete(inbox).where(inbox.c.received_at < func.now() - (age or INBOX)))


class BrokerDown(Exception):
    """The broker cannot be reached: no event's fault, so no event's attempt is counted."""


class Publisher(Protocol):
    """Returns once the broker confirmed the event; raises `BrokerDown`, or anything else if refused."""

    async def publish(self, event: Event) -> None: ...


class Relay:
    """Moves events of some queues from the outbox to who takes them; any number may run on one outbox."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        *,
        queues: Sequence[str],
        registry: CollectorRegistry | None = None,
        interval: float = 0.5,
        batch: int = 100,
        lease: float = 30.0,
        max_attempts: int = 10,
        backoff: float = 0.5,
        max_backoff: float = 300.0,
    ) -> None:
        """`batch` is of each queue, times are in seconds.

        `interval` is between looks that nothing wakes: for events of another process, or whose time has come.
        A refused event is dead after `max_attempts`, with `backoff` doubling between, of which up to half is
        left out by chance: those refused together do not come back together.
        """
        self._database = database
        self._publisher = publisher
        self._queues = tuple(queues)
        self._interval = interval
        self._batch = batch
        self._lease = lease
        self._max_attempts = max_attempts
        self._backoff = backoff
        self._max_backoff = max_backoff
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._metrics = _metrics(registry or CollectorRegistry())
        for metric in (
            self._metrics.published,
            self._metrics.refused,
            self._metrics.pending,
            self._metrics.dead,
        ):
            for queue in self._queues:
                metric.labels(queue)  # there from the start, as an alert cannot ask for what is not
        self._measured = float("-inf")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        """Runs in the background, woken by commits; on exit the batch in flight is finished first."""
        self._database.relays.add(self._wake.set)
        task = asyncio.create_task(self.run(), name=f"outbox-relay {self._queues[0]}")
        try:
            yield self
        finally:
            self._database.relays.discard(self._wake.set)
            self._stop.set()
            self._wake.set()
            _, pending = await asyncio.wait({task}, timeout=self._lease / 2)
            for each in pending:
                each.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def run(self) -> None:
        """Relays until stopped; a broker or database that is down is waited for, with one warning.

        The first event of a quiet time leaves at once. Looks are GATHER apart at least, however often commits
        wake it.
        """
        down: str | None = None
        pause = self._interval
        while not self._stop.is_set():
            self._wake.clear()  # before the look: what a commit adds meanwhile is found by the next
            try:
                try:
                    moved = await self.once()
                finally:  # above all while nothing leaves
                    await self._measure()
            except (
                Exception
            ) as error:  # whatever it is: a relay that ended would lose no event, but tell none
                reason = type(error).__name__
                if down != reason:
                    expected = isinstance(error, (BrokerDown, SQLAlchemyError, OSError))
                    log.warning(
                        "relay waits",
                        queues=self._queues,
                        reason=reason,
                        detail=str(error),
                        exc_info=not expected,
                    )
                down = reason
                pause = min(pause * 2, MAX_PAUSE)
                await _within(self._stop, pause)  # no commit brings back who is away
                continue
            if down:
                log.info("relay goes on", queues=self._queues)
            down, pause = None, self._interval
            if moved < self._batch:
                await _within(self._stop, GATHER)
            if not moved:
                await _within(self._wake, pause - GATHER)

    async def once(self) -> int:
        """Publishes one batch; returns how many events the broker answered for. Raises `BrokerDown`."""
        token = uuid.uuid4()
        claimed = await self._claim(token)
        if not claimed:
            return 0
        results = await asyncio.gather(
            *(self._publish(_event(row)) for row in claimed), return_exceptions=True
        )
        sent, refused, returned, down = [], [], [], None
        for row, result in zip(claimed, results, strict=True):
            if result is None:
                sent.append(row.position)
                self._metrics.published.labels(row.queue).inc()
            elif isinstance(result, BrokerDown):
                returned.append(row.position)
                down = result
            else:
                refused.append((row, result))
                self._metrics.refused.labels(row.queue).inc()
        mine = outbox.c.lease_token == token
        async with self._database.statements() as statements:
            if sent:
                await statements.execute(FORGET, {"token": token, "sent": sent})
            if returned:
                await statements.execute(
                    update(outbox).where(outbox.c.position.in_(returned), mine).values(FREE)
                )
            for row, error in refused:
                await statements.execute(
                    update(outbox)
                    .where(outbox.c.position == row.position, mine)
                    .values(self._verdict(row, error))
                )
        if down:
            raise down
        return len(sent) + len(refused)

    async def _publish(self, event: Event) -> None:
        try:
            with context.incoming(event.headers, f"send {event.queue}", "PRODUCER"):
                event = replace(event, headers={**event.headers, **context.outgoing()})
                async with asyncio.timeout(self._lease / 2):  # well before anyone else may take the row
                    await self._publisher.publish(event)
        except TimeoutError as error:
            raise BrokerDown("no confirmation in time") from error

    async def _claim(self, token: uuid.UUID) -> Sequence[Row[Any]]:
        async with self._database.statements() as statements:
            wanted = {"queues": list(self._queues), "batch": self._batch}
            found = await statements.execute(CLAIM, {"token": token, "lease": self._lease, **wanted})
            return sorted(found.all(), key=lambda row: int(row.position))

    def _verdict(self, row: Row[Any], error: BaseException) -> dict[str, Any]:
        """What a refused event's row becomes: tried again later, or dead."""
        attempts = row.attempts + 1
        reason = f"{type(error).__name__}: {error}"[:500]
        dead = attempts >= self._max_attempts
        say = log.error if dead else log.warning
        with context.bound(row.headers):
            say(
                "event refused",
                event_id=str(row.id),
                type=row.type,
                queue=row.queue,
                attempts=attempts,
                dead=dead,
                detail=reason,
            )
        longest = min(self._backoff * 2 ** (attempts - 1), self._max_backoff)
        wait = timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311  (nobody's secret)
        return FREE | {
            "attempts": attempts,
            "error": reason,
            "available_at": func.now() + wait,
            "dead_at": func.now() if dead else None,
        }

    async def _measure(self) -> None:
        if time.monotonic() - self._measured < MEASURE:
            return
        dead = outbox.c.dead_at.is_not(None)
        query = select(outbox.c.queue, func.count().filter(~dead), func.count().filter(dead))
        mine = outbox.c.queue.in_(self._queues)
        async with self._database.statements() as statements:
            found = (await statements.execute(query.where(mine).group_by(outbox.c.queue))).all()
        counts = {queue: (pending, given_up) for queue, pending, given_up in found}
        for queue in self._queues:
            pending, given_up = counts.get(queue, (0, 0))
            self._metrics.pending.labels(queue).set(pending)
            self._metrics.dead.labels(queue).set(given_up)
        self._measured = time.monotonic()


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Returns when it comes, at the latest after that time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


# How long the inbox knows an event: one comes again after an outage, of the broker or of whoever sends or
# takes it, or from the outbox of a database that was restored.
INBOX = timedelta(days=90)
GATHER = (
    0.05  # seconds for events to come together: under load a batch for each event would cost more than it
)
MAX_PAUSE = 5.0  # seconds between looks while the broker or the database is down
MEASURE = 10.0  # seconds between counts of the outbox
FREE: dict[str, Any] = {"lease_token": None, "leased_until": None}

# What a crash of the database takes back of this sends an event twice, which it may be; so none of it waits
# for the disk, nor do those that wait for the disk wait for it.
LAZILY = "(SELECT set_config('synchronous_commit', 'off', true)) AS lazily"

# A dead event no longer holds up those after it. Two spellings hold the planner to the right index whatever
# its statistics say, which lag behind a backlog: BETWEEN and the order by queue, or it walks through all
# events by position; `|| ''`, or it looks for an older one of the aggregate among all those of the queue.
CLAIM = text(
    f"""
    WITH ready AS MATERIALIZED (
        SELECT found.position FROM {LAZILY}, unnest(CAST(:queues AS text[])) AS wanted(queue)
        CROSS JOIN LATERAL (
            SELECT position FROM outbox AS candidate
            WHERE queue BETWEEN wanted.queue AND wanted.queue AND dead_at IS NULL AND available_at <= now()
              AND (leased_until IS NULL OR leased_until < now())
              AND NOT EXISTS (
                SELECT FROM outbox AS older
                WHERE older.aggregatetype = candidate.aggregatetype
                  AND older.aggregateid = candidate.aggregateid AND older.queue || '' = candidate.queue
                  AND older.position < candidate.position AND older.dead_at IS NULL)
            ORDER BY queue, position LIMIT :batch FOR UPDATE SKIP LOCKED
        ) AS found
    )
    UPDATE outbox SET lease_token = :token, leased_until = now() + make_interval(secs => :lease)
    FROM ready WHERE outbox.position = ready.position
    RETURNING outbox.position, outbox.id, outbox.aggregatetype, outbox.aggregateid, outbox.type, outbox.queue,
              outbox.payload, outbox.headers, outbox.created_at, outbox.attempts
    """  # noqa: S608  (ours)
)
FORGET = text(
    f"DELETE FROM outbox USING {LAZILY} WHERE position = ANY(:sent) AND lease_token = :token"  # noqa: S608
)


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        type=row.type,
        aggregate=row.aggregatetype,
        aggregate_id=row.aggregateid,
        queue=row.queue,
        payload=row.payload,
        headers=row.headers,
        time=row.created_at,
    )


@dataclass(frozen=True, slots=True)
class Metrics:
    published: Counter
    refused: Counter
    pending: Gauge
    dead: Gauge


@cache
def _metrics(registry: CollectorRegistry) -> Metrics:
    """One set for all relays of a service."""
    return Metrics(
        Counter("outbox_published", "Events taken", ["queue"], registry=registry),
        Counter("outbox_refused", "Attempts that were refused", ["queue"], registry=registry),
        Gauge("outbox_pending", "Events waiting to be taken", ["queue"], registry=registry),
        Gauge("outbox_dead", "Events given up, for a person to look at", ["queue"], registry=registry),
    )
