"""Migrations as a job and as SQL, and that lists of many orders are read from indexes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from kit.authentication import Identity
from orders.models import Base
from orders.orders import Filters, _page, _where
from orders.status import Status
from orders.tests.conftest import NewDatabase, rows
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


def test_settings_are_checked_before_anything_starts(own_settings: dict[str, object]) -> None:
    wrong = own_settings | {
        "auth_url": "",
        "broker_host": "",
        "token_public_key": "x",
        "websocket_clients": 0,
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
        "error: WEBSOCKET_CLIENTS: Input should be greater than or equal to 1",
        "error: secret file /nonexistent/token_public_key: is not a key in PEM",
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
