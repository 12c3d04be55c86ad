"""What happens to one request on `mail.send`.

A mail is sent inside the transaction that notes it as sent and its event as had, so one event is one mail.
SMTP leaves one exception that nobody can close: if this process or its database dies after the relay's 250
and before our commit, the mail is sent again. Both have one Message-ID, by which receivers drop the twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from kit import logging
from kit.addresses import recipient
from kit.consumer import ATTEMPTS, Message, Poison
from kit.database import Database
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy.ext.asyncio import AsyncSession

from mail import maillog
from mail.delivery import Delayed, Refused, Relay, compose
from mail.maillog import Request
from mail.models import Status
from mail.rendering import BadContext, Templates, parsed
from mail.settings import MailSettings

log = logging.get("mail")

QUEUE = "mail.send"


class Mailer:
    """The handler of `mail.send`."""

    def __init__(
        self,
        settings: MailSettings,
        database: Database,
        templates: Templates,
        relay: Relay,
        registry: CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._database = database
        self._templates = templates
        self._relay = relay
        self._outcomes = Counter(
            "mail_attempts", "Attempts to send a mail", ["template", "outcome"], registry=registry
        )

    async def __call__(self, session: AsyncSession, message: Message) -> None:
        request = Request(message.id, **message.payload)
        try:
            recipient(request.to)
        except ValueError as error:
            raise Poison(f"to: {error}") from None
        # Of its own, as what follows may be rolled back: the log shows also what never succeeds.
        async with self._database.transaction() as apart:
            await maillog.begin(apart, request)
        if _expired(request):
            await self._settle(
                session, request, Status.FAILED, "the link expired before the mail could leave"
            )
        elif await maillog.twin(session, request, self._settings.mail_twin_window):
            await self._settle(session, request, Status.SUPPRESSED, "the same was sent a moment ago")
        else:
            failures = int(message.headers.get(ATTEMPTS, 0))
            await self._send(request, last=failures >= len(self._settings.mail_delays))
            await self._settle(session, request, Status.SENT)

    async def _send(self, request: Request, *, last: bool) -> None:
        try:
            content = self._templates.render(request.template, request.language, request.context)
            message = compose(
                content,
                mail_from=self._settings.mail_from,
                to=request.to,
                language=request.language,
                event_id=request.event_id,
            )
            await self._relay.send(message)
        except (BadContext, Refused) as error:
            reason = _fit(request, error)
            await self._failed(request, Status.FAILED, reason)
            raise Poison(reason) from None
        except Delayed as error:
            reason = _fit(request, error)
            await self._failed(request, Status.FAILED if last else Status.QUEUED, reason)
            raise Delayed(reason) from None

    async def _failed(self, request: Request, status: Status, reason: str) -> None:
        async with self._database.transaction() as apart:
            await self._settle(apart, request, status, reason)

    async def _settle(
        self, session: AsyncSession, request: Request, status: Status, reason: str | None = None
    ) -> None:
        await maillog.end(session, request.event_id, status, reason)
        outcome = "delayed" if status is Status.QUEUED else status.value
        self._outcomes.labels(request.template, outcome).inc()
        say = log.info if reason is None else log.warning
        say("mail", event_id=str(request.event_id), template=request.template, outcome=outcome, reason=reason)


def _expired(request: Request) -> bool:
    return request.template == "password_reset" and parsed(request.context["expires_at"]) <= datetime.now(UTC)


def _fit(request: Request, error: Exception) -> str:
    """The reason to keep: of a mail with a secret link its first word, as a refusal may quote the mail."""
    words: Sequence[str] = str(error).split()
    return words[0].strip(":") if "url" in request.context and words else str(error)[:500]
