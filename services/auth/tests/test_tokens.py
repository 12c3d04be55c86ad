"""Whose token it is, decided by auth's own database: forged, revoked, or of somebody gone."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from auth.tests.conftest import Api, Start
from kit.database import Database
from kit.settings import DatabaseSettings
from kit.tokens import Issuer
from sqlalchemy import text
from testing.postgres import Postgres


@pytest.fixture
async def database(api: Api) -> AsyncIterator[Database]:
    async with Database.open(DatabaseSettings.model_validate(api.settings.model_dump())) as found:
        yield found


async def run(database: Database, statement: str, **values: object) -> None:
    async with database.transaction() as session:
        await session.execute(text(statement), values)


async def refused(api: Api) -> bool:
    answers = [await api.get(f"/api/v1/{path}") for path in ("validate", "validate-token", "profile")]
    assert len({each.status_code for each in answers}) == 1, "all three must agree"
    return answers[0].status_code == 401


async def test_well_signed_but_not_ours(api: Api, issuer: Issuer) -> None:
    jan = await api.user("jan@example.com")
    claims = jwt.decode(jan.token or "", options={"verify_signature": False})
    assert not await refused(jan)
    for session in (str(uuid.uuid4()), "not-a-uuid", "", "0" * 32):
        jan.token = issuer.issue(user_id=claims["user_id"], email="e", role="admin", session=session)
        assert await refused(jan), session
    ewa = await api.user("ewa@example.com")
    other = jwt.decode(ewa.token or "", options={"verify_signature": False})
    jan.token = issuer.issue(user_id=claims["user_id"], email="e", role="admin", session=other["sid"])
    assert await refused(jan), "a session of somebody else"
    jan.token = issuer.issue(user_id=claims["user_id"], email="e", role="admin", session=claims["sid"])
    assert (await jan.get("/api/v1/validate")).headers["x-user-role"] == "customer", (
        "the database knows better"
    )


async def test_forged(api: Api, keys: Any, issuer: Issuer) -> None:
    jan = await api.user("jan@example.com")
    good = jan.token or ""
    claims = jwt.decode(good, options={"verify_signature": False})
    for changes in (
        {"typ": "refresh"},
        {"aud": "platform"},
        {"iss": "somebody"},
        {"exp": int(time.time()) - 5},
    ):
        jan.token = jwt.encode(claims | changes, keys.private, algorithm="RS256")
        assert await refused(jan), changes
    jan.token = jwt.encode(claims, "", algorithm="none")
    assert await refused(jan)
    jan.token = good[:-8] + "AAAAAAAA"
    assert await refused(jan)
    jan.token = good
    assert not await refused(jan)


async def test_logout_ends_this_session_only(api: Api) -> None:
    jan = await api.user("jan@example.com")
    elsewhere = await api.logged_in("jan@example.com")
    assert (await jan.call("POST", "/api/auth/logout")).status_code == 200
    assert await refused(jan)
    assert not await refused(elsewhere)


async def test_revoked_ended_or_gone(api: Api, database: Database) -> None:
    for n, statement in enumerate(
        (
            "UPDATE sessions SET revoked_at = now() WHERE user_id = :id",
            "UPDATE sessions SET expires_at = now() WHERE user_id = :id",
            "DELETE FROM sessions WHERE user_id = :id",
            "DELETE FROM users WHERE id = :id",
        )
    ):
        jan = await api.user(f"jan{n}@example.com")
        user_id = (await jan.get("/api/v1/profile")).json()["user"]["id"]
        assert not await refused(jan)
        await run(database, statement, id=user_id)
        assert await refused(jan), statement


async def test_sessions_are_tracked(api: Api, database: Database) -> None:
    jan = await api.user("jan@example.com")
    await api.login("jan@example.com", **{"User-Agent": "x" * 500})
    await jan.call("POST", "/logout")
    async with database.transaction() as session:
        rows = (await session.execute(text("SELECT * FROM sessions ORDER BY created_at"))).all()
    assert [each.client for each in rows] == ["127.0.0.1"] * 2
    assert [each.revoked_at is None for each in rows] == [False, True]
    assert rows[1].user_agent == "x" * 256
    assert (rows[0].expires_at - rows[0].created_at).total_seconds() == pytest.approx(86400, abs=5)


async def test_purge_keeps_what_is_needed(start: Start, new_database: Callable[..., dict[str, Any]]) -> None:
    async with start(login_window=1) as api:
        from auth.accounts import Accounts
        from auth.limits import LoginLimit
        from auth.passwords import Passwords

        jan = await api.user("jan@example.com")
        await api.login("jan@example.com", "wrong-password-1")
        async with Database.open(api.settings) as database:
            await run(
                database,
                "INSERT INTO sessions (id, user_id, client, user_agent, expires_at)"
                " SELECT gen_random_uuid(), id, '', '', now() - interval '8 days' FROM users",
            )
            await run(database, "UPDATE login_attempts SET started_at = now() - interval '2 seconds'")
            issuer = Issuer(api.settings.token_private_key.get_secret_value(), "warehouse")
            passwords = Passwords(4)
            await Accounts(database, passwords, issuer, LoginLimit(1, 5, 50)).purge()
            passwords.close()
            async with database.transaction() as session:
                left = [
                    await session.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608
                    for table in ("sessions", "login_attempts")
                ]
        assert left == [1, 0]
        assert not await refused(jan)


async def test_the_database_stops_and_starts(api: Api, postgres: Postgres) -> None:
    jan = await api.user("jan@example.com")
    assert not await refused(jan)
    postgres.stop()
    try:
        assert (await api.get("/health/live")).status_code == 200
        assert (await api.get("/health/ready")).status_code == 503
        for path in ("validate", "profile"):
            down = await jan.get(f"/api/v1/{path}")
            assert (down.status_code, down.json()) == (503, {"error": "Service unavailable"}), path
        assert (await api.login("jan@example.com")).status_code == 503
    finally:
        postgres.start()
    assert (await jan.get("/api/v1/validate")).status_code == 200, "the first one after the restart"
    assert (await jan.get("/api/v1/profile")).status_code == 200
    assert (await api.get("/health/ready")).status_code == 200
