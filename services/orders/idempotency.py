"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a repeated request gets the first's answer.

A key belongs to one user. It is kept in the transaction of the effect, so neither is there without the other.
Who holds the advisory lock of a key is its request in flight; the lock goes with the transaction, or with a
connection that broke. Nobody ever waits for it: a lane that waits is one that others miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit import logging
from kit.errors import Conflict, ServiceError, Unavailable
from kit.lanes import Lanes
from psycopg import AsyncConnection

log = logging.get("orders.idempotency")

PURGE = 900.0  # seconds between purges; an old key counts no more, purged or not
BATCH = 10_000  # keys


class KeyInUse(Conflict):
    """409: try again when the first request has been answered."""

    text = "A request with this Idempotency-Key is under way"


class KeyReused(ServiceError):
    """422: a key stands for one request and no other."""

    status = 422
    code = "IDEMPOTENCY_KEY_REUSED"
    text = "This Idempotency-Key was used for another request"


async def begin(connection: AsyncConnection, user_id: int, key: str, fingerprint: bytes) -> bytes | None:
    """The first request's answer, or None if this is the first: it must `finish` in the same transaction.

    Raises `KeyInUse`, `KeyReused`.
    """
    values = {"user_id": user_id, "key": key, "fingerprint": fingerprint}
    if await (await connection.execute(TAKE, values)).fetchone():
        return None
    # A statement of its own: it sees what was committed while the one before ran.
    found = await (await connection.execute(FIND, values)).fetchone()
    if found is None:
        raise KeyInUse
    if found[0] != fingerprint:
        raise KeyReused
    answer: bytes = found[1]
    return answer


async def finish(connection: AsyncConnection, user_id: int, key: str, answer: bytes) -> None:
    await connection.execute(FINISH, {"user_id": user_id, "key": key, "answer": answer})


async def purge(lanes: Lanes) -> None:
    """Some at a time, so that no statement takes long after a long standstill."""
    forgotten = BATCH
    while forgotten == BATCH:
        async with lanes.lane() as connection:
            forgotten = (await connection.execute(FORGET)).rowcount


@asynccontextmanager
async def purging(lanes: Lanes, interval: float = PURGE) -> AsyncIterator[None]:
    """Purges in the background, whatever else goes on."""
    task = asyncio.create_task(_purge(lanes, interval), name="idempotency-purge")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _purge(lanes: Lanes, interval: float) -> None:
    while True:
        try:
            await purge(lanes)
        except Unavailable:
            log.warning("old idempotency keys stay: the database does not answer")
        except Exception:  # a purge that ended would let the table grow for ever
            log.exception("old idempotency keys stay")
        await asyncio.sleep(interval)


OLD = "created_at < now() - interval '24 hours'"

# An old key is as good as none.
TAKE = f"""
    INSERT INTO idempotency_keys AS known (user_id, key, fingerprint)
    SELECT %(user_id)s::int, %(key)s::text, %(fingerprint)s
    WHERE pg_try_advisory_xact_lock(hashtextextended(concat(%(user_id)s::int, ':', %(key)s::text), 0))
    ON CONFLICT (user_id, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, answer = NULL, created_at = now() WHERE known.{OLD}
    RETURNING user_id
""".encode()  # noqa: S608

FIND = f"""
    SELECT fingerprint, answer FROM idempotency_keys
    WHERE user_id = %(user_id)s AND key = %(key)s AND NOT {OLD}
""".encode()  # noqa: S608

FINISH = b"UPDATE idempotency_keys SET answer = %(answer)s WHERE user_id = %(user_id)s AND key = %(key)s"

FORGET = f"""
    DELETE FROM idempotency_keys
    WHERE (user_id, key) IN (SELECT user_id, key FROM idempotency_keys WHERE {OLD} LIMIT {BATCH})
""".encode()  # noqa: S608
