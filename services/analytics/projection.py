"""analytics' own picture of the orders, drawn from their events and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kit.consumer import Message, Poison
from sqlalchemy import text
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncSession

from analytics.figures import CENT, Cell, Interval

QUEUE = "order_analytics"

# What an open end of a period stands for.
EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC))


async def apply(session: AsyncSession, messages: Sequence[Message]) -> None:
    """Takes in events, in whatever order they come: an older one never overwrites a newer.

    Raises `Poison` for numbers and times that fit the schema and that no database holds.
    """
    try:
        rows = [_row(each.payload) for each in messages]
        await session.execute(LOCK)
        await session.execute(UPSERT, rows)
    except (ValueError, ArithmeticError, DataError) as error:
        orders = ", ".join(str(each.payload["order_id"]) for each in messages)
        raise Poison(f"{type(error).__name__}: order {orders}") from error


def _row(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": told["order_id"],
        "source": told["source"],
        "status": told["status"],
        "old_status": told["old_status"],
        "total_amount": Decimal(str(told["total_amount"])).quantize(CENT),
        "created_at": datetime.fromisoformat(told["created_at"]),
        "changed_at": datetime.fromisoformat(told["changed_at"]),
    }


async def cells(
    session: AsyncSession,
    start: datetime,
    end: datetime,
    interval: Interval | None = None,
    *,
    apart: bool = True,
) -> list[Cell]:
    """The orders placed in [start, end), counted by interval, if one is given, by source and by status.

    Not `apart`, sources and statuses are counted together, under no name: a long series needs no more.
    """
    values = {"start": start, "end": end, "interval": interval.value if interval else None, "apart": apart}
    return [Cell(*row) for row in await session.execute(COUNT, values)]


async def set_zone(session: AsyncSession, zone: str) -> bool:
    """Whether the calendar had another zone; then its days have been counted anew."""
    changed = await session.execute(
        text("UPDATE calendar SET zone = :zone WHERE zone <> :zone RETURNING zone"), {"zone": zone}
    )
    if changed.first() is None:
        return False
    await session.execute(text("SET LOCAL statement_timeout = 0"))
    await session.execute(text("LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE"))
    await session.execute(text("DELETE FROM days"))
    await session.execute(RECOUNT)
    return True


# Instances take turns: each would change counts that another has changed already, and wait for it.
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('orders'))")

# Of two changes of one moment the later is the one that began where the other ended.
UPSERT = text(
    """
    INSERT INTO orders AS kept (id, source, status, total_amount, created_at, changed_at)
    VALUES (:id, :source, :status, :total_amount, :created_at, :changed_at)
    ON CONFLICT (id) DO UPDATE SET source = excluded.source, status = excluded.status,
        total_amount = excluded.total_amount, created_at = excluded.created_at,
        changed_at = excluded.changed_at
    WHERE kept.changed_at < excluded.changed_at
        OR (kept.changed_at = excluded.changed_at AND kept.status = :old_status)
    """
)

# Whole days come from `days`; only what is left of the first and of the last is counted order by order.
COUNT = text(
    """
    WITH given AS (
        SELECT CAST(:start AS timestamptz) AS start, CAST(:end AS timestamptz) AS finish, zone FROM calendar
    ), whole AS (
        SELECT *, (start AT TIME ZONE zone)::date
            + CASE WHEN date_trunc('day', start, zone) < start THEN 1 ELSE 0 END AS first,
            (finish AT TIME ZONE zone)::date AS last
        FROM given
    ), head AS (
        SELECT *, LEAST(first::timestamp AT TIME ZONE zone, finish) AS head_end FROM whole
    ), bounds AS MATERIALIZED (
        SELECT *, GREATEST(last::timestamp AT TIME ZONE zone, head_end) AS tail FROM head
    ), parts AS (
        SELECT day, source, status, orders, amount FROM days
        WHERE day >= (SELECT first FROM bounds) AND day < (SELECT last FROM bounds)
        UNION ALL
        SELECT (created_at AT TIME ZONE zone)::date, source, status, 1, total_amount FROM bounds, orders
        WHERE created_at >= start AND created_at < head_end
        UNION ALL
        SELECT (created_at AT TIME ZONE zone)::date, source, status, 1, total_amount FROM bounds, orders
        WHERE created_at >= tail AND created_at < finish
    )
    SELECT date_trunc(CAST(:interval AS text), day::timestamp)::date,
        CASE WHEN :apart THEN source ELSE '' END, CASE WHEN :apart THEN status ELSE '' END,
        sum(orders)::bigint, sum(amount)
    FROM parts GROUP BY 1, 2, 3 HAVING sum(orders) > 0 ORDER BY 1, 2, 3
    """
)

RECOUNT = text(
    """
    INSERT INTO days (day, source, status, orders, amount)
    SELECT (created_at AT TIME ZONE zone)::date, source, status, count(*), sum(total_amount)
    FROM orders, calendar GROUP BY 1, 2, 3
    """
)
