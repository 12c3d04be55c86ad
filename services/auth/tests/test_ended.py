"""The feed of ended sessions: whatever ends one is told, once it is committed, to who keeps asking."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from auth.tests.conftest import ADMIN, PASSWORD, Api, Start

IVAN = {"email": "ivan@example.com", "password": PASSWORD, "name": "Ivan"}


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start(contract="gatekeeper", application="gatekeeper") as found:
        yield found


async def feed(api: Api, since: int = 0) -> tuple[int, dict[str, int]]:
    answer = await api.http.get("/sessions/ended", params={"since": since})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.endswith("\n")
    cursor, *lines = answer.text.splitlines()
    found = dict(line.split(" ") for line in lines)
    return int(cursor), {session: int(until) for session, until in found.items()}


async def enter(api: Api, email: str = IVAN["email"], password: str = IVAN["password"]) -> Api:
    answer = await api.call("POST", "/v1/users/login", {"email": email, "password": password})
    return Api(api.http, api.settings, answer.json()["data"]["token"])


async def sessions(api: Api) -> list[str]:
    found = await api.rows("SELECT id FROM sessions WHERE revoked_at IS NULL ORDER BY created_at")
    return [str(each) for (each,) in found]


async def register(api: Api) -> str:
    answer = await api.call("POST", "/v1/users/register", IVAN)
    found: str = answer.json()["data"]["user"]["id"]
    return found


async def test_nothing_has_ended(api: Api) -> None:
    cursor, found = await feed(api)
    assert cursor > 0
    assert found == {}
    assert (await feed(api, cursor))[1] == {}


async def test_a_logout_is_told_until_its_tokens_are_over(api: Api) -> None:
    await register(api)
    ivan = await enter(api)
    (own,) = await sessions(api)
    cursor, found = await feed(api)
    assert found == {}
    assert (await ivan.call("POST", "/v1/users/logout")).status_code == 200
    later, found = await feed(api, cursor)
    assert list(found) == [own]
    assert time.time() + 86400 - 600 < found[own] < time.time() + 86400 + 60
    assert (await feed(api, later))[1] == {}
    assert (await feed(api))[1] == found, "who begins anew hears all of it"
    await api.rows("UPDATE ended_sessions SET ended_at = now() - interval '1 day'")
    assert (await feed(api))[1] == {}


async def test_all_that_ends_sessions_is_told(api: Api) -> None:
    user_id = await register(api)
    boss, ivan = await enter(api, **ADMIN), await enter(api)
    await enter(api)
    _, own, other = await sessions(api)
    change = {"old_password": PASSWORD, "new_password": "another-one"}
    assert (await ivan.call("PUT", "/v1/users/password", change)).status_code == 200
    assert set((await feed(api))[1]) == {other}
    roles = f"/v1/users/{user_id}/roles"
    for given in (["user", "admin"], ["user"]):
        assert (await boss.call("PUT", roles, {"roles": given})).status_code == 200
    assert set((await feed(api))[1]) == {other, own}
    await enter(api, password="another-one")
    _, last = await sessions(api)
    assert (await boss.call("DELETE", f"/v1/users/{user_id}")).status_code == 200
    assert set((await feed(api))[1]) == {other, own, last}, "the user is gone, the tokens are not"


async def test_what_commits_late_is_not_missed(api: Api) -> None:
    """A transaction that began before another one ended, and is committed after that was told."""
    url = api.settings.database_url
    late, early = uuid.uuid4(), uuid.uuid4()
    insert = b"INSERT INTO ended_sessions (session_id, xid) VALUES (%s, pg_current_xact_id()::text::bigint)"
    async with await psycopg.AsyncConnection.connect(
        host=url.host, port=url.port, dbname=url.database, user=url.username, password=url.password
    ) as slow:
        await slow.execute(insert, [late])
        await api.rows(insert.decode(), early)
        cursor, found = await feed(api)
        assert set(found) == {str(early)}
        await slow.commit()
    _, found = await feed(api, cursor)
    assert str(late) in found


async def test_a_cursor_of_another_database(api: Api) -> None:
    await register(api)
    ivan = await enter(api)
    await ivan.call("POST", "/v1/users/logout")
    assert len((await feed(api, 2**62))[1]) == 1
    for bad in ("-1", "x", str(2**63)):
        answer = await api.http.get("/sessions/ended", params={"since": bad})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR")


async def test_the_warehouse_has_none(start: Start) -> None:
    async with start() as warehouse:
        assert (await warehouse.get("/sessions/ended")).status_code == 404
