"""The starter's contract: the paths of its document, through the gateway's names and its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aio_pika
import httpx2
import jwt
import pytest
from auth import bootstrap
from auth.tests.conftest import ADMIN, Api, Start, until
from kit.outbox import Relay
from testing.rabbitmq import RabbitMQ
from testing.service import environment

JOHN = {"name": "John Doe", "email": "john@example.com", "password": "password123"}
FORMS = {"gateway": "/api/users", "direct": ""}


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start(contract="starter", application="starter") as found:
        yield found


async def enter(api: Api, prefix: str = "", **who: str) -> Api:
    body = {"email": JOHN["email"], "password": JOHN["password"]} | who
    answer = await api.call("POST", f"{prefix}/login", body)
    assert answer.status_code == 200, answer.text
    return Api(api.http, api.settings, answer.json()["data"]["token"])


async def register(api: Api, prefix: str = "", **changes: str) -> dict[str, Any]:
    answer = await api.call("POST", f"{prefix}/register", JOHN | changes)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def code(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.json()["success"] is False
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("form", FORMS)
async def test_every_documented_path(api: Api, form: str) -> None:
    prefix = FORMS[form]
    users = prefix or "/users"
    user = await register(api, prefix)
    assert set(user) == {"id", "name", "email", "created_at", "updated_at"}
    assert (user["name"], user["email"]) == ("John Doe", "john@example.com")
    for path in (users, f"{users}/{user['id']}"):
        assert code(await api.get(path)) == (401, "UNAUTHORIZED")
    john = await enter(api, prefix)
    listed = (await john.get(users)).json()
    assert [each["email"] for each in listed["data"]] == [ADMIN["email"], JOHN["email"]]
    assert listed["pagination"] == {"page": 1, "per_page": 100, "total": 2, "pages": 1}
    assert (await john.get(f"{users}/{user['id']}")).json() == {"success": True, "data": user}
    assert code(await john.get(f"{users}/{uuid.uuid4()}")) == (404, "NOT_FOUND")
    assert code(await john.get(f"{users}/17")) == (400, "INVALID_UUID")
    assert code(await api.call("POST", f"{prefix}/register", JOHN)) == (409, "EMAIL_EXISTS")
    assert (await api.get("/health")).json() == {"status": "healthy", "service": "auth"}


async def test_a_user_is_changed_by_themselves_and_by_admins(api: Api) -> None:
    john, jane = await register(api), await register(api, email="jane@example.com", name="Jane")
    as_john, as_jane = await enter(api), await enter(api, email="jane@example.com")
    path = f"/api/users/{john['id']}"
    changed = await as_john.call("PUT", path, {"name": "John Smith"})
    assert (changed.status_code, changed.json()["data"]["name"]) == (200, "John Smith")
    assert code(await as_jane.call("PUT", path, {"name": "Nobody"})) == (403, "FORBIDDEN")
    assert code(await api.call("PUT", path, {"name": "Nobody"})) == (401, "UNAUTHORIZED")
    assert code(await as_john.call("PUT", path, {"email": jane["email"]})) == (409, "EMAIL_EXISTS")
    assert code(await as_john.call("PUT", path, {})) == (400, "VALIDATION_ERROR")
    admin = await enter(api, **ADMIN)
    assert (await admin.call("PUT", path, {"name": "John Doe"})).json()["data"]["name"] == "John Doe"
    assert code(await admin.call("PUT", f"/api/users/{uuid.uuid4()}", {"name": "No"})) == (404, "NOT_FOUND")
    direct = await as_john.call("PUT", f"/users/{john['id']}", {"name": "John Smith"})
    assert direct.status_code == 405, "which the document has through the gateway alone"


async def test_tokens_are_of_the_shared_secret(api: Api, common: dict[str, object]) -> None:
    user = await register(api)
    john = await enter(api)
    assert john.token is not None
    claims = jwt.decode(john.token, str(common["jwt_secret"]), algorithms=["HS256"], audience="starter")
    assert claims["user_id"] == user["id"]
    for key, algorithm in (("another secret of enough characters", "HS256"), ("", "none")):
        forged = Api(api.http, api.settings, jwt.encode(claims, key, algorithm=algorithm))
        assert code(await forged.get("/users")) == (401, "UNAUTHORIZED")
    # Signed with the private key of another application, whose public one anybody has.
    asymmetric = jwt.encode(claims, str(common["token_private_key"]), algorithm="RS256")
    assert code(await Api(api.http, api.settings, asymmetric).get("/users")) == (401, "UNAUTHORIZED")


async def test_events_reach_who_binds_a_queue(
    start: Start, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By RabbitMQ, once for each who asked for them; without anybody they are gone, and nothing waits.

    They leave with the commit that makes them: the relay would look by itself in an hour.
    """
    monkeypatch.setattr(bootstrap, "Relay", partial(Relay, interval=3600))
    given = {"contract": "starter", "application": "starter", **rabbitmq.settings()}
    async with start(**given) as api, await aio_pika.connect(rabbitmq.url) as connection:
        await register(api, email="early@example.com")
        await until(api, "SELECT count(*) = 0 FROM outbox")
        channel = await connection.channel()
        queue = await channel.declare_queue("mine")
        await queue.bind("user_events", "user.*")
        user = await register(api)
        await (await enter(api)).call("PUT", f"/api/users/{user['id']}", {"name": "John Smith"})
        found = []
        async with asyncio.timeout(60):
            while len(found) < 2:
                if message := await queue.get(fail=False, timeout=60):
                    await message.ack()
                    found.append(message)
        assert [(each.routing_key, each.type) for each in found] == [
            ("user.registered", "user.registered"),
            ("user.updated", "user.updated"),
        ]
        bodies = [json.loads(each.body) for each in found]
        assert [each["name"] for each in bodies] == ["John Doe", "John Smith"]
        assert {each["user_id"] for each in bodies} == {user["id"]}
        assert found[0].headers["cloudEvents:type"] == "user.registered"


TOLD = """
from auth.app import app
told = app.state.settings
print(told.port, told.log_level, told.service_name, told.jwt_secret.get_secret_value())
"""


def run(settings: dict[str, object], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", TOLD],
        env=environment("auth", settings) | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_environment_variables(own_settings: dict[str, object]) -> None:
    given = own_settings | {"contract": "starter"}
    assert os.environ.get("JWT_SECRET") is None
    good = run(given, PORT="9000", LOG_LEVEL="warn", SERVICE_NAME="user-service", JWT_SECRET="x" * 32)
    told = ["9000", "warning", "user-service", "x" * 32]
    assert (good.returncode, good.stdout.split()) == (0, told), good.stderr
    for name, value in (
        ("PORT", "http"),
        ("PORT", "0"),
        ("LOG_LEVEL", "loud"),
        ("SERVICE_NAME", ""),
        ("JWT_SECRET", "short"),
        ("JWT_SECRET", ""),
    ):
        bad = run(given, **{name: value})
        assert bad.returncode == 2, (name, value)
        (line,) = bad.stderr.splitlines()
        assert name.lower() in line.lower(), line
        assert "short" not in line, "values are not printed"
