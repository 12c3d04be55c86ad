"""Lanes against a real PostgreSQL: one user at a time, whole transactions, and restarts unnoticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import psycopg
import pytest
from kit import lanes as module
from kit import logging, outbox
from kit.database import Database, metadata
from kit.errors import Unavailable
from kit.lanes import Lanes
from kit.outbox import Event
from kit.settings import DatabaseSettings
from testing.postgres import Postgres


@pytest.fixture
async def database(new_database: Callable[..., dict[str, Any]]) -> AsyncIterator[Database]:
    settings = DatabaseSettings.model_validate(
        {"service_name": "lanes", "application": "warehouse", **new_database()}
    )
    async with Database.open(settings) as found:
        yield found


@pytest.fixture
async def lanes(database: Database) -> AsyncIterator[Lanes]:
    async with Lanes.open(database, size=2) as found:
        async with found.lane() as connection:
            await connection.execute("CREATE TABLE things (n int CHECK (n > 0))")
        yield found


async def things(lanes: Lanes) -> list[int]:
    async with lanes.lane() as connection:
        return [n for (n,) in await (await connection.execute("SELECT n FROM things ORDER BY n")).fetchall()]


class Bug(Exception):
    """Of the code that uses a lane."""


async def insert(unit: AbstractAsyncContextManager[psycopg.AsyncConnection], *numbers: int | None) -> None:
    """In one unit, which ends in a bug where there is no number."""
    async with unit as connection:
        for n in numbers:
            if n is None:
                raise Bug
            await connection.execute("INSERT INTO things VALUES (%s)", [n])


async def backend(connection: psycopg.AsyncConnection) -> int:
    return connection.info.backend_pid


async def test_each_statement_is_committed(lanes: Lanes) -> None:
    with pytest.raises(Bug):
        await insert(lanes.lane(), 1, None)
    assert await things(lanes) == [1]


async def test_a_transaction_is_all_or_nothing(lanes: Lanes) -> None:
    await insert(lanes.transaction(), 1)
    with pytest.raises(Bug):
        await insert(lanes.transaction(), 2, None)
    with pytest.raises(psycopg.errors.CheckViolation):
        await insert(lanes.transaction(), 3, -3)
    assert await things(lanes) == [1]


async def test_a_lane_has_one_user_at_a_time(lanes: Lanes) -> None:
    used: set[int] = set()

    async def use() -> None:
        async with lanes.lane() as connection:
            pid = await backend(connection)
            assert pid not in used
            used.add(pid)
            await connection.execute("SELECT pg_sleep(0.02)")
            used.remove(pid)

    await asyncio.gather(*(use() for _ in range(20)))


async def test_all_lanes_taken(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 0.05)
    async with lanes.lane(), lanes.lane():
        with pytest.raises(Unavailable):
            async with lanes.lane():
                pass
    assert await things(lanes) == []


async def test_a_database_out_of_resources_says_so(lanes: Lanes, capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("lanes")
    full = "DO $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$"
    with pytest.raises(Unavailable):
        async with lanes.lane() as connection:
            await connection.execute(full)
    (line,) = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert (line["message"], line["level"]) == ("database is out of resources", "error")
    assert (line["reason"], line["detail"].splitlines()[0]) == ("DiskFull", "No space left on device")


async def test_a_restart_between_uses_is_unnoticed(lanes: Lanes, postgres: Postgres) -> None:
    async with lanes.lane() as one, lanes.lane() as other:
        before = {await backend(one), await backend(other)}
    postgres.stop()
    postgres.start()
    async with lanes.lane() as one, lanes.lane() as other:
        assert before.isdisjoint({await backend(one), await backend(other)})
    assert await things(lanes) == []


async def test_what_breaks_in_use_is_unavailable_and_replaced(lanes: Lanes, postgres: Postgres) -> None:
    async def broken() -> None:
        async with lanes.transaction() as connection:
            await connection.execute("INSERT INTO things VALUES (5)")
            postgres.stop()
            await connection.execute("SELECT 1")

    try:
        with pytest.raises(Unavailable):
            await broken()
        with pytest.raises(Unavailable):
            await things(lanes)
    finally:
        postgres.start()
    assert await things(lanes) == []


async def test_a_cancelled_query_does_not_spoil_the_lane(lanes: Lanes) -> None:
    async def slow() -> None:
        async with lanes.transaction() as connection:
            await connection.execute("INSERT INTO things VALUES (6)")
            await connection.execute("SELECT pg_sleep(60)")

    for _ in range(3):
        task = asyncio.create_task(slow())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await things(lanes) == []


async def test_events_are_added_as_through_a_session(lanes: Lanes, database: Database) -> None:
    tables = metadata()
    outbox.tables(tables)
    async with database.engine.begin() as connection:
        await connection.run_sync(tables.create_all)
    events = [
        Event("thing.made", "thing", str(n), "things", {"n": n, "name": "żółw"}, {"traceparent": "00-1"})
        for n in range(4)
    ]
    async with lanes.transaction() as lane:
        await outbox.add(lane, events[0])
        await outbox.add(lane, *events[1:3])
    async with database.transaction() as session:
        await outbox.add(session, events[3])

    async def rolled_back() -> None:
        async with lanes.transaction() as lane:
            await outbox.add(lane, Event("thing.made", "thing", "9", "things", {}))
            raise Bug

    with pytest.raises(Bug):
        await rolled_back()
    async with lanes.lane() as lane:
        rows = await (await lane.execute("SELECT * FROM outbox ORDER BY position")).fetchall()
        kinds = await (
            await lane.execute("SELECT jsonb_typeof(payload), jsonb_typeof(headers) FROM outbox")
        ).fetchall()
    assert [row[1] for row in rows] == [each.id for each in events]
    assert [row[6] for row in rows] == [dict(each.payload) for each in events]
    assert {row[2] for row in rows} == {"thing"}
    assert [row[7] for row in rows] == [{"traceparent": "00-1"}] * 4
    assert set(kinds) == {("object", "object")}
