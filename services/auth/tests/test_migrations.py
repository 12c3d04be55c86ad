"""Migrations as a job: twice, at once, as SQL, without a database; and the first admin."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from auth.models import Base
from auth.tests.conftest import ADMIN, PASSWORD, Start
from kit.migrate import _config
from kit.tokens import Issuer
from pwdlib.hashers.bcrypt import BcryptHasher
from sqlalchemy import create_engine
from testing.postgres import Postgres
from testing.process import free_port
from testing.service import environment

NewDatabase = Callable[..., dict[str, Any]]


def job(settings: Mapping[str, object], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kit.migrate", "auth", *arguments],
        env=environment("auth", settings),
        capture_output=True,
        text=True,
        check=False,
    )


def query(postgres: Postgres, database: Mapping[str, Any], statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(postgres.dsn(database["database_name"])) as connection:
        return connection.execute(statement.encode()).fetchall()


SCHEMA = """
    SELECT table_name, column_name, data_type, is_nullable, column_default, character_maximum_length
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tablename, indexname, indexdef, '', '', 0 FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', 0
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2, 3
"""


def test_the_schema_is_what_the_models_say(postgres: Postgres, new_database: NewDatabase) -> None:
    dsn = postgres.dsn(new_database("auth")["database_name"]).replace(
        "postgresql://", "postgresql+psycopg://"
    )
    engine = create_engine(dsn)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_two_at_once_then_again(
    postgres: Postgres, new_database: NewDatabase, common: Mapping[str, object]
) -> None:
    database = new_database()
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda _: job({**common, **database}), range(2)))
    assert [each.returncode for each in done] == [0, 0], [each.stdout + each.stderr for each in done]
    assert sum("Running upgrade" in each.stdout for each in done) == 1
    assert query(postgres, database, "SELECT email, role FROM users") == [(ADMIN["email"], "admin")]
    again = job({**common, **database})
    assert again.returncode == 0
    assert "Running upgrade" not in again.stdout
    assert ADMIN["password"] not in "".join(each.stdout + each.stderr for each in [*done, again])


def test_the_printed_sql_is_the_same_schema(
    postgres: Postgres, new_database: NewDatabase, common: Mapping[str, object]
) -> None:
    printed = job({}, "--sql")  # no settings, no database
    assert printed.returncode == 0
    assert printed.stderr == ""
    by_hand, migrated = new_database(), new_database("auth")
    with psycopg.connect(postgres.dsn(by_hand["database_name"]), autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    assert query(postgres, by_hand, SCHEMA) == query(postgres, migrated, SCHEMA)
    adopted = job({**common, **by_hand})
    assert adopted.returncode == 0
    assert "Running upgrade" not in adopted.stdout


async def test_the_first_admin_is_left_alone(
    start: Start, postgres: Postgres, common: Mapping[str, object]
) -> None:
    async with start() as api:
        admin = await api.admin()
        second = await api.user("ewa@example.com", role="admin")
        own = (await admin.get("/api/v1/profile")).json()["user"]["id"]
        assert (
            await second.call("PUT", f"/api/auth/users/{own}/role", {"role": "customer"})
        ).status_code == 200
        database = {"database_name": api.settings.database_name}
        before = query(postgres, database, "SELECT * FROM users ORDER BY id")
        again = job(
            {**common, **postgres.settings(api.settings.database_name), "admin_password": "changed-1"}
        )
        assert again.returncode == 0
        assert query(postgres, database, "SELECT * FROM users ORDER BY id") == before
        assert (await api.login(ADMIN["email"], "changed-1")).status_code == 401


async def test_people_and_logins_of_0001_survive(
    start: Start, postgres: Postgres, own_settings: dict[str, object], issuer: Issuer
) -> None:
    """Who was logged in stays so, and their password is good; the way back leaves them too."""
    dsn = postgres.dsn(str(own_settings["database_name"]))
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))

    def go(way: Callable[[Config, str], None], revision: str) -> None:
        with engine.connect() as connection:
            way(_config("auth", connection), revision)
            connection.commit()

    go(command.downgrade, "0001")
    session = str(uuid.uuid4())
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO users (email, password_hash, role) VALUES ('jan@example.com', %s, 'employee')",
            (BcryptHasher(rounds=4).hash(PASSWORD),),
        )
        connection.execute(
            "INSERT INTO sessions (id, user_id, client, user_agent, expires_at)"
            " SELECT %s, id, '', '', now() + interval '1 day' FROM users WHERE email = 'jan@example.com'",
            (session,),
        )
    done = job(own_settings)
    assert (done.returncode, done.stderr) == (0, "")
    old = query(postgres, own_settings, "SELECT id, email, role FROM users ORDER BY id")
    assert old == [(1, ADMIN["email"], "admin"), (2, "jan@example.com", "employee")]
    async with start() as api:
        api.token = issuer.issue(user_id=2, email="jan@example.com", role="employee", session=session)
        assert await api.stands()
        assert [each["id"] for each in (await api.get("/api/auth/sessions")).json()["sessions"]] == [session]
        api.token = None
        assert (await api.login("jan@example.com")).status_code == 200
        assert await api.rows("SELECT DISTINCT language FROM users") == [("pl",)]
    go(command.downgrade, "0001")
    assert query(postgres, own_settings, "SELECT id, email, role FROM users ORDER BY id") == old
    go(command.upgrade, "head")
    engine.dispose()


def test_without_a_database(common: Mapping[str, object], postgres: Postgres) -> None:
    nowhere = {**common, **postgres.settings("auth"), "database_port": free_port()}
    failed = job(nowhere, "--wait", "0.5")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: no database at 127.0.0.1:")
    assert "Traceback" not in failed.stderr


def test_wrong_settings(new_database: NewDatabase, common: Mapping[str, object]) -> None:
    good = {**common, **new_database("auth")}
    wrong = {"admin_password": "", "database_name": "", "port": "http"}
    failed = job(good | wrong)
    assert (failed.returncode, failed.stderr.splitlines()) == (
        2,
        [
            "error: PORT: Input should be a valid integer, unable to parse string as an integer",
            "error: DATABASE_NAME: is missing",
        ],
    )
    for changes, line in (
        ({"admin_password": ""}, "error: secret file /nonexistent/admin_password: is missing"),
        ({"admin_email": "nobody"}, "error: secret file admin_email is not an e-mail address"),
    ):
        failed = job(good | changes)
        assert failed.returncode != 0
        assert failed.stderr.splitlines() == [line]


def test_settings_are_checked_before_anything_starts(own_settings: dict[str, object]) -> None:
    wrong = {"public_url": "shop.example.com", "broker_host": "", "session_lifetime": 0}
    failed = subprocess.run(
        [sys.executable, "-c", "import auth.app"],
        env=environment("auth", own_settings | wrong),
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 2
    named = [line.split(": ")[1] for line in failed.stderr.splitlines()]
    assert sorted(named) == ["BROKER_HOST", "PUBLIC_URL", "SESSION_LIFETIME"]


def test_a_migration_that_fails(
    postgres: Postgres, new_database: NewDatabase, common: Mapping[str, object]
) -> None:
    database = new_database()
    with psycopg.connect(postgres.dsn(database["database_name"]), autocommit=True) as connection:
        connection.execute("CREATE TABLE sessions (somebody_elses int)")
    failed = job({**common, **database})
    assert failed.returncode == 1
    assert "error: migration of auth failed" in failed.stderr
    assert query(postgres, database, "SELECT to_regclass('users')") == [(None,)], "all or nothing"
