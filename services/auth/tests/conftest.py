"""auth over a fresh database, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from auth.bootstrap import create
from auth.settings import AuthSettings
from kit.testing import client

PASSWORD = "zielony-rower7"
ADMIN = {"email": "admin@example.com", "password": "correct-horse-battery-9"}
PROXY = "10.9.9.9"


@dataclass
class Api:
    """A client that speaks as whoever is logged in."""

    http: httpx2.AsyncClient
    settings: AuthSettings
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await self.http.request(method, path, json=json, headers={**self.headers, **own, **headers})

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.call("GET", path, **headers)

    async def register(self, email: str, password: str = PASSWORD, **more: object) -> httpx2.Response:
        return await self.call("POST", "/api/auth/register", {"email": email, "password": password, **more})

    async def login(self, email: str, password: str = PASSWORD, **headers: str) -> httpx2.Response:
        return await self.call("POST", "/api/auth/login", {"email": email, "password": password}, **headers)

    async def logged_in(self, email: str, password: str = PASSWORD) -> Api:
        answer = await self.login(email, password)
        assert answer.status_code == 200, answer.text
        return Api(self.http, self.settings, answer.json()["token"], dict(self.headers))

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


Start = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def start(common: Mapping[str, object], new_database: Callable[..., dict[str, Any]]) -> Start:
    """`async with start(login_window=1, peer="192.0.2.7") as api`: another instance on the same database."""
    database = new_database("auth")

    @asynccontextmanager
    async def started(peer: str = "127.0.0.1", **changes: object) -> AsyncIterator[Api]:
        given = {"service_name": "auth", "trusted_proxies": [f"{PROXY}/32"], **common, **database, **changes}
        settings = AuthSettings.model_validate(given)
        async with client(create(settings), peer) as http:
            yield Api(http, settings)

    return started


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start() as found:
        yield found
