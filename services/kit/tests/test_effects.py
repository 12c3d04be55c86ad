"""Effects against a real PostgreSQL: each once, several in one transaction, and a bad one alone."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from kit import context, logging
from kit.database import Database
from kit.effects import Effect, together
from kit.events import Message
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession


def message(n: int, id: uuid.UUID | None = None) -> Message:
    return Message(id or uuid.uuid4(), "order.created", "/orders", datetime.now(UTC), {"n": n}, {})


class Bad(Exception):
    """What the handler says of a number below zero."""


class Handler:
    """Keeps the numbers it is given; `shared` are those of each transaction that it was part of."""

    def __init__(self) -> None:
        self.shared: list[list[int]] = []
        self.go_on = asyncio.Event()

    async def __call__(self, session: AsyncSession, messages: Sequence[Message]) -> None:
        self.shared.append([each.payload["n"] for each in messages])
        await self.go_on.wait()
        for each in messages:
            if each.payload["n"] < 0:
                raise Bad(each.payload["n"])
            values = {"id": each.id, "n": each.payload["n"]}
            await session.execute(text("INSERT INTO effects VALUES (:id, :n)"), values)


async def kept(database: Database) -> list[int]:
    async with database.transaction() as session:
        return list((await session.scalars(text("SELECT n FROM effects ORDER BY n"))).all())


async def at_once(effect: Effect, handler: Handler, *messages: Message) -> list[bool | BaseException]:
    """What becomes of messages of which the first is under way when the others come."""
    first = asyncio.create_task(effect(messages[0]))
    async with asyncio.timeout(60):
        while not handler.shared:
            await asyncio.sleep(0.01)
    others = [asyncio.create_task(effect(each)) for each in messages[1:]]
    await asyncio.sleep(0.05)
    handler.go_on.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


async def test_those_that_wait_share_a_transaction_in_their_order(database: Database) -> None:
    handler = Handler()
    effect = together(database, "shop", handler, "done")
    assert await at_once(effect, handler, *(message(n) for n in (4, 3, 2, 1))) == [True] * 4
    assert handler.shared == [[4], [3, 2, 1]]
    assert await kept(database) == [1, 2, 3, 4]


async def test_each_is_logged_under_the_id_of_its_own_request(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though one transaction is of several; a twin and a bad one did nothing."""
    logging.configure("shop")
    handler = Handler()
    effect = together(database, "shop", handler, "number kept")

    async def of_request(told: Message) -> bool:
        with context.bound({context.REQUEST_ID: f"request-{told.payload['n']}"}):
            return await effect(told)

    events = [message(n) for n in (1, 2, 3, -4)]
    await at_once(of_request, handler, *events, events[1])
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert sorted((each["request_id"], each["event_id"]) for each in lines) == [
        (f"request-{each.payload['n']}", str(each.id)) for each in events[:3]
    ]
    about = {(each["logger"], each["level"], each["message"], each["type"]) for each in lines}
    assert about == {("shop", "info", "number kept", "order.created")}


async def test_a_twin_has_no_effect_whenever_it_comes(database: Database) -> None:
    handler = Handler()
    effect = together(database, "shop", handler, "done")
    one, two = message(1), message(2)
    assert await at_once(effect, handler, one, one, two, two) == [True, False, True, False]
    assert await effect(two) is False
    assert await kept(database) == [1, 2]


async def test_a_bad_one_harms_no_other(database: Database) -> None:
    handler = Handler()
    effect = together(database, "shop", handler, "done")
    outcomes = await at_once(effect, handler, *(message(n) for n in (1, 2, -3, 4)))
    assert [str(each) for each in outcomes] == ["True", "True", "-3", "True"]
    assert isinstance(outcomes[2], Bad)
    assert await kept(database) == [1, 2, 4]


async def test_a_bad_one_alone_is_not_tried_twice(database: Database) -> None:
    handler = Handler()
    handler.go_on.set()
    with pytest.raises(Bad):
        await together(database, "shop", handler, "done")(message(-1))
    assert handler.shared == [[-1]]


async def test_troubles_of_the_database_are_everybodys(database: Database) -> None:
    """And nobody is tried alone, which would take an outage once more for each."""
    handler = Handler()

    async def cut_off(session: AsyncSession, messages: Sequence[Message]) -> None:
        await handler(session, messages)
        if len(messages) > 1:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    effect = together(database, "shop", cut_off, "done")
    outcomes = await at_once(effect, handler, *(message(n) for n in (1, 2, 3)))
    assert outcomes[0] is True
    assert [type(each) for each in outcomes[1:]] == [OperationalError] * 2
    assert handler.shared == [[1], [2, 3]]
    assert await kept(database) == [1]


async def test_two_with_the_same_events_do_not_wait_for_each_other(database: Database) -> None:
    """As the consumer of a queue and the receiver of webhooks are told the same in different orders."""
    events = [message(n) for n in range(40)]
    handlers = Handler(), Handler()
    for handler in handlers:
        handler.go_on.set()
    queue, webhook = (together(database, "shop", handler, "done") for handler in handlers)
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(
            *(queue(each) for each in events), *(webhook(each) for each in reversed(events))
        )
    assert sum(outcomes) == len(events)
    assert await kept(database) == list(range(40))
