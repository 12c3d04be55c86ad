"""orders over a fresh database: in this process, or deployed with auth as real processes.

In the warehouse's contract, unless a test wants another.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import aio_pika
import httpx2
import psycopg
import pytest
from kit.settings import Settings
from kit.tokens import Issuer, ServiceTokens
from orders.bootstrap import contract, create
from orders.events import NOTIFICATIONS
from testing import patient
from testing.app import client
from testing.postgres import Postgres
from testing.process import free_port
from testing.rabbitmq import RabbitMQ
from testing.service import Service

JAN, EWA, STAFF, BOSS = 11, 12, 21, 31  # customers, an employee, an admin
ROLES = {JAN: "customer", EWA: "customer", STAFF: "employee", BOSS: "admin"}
ORDER = {
    "customer_name": "Jan Kowalski",
    "customer_email": "jan@example.com",
    "source": "website",
    "total_amount": 299.99,
}

# Of the application: which service calls, and that a webhook is ours.
SHARED = {"service_key": "k" * 43, "webhook_key": "w" * 43}

NewDatabase = Callable[..., dict[str, Any]]


@dataclass
class Api:
    """A client that speaks as one of the users, or as nobody."""

    http: httpx2.AsyncClient
    issuer: Issuer
    database: Mapping[str, Any]
    token: str | None = None

    def as_user(self, user_id: int, role: str | None = None) -> Api:
        token = self.issuer.issue(
            user_id=user_id,
            email=f"user{user_id}@example.com",
            role=role or ROLES[user_id],
            session=str(uuid.uuid4()),
        )
        return replace(self, token=token)

    def as_service(self, name: str = "analytics", key: str = SHARED["service_key"]) -> Api:
        return replace(self, token=ServiceTokens(key, "warehouse").issue(name))

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await self.http.request(method, path, json=json, headers={**own, **headers})

    async def get(self, path: str) -> httpx2.Response:
        return await self.call("GET", path)

    async def place(self, **changes: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/api/orders", {**ORDER, **changes})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def change(self, order_id: int, status: str) -> httpx2.Response:
        return await self.call("PATCH", f"/api/orders/{order_id}/status", {"status": status})

    async def listed(self, query: str = "") -> list[int]:
        """Ids of a list."""
        answer = await self.get(f"/api/orders?{query}")
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()]


Start = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def own_settings(common: Mapping[str, object], new_database: NewDatabase) -> dict[str, object]:
    """Of orders on a fresh database, where nothing listens in the place of RabbitMQ and of other services."""
    nowhere = free_port()
    broker = {
        "broker_host": "127.0.0.1",
        "broker_port": nowhere,
        "broker_user": "orders",
        "broker_password": "x",
    }
    return {
        "service_name": "orders",
        "auth_url": f"http://127.0.0.1:{nowhere}",
        "notification_url": f"http://127.0.0.1:{nowhere}",
        **SHARED,
        **common,
        **broker,
        **new_database("orders"),
    }


@pytest.fixture
def start(own_settings: dict[str, object], issuer: Issuer) -> Start:
    """`async with start() as api`: an instance in this process; a second one shares the database."""

    @asynccontextmanager
    async def started(**changes: object) -> AsyncIterator[Api]:
        given = {**own_settings, **changes}
        settings = contract(Settings.model_validate(given)).settings.model_validate(given)
        async with client(create(settings)) as http:
            yield Api(http, issuer, own_settings)

    return started


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start() as found:
        yield found


@dataclass(frozen=True)
class Login:
    """A user of the deployed auth."""

    auth: str
    token: str
    user_id: int

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def logout(self) -> None:
        patient.post(f"{self.auth}/logout", headers=self.headers()).raise_for_status()


@dataclass
class Deployed:
    """auth and orders as real processes, on databases of their own."""

    auth: Service
    orders: Service
    of_auth: Mapping[str, object]
    settings: Mapping[str, object]  # of orders

    def login(self, email: str, password: str) -> Login:
        answer = patient.post(f"{self.auth.url}/auth/login", json={"email": email, "password": password})
        found = answer.raise_for_status().json()
        return Login(self.auth.url, found["token"], found["user"]["id"])

    @cached_property
    def admin(self) -> Login:
        return self.login(str(self.settings["admin_email"]), str(self.settings["admin_password"]))

    def customer(self) -> Login:
        """Somebody new."""
        account = {"email": f"{uuid.uuid4().hex}@example.com", "password": "zielony-rower7"}
        patient.post(f"{self.auth.url}/auth/register", json=account).raise_for_status()
        return self.login(**account)

    def place(self, login: Login) -> int:
        answer = patient.post(f"{self.orders.url}/api/orders", json=ORDER, headers=login.headers())
        found: int = answer.raise_for_status().json()["id"]
        return found

    def change(self, login: Login, order_id: int, status: str) -> httpx2.Response:
        url = f"{self.orders.url}/api/orders/{order_id}/status"
        return patient.patch(url, json={"status": status}, headers=login.headers())


@pytest.fixture(scope="module")
def deployed(
    common: dict[str, object],
    postgres: Postgres,
    template: Callable[[str], str],
    broker_server: RabbitMQ,
) -> Iterator[Deployed]:
    """Shared by the tests of a module: let none break it. Nobody else takes its events."""
    of_auth = common | postgres.settings(postgres.create(template("auth")))
    of_orders = common | postgres.settings(postgres.create(template("orders")))
    with ExitStack() as stack:
        rabbitmq = stack.enter_context(broker_server.vhost())
        of_auth |= rabbitmq.settings()
        auth = stack.enter_context(Service.running("auth", of_auth))
        of_orders |= rabbitmq.settings()
        of_orders |= {"auth_url": auth.url, "auth_timeout": 20, **SHARED}
        of_orders |= {"notification_url": f"http://127.0.0.1:{free_port()}"}
        of_orders |= {"websocket_recheck": 0.5, "websocket_heartbeat": 0.5}
        orders = stack.enter_context(Service.running("orders", of_orders))
        yield Deployed(auth, orders, of_auth, of_orders)


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
        return connection.execute(query.encode(), values).fetchall()


async def messages(
    rabbitmq: RabbitMQ, queue_name: str = NOTIFICATIONS
) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Takes all there is in a queue of orders."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        queue = await (await connection.channel()).declare_queue(queue_name, durable=True)
        found = []
        while message := await queue.get(fail=False, timeout=60):
            await message.ack()
            found.append(message)
        return found
