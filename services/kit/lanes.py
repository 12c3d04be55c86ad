"""A few connections of the driver itself, for paths where SQLAlchemy costs more CPU than their queries."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.pq import TransactionStatus

from kit.database import Database, unavailable
from kit.errors import Unavailable

WAIT = 5.0  # seconds for a free lane


class Lanes:
    """`async with lanes.lane() as connection`: one connection, nobody else's meanwhile.

    It commits each statement; `transaction()` is a unit of work. Connects on first use; a lane that broke
    while it was idle is replaced unnoticed, one that breaks in use raises `Unavailable`.
    """

    def __init__(self, database: Database, size: int) -> None:
        self._database = database
        self._free: asyncio.LifoQueue[psycopg.AsyncConnection | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._free.put_nowait(None)

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, size: int = 8) -> AsyncIterator[Lanes]:
        lanes = cls(database, size)
        try:
            yield lanes
        finally:
            while not lanes._free.empty():
                if (connection := lanes._free.get_nowait()) is not None:
                    await connection.close()

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[psycopg.AsyncConnection]:
        connection = await self._take()
        try:
            if connection is None or not _idle(connection):
                connection = await self._database.dedicated()
            yield connection
        except psycopg.OperationalError as error:
            raise unavailable(error) from error
        finally:
            if connection is not None and not _idle(connection):
                await connection.close()
                connection = None
            self._free.put_nowait(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """Commits on a clean exit, rolls back on any exception."""
        async with self.lane() as connection:
            async with connection.transaction():
                yield connection
            self._database.committed(connection)

    async def _take(self) -> psycopg.AsyncConnection | None:
        try:
            return self._free.get_nowait()
        except asyncio.QueueEmpty:
            pass
        try:
            async with asyncio.timeout(WAIT):
                return await self._free.get()
        except TimeoutError as error:
            raise Unavailable from error


def _idle(connection: psycopg.AsyncConnection) -> bool:
    """Usable: open, in no transaction, and nothing to read, which would be the server's farewell."""
    if connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)
