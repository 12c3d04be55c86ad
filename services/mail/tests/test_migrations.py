"""Migrations as a job and as SQL, and settings checked before anything starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from mail.models import Base
from mail.settings import MailSettings
from mail.tests.conftest import rows
from pydantic import ValidationError
from sqlalchemy import create_engine
from testing.certificates import Authority
from testing.postgres import Postgres
from testing.service import environment

NewDatabase = Callable[..., dict[str, Any]]


def job(settings: Mapping[str, object], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment("mail", settings),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_schema_is_what_the_models_say(postgres: Postgres, new_database: NewDatabase) -> None:
    dsn = postgres.dsn(new_database("mail")["database_name"])
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_the_printed_sql_makes_a_database(postgres: Postgres, new_database: NewDatabase) -> None:
    printed = job({}, "-m", "kit.migrate", "mail", "--sql")  # no settings, no database
    assert (printed.returncode, printed.stderr) == (0, "")
    by_hand = new_database()
    with psycopg.connect(postgres.dsn(by_hand["database_name"]), autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    assert rows(by_hand, "SELECT count(*) FROM mail_log") == [(0,)]


def test_the_database_itself_refuses_nonsense(new_database: NewDatabase) -> None:
    database = new_database("mail")
    insert = (
        "INSERT INTO mail_log (event_id, template, recipient, language, status)"
        " VALUES (gen_random_uuid(), 'welcome', 'a@b.pl', 'pl', %s)"
    )
    rows(database, insert, "sent")
    with pytest.raises(psycopg.errors.CheckViolation):
        rows(database, insert, "lost")


def test_settings_are_checked_before_anything_starts(own_settings: dict[str, object]) -> None:
    wrong = own_settings | {"smtp_host": "", "smtp_tls": "ssl", "smtp_ca": "/nonexistent", "mail_from": "me"}
    wrong |= {
        "mail_delays": "5,soon",
        "public_url": "shop",
        "time_zone": "Mars/Olympus",
        "order_path": "/order",
    }
    done = job(wrong, "-c", "import mail.app")
    assert done.returncode == 2
    assert [each.partition(": ")[2].partition(":")[0] for each in sorted(done.stderr.splitlines())] == [
        "MAIL_DELAYS",
        "MAIL_FROM",
        "ORDER_PATH",
        "PUBLIC_URL",
        "SMTP_CA",
        "SMTP_HOST",
        "SMTP_TLS",
        "TIME_ZONE",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"smtp_user": "mail"}, "smtp_password is missing"),
        ({"smtp_user": "mail", "smtp_password": "x", "smtp_tls": "none"}, "password readable"),
        ({"mail_parallel": 5}, "MAIL_PARALLEL"),
        ({"smtp_ca": "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----"}, "smtp_ca"),
        ({"mail_from": "Sklep <no-reply@localhost>"}, "mail_from"),
    ],
)
def test_settings_that_do_not_go_together(
    own_settings: dict[str, object], wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        MailSettings.model_validate(own_settings | wrong)


def test_no_context_without_checks(own_settings: dict[str, object]) -> None:
    """Of a CA in a file or in PEM, or of the system: names and certificates are checked."""
    for ca in (None, Authority().certificate):
        context = MailSettings.model_validate(own_settings | {"smtp_ca": ca}).tls_context
        assert context is not None
        assert context.check_hostname
        assert context.verify_mode.name == "CERT_REQUIRED"
