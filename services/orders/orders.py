"""What orders does: place, list, find, change the status; each change is kept, told and recorded at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from kit import outbox
from kit.authentication import SERVICE, Identity
from kit.errors import Conflict, ErrorBody, Forbidden, NotFound
from kit.lanes import Lanes
from psycopg import AsyncConnection
from psycopg.rows import args_row
from pydantic import Field

from orders import events, idempotency, live
from orders.language import Language
from orders.models import Source
from orders.status import NEXT, Status, objection

# Staff see every order and move it along, services see every order; everybody else is a customer.
STAFF = ("admin", "employee")


class Order(NamedTuple):
    """An order as it is in the database. `total_amount` has two decimals."""

    id: int
    owner_id: int
    customer_name: str
    customer_email: str
    source: str
    status: str
    total_amount: Decimal
    created_at: datetime
    updated_at: datetime
    language: str


class Change(NamedTuple):
    """What an order became, through whom. `old_status` is None for the order's first."""

    old_status: str | None
    new_status: str
    changed_by: int
    role: str
    changed_at: datetime


class OrderNotFound(NotFound):
    """404, also for an order that is somebody else's: a customer cannot find out which exist."""

    text = "Order not found"


class IllegalStatusBody(ErrorBody):
    status: Status = Field(description="What the order is")
    allowed: list[Status] = Field(description="What it may become")


class IllegalStatus(Conflict):
    """409: the life of an order does not go that way."""

    schema = IllegalStatusBody

    def __init__(self, error: str, status: Status) -> None:
        super().__init__(error, status=status, allowed=list(NEXT[status]))


@dataclass(frozen=True, slots=True)
class NewOrder:
    customer_name: str
    customer_email: str
    source: Source
    total_amount: Decimal
    language: Language = Language.POLISH

    def fingerprint(self) -> bytes:
        """The same for what a client means to be the same order, however it spelt it."""
        amount = f"{self.total_amount:.2f}"
        meant = [self.customer_name, self.customer_email, self.source, amount]
        return sha256(orjson.dumps(meant)).digest()


@dataclass(frozen=True, slots=True)
class Filters:
    """Which orders; an empty field leaves nothing out. `created_to` is exclusive."""

    status: Sequence[Status] = ()
    source: Sequence[Source] = ()
    customer_email: str | None = None
    query: str | None = None  # part of the customer's name, in capitals or not
    created_from: datetime | None = None
    created_to: datetime | None = None


# What a list may be sorted by: the name that a client gives -> SQL. The id makes the order total.
SORTS = {
    f"{sign}{column}": f"{column} {direction}, id {direction}"
    for column in ("created_at", "updated_at", "total_amount")
    for sign, direction in (("", "ASC"), ("-", "DESC"))
}


def may_see(identity: Identity, owner_id: int) -> bool:
    return sees_all(identity) or identity.user_id == owner_id


def sees_all(identity: Identity) -> bool:
    return identity.has(*STAFF, SERVICE)


@dataclass(frozen=True, slots=True)
class Orders:
    """The use cases. Each is one transaction, on a lane: through a session they cost three times the CPU."""

    lanes: Lanes

    async def place(self, new: NewOrder, by: Identity) -> Order:
        """Raises `Forbidden`."""
        async with self.lanes.transaction() as connection:
            return await _place(connection, new, by)

    async def place_once(
        self, new: NewOrder, by: Identity, key: str, answer: Callable[[Order], bytes]
    ) -> tuple[bytes, bool]:
        """The answer to the first request with this key of this user, and whether that was an earlier one.

        Raises `Forbidden`, `KeyInUse`, `KeyReused`.
        """
        async with self.lanes.transaction() as connection:
            first = await idempotency.begin(connection, by.user_id, key, new.fingerprint())
            if first is not None:
                return first, True
            given = answer(await _place(connection, new, by))
            await idempotency.finish(connection, by.user_id, key, given)
        return given, False

    async def find(self, order_id: int, by: Identity) -> Order:
        """Raises `OrderNotFound`."""
        async with self.lanes.lane() as connection:
            cursor = await connection.cursor(row_factory=args_row(Order)).execute(FIND, [order_id])
            order = await cursor.fetchone()
        if order is None or not may_see(by, order.owner_id):
            raise OrderNotFound
        return order

    async def history(self, order_id: int, by: Identity) -> list[Change]:
        """Oldest first; raises `OrderNotFound`."""
        await self.find(order_id, by)
        async with self.lanes.lane() as connection:
            cursor = await connection.cursor(row_factory=args_row(Change)).execute(HISTORY, [order_id])
            return await cursor.fetchall()

    async def counts(self, by: Identity) -> dict[str, int]:
        """How many orders there are of each status; raises `Forbidden`."""
        if not sees_all(by):
            raise Forbidden(STAFF, by.role)
        async with self.lanes.lane() as connection:
            found = dict(await (await connection.execute(COUNTS)).fetchall())
        return {status.value: found.get(status.value, 0) for status in Status}

    async def change_status(self, order_id: int, new: Status, by: Identity) -> Order:
        """The changed order; raises `OrderNotFound`, `IllegalStatus`, `Forbidden`.

        Staff move an order along its life. A customer may only cancel an own order, while it is new.
        """
        if not by.has(*STAFF) and (new is not Status.CANCELLED or by.has(SERVICE)):
            raise Forbidden(STAFF, by.role)
        async with self.lanes.transaction() as connection:
            # Locked: of two changes at once the second sees what the first made of the order.
            found = await (await connection.execute(LOCK, [order_id])).fetchone()
            if found is None or not may_see(by, found[1]):
                raise OrderNotFound
            old = Status(found[0])
            if why := objection(old, new):
                raise IllegalStatus(why, old)
            if not by.has(*STAFF) and old is not Status.NEW:
                raise Forbidden(STAFF, by.role, "You can cancel an order only while it is new")
            values = {
                "id": order_id,
                "old": old.value,
                "new": new.value,
                "changed_by": by.user_id,
                "role": by.role,
            }
            order = await _one(connection, CHANGE, values)
            await _tell(connection, order, old, by.role)
        return order

    async def page(
        self, filters: Filters, by: Identity, sort: str, limit: int, offset: int
    ) -> tuple[list[Order], int]:
        """The orders that `by` may see, sorted by one of `SORTS`, and how many there are on all pages."""
        where, values = _where(filters, by)
        async with self.lanes.lane() as connection:
            cursor = connection.cursor(row_factory=args_row(Order))
            await cursor.execute(_page(where, sort), values | {"limit": limit, "offset": offset})
            found = await cursor.fetchall()
            if len(found) < limit and (found or not offset):
                return found, offset + len(found)
            counted = await connection.execute(_count(where), values)
            (total,) = await counted.fetchone() or (0,)
        return found, total


def _page(where: str, sort: str) -> bytes:
    order = SORTS[sort]
    return f"SELECT {COLUMNS} FROM orders {where} ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s".encode()  # noqa: S608


def _count(where: str) -> bytes:
    return f"SELECT count(*) FROM orders {where}".encode()  # noqa: S608


def _where(filters: Filters, by: Identity) -> tuple[str, dict[str, Any]]:
    """Of constant texts only; what a client sends travels as parameters."""
    wanted: dict[str, tuple[str, Any]] = {
        "owner": ("owner_id = %(owner)s", None if sees_all(by) else by.user_id),
        "status": ("status = ANY(%(status)s)", [each.value for each in filters.status]),
        "source": ("source = ANY(%(source)s)", [each.value for each in filters.source]),
        "email": ("customer_email = %(email)s", filters.customer_email),
        "query": ("customer_name ILIKE %(query)s", _anywhere(filters.query)),
        "from": ("created_at >= %(from)s", filters.created_from),
        "to": ("created_at < %(to)s", filters.created_to),
    }
    used = {name: each for name, each in wanted.items() if each[1]}
    where = "WHERE " + " AND ".join(condition for condition, _ in used.values()) if used else ""
    return where, {name: value for name, (_, value) in used.items()}


def _anywhere(part: str | None) -> str | None:
    """A pattern for ILIKE in which what a client sends means only itself."""
    return part and "%" + re.sub(r"[\\%_]", r"\\\g<0>", part) + "%"


async def _place(connection: AsyncConnection, new: NewOrder, by: Identity) -> Order:
    if by.has(SERVICE):
        raise Forbidden((*STAFF, "customer"), by.role)
    values = {
        "owner_id": by.user_id,
        "customer_name": new.customer_name,
        "customer_email": new.customer_email,
        "source": new.source.value,
        "status": Status.NEW.value,
        "total_amount": new.total_amount,
        "language": new.language.value,
        "role": by.role,
    }
    order = await _one(connection, PLACE, values)
    await _tell(connection, order, None, "system")
    return order


async def _one(connection: AsyncConnection, query: bytes, values: dict[str, Any]) -> Order:
    cursor = await connection.cursor(row_factory=args_row(Order)).execute(query, values)
    order = await cursor.fetchone()
    if order is None:
        raise RuntimeError("no row came back from a change")
    return order


async def _tell(connection: AsyncConnection, order: Order, old: Status | None, updated_by: str) -> None:
    """The events and the live update: they commit with the change, or not at all."""
    await outbox.add(connection, *events.told(order, old))
    await live.tell(connection, live.Update(order.id, order.owner_id, order.status, updated_by))


COLUMNS = ", ".join(Order._fields)

FIND = f"SELECT {COLUMNS} FROM orders WHERE id = %s".encode()  # noqa: S608

HISTORY = f"""
    SELECT {", ".join(Change._fields)} FROM order_status_history WHERE order_id = %s ORDER BY id
""".encode()  # noqa: S608

COUNTS = b"SELECT status, count(*) FROM orders GROUP BY status"

LOCK = b"SELECT status, owner_id FROM orders WHERE id = %s FOR UPDATE"

PLACE = f"""
    WITH placed AS (
        INSERT INTO orders (owner_id, customer_name, customer_email, source, status, total_amount, language)
        VALUES (%(owner_id)s, %(customer_name)s, %(customer_email)s, %(source)s, %(status)s, %(total_amount)s,
            %(language)s)
        RETURNING {COLUMNS}
    ), recorded AS (
        INSERT INTO order_status_history (order_id, new_status, changed_by, role, changed_at)
        SELECT id, status, owner_id, %(role)s, created_at FROM placed
    )
    SELECT {COLUMNS} FROM placed
""".encode()  # noqa: S608

CHANGE = f"""
    WITH changed AS (
        UPDATE orders SET status = %(new)s, updated_at = clock_timestamp() WHERE id = %(id)s
        RETURNING {COLUMNS}
    ), recorded AS (
        INSERT INTO order_status_history (order_id, old_status, new_status, changed_by, role, changed_at)
        SELECT id, %(old)s, status, %(changed_by)s, %(role)s, updated_at FROM changed
    )
    SELECT {COLUMNS} FROM changed
""".encode()  # noqa: S608
