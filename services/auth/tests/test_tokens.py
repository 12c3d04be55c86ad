"""Whose token it is, decided by auth's own database: forged, revoked, or of somebody gone."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from auth import bootstrap
from auth.tests.conftest import Api, Start, until
from kit.database import Database
from kit.settings import DatabaseSettings
from kit.tokens import Issuer, ServiceTokens
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
    return not await api.stands()


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


async def test_a_service_token_is_no_user(api: Api) -> None:
    """Whatever is true between services: from outside nobody is one of them."""
    key = "service-key-of-at-least-32-bytes-0000"
    jan = await api.user("jan@example.com")
    of_jan = jwt.decode(jan.token or "", options={"verify_signature": False})
    good = ServiceTokens(key, "warehouse").issue("orders")
    assert ServiceTokens(key, "warehouse").verify(good) == "orders"
    dressed = [jwt.encode(of_jan | changes, key, algorithm="HS256") for changes in ({}, {"role": "service"})]
    for token in (good, *dressed):
        jan.token = token
        assert await refused(jan), token


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
    assert (rows[0].expires_at - rows[0].created_at).total_seconds() == pytest.approx(30 * 86400, abs=60)


async def test_purge_keeps_what_is_needed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "PURGE", 0.2)
    async with start(login_window=1) as api:
        jan = await api.user("jan@example.com")
        await api.login("jan@example.com", "wrong-password-1")
        await api.rows("UPDATE login_attempts SET started_at = now() - interval '2 seconds'")
        await api.rows(
            "INSERT INTO password_resets (digest, user_id, expires_at)"
            " SELECT md5(n::text)::bytea, id, now() + n * interval '1 second'"
            " FROM users, generate_series(-100, 100, 200) AS n WHERE email = 'jan@example.com'"
        )
        await api.rows(  # last: when the old ones of these are gone, so are the others
            "INSERT INTO sessions (id, user_id, client, user_agent, expires_at, revoked_at)"
            " SELECT gen_random_uuid(), users.id, '', '', now() + ends, now() + revoked"
            " FROM users, (VALUES (interval '-8 days', NULL), ('9 days', interval '-8 days'),"
            " ('-6 days', NULL), ('9 days', interval '-6 days')) AS old (ends, revoked)"
            " WHERE email = 'jan@example.com'",
        )
        await until(api, "SELECT count(*) = 3 FROM sessions")
        assert await api.rows("SELECT count(*) FROM refresh_tokens") == [(1,)]
        assert await api.rows("SELECT count(*) FROM login_attempts") == [(0,)]
        assert await api.rows("SELECT count(*) FROM password_resets") == [(1,)]
        assert await jan.stands()


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
