"""What orders does: place, list, find, change the status; each change is kept, told and recorded at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson
from kit import logging, outbox
from kit.authentication import SERVICE, Identity
from kit.errors import Conflict, ErrorBody, Forbidden, NotFound
from kit.lanes import Lanes
from kit.outbox import Event
from psycopg import AsyncConnection
from psycopg.rows import args_row
from pydantic import Field

from orders import idempotency, live
from orders.language import Language
from orders.models import Source
from orders.status import OPEN, Life, Status

log = logging.get("orders")

# Staff see every order and move it along, services see every order; everybody else is a customer.
STAFF = ("admin", "employee")


class Item(NamedTuple):
    """`price` of one, with two decimals."""

    product: str
    quantity: int
    price: Decimal


def total(items: Sequence[Item]) -> Decimal:
    return sum((each.quantity * each.price for each in items), Decimal("0.00"))


class Order(NamedTuple):
    """An order as it is in the database. `total_amount` has two decimals; `items` is their JSON, compact."""

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
    uid: UUID | None
    owner_uid: UUID | None
    items: str | None

    def parsed(self) -> list[Item]:
        """Its items; none where the contract has none."""
        return [Item(**each) for each in json.loads(self.items or "[]", parse_float=Decimal)]


class Change(NamedTuple):
    """What an order became, through whom. `old_status` is None for the order's first."""

    old_status: str | None
    new_status: str
    changed_by: int
    role: str
    changed_at: datetime


class OrderNotFound(NotFound):
    """404, also for an order that is somebody else's: a customer cannot find out which exist by number."""

    text = "Order not found"


class IllegalStatusBody(ErrorBody):
    status: Status = Field(description="What the order is")
    allowed: list[Status] = Field(description="What it may become")


class IllegalStatus(Conflict):
    """409: the life of an order does not go that way."""

    schema = IllegalStatusBody

    def __init__(self, error: str, status: Status, life: Life) -> None:
        super().__init__(error, status=status, allowed=list(life.steps[status]))


class ItemsStay(Conflict):
    text = "The items of this order cannot be changed any more"


@dataclass(frozen=True, slots=True)
class NewOrder:
    customer_name: str
    customer_email: str
    source: Source
    total_amount: Decimal
    language: Language = Language.POLISH
    items: tuple[Item, ...] = ()

    def fingerprint(self) -> bytes:
        """The same for what a client means to be the same order, however it spelt it."""
        amount = f"{self.total_amount:.2f}"
        meant = [self.customer_name, self.customer_email, self.source, amount]
        return sha256(orjson.dumps(meant) + (_json(self.items).encode() if self.items else b"")).digest()


@dataclass(frozen=True, slots=True)
class Filters:
    """Which orders; an empty field leaves nothing out. `created_to` is exclusive."""

    status: Sequence[Status] = ()
    source: Sequence[Source] = ()
    customer_email: str | None = None
    query: str | None = None  # part of the customer's name, in capitals or not
    created_from: datetime | None = None
    created_to: datetime | None = None
    owner_uid: UUID | None = None
    min_amount: Decimal | None = None
    max_amount: Decimal | None = None


# What a list may be sorted by: the name that a client gives -> SQL. The id makes the order total.
SORTS = {
    f"{sign}{column}": f"{column} {direction}, id {direction}"
    for column in ("created_at", "updated_at", "total_amount")
    for sign, direction in (("", "ASC"), ("-", "DESC"))
}


class Stats(NamedTuple):
    """Of some orders: how many are of each status, how many of the last week, and what they are worth.

    `amount` is of those that are not cancelled, and `kept` is how many these are.
    """

    by_status: dict[Status, int]
    recent: int
    amount: Decimal
    kept: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What a contract asks of the use cases, beyond its shapes.

    `told` makes the events of a change; its second argument is None for an order just placed. `live`: changes
    are told to WebSockets too. `hides`: an order that is somebody else's is not found; otherwise forbidden.
    """

    life: Life
    told: Callable[[Order, str | None], Sequence[Event]]
    live: bool = False
    hides: bool = True


Key = int | UUID  # `id` or `uid` of an order


def may_see(identity: Identity, owner_id: int) -> bool:
    return sees_all(identity) or identity.user_id == owner_id


def sees_all(identity: Identity) -> bool:
    return identity.has(*STAFF, SERVICE)


@dataclass(frozen=True, slots=True)
class Orders:
    """The use cases. Each is one transaction, on a lane: through a session they cost three times the CPU."""

    lanes: Lanes
    rules: Rules

    async def place(self, new: NewOrder, by: Identity) -> Order:
        """Raises `Forbidden`."""
        async with self.lanes.transaction() as connection:
            order = await self._place(connection, new, by)
        _log("order placed", order)
        return order

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
            order = await self._place(connection, new, by)
            given = answer(order)
            await idempotency.finish(connection, by.user_id, key, given)
        _log("order placed", order)
        return given, False

    async def find(self, key: Key, by: Identity) -> Order:
        """Raises `OrderNotFound`, `Forbidden`."""
        async with self.lanes.lane() as connection:
            cursor = await connection.cursor(row_factory=args_row(Order)).execute(FIND[type(key)], [key])
            order = await cursor.fetchone()
        if order is None:
            raise OrderNotFound
        self._see(order.owner_id, by)
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

    async def stats(self, by: Identity, *, own: bool) -> Stats:
        """Of the caller's own orders or of all; raises `Forbidden`."""
        if not own and not by.has(*STAFF):
            raise Forbidden(STAFF, by.role)
        where, values = ("WHERE owner_id = %(owner)s", {"owner": by.user_id}) if own else ("", {})
        async with self.lanes.lane() as connection:
            found = await (await connection.execute(_stats(where), values)).fetchall()
        kept = [row for row in found if row[0] != Status.CANCELLED]
        return Stats(
            by_status={Status(row[0]): row[1] for row in found},
            recent=sum(row[2] for row in found),
            amount=sum((row[3] for row in kept), Decimal("0.00")),
            kept=sum(row[1] for row in kept),
        )

    async def delete(self, key: Key, by: Identity) -> Order:
        """The order that is no more; for admins. Raises `OrderNotFound`, `Forbidden`."""
        if not by.has("admin"):
            raise Forbidden(("admin",), by.role)
        async with self.lanes.transaction() as connection:
            cursor = connection.cursor(row_factory=args_row(Order))
            order = await (await cursor.execute(DELETE[type(key)], [key])).fetchone()
        if order is None:
            raise OrderNotFound
        _log("order deleted", order)
        return order

    async def change_status(self, key: Key, new: Status, by: Identity) -> Order:
        """The changed order; raises `OrderNotFound`, `IllegalStatus`, `Forbidden`.

        Staff move an order along its life, a customer an own one as far as the life lets its owner.
        """
        self._may(new, by)
        async with self.lanes.transaction() as connection:
            order = await self._move(connection, key, new, by)
        _log("order changed", order)
        return order

    async def change(self, key: Key, items: Sequence[Item], new: Status | None, by: Identity) -> Order:
        """Other items, for an owner while the order is new, for staff until it is final; then a status.

        Raises as `change_status` does, and `ItemsStay`.
        """
        if new is not None:
            self._may(new, by)
        async with self.lanes.transaction() as connection:
            order_id, old = await self._lock(connection, key, by)
            if by.has(SERVICE):
                raise Forbidden(STAFF, by.role)
            if old not in (OPEN if by.has(*STAFF) else (Status.NEW,)):
                raise ItemsStay
            values = {"id": order_id, "items": _json(items), "total_amount": total(items)}
            order = await _one(connection, REPLACE, values)
            if new is not None:
                order = await self._move(connection, key, new, by)
        _log("order changed", order)
        return order

    def _may(self, new: Status, by: Identity) -> None:
        """Before anything is read: nobody finds out what exists by asking for what they may never do."""
        if not by.has(*STAFF) and (not self.rules.life.owner_may(new) or by.has(SERVICE)):
            raise Forbidden(STAFF, by.role)

    async def _lock(self, connection: AsyncConnection, key: Key, by: Identity) -> tuple[int, Status]:
        """Its `id` and status; of two changes at once the second sees what the first made of the order."""
        found = await (await connection.execute(LOCK[type(key)], [key])).fetchone()
        if found is None:
            raise OrderNotFound
        self._see(found[2], by)
        return found[0], Status(found[1])

    def _see(self, owner_id: int, by: Identity) -> None:
        if may_see(by, owner_id):
            return
        if self.rules.hides:
            raise OrderNotFound
        raise Forbidden(STAFF, by.role, "This order is somebody else's")

    async def _move(self, connection: AsyncConnection, key: Key, new: Status, by: Identity) -> Order:
        order_id, old = await self._lock(connection, key, by)
        life = self.rules.life
        if why := life.objection(old, new):
            raise IllegalStatus(why, old, life)
        if not by.has(*STAFF) and not life.owner_may(new, old):
            raise Forbidden(STAFF, by.role, "You can cancel an order only while it is new")
        values = {
            "id": order_id,
            "old": old.value,
            "new": new.value,
            "changed_by": by.user_id,
            "role": by.role,
        }
        order = await _one(connection, CHANGE, values)
        await self._tell(connection, order, old, by.role)
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

    async def _place(self, connection: AsyncConnection, new: NewOrder, by: Identity) -> Order:
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
            "uid": uuid4() if by.uid else None,
            "owner_uid": by.uid,
            "items": _json(new.items) if new.items else None,
        }
        order = await _one(connection, PLACE, values)
        await self._tell(connection, order, None, "system")
        return order

    async def _tell(
        self, connection: AsyncConnection, order: Order, old: Status | None, updated_by: str
    ) -> None:
        """The events and the live update: they commit with the change, or not at all."""
        await outbox.add(connection, *self.rules.told(order, old))
        if self.rules.live:
            await live.tell(connection, live.Update(order.id, order.owner_id, order.status, updated_by))


def _log(what: str, order: Order) -> None:
    """After the commit: what the log says was done is done."""
    log.info(what, order_id=order.id, status=order.status)


def _page(where: str, sort: str) -> bytes:
    order = SORTS[sort]
    return f"SELECT {COLUMNS} FROM orders {where} ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s".encode()  # noqa: S608


def _count(where: str) -> bytes:
    return f"SELECT count(*) FROM orders {where}".encode()  # noqa: S608


def _stats(where: str) -> bytes:
    return f"""
        SELECT status, count(*), count(*) FILTER (WHERE created_at > now() - interval '7 days'),
            sum(total_amount)
        FROM orders {where} GROUP BY status
    """.encode()  # noqa: S608


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
        "owner_uid": ("owner_uid = %(owner_uid)s", filters.owner_uid),
        "min": ("total_amount >= %(min)s", filters.min_amount),
        "max": ("total_amount <= %(max)s", filters.max_amount),
    }
    used = {name: each for name, each in wanted.items() if each[1] not in (None, [], "")}
    where = "WHERE " + " AND ".join(condition for condition, _ in used.values()) if used else ""
    return where, {name: value for name, (_, value) in used.items()}


def _anywhere(part: str | None) -> str | None:
    """A pattern for ILIKE in which what a client sends means only itself."""
    return part and "%" + re.sub(r"[\\%_]", r"\\\g<0>", part) + "%"


def _json(items: Sequence[Item]) -> str:
    """Compact, prices with the two decimals that a float would lose."""
    shown = [each._asdict() | {"price": orjson.Fragment(f"{each.price:.2f}")} for each in items]
    return orjson.dumps(shown).decode()


async def _one(connection: AsyncConnection, query: bytes, values: dict[str, Any]) -> Order:
    cursor = await connection.cursor(row_factory=args_row(Order)).execute(query, values)
    order = await cursor.fetchone()
    if order is None:
        raise RuntimeError("no row came back from a change")
    return order


# The driver would make objects of JSON, and floats of the prices in it.
COLUMNS = ", ".join(Order._fields[:-1]) + ", items::text AS items"


def _by(query: str) -> dict[type, bytes]:
    """The query by `id` and by `uid`, for a key of either type."""
    return {int: query.format(key="id").encode(), UUID: query.format(key="uid").encode()}


FIND = _by(f"SELECT {COLUMNS} FROM orders WHERE {{key}} = %s")  # noqa: S608

DELETE = _by(f"DELETE FROM orders WHERE {{key}} = %s RETURNING {COLUMNS}")  # noqa: S608

HISTORY = f"""
    SELECT {", ".join(Change._fields)} FROM order_status_history WHERE order_id = %s ORDER BY id
""".encode()  # noqa: S608

COUNTS = b"SELECT status, count(*) FROM orders GROUP BY status"

LOCK = _by("SELECT id, status, owner_id FROM orders WHERE {key} = %s FOR UPDATE")

PLACE = f"""
    WITH placed AS (
        INSERT INTO orders (owner_id, customer_name, customer_email, source, status, total_amount, language,
            uid, owner_uid, items)
        VALUES (%(owner_id)s, %(customer_name)s, %(customer_email)s, %(source)s, %(status)s, %(total_amount)s,
            %(language)s, %(uid)s, %(owner_uid)s, %(items)s)
        RETURNING {COLUMNS}
    ), recorded AS (
        INSERT INTO order_status_history (order_id, new_status, changed_by, role, changed_at)
        SELECT id, status, owner_id, %(role)s, created_at FROM placed
    )
    SELECT {COLUMNS} FROM placed
""".encode()  # noqa: S608

REPLACE = f"""
    UPDATE orders SET items = %(items)s, total_amount = %(total_amount)s, updated_at = clock_timestamp()
    WHERE id = %(id)s RETURNING {COLUMNS}
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
