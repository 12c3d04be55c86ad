"""Webhooks: signatures, and sending to a receiver over HTTP that is good, slow, broken or away."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kit import outbox
from kit.broker import RabbitPublisher
from kit.database import Database
from kit.errors import Invalid
from kit.outbox import BrokerDown, Event, Relay
from kit.tests.conftest import Settings, messages
from kit.webhooks import InvalidSignature, WebhookPublisher, WebhookRefused, receive, sign, verify
from sqlalchemy import func, select
from testing.process import free_port

SECRET = "w" * 32
BODY = b'{"order_id": 1}'
QUEUE = "webhook:shop"
FAST: dict[str, Any] = {"interval": 0.05, "lease": 120.0, "backoff": 0.05}

Answer = Callable[[dict[str, Any]], int]


def signed(body: bytes = BODY, at: int = 1000, secret: str = SECRET, event_id: str = "e-1") -> dict[str, str]:
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(secret, event_id, at, body),
    }


def test_the_standards_own_example() -> None:
    """Of the reference libraries' tests (github.com/standard-webhooks/standard-webhooks)."""
    secret, event_id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    body = b'{"test": 2432232314}'
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(secret, event_id, 1614265330, body) == signature
    with pytest.raises(ValueError, match="base64"):
        sign("whsec_???", event_id, 1614265330, body)


def test_a_good_signature() -> None:
    assert verify(SECRET, signed(), BODY, now=1000) == "e-1"
    for now in (700, 1300):
        assert verify(SECRET, signed(), BODY, now=now) == "e-1"
    rotated = signed() | {"webhook-signature": f"v1,AAAA v2,BBBB {signed()['webhook-signature']}"}
    assert verify(SECRET, rotated, BODY, now=1000) == "e-1"
    assert verify(SECRET, signed(at=int(time.time())), BODY) == "e-1"


@pytest.mark.parametrize("now", [699, 1301])
def test_the_window(now: float) -> None:
    with pytest.raises(InvalidSignature, match="too old"):
        verify(SECRET, signed(), BODY, now=now)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "e-2"},
        {"webhook-timestamp": "1001"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-signature": signed()["webhook-signature"].removeprefix("v1,")},
        {"webhook-signature": signed()["webhook-signature"].replace("v1,", "v2,")},
        {"webhook-signature": signed(secret="x" * 32)["webhook-signature"]},
        {"webhook-signature": signed(body=BODY + b" ")["webhook-signature"]},
        {"webhook-signature": "v1,żółć"},
    ],
)
def test_tampering(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidSignature):
        verify(SECRET, signed() | changes, BODY, now=1000)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_lacks(name: str) -> None:
    headers = signed()
    del headers[name]
    with pytest.raises(InvalidSignature):
        verify(SECRET, headers, BODY, now=1000)


def test_what_a_webhook_says() -> None:
    event_id = str(uuid.uuid4())
    headers = signed(at=int(time.time()), event_id=event_id) | {
        "ce-type": "order.created",
        "ce-source": "/orders",
        "ce-time": "2026-01-01T00:00:00+00:00",
    }
    message = receive(SECRET, headers, BODY, "any")
    assert (str(message.id), message.type, message.source) == (event_id, "order.created", "/orders")
    assert message.payload == {"order_id": 1}
    with pytest.raises(Invalid):  # well signed, and still no such event
        receive(SECRET, headers, BODY, "order_notifications")
    with pytest.raises(Invalid):
        receive(SECRET, headers | {"ce-time": ""}, BODY, "any")
    with pytest.raises(InvalidSignature):
        receive(SECRET, headers, b"{}", "any")


class Receiver:
    """An HTTP server that checks signatures, answers as told and keeps what it took."""

    def __init__(self, answer: Answer) -> None:
        self.taken: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.asked = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                verify(SECRET, headers, body)
                receiver.asked += 1
                status = answer(json.loads(body))
                if status < 300:
                    receiver.taken.append(json.loads(body)["n"])
                    receiver.headers.append(headers)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The test's output is not its log."""

        self._handler = Handler
        self._server: ThreadingHTTPServer | None = None
        self.port = free_port()

    @property
    def addresses(self) -> dict[str, str]:
        return {"shop": f"http://127.0.0.1:{self.port}/webhooks"}

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()


@contextmanager
def receiving(answer: Answer = lambda _: 202) -> Iterator[Receiver]:
    receiver = Receiver(answer)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def event(n: int, queue: str = QUEUE, **more: Any) -> Event:
    return Event("order.created", "order", "same", queue, {"n": n}, **more)


async def write(database: Database, *events: Event) -> None:
    async with database.transaction() as session:
        await outbox.add(session, *events)


async def waiting(database: Database) -> int:
    async with database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(outbox.outbox)) or 0


async def left(database: Database, number: int, within: float = 60.0) -> None:
    async with asyncio.timeout(within):
        while await waiting(database) != number:
            await asyncio.sleep(0.05)


async def test_what_is_sent(settings: Settings) -> None:
    with receiving() as receiver:
        sent = event(1, headers={"X-Request-ID": "request-12345"})
        async with WebhookPublisher.open(settings, receiver.addresses) as publisher:
            await publisher.publish(sent)
    (headers,) = receiver.headers
    expected = {
        "webhook-id": str(sent.id),
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": str(sent.id),
        "ce-type": "order.created",
        "ce-source": "/shop",
        "ce-subject": "same",
        "ce-time": sent.time.isoformat(),
        "x-request-id": "request-12345",
    }
    assert {name: headers[name] for name in expected} == expected


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
async def test_a_receiver_that_is_not_there_now(settings: Settings, status: int) -> None:
    with receiving(lambda _: status) as receiver:
        async with WebhookPublisher.open(settings, receiver.addresses) as publisher:
            with pytest.raises(BrokerDown, match=str(status)):
                await publisher.publish(event(1))
    async with WebhookPublisher.open(settings, receiver.addresses) as publisher:
        with pytest.raises(BrokerDown, match="ConnectError"):
            await publisher.publish(event(1))


@pytest.mark.parametrize("status", [302, 400, 401, 404, 500])
async def test_a_receiver_that_refuses(settings: Settings, status: int) -> None:
    with receiving(lambda _: status) as receiver:
        async with WebhookPublisher.open(settings, receiver.addresses) as publisher:
            with pytest.raises(WebhookRefused, match=str(status)):
                await publisher.publish(event(1))
            with pytest.raises(KeyError):
                await publisher.publish(event(1, "webhook:stranger"))


async def test_a_refused_webhook_dies_and_lets_the_next_of_its_order_by(
    settings: Settings, database: Database
) -> None:
    await write(database, *(event(n) for n in range(4)))
    with receiving(lambda body: 500 if body["n"] == 1 else 202) as receiver:
        async with (
            WebhookPublisher.open(settings, receiver.addresses) as publisher,
            Relay(database, publisher, queues=[QUEUE], max_attempts=3, **FAST).running(),
        ):
            await left(database, 1)
            while receiver.asked < 3 + 3:
                await asyncio.sleep(0.05)
    assert receiver.taken == [0, 2, 3]
    assert receiver.asked == 3 + 3


async def test_a_dead_receiver_slows_nobody_and_hears_all_when_it_is_back(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    receiver = Receiver(lambda _: 202)
    async with WebhookPublisher.open(settings, receiver.addresses) as webhooks:
        broker_relay = Relay(database, publisher, queues=[queue], **FAST)
        webhook_relay = Relay(database, webhooks, queues=[QUEUE], max_attempts=1, **FAST)
        async with broker_relay.running(), webhook_relay.running():
            for n in range(30):
                await write(database, *event(n).to(QUEUE, queue))
            await left(database, 30)
            found = await messages(settings, queue)
            assert [json.loads(each.body)["n"] for each in found] == list(range(30))
            receiver.start()
            try:
                await left(database, 0)
            finally:
                receiver.stop()
    assert receiver.taken == list(range(30))
    assert [each["webhook-id"] for each in receiver.headers] == [each.message_id for each in found]


async def test_a_receiver_that_hangs_slows_nobody(
    settings: Settings, database: Database, publisher: RabbitPublisher, queue: str
) -> None:
    """It is given up after its time-out, and its event is kept."""
    awake = threading.Event()

    def hang(_: dict[str, Any]) -> int:
        awake.wait(60)
        return 202

    with receiving(hang) as receiver:
        try:
            async with WebhookPublisher.open(settings, receiver.addresses) as webhooks:
                soon: dict[str, Any] = {"queues": [QUEUE], "lease": 4.0}  # given up after half of it
                hung = asyncio.create_task(Relay(database, webhooks, **soon).once())
                for n in range(10):
                    await write(database, *event(n).to(QUEUE, queue))
                async with Relay(database, publisher, queues=[queue], **FAST).running():
                    await left(database, 10)
                hung_again = Relay(database, webhooks, **soon).once()
                results = await asyncio.gather(hung, hung_again, return_exceptions=True)
                assert any(isinstance(each, BrokerDown) for each in results)
        finally:
            awake.set()
    assert await waiting(database) == 10
