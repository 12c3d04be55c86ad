"""Migrations as a job and as SQL, and settings that are checked before anything starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from notification.models import Base
from notification.tests.conftest import NewDatabase, rows
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


def run(settings: Mapping[str, object], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=environment("notification", settings),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_schema_is_what_the_models_say(postgres: Postgres, new_database: NewDatabase) -> None:
    dsn = postgres.dsn(new_database("notification")["database_name"])
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_the_printed_sql_is_the_same_schema(
    postgres: Postgres, new_database: NewDatabase, common: Mapping[str, object]
) -> None:
    printed = run({}, "-m", "kit.migrate", "notification", "--sql")  # no settings, no database
    assert (printed.returncode, printed.stderr) == (0, "")
    by_hand, migrated = new_database(), new_database("notification")
    with psycopg.connect(postgres.dsn(by_hand["database_name"]), autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    assert rows(by_hand, SCHEMA) == rows(migrated, SCHEMA)
    again = run({**common, **by_hand}, "-m", "kit.migrate", "notification")
    assert again.returncode == 0
    assert "Running upgrade" not in again.stdout


def test_settings_are_checked_before_anything_starts(own_settings: dict[str, object]) -> None:
    wrong = own_settings | {
        "orders_url": "",
        "auth_url": "",
        "broker_host": "",
        "retention_days": 1,
        "webhook_key": "short",
        "service_key": "short",
    }
    done = run(wrong, "-c", "import notification.app")
    assert done.returncode == 2
    assert sorted(done.stderr.splitlines()) == [
        "error: AUTH_URL: is missing",
        "error: BROKER_HOST: is missing",
        "error: ORDERS_URL: is missing",
        "error: RETENTION_DAYS: Input should be greater than or equal to 7",
        "error: secret file /nonexistent/service_key: Value should have at least 32 items after validation, "
        "not 5",
        "error: secret file /nonexistent/webhook_key: Value should have at least 24 items after validation, "
        "not 5",
    ]
