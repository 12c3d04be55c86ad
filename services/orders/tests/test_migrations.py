"""Migrations as a job and as SQL, and that lists of many orders are read from indexes."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from kit.authentication import Identity
from kit.migrate import _config
from orders.events import NOTIFICATIONS
from orders.models import Base
from orders.orders import Filters, _page, _where
from orders.status import Status
from orders.tests.conftest import STAFF, NewDatabase, Start, rows
from sqlalchemy import create_engine
from testing.postgres import Postgres
from testing.service import environment

SCHEMA = """
    SELECT table_name, column_name, data_type, is_nullable, column_default, character_maximum_length
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tablename, indexname, indexdef, '', '', 0 FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', 0
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2, 3
"""


def job(settings: Mapping[str, object], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kit.migrate", "orders", *arguments],
        env=environment("orders", settings),
        capture_output=True,
        text=True,
        check=False,
    )


TABLES = ("orders", "order_status_history", "outbox", "inbox")
OLD_COLUMNS = range(9)  # of orders
EVENT = object()
OLD_DATA: list[tuple[Any, ...]] = [
    (
        "INSERT INTO orders (owner_id, customer_name, customer_email, source, status, total_amount)"
        " VALUES (11, 'Jan', 'jan@example.com', 'website', 'new', 299.90),"
        " (12, 'Ewa', 'ewa@example.com', 'zrodlo_jeden', 'confirmed', 0) RETURNING id",
    ),
    (
        "INSERT INTO order_status_history (order_id, old_status, new_status, changed_by, role)"
        " VALUES (1, NULL, 'new', 11, 'customer'), (2, NULL, 'new', 12, 'customer'),"
        " (2, 'new', 'confirmed', 21, 'employee') RETURNING id",
    ),
    (
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, queue, payload)"
        " VALUES (%s, 'order', '1', 'order.created', 'order_notifications',"
        """ '{"order_id": 1, "customer_name": "Jan", "status": "new", "total_amount": 299.9,"""
        """ "timestamp": "2026-01-01T12:00:00Z"}') RETURNING id""",
        EVENT,
    ),
    ("INSERT INTO inbox (consumer, event_id) VALUES ('orders', %s) RETURNING event_id", EVENT),
]


def test_the_schema_is_what_the_models_say(postgres: Postgres, new_database: NewDatabase) -> None:
    dsn = postgres.dsn(new_database("orders")["database_name"])
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_the_printed_sql_is_the_same_schema(
    postgres: Postgres, new_database: NewDatabase, common: Mapping[str, object]
) -> None:
    printed = job({}, "--sql")  # no settings, no database
    assert (printed.returncode, printed.stderr) == (0, "")
    by_hand, migrated = new_database(), new_database("orders")
    with psycopg.connect(postgres.dsn(by_hand["database_name"]), autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    assert rows(by_hand, SCHEMA) == rows(migrated, SCHEMA)
    again = job({**common, **by_hand})
    assert again.returncode == 0
    assert "Running upgrade" not in again.stdout


def test_the_database_itself_refuses_nonsense(new_database: NewDatabase) -> None:
    database = new_database("orders")
    good = {"source": "manual", "status": "new", "total_amount": 1}
    insert = (
        "INSERT INTO orders (owner_id, customer_name, customer_email, source, status, total_amount)"
        " VALUES (1, 'A', 'a@b.pl', %s, %s, %s) RETURNING id"
    )
    assert rows(database, insert, *good.values()) == [(1,)]
    for wrong in ({"source": "post"}, {"status": "lost"}, {"total_amount": -1}):
        with pytest.raises(psycopg.errors.CheckViolation):
            rows(database, insert, *(good | wrong).values())


async def test_data_of_0001_survive(
    start: Start, own_settings: dict[str, object], postgres: Postgres
) -> None:
    """Orders with their histories, and events that wait; and the way back leaves them too."""
    database = own_settings
    dsn = postgres.dsn(str(database["database_name"]))
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))

    def go(way: Callable[[Config, str], None], revision: str) -> None:
        with engine.connect() as connection:
            way(_config("orders", connection), revision)
            connection.commit()

    go(command.downgrade, "0001")
    assert rows(database, "SELECT version_num FROM alembic_version") == [("0001",)]
    event = uuid.uuid4()
    for query, *values in OLD_DATA:
        rows(database, query, *(event if value is EVENT else value for value in values))
    old = [rows(database, f"SELECT * FROM {table} ORDER BY 1") for table in TABLES]  # noqa: S608
    done = job(own_settings)
    assert (done.returncode, done.stderr) == (0, "")
    upgraded = [rows(database, f"SELECT * FROM {table} ORDER BY 1") for table in TABLES]  # noqa: S608
    assert [[row[: len(OLD_COLUMNS)] for row in upgraded[0]], *upgraded[1:]] == old
    assert rows(database, "SELECT id, language FROM orders ORDER BY id") == [(1, "pl"), (2, "pl")]
    async with start() as api:
        staff = api.as_user(STAFF)
        assert await staff.listed() == [2, 1]
        assert len((await staff.get("/api/orders/2/history")).json()) == 2
        assert (await staff.change(1, "confirmed")).status_code == 200
        waiting = "SELECT id FROM outbox WHERE queue = %s ORDER BY position"
        assert rows(database, waiting, NOTIFICATIONS)[0] == (event,)
    go(command.downgrade, "0001")
    go(command.upgrade, "head")
    assert rows(database, "SELECT id, status FROM orders ORDER BY id") == [(1, "confirmed"), (2, "confirmed")]
    engine.dispose()


def test_settings_are_checked_before_anything_starts(own_settings: dict[str, object]) -> None:
    wrong = own_settings | {
        "auth_url": "",
        "broker_host": "",
        "token_public_key": "x",
        "websocket_clients": 0,
        "notification_url": "",
        "service_key": "short",
        "webhook_key": "short",
    }
    done = subprocess.run(
        [sys.executable, "-c", "import orders.app"],
        env=environment("orders", wrong),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert sorted(done.stderr.splitlines()) == [
        "error: AUTH_URL: is missing",
        "error: BROKER_HOST: is missing",
        "error: NOTIFICATION_URL: is missing",
        "error: WEBSOCKET_CLIENTS: Input should be greater than or equal to 1",
        "error: secret file /nonexistent/service_key: Value should have at least 32 items after validation,"
        " not 5",
        "error: secret file /nonexistent/token_public_key: is not a key in PEM",
        "error: secret file /nonexistent/webhook_key: Value should have at least 24 items after validation,"
        " not 5",
    ]


JAN = Identity(7, "jan@example.com", "customer", "s")
BOSS = Identity(1, "boss@example.com", "admin", "s")


def test_lists_are_read_from_indexes(postgres: Postgres, new_database: NewDatabase) -> None:
    """A page of 20 000 orders neither sorts nor reads them all, whoever asks for what."""
    with psycopg.connect(
        postgres.dsn(new_database("orders")["database_name"]), autocommit=True
    ) as connection:
        connection.execute(
            "INSERT INTO orders (owner_id, customer_name, customer_email, source, status, total_amount,"
            " created_at) SELECT mod(n, 500), 'A', 'c' || mod(n, 500) || '@b.pl', 'website',"
            " (ARRAY['new', 'shipped', 'delivered'])[mod(n, 3) + 1], n, now() - n * interval '1 hour'"
            " FROM generate_series(1, 20000) AS n"
        )
        connection.execute("ANALYZE orders")
        for by, filters, sort in (
            (BOSS, Filters(), "-created_at"),
            (BOSS, Filters(), "created_at"),
            (BOSS, Filters(status=[Status.SHIPPED]), "-created_at"),
            (BOSS, Filters(customer_email="c7@b.pl"), "-created_at"),
            (BOSS, Filters(created_from=datetime.now(UTC) - timedelta(days=30)), "-created_at"),
            (JAN, Filters(), "-created_at"),
            (JAN, Filters(status=[Status.NEW]), "-created_at"),
        ):
            where, values = _where(filters, by)
            explain = b"EXPLAIN " + _page(where, sort)
            plan = connection.execute(explain, values | {"limit": 100, "offset": 0}).fetchall()
            text = "\n".join(line for (line,) in plan)
            assert "Index" in text, text
            assert "Seq Scan" not in text, text
            rows_read = max(int(each) for each in re.findall(r"rows=(\d+)", text))
            assert "Sort" not in text or rows_read < 100, text
