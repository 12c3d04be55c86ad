"""mail over a fresh database, RabbitMQ and a real SMTP server, in this process."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aio_pika
import httpx2
import psycopg
import pytest
from kit.broker import RabbitPublisher
from kit.outbox import Event
from kit.tokens import Issuer
from mail.bootstrap import create
from mail.dead import DEAD
from mail.rendering import examples
from mail.sending import QUEUE
from mail.settings import MailSettings
from testing.app import client
from testing.certificates import Authority
from testing.process import free_port
from testing.rabbitmq import RabbitMQ
from testing.smtp import SmtpServer, Tls

TO = "jan@example.com"
DELAYS = (0.2, 0.3)  # seconds
WITHIN = 60.0  # seconds for anything to happen


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def new_smtp(authority: Authority, tmp_path: Path) -> Iterator[Callable[..., SmtpServer]]:
    """`new_smtp()` listens; its certificate is what `issued` says, else one of `authority` for its name."""
    made = []

    def new(tls: Tls = "starttls", issued: tuple[Path, Path] | None = None, **more: Any) -> SmtpServer:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*(issued or authority.issue(tmp_path, SmtpServer.host)))
        server = SmtpServer(context, tls, **more)
        made.append(server)
        server.start()
        return server

    yield new
    for each in made:
        each.stop()


@pytest.fixture
def smtp(new_smtp: Callable[..., SmtpServer]) -> SmtpServer:
    return new_smtp()


def of_smtp(server: SmtpServer, authority: Authority) -> dict[str, object]:
    """Settings by which mail uses the server."""
    return {
        "smtp_host": server.host,
        "smtp_port": server.port,
        "smtp_tls": server.tls,
        "smtp_ca": authority.certificate,
        "smtp_user": server.user if server.tls != "none" else None,
        "smtp_password": server.password,
    }


@pytest.fixture
def own_settings(
    common: Mapping[str, object], new_database: Callable[..., dict[str, Any]]
) -> dict[str, object]:
    """Of mail on a fresh database, where nothing listens in the place of RabbitMQ and of the relay."""
    nowhere = free_port()
    return {
        "service_name": "mail",
        **common,
        "broker_host": "127.0.0.1",
        "broker_port": nowhere,
        "broker_user": "mail",
        "broker_password": "x",
        "smtp_host": "localhost",
        "smtp_port": nowhere,
        "smtp_timeout": 25,
        "mail_from": "Sklep <no-reply@shop.example.com>",
        "mail_delays": DELAYS,
        **new_database("mail"),
    }


@dataclass
class Api:
    """A running mail service: asked over its queue, and over HTTP as an admin, somebody else or nobody."""

    http: httpx2.AsyncClient
    issuer: Issuer
    settings: Mapping[str, Any]
    role: str | None = "admin"

    def as_role(self, role: str | None) -> Api:
        return replace(self, role=role)

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        own = {}
        if self.role:
            token = self.issuer.issue(user_id=1, email="boss@example.com", role=self.role, session="s")
            own = {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, path, json=json, headers={**own, **headers})

    async def get(self, path: str) -> httpx2.Response:
        return await self.call("GET", path)

    async def ask(
        self,
        template: str = "welcome",
        to: str = TO,
        language: str = "pl",
        event_id: uuid.UUID | None = None,
        **context: Any,
    ) -> uuid.UUID:
        """Publishes as other services do; the context is the template's example with these changes."""
        payload = {
            "template": template,
            "to": to,
            "language": language,
            "context": {**examples()[template], **context},
        }
        event = Event("mail.requested", "user", "7", QUEUE, payload, id=event_id or uuid.uuid4())
        async with RabbitPublisher.open(MailSettings.model_validate(self.settings)) as publisher:
            await publisher.publish(event)
        return event.id

    async def log(self, event_id: uuid.UUID, *statuses: str) -> dict[str, Any]:
        """The log of an event, once it has one of the statuses."""
        query = "SELECT row_to_json(mail_log) FROM mail_log WHERE event_id = %s AND status = ANY(%s)"
        async with asyncio.timeout(WITHIN):
            while not (found := rows(self.settings, query, event_id, list(statuses))):
                await asyncio.sleep(0.05)
        row: dict[str, Any] = found[0][0]
        return row

    async def sent(self, event_id: uuid.UUID) -> dict[str, Any]:
        return await self.log(event_id, "sent")


Start = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def start(own_settings: dict[str, object], issuer: Issuer) -> Start:
    """`async with start(mail_twin_window=0) as api`: an instance in this process, on the test's database."""

    @asynccontextmanager
    async def started(**changes: object) -> AsyncIterator[Api]:
        settings = {**own_settings, **changes}
        async with client(create(MailSettings.model_validate(settings))) as http:
            yield Api(http, issuer, settings)

    return started


@pytest.fixture
async def broker(rabbitmq: RabbitMQ) -> dict[str, object]:
    """Settings of RabbitMQ, where nothing is left of other tests."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        for name in (QUEUE, DEAD, *(f"{QUEUE}.retry.{each:g}" for each in DELAYS)):
            await channel.queue_delete(name)
    return dict(rabbitmq.settings())


async def dead(rabbitmq: RabbitMQ) -> list[str]:
    """Ids of the messages that were given up; they stay."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        queue = await (await connection.channel()).declare_queue(DEAD, durable=True)
        found = []
        while message := await queue.get(fail=False, timeout=60):
            found.append(str(message.message_id))
        return found


def rows(database: Mapping[str, Any], query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds in the service's database, past the service."""
    connection = psycopg.connect(
        autocommit=True,
        host=database["database_host"],
        port=database["database_port"],
        dbname=database["database_name"],
        user=database["database_user"],
        password=database["database_password"],
    )
    with connection:
        cursor = connection.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []
