"""Migrations as a job and as SQL, and the settings that are checked before anything starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from analytics.models import Base
from analytics.tests.conftest import ORDERS, NewDatabase, days_agree, fill, rows
from sqlalchemy import create_engine
from testing.postgres import Postgres
from testing.service import environment

SCHEMA = """
    SELECT table_name, column_name, data_type, is_nullable, column_default, character_maximum_length
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tablename, indexname, indexdef, '', '', 0 FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', 0
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', '', 0 FROM pg_trigger
    WHERE NOT tgisinternal ORDER BY 1, 2, 3
"""


def job(settings: Mapping[str, object], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kit.migrate", "analytics", *arguments],
        env=environment("analytics", settings),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_schema_is_what_the_models_say(postgres: Postgres, new_database: NewDatabase) -> None:
    dsn = postgres.dsn(new_database("analytics")["database_name"])
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_the_printed_sql_is_the_same_schema(
    postgres: Postgres, new_database: NewDatabase, common: Mapping[str, object]
) -> None:
    printed = job({}, "--sql")  # no settings, no database
    assert (printed.returncode, printed.stderr) == (0, "")
    by_hand, migrated = new_database(), new_database("analytics")
    with psycopg.connect(postgres.dsn(by_hand["database_name"]), autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    assert rows(by_hand, SCHEMA) == rows(migrated, SCHEMA)
    again = job({**common, **by_hand})
    assert again.returncode == 0
    assert "Running upgrade" not in again.stdout


def test_the_job_counts_days_where_the_shop_is_now(
    common: Mapping[str, object], new_database: NewDatabase
) -> None:
    database = new_database("analytics")
    fill(database, ORDERS)
    moved = job({**common, **database, "time_zone": "America/New_York"})
    assert (moved.returncode, moved.stderr) == (0, "")
    assert "days counted anew" in moved.stdout
    assert rows(database, "SELECT zone FROM calendar") == [("America/New_York",)]
    assert days_agree(database)
    again = job({**common, **database, "time_zone": "America/New_York"})
    assert "days counted anew" not in again.stdout


def test_settings_are_checked_before_anything_starts(own_settings: dict[str, object]) -> None:
    wrong = own_settings | {
        "broker_host": "",
        "time_zone": "Europe/Atlantis",
        "report_schedule": "hourly@06:00",
        "token_public_key": "x",
    }
    done = subprocess.run(
        [sys.executable, "-c", "import analytics.app"],
        env=environment("analytics", wrong),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert sorted(done.stderr.splitlines()) == [
        "error: BROKER_HOST: is missing",
        "error: REPORT_SCHEDULE: 'hourly@06:00' is not like daily@06:00, weekly@06:00 or monthly@06:00",
        "error: TIME_ZONE: is not a time zone, such as Europe/Warsaw",
        "error: secret file /nonexistent/token_public_key: is not a key in PEM",
    ]
