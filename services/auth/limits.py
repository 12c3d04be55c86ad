"""Limits failed logins per account and client, and per client; counted in PostgreSQL, so for all replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from kit.database import Database
from kit.errors import TooManyRequests
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class LoginLimit:
    """`window` in seconds, from a key's first failed login."""

    window: int
    per_account: int
    per_client: int

    async def count(self, database: Database, email: str, client: str) -> None:
        """Counts an attempt before the password is looked at; raises `TooManyRequests` (429).

        In a transaction of its own: the count must stand when the login fails.
        """
        async with database.transaction() as session:
            rows = await session.execute(COUNT, self._keys(email, client) | {"window": self.window})
            found = {row.key: row for row in rows}
        limits = self._limits(email, client)
        waits = [found[key].wait for key, limit in limits.items() if found[key].attempts > limit]
        if waits:
            raise TooManyRequests(max(1, math.ceil(max(waits))), "Too many login attempts")

    async def forgive(self, session: AsyncSession, email: str, client: str) -> None:
        """After a good login: the account starts afresh, and the client is not charged for it."""
        await session.execute(FORGIVE, self._keys(email, client))

    def _limits(self, email: str, client: str) -> dict[str, int]:
        keys = self._keys(email, client)
        return {keys["account"]: self.per_account, keys["client"]: self.per_client}

    @staticmethod
    def _keys(email: str, client: str) -> dict[str, str]:
        place = network(client)
        return {"account": f"{email} {place}", "client": place}


def network(client: str) -> str:
    """Whom an address stands for: itself, or its /64 for IPv6, where one customer has that many."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else client


# One statement, atomic by the rows' locks (taken in key order, so that two logins cannot lock each other).
COUNT = text(
    """
    INSERT INTO login_attempts AS old (key, count, started_at)
    SELECT key, 1, now() FROM (VALUES (CAST(:account AS text)), (:client)) AS new (key) ORDER BY key
    ON CONFLICT (key) DO UPDATE SET (count, started_at) = (
        SELECT CASE WHEN over THEN 1 ELSE old.count + 1 END, CASE WHEN over THEN now() ELSE old.started_at END
        FROM (SELECT old.started_at + make_interval(secs => :window) <= now()) AS window_is (over)
    )
    RETURNING key, count AS attempts,
              EXTRACT(EPOCH FROM started_at + make_interval(secs => :window) - now()) AS wait
    """
)

FORGIVE = text(
    """
    WITH gone AS (DELETE FROM login_attempts WHERE key = :account)
    UPDATE login_attempts SET count = GREATEST(count - 1, 0) WHERE key = :client
    """
)
