"""`python -m kit.migrate SERVICE [--sql]`: bring a service's database to its newest schema, as a job."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, MetaData, create_engine, pool, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from kit import logging
from kit.database import connect_args
from kit.settings import DatabaseSettings, load

WAIT = 60.0  # seconds for the database to appear
LOCK = 7_305_811_946  # one advisory lock for all migrations of a database
LOCK_TIMEOUT = "120s"  # for another migration to end

log = logging.get("kit.migrate")


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: the schema is the newest, or its SQL is printed; 1: no database in time, or a migration
    failed, and standard error says which; 2: wrong arguments, or settings that are missing or wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m kit.migrate",
        description=__doc__,
        epilog="example: python -m kit.migrate orders --sql",
    )
    parser.add_argument("service", help="package of the service: auth, orders, ...")
    parser.add_argument(
        "--sql", action="store_true", help="print the SQL instead of running it; needs no database"
    )
    parser.add_argument(
        "--wait", type=float, default=WAIT, help="seconds to wait for the database (%(default)s)"
    )
    found = parser.parse_args(arguments)
    if found.sql:
        command.upgrade(_config(found.service), "head", sql=True)
        return 0
    settings = load(DatabaseSettings)
    logging.configure(settings.service_name, settings.log_level)
    try:
        upgrade(found.service, settings, found.wait)
    except TimeoutError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (SQLAlchemyError, CommandError) as error:
        log.exception("migration failed", service=found.service)
        print(f"error: migration of {found.service} failed: {error}", file=sys.stderr)
        return 1
    return 0


def upgrade(service: str, settings: DatabaseSettings, wait: float = WAIT) -> None:
    """Upgrades to head, then runs the service's coroutine `migrations.after_upgrade()` if it has one.

    Two at once are safe: the second waits and finds nothing to do. Raises TimeoutError without a database.
    """
    engine = create_engine(
        settings.database_url,
        poolclass=pool.NullPool,
        connect_args=connect_args(f"{service}-migrate", statement_timeout=0),
    )
    with _connected(engine.connect, wait, f"{settings.database_host}:{settings.database_port}") as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()  # the lock belongs to the session and outlives this
        command.upgrade(_config(service, connection), "head")
        connection.commit()
        after: Callable[[], Any] | None = getattr(
            importlib.import_module(f"{service}.migrations"), "after_upgrade", None
        )
        if after is not None:
            asyncio.run(after())
        log.info("migrated", database=settings.database_name)


def environment(metadata: MetaData) -> None:
    """The whole of a service's `migrations/env.py`: call it with the service's metadata."""
    connection: Connection | None = context.config.attributes.get("connection")
    context.configure(
        connection=connection,
        dialect_name="postgresql" if connection is None else None,
        target_metadata=metadata,
        literal_binds=connection is None,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _config(service: str, connection: Connection | None = None) -> Config:
    package = importlib.import_module(f"{service}.migrations")
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(str(package.__file__)).parent))
    config.set_main_option("path_separator", "os")
    return config


def _connected(connect: Callable[[], Connection], wait: float, where: str) -> Connection:
    deadline = time.monotonic() + wait
    while True:
        try:
            return connect()
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no database at {where} after {wait:.0f} s: {error.orig}") from error
            time.sleep(0.5)


if __name__ == "__main__":
    raise SystemExit(main())
