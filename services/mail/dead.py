"""Failed mails once more: what they say is kept nowhere but in their message, in the dead-letter queue."""

from __future__ import annotations

import uuid

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity
from kit import broker
from kit.dead import put_back
from kit.errors import Conflict, ErrorBody, NotFound, ServiceError, Unavailable
from kit.settings import BrokerSettings
from pydantic import Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from mail import maillog
from mail.models import Mail, Status
from mail.sending import QUEUE

DEAD = f"{QUEUE}.dead"
MOST = 10_000  # messages looked through for the one
LOCK = 7_305_811_947  # one at a time: what one holds while it looks, another would not find


class MailNotFound(NotFound):
    text = "Mail not found"


class NotFailedBody(ErrorBody):
    status: Status = Field(description="What the mail is")


class NotFailed(Conflict):
    """409: only a failed mail is tried again."""

    schema = NotFailedBody
    text = "Only a failed mail can be sent again"

    def __init__(self, status: Status) -> None:
        super().__init__(status=status)


class Gone(ServiceError):
    """410: nobody has the mail's content any more."""

    status = 410
    text = "The content of this mail is not kept any more; whoever asked for it must ask again"


async def retry(session: AsyncSession, settings: BrokerSettings, mail_id: int) -> Mail:
    """Puts a failed mail's message back; raises `MailNotFound`, `NotFailed`, `Gone`, `Unavailable`."""
    mail = await maillog.locked(session, mail_id)
    if mail is None:
        raise MailNotFound
    if mail.status != Status.FAILED:
        raise NotFailed(Status(mail.status))
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    mail.status, mail.error = Status.QUEUED.value, None
    await session.flush()
    # Its next attempt waits for the row until this is committed.
    try:
        if not await _return(settings, mail.event_id):
            raise Gone
    except (AMQPError, OSError, TimeoutError) as error:
        raise Unavailable from error
    return mail


async def _return(settings: BrokerSettings, event_id: uuid.UUID) -> bool:
    """Whether the message was there; then it is in its queue again."""
    async with await aio_pika.connect(str(broker.url(settings)), timeout=broker.TIMEOUT) as connection:
        channel = await connection.channel(on_return_raises=True)
        try:
            queue = await channel.get_queue(DEAD)
        except ChannelNotFoundEntity:
            return False
        found = await _find(queue, str(event_id))
        if found is None:
            return False
        await put_back(channel, QUEUE, found)
        return True


async def _find(queue: AbstractQueue, message_id: str) -> AbstractIncomingMessage | None:
    """What is passed over goes back to its place when the channel closes."""
    for _ in range(MOST):
        message = await queue.get(fail=False, timeout=broker.TIMEOUT)
        if message is None or message.message_id == message_id:
            return message
    return None
