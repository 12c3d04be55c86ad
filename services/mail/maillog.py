"""The log of mails: one row an event, in `mail_log`."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from kit import outbox
from sqlalchemy import ColumnElement, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from mail.language import Language
from mail.models import Mail, Status


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for on the queue."""

    event_id: uuid.UUID
    template: str
    to: str
    language: Language
    context: Mapping[str, Any]

    @property
    def digest(self) -> str | None:
        """Of a password reset, to know its twin by. Its link is random: nothing can be guessed from this."""
        if self.template != "password_reset":
            return None
        same = orjson.dumps([self.template, self.to, dict(self.context)], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(same).hexdigest()


@dataclass(frozen=True, slots=True)
class Filters:
    """Which mails; an empty field leaves nothing out. `created_to` is exclusive."""

    status: Sequence[Status] = ()
    template: str | None = None
    recipient: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


async def begin(session: AsyncSession, request: Request) -> None:
    """Notes an attempt."""
    new = insert(Mail).values(
        event_id=request.event_id,
        template=request.template,
        recipient=request.to,
        language=request.language,
        status=Status.QUEUED.value,
        attempts=1,
        digest=request.digest,
    )
    again = {"attempts": Mail.attempts + 1, "updated_at": func.now(), "status": Status.QUEUED.value}
    await session.execute(new.on_conflict_do_update(index_elements=["event_id"], set_=again))


async def end(session: AsyncSession, event_id: uuid.UUID, status: Status, error: str | None = None) -> None:
    """What became of an attempt; `queued` with an error is one that will be made again."""
    sent = func.now() if status is Status.SENT else None
    values = {"status": status.value, "error": error, "sent_at": sent, "updated_at": func.now()}
    await session.execute(update(Mail).where(Mail.event_id == event_id).values(values))


async def twin(session: AsyncSession, request: Request, window: float) -> bool:
    """Whether the same password reset went out within `window` seconds; of two at once one waits here."""
    if request.digest is None:
        return False
    key = int(request.digest[:15], 16)
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    recently = Mail.sent_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, window)
    found = select(Mail.id).where(
        Mail.digest == request.digest,
        Mail.event_id != request.event_id,
        Mail.status == Status.SENT.value,
        recently,
    )
    return (await session.execute(found.limit(1))).first() is not None


async def page(session: AsyncSession, filters: Filters, limit: int, offset: int) -> tuple[list[Mail], int]:
    """Newest first, and how many there are on all pages."""
    where = list(_where(filters))
    found = select(Mail).where(*where).order_by(Mail.created_at.desc(), Mail.id.desc())
    mails = (await session.scalars(found.limit(limit).offset(offset))).all()
    total = await session.scalar(select(func.count()).select_from(Mail).where(*where))
    return list(mails), total or 0


async def locked(session: AsyncSession, mail_id: int) -> Mail | None:
    """The mail, nobody else's until the transaction ends."""
    return await session.get(Mail, mail_id, with_for_update=True)


async def purge(session: AsyncSession, days: int) -> None:
    """Forgets mails of long ago, as whom we wrote to is not kept for ever, and which events came then."""
    await session.execute(
        delete(Mail).where(Mail.created_at < func.now() - func.make_interval(0, 0, 0, days))
    )
    await outbox.purge(session)


def _where(filters: Filters) -> Sequence[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filters.status:
        found.append(Mail.status.in_([each.value for each in filters.status]))
    if filters.template:
        found.append(Mail.template == filters.template)
    if filters.recipient:
        found.append(Mail.recipient == filters.recipient)
    if filters.created_from:
        found.append(Mail.created_at >= filters.created_from)
    if filters.created_to:
        found.append(Mail.created_at < filters.created_to)
    return found
