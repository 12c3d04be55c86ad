"""What an event does, once: in the transaction that notes in the inbox that the event has come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import AsyncSession

from kit import logging
from kit.batch import Batch
from kit.database import Database
from kit.events import Message
from kit.outbox import first_time

Effect = Callable[[Message], Coroutine[Any, Any, bool]]  # False if the event had come already
Handler = Callable[[AsyncSession, Message], Awaitable[None]]
HandlerOfMany = Callable[[AsyncSession, Sequence[Message]], Awaitable[None]]
AT_ONCE = 20  # messages for a consumer to have in hand, where they share transactions


def once(database: Database, consumer: str, handler: Handler) -> Effect:
    """The effect of a handler that works in the transaction it is given; `consumer` is whose inbox."""

    async def effect(message: Message) -> bool:
        async with database.transaction() as session:
            if first := bool(await first_time(session, consumer, message.id)):
                await handler(session, message)
        return first

    return effect


def together(database: Database, consumer: str, handler: HandlerOfMany, done: str) -> Effect:
    """As `once`, and events that come during one transaction share the next, in the order they came in.

    A consumer must have several in hand for that. Where they fail together each is handled alone, so that a
    bad one harms no other. `done` is the log's line of each that had its effect: the handler, which works for
    several, cannot write it under the id of each one's request.
    """

    async def share(arrivals: Sequence[_Arrival]) -> dict[_Arrival, bool | Exception]:
        async with database.transaction() as session:
            new = await first_time(session, consumer, *(each.message.id for each in arrivals))
            first: dict[_Arrival, bool | Exception] = {}
            for each in arrivals:
                first[each] = each.message.id in new
                new.discard(each.message.id)  # its twin, if that came with it
            if fresh := [each.message for each in arrivals if first[each]]:
                await handler(session, fresh)
        return first

    async def each_in_turn(arrivals: Sequence[_Arrival]) -> dict[_Arrival, bool | Exception]:
        try:
            return await share(arrivals)
        except AWAY:
            raise
        except Exception:  # whatever it is, it is the fault of one of them
            if len(arrivals) == 1:
                raise
        outcomes: dict[_Arrival, bool | Exception] = {}
        for each in arrivals:
            try:
                outcomes |= await share([each])
            except AWAY:
                raise  # what has been done already is found in the inbox when it comes again
            except Exception as error:
                outcomes[each] = error
        return outcomes

    arrived = Batch(each_in_turn)
    log = logging.get(consumer)

    async def effect(message: Message) -> bool:
        outcome = await arrived(_Arrival(message))
        if isinstance(outcome, Exception):
            raise outcome
        if outcome:
            log.info(done, event_id=str(message.id), type=message.type)
        return bool(outcome)

    return effect


# The database's own troubles, no event's.
AWAY = (OperationalError, InterfaceError, NoConnection)


@dataclass(frozen=True, slots=True, eq=False)
class _Arrival:
    """A message each time it comes."""

    message: Message
