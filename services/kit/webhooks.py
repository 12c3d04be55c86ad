"""Webhooks as Standard Webhooks has them (standardwebhooks.com): signed, and only for a while.

The event's CloudEvents attributes travel as headers in the HTTP binding's spelling.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
import orjson

from kit.errors import Invalid, Unauthorized
from kit.events import WEBHOOK, Message, Misfit, read
from kit.outbox import BrokerDown, Event
from kit.settings import WebhookSettings

WINDOW = 300  # seconds that a signature is good for, before and after
TIMEOUT = 5.0  # seconds for the receiver to answer
CONNECTIONS = 10
AWAY = frozenset({408, 425, 429, 502, 503, 504})  # the receiver is not there, whatever the event


class InvalidSignature(Unauthorized):
    """401: not signed with our key, or not now."""

    text = "Invalid webhook signature"


class WebhookRefused(Exception):
    """The receiver answered that it does not want this event."""


def sign(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over "id.timestamp.body"."""
    content = b".".join((event_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(_key(secret), content, hashlib.sha256)).decode()


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, now: float | None = None, window: int = WINDOW
) -> str:
    """The webhook's id, if one of its signatures is good and of this moment; raises `InvalidSignature`.

    `headers` is looked up by lower-case names, as Starlette's and httpx2's are.
    """
    try:
        event_id, timestamp = headers["webhook-id"], int(headers["webhook-timestamp"])
        given = headers["webhook-signature"].encode()
    except (KeyError, ValueError):
        raise InvalidSignature from None
    if abs((time.time() if now is None else now) - timestamp) > window:
        raise InvalidSignature("Webhook is too old, or from the future")
    good = sign(secret, event_id, timestamp, body).encode()
    if not any(hmac.compare_digest(good, each) for each in given.split(b" ")):
        raise InvalidSignature
    return event_id


def receive(secret: str, headers: Mapping[str, str], body: bytes, queue: str) -> Message:
    """The event of a webhook whose body is that of `queue`; raises `InvalidSignature`, `Invalid` (400)."""
    event_id = verify(secret, headers, body)
    try:
        return read(
            queue,
            body,
            id=event_id,
            type=headers.get("ce-type", ""),
            source=headers.get("ce-source", ""),
            time=headers.get("ce-time", ""),
            headers=headers,
        )
    except Misfit as error:
        raise Invalid({"body": str(error)}) from None


class WebhookPublisher:
    """Sends the events of queues named `webhook:NAME` to the address of that name."""

    def __init__(
        self, settings: WebhookSettings, addresses: Mapping[str, str], http: httpx2.AsyncClient
    ) -> None:
        self._secret = settings.webhook_key.get_secret_value()
        self._source = settings.service_name
        self._addresses = dict(addresses)
        self._http = http

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: WebhookSettings, addresses: Mapping[str, str]
    ) -> AsyncIterator[WebhookPublisher]:
        """`addresses` by name: {"notification": "http://notification:8080/webhooks/orders"}."""
        async with httpx2.AsyncClient(
            timeout=httpx2.Timeout(TIMEOUT, pool=None),
            limits=httpx2.Limits(max_connections=CONNECTIONS),
            trust_env=False,
        ) as http:
            yield cls(settings, addresses, http)

    async def publish(self, event: Event) -> None:
        """Returns when the receiver has it. Raises `BrokerDown` if it is away, `WebhookRefused` otherwise."""
        address = self._addresses[event.queue.removeprefix(WEBHOOK)]
        body = orjson.dumps(event.payload)
        try:
            answer = await self._http.post(address, content=body, headers=self._headers(event, body))
        except httpx2.HTTPError as error:
            raise BrokerDown(f"{address}: {type(error).__name__}: {error}") from error
        if answer.status_code in AWAY:
            raise BrokerDown(f"{address}: answered {answer.status_code}")
        if not answer.is_success:
            raise WebhookRefused(f"{address}: answered {answer.status_code}: {answer.text[:200]}")

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        now = int(time.time())
        return {
            **event.headers,
            "content-type": "application/json",
            "webhook-id": str(event.id),
            "webhook-timestamp": str(now),
            "webhook-signature": sign(self._secret, str(event.id), now, body),
            "ce-specversion": "1.0",
            "ce-id": str(event.id),
            "ce-type": event.type,
            "ce-source": f"/{self._source}",
            "ce-subject": event.aggregate_id,
            "ce-time": event.time.isoformat(),
        }


def _key(secret: str) -> bytes:
    """A secret of the standard's own form is base64; ours is its text."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ValueError("a secret that begins with whsec_ must go on in base64") from error
    return secret.encode()
