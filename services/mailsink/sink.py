"""The sink itself: an SMTP server that wants TLS and a password, and a bounded memory of what it took."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import default
from functools import cached_property
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mailsink.settings import SinkSettings

logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd's, a line for each word that is said


@dataclass(frozen=True)
class Taken:
    """A message as it came over SMTP."""

    id: int
    received_at: datetime
    sender: str
    recipients: Sequence[str]
    raw: bytes

    @cached_property
    def subject(self) -> str:
        """Read once, and without the rest: a list of all would keep the sink from taking mail meanwhile."""
        return str(BytesHeaderParser(policy=default).parsebytes(self.raw)["subject"] or "")

    @property
    def message(self) -> EmailMessage:
        found = message_from_bytes(self.raw, policy=default)
        assert isinstance(found, EmailMessage)  # noqa: S101  # what that policy makes
        return found


class Memory:
    """The newest messages, within a count and a size."""

    def __init__(self, most: int, size: int) -> None:
        self._messages: deque[Taken] = deque()
        self._most = most
        self._size = size
        self._used = 0
        self._ids = itertools.count(1)

    def add(self, sender: str, recipients: Sequence[str], raw: bytes) -> Taken:
        taken = Taken(next(self._ids), datetime.now(UTC), sender, tuple(recipients), raw)
        self._messages.append(taken)
        self._used += len(raw)
        while len(self._messages) > 1 and (len(self._messages) > self._most or self._used > self._size):
            self._used -= len(self._messages.popleft().raw)
        return taken

    def newest(self, recipient: str | None = None) -> list[Taken]:
        """Newest first; of one recipient, or of all."""
        found = reversed(self._messages)
        return [each for each in found if recipient is None or recipient in each.recipients]

    def find(self, number: int) -> Taken | None:
        return next((each for each in self._messages if each.id == number), None)


class Sink:
    """Listens for SMTP while `running`."""

    def __init__(self, settings: SinkSettings) -> None:
        self.memory = Memory(settings.sink_messages, settings.sink_bytes)
        self._settings = settings
        self._server: asyncio.Server | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Sink]:
        settings = self._settings
        context = settings.tls_context()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self._session(context),
            settings.smtp_host,
            settings.smtp_port,
            ssl=context if settings.smtp_tls == "tls" else None,
        )
        try:
            yield self
        finally:
            self._server.close()

    async def listens(self) -> None:
        """Raises unless it does: the readiness check."""
        if self._server is None or not self._server.is_serving():
            raise ConnectionError

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        raw = envelope.content
        assert isinstance(raw, bytes)  # noqa: S101  # as decode_data is off
        taken = self.memory.add(str(envelope.mail_from), envelope.rcpt_tos, raw)
        return f"250 2.0.0 taken as {taken.id}"

    def _session(self, context: Any) -> SMTP:
        later = self._settings.smtp_tls == "starttls"
        return SMTP(
            self,
            hostname=self._settings.service_name,
            ident="hostwright mail sink",
            data_size_limit=self._settings.message_bytes,
            enable_SMTPUTF8=True,
            tls_context=context if later else None,
            require_starttls=later,
            auth_required=True,
            auth_require_tls=later,  # else everything is within TLS already, which aiosmtpd cannot see
            authenticator=self._authenticate,
            auth_exclude_mechanism=["LOGIN"],  # its questions here are not those that clients know
        )

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: Any
    ) -> AuthResult:
        user, password = self._settings.smtp_user, self._settings.smtp_password.get_secret_value()
        known = (
            isinstance(given, LoginPassword)
            and hmac.compare_digest(given.login, user.encode())
            and hmac.compare_digest(given.password, password.encode())
        )
        return AuthResult(success=known, handled=False)
