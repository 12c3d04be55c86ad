"""A real SMTP server with TLS and a password, which refuses what a test tells it to."""

from __future__ import annotations

import logging
import ssl
import threading
from collections import deque
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from testing.process import free_port

Tls = Literal["starttls", "tls", "none"]

logging.getLogger("mail.log").setLevel(logging.ERROR)


class SmtpServer:
    """On loopback. `stop` and `start` keep its port and what it took."""

    host = "localhost"  # the name in its certificate
    user = "mail"
    password = "not-a-secret"  # noqa: S105  # of a server that lives for one test

    def __init__(self, context: ssl.SSLContext | None, tls: Tls = "starttls", *, utf8: bool = True) -> None:
        self.port = free_port()
        self.tls = tls
        self.raw: list[bytes] = []
        self.replies: deque[str] = deque()  # to the next mails, before any is taken
        self.before: Callable[[], None] | None = None  # called when a mail was taken, before that is said
        self.recipients_refused: dict[str, str] = {}
        self.seen = threading.Event()
        self.logins = self.farewells = 0
        self._context = context
        self._utf8 = utf8
        self._controller: Controller | None = None

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(each, policy=default) for each in self.raw]

    def start(self) -> None:
        tls = self.tls != "none"
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            ssl_context=self._context if self.tls == "tls" else None,
            tls_context=self._context if self.tls == "starttls" else None,
            require_starttls=self.tls == "starttls",
            auth_required=tls,
            auth_require_tls=self.tls == "starttls",
            authenticator=self._authenticate,
            enable_SMTPUTF8=self._utf8,
            ready_timeout=60,
        )
        self._controller.start()

    def stop(self) -> None:
        if self._controller:
            self._controller.stop()
            self._controller = None

    async def handle_RCPT(
        self, _server: Any, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if reply := self.recipients_refused.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, _server: Any, _session: Session, envelope: Envelope) -> str:
        self.seen.set()
        if self.replies:
            return self.replies.popleft()
        self.raw.append(bytes(envelope.content or b""))  # type: ignore[arg-type]
        if self.before:
            self.before()
        return "250 2.0.0 taken"

    async def handle_QUIT(self, _server: Any, _session: Session, _envelope: Envelope) -> str:
        self.farewells += 1
        return "221 2.0.0 bye"

    def _authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _kind: str, given: Any
    ) -> AuthResult:
        known = isinstance(given, LoginPassword) and given == LoginPassword(
            self.user.encode(), self.password.encode()
        )
        self.logins += 1
        return AuthResult(success=known, handled=False)
