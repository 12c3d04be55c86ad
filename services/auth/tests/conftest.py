"""auth over a fresh database, in this process, in the warehouse's contract unless a test wants another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg
import pytest
from auth.bootstrap import contract, create
from auth.settings import AuthSettings
from kit.settings import Settings
from pwdlib.hashers.argon2 import Argon2Hasher
from testing.app import client
from testing.process import free_port

PASSWORD = "zielony-rower7"
ADMIN = {"email": "admin@example.com", "password": "correct-horse-battery-9"}
PROXY = "10.9.9.9"

NewDatabase = Callable[..., dict[str, Any]]


@dataclass
class Api:
    """A client that speaks as whoever is logged in."""

    http: httpx2.AsyncClient
    settings: AuthSettings
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    refresh_token: str = ""

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await self.http.request(method, path, json=json, headers={**self.headers, **own, **headers})

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, **body: object) -> httpx2.Response:
        return await self.call("POST", f"/api/auth/{path}", body)

    async def register(self, email: str, password: str = PASSWORD, **more: object) -> httpx2.Response:
        return await self.post("register", email=email, password=password, **more)

    async def login(self, email: str, password: str = PASSWORD, **headers: str) -> httpx2.Response:
        return await self.call("POST", "/api/auth/login", {"email": email, "password": password}, **headers)

    async def logged_in(self, email: str, password: str = PASSWORD, **headers: str) -> Api:
        answer = await self.login(email, password, **headers)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return Api(self.http, self.settings, found["token"], dict(self.headers), found["refresh_token"])

    async def user(self, email: str, role: str = "customer") -> Api:
        """A new user with this role, logged in."""
        found = (await self.register(email)).json()["user_id"]
        if role != "customer":
            admin = await self.admin()
            answer = await admin.call("PUT", f"/api/auth/users/{found}/role", {"role": role})
            assert answer.status_code == 200, answer.text
        return await self.logged_in(email)

    async def admin(self) -> Api:
        """The first admin, whom the migration made."""
        return await self.logged_in(ADMIN["email"], ADMIN["password"])

    async def stands(self) -> bool:
        """Whether the token is good."""
        answers = [await self.get(f"/api/v1/{path}") for path in ("validate", "validate-token", "profile")]
        codes = {each.status_code for each in answers}
        assert codes in ({200}, {401}), "all three must agree"
        return codes == {200}

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds in the database, past the service."""
        url = self.settings.database_url
        async with await psycopg.AsyncConnection.connect(
            autocommit=True,
            host=url.host,
            port=url.port,
            dbname=url.database,
            user=url.username,
            password=url.password,
        ) as connection:
            cursor = await connection.execute(query.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    async def mails(self) -> list[dict[str, Any]]:
        """Bodies of the mails that wait for RabbitMQ."""
        query = "SELECT payload FROM outbox WHERE queue = 'mail.send' ORDER BY position"
        return [payload for (payload,) in await self.rows(query)]


async def until(api: Api, query: str, within: float = 60.0) -> None:
    """Until the query's answer is true."""
    async with asyncio.timeout(within):
        while await api.rows(query) != [(True,)]:
            await asyncio.sleep(0.05)


Start = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def own_settings(common: Mapping[str, object], new_database: NewDatabase) -> dict[str, object]:
    """Of auth on a fresh database, where nothing listens in the place of RabbitMQ."""
    broker = {
        "broker_host": "127.0.0.1",
        "broker_port": free_port(),
        "broker_user": "auth",
        "broker_password": "x",
    }
    return {"service_name": "auth", **common, **broker, **new_database("auth")}


@pytest.fixture
def start(own_settings: dict[str, object]) -> Start:
    """`async with start(login_window=1, peer="192.0.2.7") as api`: another instance on the same database."""

    @asynccontextmanager
    async def started(peer: str = "127.0.0.1", **changes: object) -> AsyncIterator[Api]:
        given = {"trusted_proxies": [f"{PROXY}/32"], **own_settings, **changes}
        settings = contract(Settings.model_validate(given)).settings.model_validate(given)
        async with client(create(settings), peer) as http:
            yield Api(http, settings)

    return started


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start() as found:
        yield found


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What argon2 was asked for, in order: the cost of an answer, without a clock."""
    asked: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(Argon2Hasher, name)

        def note(*arguments: Any, **options: Any) -> Any:
            asked.append(name)
            return real(*arguments, **options)

        return note

    for name in ("hash", "verify"):
        monkeypatch.setattr(Argon2Hasher, name, noted(name))
    return asked
