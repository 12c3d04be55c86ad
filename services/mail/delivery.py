"""A mail to the relay over SMTP: what may be tried again, and what may not."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from aiosmtplib import SMTP as Client
from aiosmtplib import SMTPException, SMTPNotSupported, SMTPRecipientsRefused, SMTPResponseException
from kit.addresses import recipient

from mail.language import Language
from mail.rendering import Content
from mail.settings import SmtpSettings, sender

FAREWELL = 2.0  # seconds for the relay's answer to NOOP and QUIT
IDLE = 5.0  # seconds that a connection is kept without a mail, at least; at most twice that
MOST = 50  # mails over one connection: relays end one that takes too many, and say so to the mail's sender


class Refused(Exception):
    """The relay will never take this mail (a reply of 5xx to it)."""


class Delayed(Exception):
    """Not now: a reply of 4xx, no connection, or a relay that is not the one, or not how, we are told of.

    A wrong password or certificate too: that is mended here, and no mail's fault.
    """


def compose(
    content: Content, *, mail_from: str, to: str, language: Language, event_id: uuid.UUID
) -> EmailMessage:
    """Message-ID is made of the event's: should a mail leave twice, receivers can tell. Raises `Refused`."""
    ours = sender(mail_from)
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = ours
        message["To"] = recipient(to)
        message["Subject"] = content.subject
    except Exception as error:  # the parser of headers raises whatever it stumbles over
        raise Refused(f"not an address or subject: {type(error).__name__}") from None
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{event_id}@{ours.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office in reply
    message.set_content(content.text)
    message.add_alternative(content.html, subtype="html")
    message["Content-Language"] = language  # last: the content takes headers of this kind into its parts
    return message


class Relay:
    """A connection is kept for the mails that follow: TLS and login take more time than a mail does."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._context = settings.tls_context
        self._kept: list[_Kept] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: SmtpSettings) -> AsyncIterator[Relay]:
        """Connects for its first mail, and takes leave of the relay when there was none for a while."""
        relay = cls(settings)
        leaving = asyncio.create_task(relay._leave())
        try:
            yield relay
        finally:
            leaving.cancel()
            for each in relay._kept:
                await _quit(each.client)

    async def send(self, message: EmailMessage) -> None:
        """Returns when the relay has taken the mail; raises `Refused`, `Delayed`."""
        connection = None
        try:
            async with asyncio.timeout(self._settings.smtp_timeout):
                connection = await self._alive() or _Kept(self._client())
                await _send(connection.client, message)
        except TimeoutError:
            raise Delayed("no answer in time") from None
        else:
            connection.mails += 1
            connection.since = time.monotonic()
            self._kept.append(connection)
            connection = None
        finally:
            if connection:
                connection.client.close()

    async def _alive(self) -> _Kept | None:
        """A connection that was kept and still lives; the others are left."""
        while self._kept:
            kept = self._kept.pop()
            if kept.mails < MOST:
                with suppress(SMTPException, OSError):
                    await kept.client.noop(timeout=FAREWELL)
                    return kept
            await _quit(kept.client)
        return None

    async def _leave(self) -> None:
        while True:
            await asyncio.sleep(IDLE)
            idle = [each for each in self._kept if each.since < time.monotonic() - IDLE]
            self._kept = [each for each in self._kept if each not in idle]
            for each in idle:
                await _quit(each.client)

    def _client(self) -> Client:
        settings = self._settings
        password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
        return Client(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user,
            password=password if settings.smtp_user else None,
            use_tls=settings.smtp_tls == "tls",
            start_tls=settings.smtp_tls == "starttls",
            tls_context=self._context,
            timeout=settings.smtp_timeout,
            local_hostname=sender(
                settings.mail_from
            ).domain,  # else a look-up of our own name, which may block
        )


@dataclass(eq=False, slots=True)
class _Kept:
    """A connection, how many mails it has taken, and when the last (monotonic seconds)."""

    client: Client
    mails: int = 0
    since: float = 0


async def _quit(client: Client) -> None:
    with suppress(SMTPException, OSError):  # what was taken is taken
        await client.quit(timeout=FAREWELL)
    client.close()


async def _send(client: Client, message: EmailMessage) -> None:
    # None of these errors is kept as a cause: replies may quote what they refuse, links with it.
    try:
        if not client.is_connected:
            await client.connect()  # TLS and login too
    except (SMTPException, OSError, ValueError) as error:
        raise Delayed(_reason(error)) from None
    try:
        await client.send_message(message)
    except (SMTPException, OSError, ValueError) as error:
        kind = Refused if _permanent(error) else Delayed
        raise kind(_reason(error)) from None


# The relay does not know us, or wants us otherwise: our settings' fault, though it says 5xx to the sender.
OURS = frozenset({530, 534, 535, 538})


def _permanent(error: Exception) -> bool:
    match error:
        case SMTPRecipientsRefused():  # we send to one
            return all(_permanent(each) for each in error.recipients)
        case SMTPResponseException():
            return error.code >= 500 and error.code not in OURS
        case _:
            return isinstance(
                error, SMTPNotSupported | ValueError
            )  # such as letters outside ASCII in an address


def _reason(error: Exception) -> str:
    match error:
        case SMTPRecipientsRefused():
            return "; ".join(_reason(each) for each in error.recipients)
        case SMTPResponseException():
            return f"{error.code} {error.message}"
        case _:
            return f"{type(error).__name__}: {error}"
