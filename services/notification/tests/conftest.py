"""notification over a fresh database: in this process, or deployed with auth and orders as real processes."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import aio_pika
import httpx2
import psycopg
import pytest
from kit import webhooks
from kit.broker import cloud_event
from kit.outbox import Event
from kit.tokens import Issuer
from notification.bootstrap import create
from notification.notifications import QUEUE
from notification.settings import NotificationSettings
from testing import patient
from testing.app import client
from testing.postgres import Postgres
from testing.process import free_port
from testing.rabbitmq import RabbitMQ
from testing.service import Service

STAFF, BOSS, JAN = 21, 31, 11  # an employee, an admin, a customer
ROLES = {STAFF: "employee", BOSS: "admin", JAN: "customer"}
KEYS = {"service_key": "k" * 40, "webhook_key": "w" * 40}
ORDER = {
    "customer_name": "Jan Kowalski",
    "customer_email": "jan@example.com",
    "source": "website",
    "total_amount": 299.99,
}

NewDatabase = Callable[..., dict[str, Any]]


def event(order_id: int = 12, status: str = "new", **changes: object) -> Event:
    """As orders makes it."""
    now = datetime.now(UTC)
    return Event(
        type="order.created" if status == "new" else "order.status_changed",
        aggregate="order",
        aggregate_id=str(order_id),
        queue=QUEUE,
        payload={
            "order_id": order_id,
            "customer_name": "Jan Kowalski",
            "status": status,
            "total_amount": 299.99,
            "timestamp": now.isoformat().replace("+00:00", "Z"),
            **changes,
        },
        time=now,
    )


def signed(told: Event, at: float | None = None, body: bytes | None = None) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an event's webhook."""
    content = json.dumps(told.payload).encode() if body is None else body
    now = int(at or time.time())
    headers = {
        "content-type": "application/json",
        "ce-type": told.type,
        "ce-source": "/orders",
        "ce-time": told.time.isoformat(),
        "ce-specversion": "1.0",
        "webhook-id": str(told.id),
        "webhook-timestamp": str(now),
        "webhook-signature": webhooks.sign(KEYS["webhook_key"], str(told.id), now, content),
    }
    return content, headers


@dataclass
class Api:
    """A client that speaks as one of the users, or as nobody."""

    http: httpx2.AsyncClient
    issuer: Issuer
    database: Mapping[str, Any]
    token: str | None = None

    def as_user(self, user_id: int) -> Api:
        token = self.issuer.issue(
            user_id=user_id,
            email=f"user{user_id}@example.com",
            role=ROLES[user_id],
            session=str(uuid.uuid4()),
        )
        return replace(self, token=token)

    async def get(self, path: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await self.http.get(path, headers=headers)

    async def hook(self, told: Event, **how: Any) -> httpx2.Response:
        content, headers = signed(told, **how)
        return await self.http.post("/webhooks/orders", content=content, headers=headers)

    async def listed(self, query: str = "") -> list[dict[str, Any]]:
        answer = await self.get(f"/api/notifications?{query}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    async def counted(self, metric: str) -> float:
        """The value of a line of /metrics; 0 where it is not there yet."""
        lines = (await self.get("/metrics")).text.splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(metric)), 0.0)


Start = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def own_settings(common: Mapping[str, object], new_database: NewDatabase) -> dict[str, object]:
    """On a fresh database, where nothing listens in the place of RabbitMQ, auth and orders."""
    nowhere = free_port()
    return {
        "service_name": "notification",
        "auth_url": f"http://127.0.0.1:{nowhere}",
        "orders_url": f"http://127.0.0.1:{nowhere}",
        "broker_host": "127.0.0.1",
        "broker_port": nowhere,
        "broker_user": "notification",
        "broker_password": "x",
        **common,
        **KEYS,
        **new_database("notification"),
    }


@pytest.fixture
def start(own_settings: dict[str, object], issuer: Issuer) -> Start:
    """`async with start() as api`: an instance in this process; a second one shares the database."""

    @asynccontextmanager
    async def started(**changes: object) -> AsyncIterator[Api]:
        settings = NotificationSettings.model_validate({**own_settings, **changes})
        async with client(create(settings)) as http:
            yield Api(http, issuer, own_settings)

    return started


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start() as found:
        yield found


@dataclass(frozen=True)
class Login:
    token: str
    user_id: int

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Deployed:
    """auth, orders and notification as real processes, on databases of their own."""

    auth: Service
    orders: Service
    notification: Service
    settings: Mapping[str, object]  # of notification

    def login(self, email: str, password: str) -> Login:
        answer = patient.post(f"{self.auth.url}/auth/login", json={"email": email, "password": password})
        found = answer.raise_for_status().json()
        return Login(found["token"], found["user"]["id"])

    @cached_property
    def admin(self) -> Login:
        return self.login(str(self.settings["admin_email"]), str(self.settings["admin_password"]))

    @cached_property
    def customer(self) -> Login:
        account = {"email": f"{uuid.uuid4().hex}@example.com", "password": "zielony-rower7"}
        patient.post(f"{self.auth.url}/auth/register", json=account).raise_for_status()
        return self.login(**account)

    def place(self, **changes: object) -> int:
        url = f"{self.orders.url}/api/orders"
        answer = patient.post(url, json={**ORDER, **changes}, headers=self.customer.headers())
        found: int = answer.raise_for_status().json()["id"]
        return found

    def change(self, order_id: int, status: str) -> None:
        url = f"{self.orders.url}/api/orders/{order_id}/status"
        patient.patch(url, json={"status": status}, headers=self.admin.headers()).raise_for_status()

    def hook(self, told: Event) -> None:
        content, headers = signed(told)
        url = f"{self.notification.url}/webhooks/orders"
        patient.post(url, content=content, headers=headers).raise_for_status()

    def log(self) -> list[tuple[Any, ...]]:
        return rows(self.settings, "SELECT order_id, status FROM notifications_log ORDER BY id")


@pytest.fixture(scope="module")
def deployed(
    common: dict[str, object],
    postgres: Postgres,
    template: Callable[[str], str],
    broker_server: RabbitMQ,
) -> Iterator[Deployed]:
    """Shared by the tests of a module: let none break it. Nobody else takes its events."""
    with ExitStack() as stack:
        both = common | KEYS | stack.enter_context(broker_server.vhost()).settings()
        of = {
            name: both | postgres.settings(postgres.create(template(name)))
            for name in ("auth", "orders", "notification")
        }
        auth = stack.enter_context(Service.running("auth", of["auth"]))
        asked: dict[str, object] = {"auth_url": auth.url, "auth_timeout": 20}
        asked |= {"websocket_heartbeat": 0.5, "websocket_recheck": 0.5}
        port = free_port()  # orders and notification call each other
        of_orders = of["orders"] | asked | {"notification_url": f"http://127.0.0.1:{port}"}
        orders = stack.enter_context(Service.running("orders", of_orders))
        settings = (
            of["notification"] | asked | {"orders_url": orders.url, "orders_timeout": 20, "orders_pause": 0}
        )
        notification = stack.enter_context(Service.running("notification", settings, port))
        yield Deployed(auth, orders, notification, settings)


def rows(database: Mapping[str, Any], query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds in a service's database, past the service."""
    connection = psycopg.connect(
        autocommit=True,
        host=database["database_host"],
        port=database["database_port"],
        dbname=database["database_name"],
        user=database["database_user"],
        password=database["database_password"],
    )
    with connection:
        found = connection.execute(query.encode(), values)
        return found.fetchall() if found.description else []


async def publish(rabbitmq: RabbitMQ, *events: Event, body: bytes | None = None) -> None:
    """As orders publishes."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(QUEUE, durable=True)
        for each in events:
            message = aio_pika.Message(
                json.dumps(each.payload).encode() if body is None else body,
                message_id=str(each.id),
                type=each.type,
                timestamp=each.time,
                content_type="application/json",
                headers=cloud_event(each, "orders"),
            )
            await channel.default_exchange.publish(message, QUEUE)


async def until(true: Callable[[], object], within: float = 60.0) -> None:
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.05)
