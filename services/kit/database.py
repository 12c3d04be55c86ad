"""PostgreSQL: the engine with its timeouts, the unit of work, and names that migrations can rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any
from weakref import WeakSet

import psycopg
from fastapi import Depends
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from starlette.requests import HTTPConnection

from kit import context, logging
from kit.errors import Unavailable
from kit.settings import DatabaseSettings

log = logging.get("kit.database")

CONNECT_TIMEOUT = 5  # seconds
STATEMENT_TIMEOUT = 10_000  # milliseconds
IDLE_IN_TRANSACTION_TIMEOUT = 30_000  # milliseconds
POOL_TIMEOUT = 5.0  # seconds for a free connection


def metadata() -> MetaData:
    """A service's `metadata`: constraints get predictable names, so that migrations can name them."""
    return MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )


# Units of work that added events to the outbox. One of a lane may stay after a rollback: it costs a look.
adding: WeakSet[AsyncSession | psycopg.AsyncConnection] = WeakSet()


class Database:
    """The database of a service; `async with database.transaction() as session` is a unit of work."""

    def __init__(self, engine: AsyncEngine, settings: DatabaseSettings) -> None:
        self.engine = engine
        self._committing = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._settings = settings
        self.sessions = async_sessionmaker(engine, expire_on_commit=False)
        self.relays: set[Callable[[], None]] = set()  # to be woken by a commit that added events

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: DatabaseSettings) -> AsyncIterator[Database]:
        """For the life of the process. Connects on first use, so a service starts without its database."""
        engine = create_async_engine(
            settings.database_url,
            pool_size=settings.database_pool,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            pool_recycle=1800,
            pool_use_lifo=True,
            hide_parameters=True,  # they hold people's data, and errors end in logs
            connect_args=connect_args(settings.service_name) | _traced(),
        )
        try:
            yield cls(engine, settings)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Commits on a clean exit, rolls back on any exception."""
        async with self.sessions.begin() as session:
            yield session
        self.committed(session)

    def committed(self, unit: AsyncSession | psycopg.AsyncConnection) -> None:
        """Wakes the relays if the unit of work that was just committed added events."""
        if unit in adding:
            adding.discard(unit)
            for wake in self.relays:
                wake()

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[AsyncConnection]:
        """Commits each statement: where there is no unit of work, it costs less than half of one."""
        async with self._committing.connect() as connection:
            yield connection

    async def dedicated(self) -> psycopg.AsyncConnection:
        """A connection outside the pool, committing each statement, for a path too hot for the pool."""
        settings = self._settings
        return await psycopg.AsyncConnection.connect(
            host=settings.database_host,
            port=settings.database_port,
            dbname=settings.database_name,
            user=settings.database_user,
            password=settings.database_password.get_secret_value(),
            autocommit=True,
            **connect_args(settings.service_name),
            **_traced(),
        )

    async def ping(self) -> None:
        """Raises unless the database answers: the readiness check."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))


def connect_args(name: str, statement_timeout: int | None = None) -> dict[str, Any]:
    """How we connect, always: bounded, named in pg_stat_activity, and noticing a dead peer.

    `statement_timeout` in milliseconds, 0 for none, STATEMENT_TIMEOUT unless given.
    """
    milliseconds = STATEMENT_TIMEOUT if statement_timeout is None else statement_timeout
    return {
        "application_name": name,
        "connect_timeout": CONNECT_TIMEOUT,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "options": f"-c statement_timeout={milliseconds} "
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT} -c timezone=UTC",
    }


def _traced() -> dict[str, Any]:
    """How to connect where statements are to be seen in traces."""
    if context.tracer is None:
        return {}
    from kit.tracing import Cursor

    return {"cursor_factory": Cursor}


def exhausted(error: BaseException) -> bool:
    """Whether the server has run out of disk, memory or connections, or cannot read or write its files.

    SQLSTATE classes 53 and 58: it answers, but can do nothing, whatever it is asked.
    """
    return str(getattr(_cause(error), "sqlstate", None))[:2] in ("53", "58")


def unavailable(error: Exception) -> Unavailable:
    """The answer to a request that the database did not serve, after a line in the log that says why."""
    cause = _cause(error)
    log.error(
        "database is out of resources" if exhausted(cause) else "database does not answer",
        reason=type(cause).__name__,
        detail=str(cause)[:300],
    )
    return Unavailable()


def _cause(error: BaseException) -> BaseException:
    """The driver's own error, where SQLAlchemy has wrapped it."""
    return getattr(error, "orig", None) or error


async def _session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    database: Database = connection.state.database
    async with database.transaction() as session:
        yield session


# One transaction a request. scope="function": it is committed before the answer is sent, so that no client is
# told of a success that then fails.
Session = Annotated[AsyncSession, Depends(_session, scope="function")]
