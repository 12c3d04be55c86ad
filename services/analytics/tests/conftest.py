"""analytics over a fresh database: in this process, or as a real process beside a real RabbitMQ."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from analytics.bootstrap import create
from analytics.settings import AnalyticsSettings
from kit.database import Database
from kit.tokens import Issuer
from testing import patient
from testing.app import client
from testing.postgres import Postgres
from testing.process import free_port
from testing.rabbitmq import RabbitMQ
from testing.service import Service

JAN, STAFF, BOSS = 11, 21, 31  # a customer, an employee, an admin
ROLES = {JAN: "customer", STAFF: "employee", BOSS: "admin"}

# id, source, status, amount, when it was placed: a fortnight of a small shop, with Warsaw's night in it.
ORDERS = [
    (1, "website", "new", "10.00", "2026-03-01T11:00:00Z"),
    (2, "website", "delivered", "20.50", "2026-03-01T23:30:00Z"),  # in Warsaw the second of March
    (3, "manual", "delivered", "30.00", "2026-03-02T12:00:00Z"),
    (4, "zrodlo_jeden", "cancelled", "40.00", "2026-03-05T12:00:00Z"),
    (5, "website", "delivered", "0.99", "2026-03-10T12:00:00Z"),
]

NewDatabase = Callable[..., dict[str, Any]]


def connect(database: Mapping[str, Any]) -> psycopg.Connection:
    return psycopg.connect(
        autocommit=True,
        host=database["database_host"],
        port=database["database_port"],
        dbname=database["database_name"],
        user=database["database_user"],
        password=database["database_password"],
    )


def rows(database: Mapping[str, Any], query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds in a service's database, past the service."""
    with connect(database) as connection:
        cursor = connection.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


def fill(database: Mapping[str, Any], orders: list[tuple[int, str, str, str, str]]) -> None:
    """As if their events had come."""
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.executemany(
            b"INSERT INTO orders (id, source, status, total_amount, created_at, changed_at)"
            b" VALUES (%s, %s, %s, %s, %s, now())",
            orders,
        )


# What `days` must hold, from the orders themselves.
RECOUNT = """
    SELECT (created_at AT TIME ZONE (SELECT zone FROM calendar))::date, source, status, count(*),
        sum(total_amount)
    FROM orders GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
DAYS = "SELECT day, source, status, orders, amount FROM days WHERE orders <> 0 ORDER BY 1, 2, 3"
EMPTY = "SELECT count(*) FROM days WHERE orders < 0 OR (orders = 0 AND amount <> 0)"


def days_agree(database: Mapping[str, Any]) -> bool:
    return rows(database, DAYS) == rows(database, RECOUNT) and rows(database, EMPTY) == [(0,)]


def body(order_id: int, **changes: Any) -> dict[str, Any]:
    """Of an event of `order_analytics`."""
    return {
        "order_id": order_id,
        "source": "website",
        "status": "new",
        "old_status": None,
        "total_amount": 299.9,
        "created_at": "2026-03-01T11:00:00Z",
        "changed_at": "2026-03-01T11:00:00Z",
        **changes,
    }


def life(order_id: int, *statuses: str, **changes: Any) -> list[dict[str, Any]]:
    """The events of an order that becomes one after the other, a minute apart."""
    begun = datetime(2026, 3, 1, 11, tzinfo=UTC)
    return [
        body(
            order_id,
            status=status,
            old_status=statuses[place - 1] if place else None,
            changed_at=(begun + timedelta(minutes=place)).isoformat().replace("+00:00", "Z"),
            **changes,
        )
        for place, status in enumerate(statuses)
    ]


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

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await self.http.request(method, path, json=json, headers={**own, **headers})

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.call("GET", path, None, **headers)

    async def json(self, path: str) -> Any:
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def generate(self, **given: Any) -> dict[str, Any]:
        """A report of ORDERS' days, unless told otherwise."""
        whole = {"type": "custom", "period_start": "2026-03-01", "period_end": "2026-03-14"}
        answer = await self.call("POST", "/api/reports/generate", {**whole, **given})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


Start = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def own_settings(common: Mapping[str, object], new_database: NewDatabase) -> dict[str, object]:
    """Of analytics on a fresh database, where nothing listens in the place of RabbitMQ."""
    broker = {
        "broker_host": "127.0.0.1",
        "broker_port": free_port(),
        "broker_user": "analytics",
        "broker_password": "x",
    }
    return {"service_name": "analytics", **common, **broker, **new_database("analytics")}


@pytest.fixture
def start(own_settings: dict[str, object], issuer: Issuer) -> Start:
    """`async with start() as api`: an instance in this process; a second one shares the database."""

    @asynccontextmanager
    async def started(**changes: object) -> AsyncIterator[Api]:
        settings = AnalyticsSettings.model_validate({**own_settings, **changes})
        async with client(create(settings)) as http:
            yield Api(http, issuer, own_settings)

    return started


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start() as found:
        yield found


@pytest.fixture
async def staff(api: Api) -> Api:
    """An employee of a shop with ORDERS."""
    fill(api.database, ORDERS)
    return api.as_user(STAFF)


@pytest.fixture
async def database(own_settings: dict[str, object]) -> AsyncIterator[Database]:
    async with Database.open(AnalyticsSettings.model_validate(own_settings)) as found:
        yield found


@dataclass(frozen=True)
class Deployed:
    """analytics as a real process, beside a real RabbitMQ."""

    url: str
    log: Path
    settings: Mapping[str, object]
    issuer: Issuer

    def headers(self, user_id: int = BOSS) -> dict[str, str]:
        token = self.issuer.issue(
            user_id=user_id, email="user@example.com", role=ROLES[user_id], session=str(uuid.uuid4())
        )
        return {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        return patient.get(self.url + path, headers=self.headers()).raise_for_status().json()


@pytest.fixture(scope="module")
def deployed(
    common: dict[str, object],
    issuer: Issuer,
    postgres: Postgres,
    rabbitmq: RabbitMQ,
    template: Callable[[str], str],
) -> Iterator[Deployed]:
    settings = common | postgres.settings(postgres.create(template("analytics"))) | rabbitmq.settings()
    with Service.running("analytics", settings) as service:
        yield Deployed(service.url, service.log, settings, issuer)
