"""Limits on failed logins, registrations and resets; counted in PostgreSQL, so for all replicas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from kit.database import Database
from kit.errors import TooManyRequests
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Limits:
    """`window` in seconds, from a key's first try. Tries of one account are counted for each client apart."""

    window: int
    per_account: int
    per_client: int
    registrations: int

    async def login(self, database: Database, email: str, client: str) -> None:
        """Counts a try before the password is looked at; raises `TooManyRequests` (429)."""
        place = network(client)
        limits = {place: self.per_client, _account(email, place): self.per_account}
        await self._count(database, limits, "Too many login attempts")

    async def forgive(self, session: AsyncSession, email: str, client: str) -> None:
        """After a good password: the account starts afresh, and the client is not charged for it."""
        place = network(client)
        await session.execute(FORGIVE, {"client": place})
        await session.execute(FORGET, {"account": _account(email, place)})

    async def forget(self, session: AsyncSession, email: str, client: str) -> None:
        """After a reset: whoever was locked out for the password they had forgotten may log in."""
        await session.execute(FORGET, {"account": _account(email, network(client))})

    async def register(self, database: Database, client: str) -> None:
        await self._count(
            database, {f"register {network(client)}": self.registrations}, "Too many registrations"
        )

    async def reset(self, database: Database, client: str, most: int) -> None:
        await self._count(database, {f"reset {network(client)}": most}, "Too many password resets")

    async def _count(self, database: Database, limits: Mapping[str, int], error: str) -> None:
        """In a transaction of its own: the count must stand when what follows fails."""
        async with database.transaction() as session:
            rows = await session.execute(COUNT, {"keys": list(limits), "window": self.window})
            waits = [row.wait for row in rows if row.attempts > limits[row.key]]
        if waits:
            raise TooManyRequests(max(1, math.ceil(max(waits))), error)


def network(client: str) -> str:
    """Whom an address stands for: itself, or its /64 for IPv6, where one customer has that many."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else client


def _account(email: str, place: str) -> str:
    return f"{email} {place}"


# One statement, atomic by the rows' locks. Everybody locks the client's before the account's: no deadlock.
COUNT = text(
    """
    INSERT INTO login_attempts AS old (key, count, started_at)
    SELECT key, 1, now() FROM unnest(CAST(:keys AS text[])) WITH ORDINALITY AS new (key, n) ORDER BY n
    ON CONFLICT (key) DO UPDATE SET (count, started_at) = (
        SELECT CASE WHEN over THEN 1 ELSE old.count + 1 END, CASE WHEN over THEN now() ELSE old.started_at END
        FROM (SELECT old.started_at + make_interval(secs => :window) <= now()) AS window_is (over)
    )
    RETURNING key, count AS attempts,
              EXTRACT(EPOCH FROM started_at + make_interval(secs => :window) - now()) AS wait
    """
)

FORGIVE = text("UPDATE login_attempts SET count = GREATEST(count - 1, 0) WHERE key = :client")
FORGET = text("DELETE FROM login_attempts WHERE key = :account")
