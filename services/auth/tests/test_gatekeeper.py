"""The gatekeeper's contract, as its document prints it, and the holes that it leaves open."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jwt
import pytest
from auth.tests.conftest import ADMIN, Api, Start

IVAN = {"email": "ivan@example.com", "password": "password123", "name": "Ivan"}


class Keeper(Api):
    """A client of this contract."""

    async def ask(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        return await self.call(method, f"/v1/users{path}", json, **headers)

    async def enter(self, email: str, password: str) -> Keeper:
        answer = await self.ask("POST", "/login", {"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        return Keeper(self.http, self.settings, answer.json()["data"]["token"])

    async def new(self, email: str, name: str = "Ivan") -> tuple[Keeper, str]:
        """Somebody new, and their id."""
        answer = await self.ask("POST", "/register", IVAN | {"email": email, "name": name})
        assert answer.status_code == 201, answer.text
        return await self.enter(email, IVAN["password"]), answer.json()["data"]["user"]["id"]

    async def boss(self) -> Keeper:
        return await self.enter(ADMIN["email"], ADMIN["password"])


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal, which has the documented form."""
    body = answer.json()
    assert list(body) == ["success", "error"], body
    assert body["success"] is False
    assert {"code", "message"} <= body["error"].keys() <= {"code", "message", "fields", "retry_after"}
    return answer.status_code, body["error"]["code"]


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Keeper]:
    async with start(contract="gatekeeper", application="gatekeeper") as found:
        yield Keeper(found.http, found.settings)


async def test_register_login_profile(api: Keeper) -> None:
    made = await api.ask("POST", "/register", IVAN)
    assert made.status_code == 201
    assert list(made.json()) == ["success", "data"]
    user = made.json()["data"]["user"]
    assert list(user) == ["id", "email", "name", "roles", "created_at", "updated_at"]
    assert (user["email"], user["name"], user["roles"]) == ("ivan@example.com", "Ivan", ["user"])
    assert str(uuid.UUID(user["id"])) == user["id"]
    assert user["created_at"].endswith("Z")

    login = await api.ask("POST", "/login", {"email": IVAN["email"], "password": IVAN["password"]})
    assert login.status_code == 200
    (token,) = re.findall(r'"token":"([^"]*)"', login.text)  # as the document's grep finds it
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["user_id"], claims["email"], claims["roles"]) == (user["id"], user["email"], ["user"])
    assert claims["role"] == "customer", "what the gateway passes on is a word of the domain"
    assert claims["exp"] - claims["iat"] == 24 * 3600

    mine = await Keeper(api.http, api.settings, token).ask("GET", "/profile")
    assert mine.json() == {"success": True, "data": user}


async def test_refusals(api: Keeper) -> None:
    ivan, _ = await api.new("ivan@example.com")
    assert code(await api.ask("POST", "/register", IVAN)) == (400, "EMAIL_EXISTS")
    wrong = {"email": IVAN["email"], "password": "wrong-one"}
    assert code(await api.ask("POST", "/login", wrong)) == (401, "INVALID_CREDENTIALS")
    nobody = await api.ask("POST", "/login", wrong | {"email": "nobody@example.com"})
    assert code(nobody) == (401, "INVALID_CREDENTIALS")
    assert code(await api.ask("GET", "/profile")) == (401, "UNAUTHORIZED")
    for method, path in (
        ("GET", ""),
        ("GET", f"/{uuid.uuid4()}"),
        ("GET", "/search?query=iv"),
        ("DELETE", f"/{uuid.uuid4()}"),
    ):
        assert code(await ivan.ask(method, path)) == (403, "FORBIDDEN"), (method, path)
    assert code(await api.call("GET", "/v1/nothing")) == (404, "NOT_FOUND")
    assert code(await api.ask("PATCH", "/profile")) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "ivan"),
        ("email", None),
        ("password", "12345"),
        ("password", "x" * 73),
        ("name", "I"),
        ("name", " I "),
        ("name", "x" * 101),
        ("name", "I\nvan"),
    ],
)
async def test_bad_registrations(api: Keeper, field: str, value: object) -> None:
    answer = await api.ask("POST", "/register", IVAN | {field: value})
    assert code(answer) == (400, "VALIDATION_ERROR")
    assert set(answer.json()["error"]["fields"]) == {field}


async def test_what_is_no_json(api: Keeper) -> None:
    for body in (b"{", b"", b"[]", b"\xff\xfe"):
        answer = await api.http.post("/v1/users/register", content=body)
        assert code(answer) == (400, "VALIDATION_ERROR"), body


async def test_profile_changes(api: Keeper) -> None:
    ivan, own = await api.new("ivan@example.com")
    await api.new("olga@example.com", "Olga")
    changed = await ivan.ask("PUT", "/profile", {"name": "Ivan the Second"})
    assert (changed.status_code, changed.json()["data"]["name"]) == (200, "Ivan the Second")
    assert changed.json()["data"]["email"] == "ivan@example.com"
    assert changed.json()["data"]["updated_at"] > changed.json()["data"]["created_at"]
    moved = await ivan.ask("PUT", "/profile", {"email": "Second@Example.com"})
    assert (moved.json()["data"]["email"], moved.json()["data"]["id"]) == ("second@example.com", own)
    assert code(await ivan.ask("PUT", "/profile", {"email": "olga@example.com"})) == (400, "EMAIL_EXISTS")
    assert (await ivan.ask("GET", "/profile")).json()["data"]["email"] == "second@example.com"
    assert code(await ivan.ask("PUT", "/profile", {})) == (400, "VALIDATION_ERROR")
    await api.enter("second@example.com", IVAN["password"])


@pytest.mark.parametrize("path", ["/password", "/profile/password"])
async def test_password_changes(api: Keeper, path: str) -> None:
    ivan, _ = await api.new("ivan@example.com")
    elsewhere = await api.enter("ivan@example.com", IVAN["password"])
    body = {"old_password": "wrong-one", "new_password": "another-one"}
    assert code(await ivan.ask("PUT", path, body)) == (401, "INVALID_CREDENTIALS")
    short = await ivan.ask("PUT", path, {"old_password": IVAN["password"], "new_password": "12345"})
    assert code(short) == (400, "VALIDATION_ERROR")
    same = await ivan.ask("PUT", path, {"old_password": IVAN["password"], "new_password": IVAN["password"]})
    assert code(same) == (400, "VALIDATION_ERROR")
    assert (await ivan.ask("PUT", path, body | {"old_password": IVAN["password"]})).status_code == 200
    assert (await ivan.ask("GET", "/profile")).status_code == 200
    assert code(await elsewhere.ask("GET", "/profile")) == (401, "UNAUTHORIZED")
    await api.enter("ivan@example.com", "another-one")


async def test_an_admin_lists_and_searches(api: Keeper) -> None:
    boss = await api.boss()
    for n in range(12):
        await api.ask("POST", "/register", IVAN | {"email": f"u{n:02}@example.com", "name": f"Name {n:02}"})
    first = (await boss.ask("GET", "")).json()
    assert list(first) == ["success", "data", "pagination"]
    assert first["pagination"] == {"page": 1, "per_page": 10, "total": 13, "pages": 2}
    assert len(first["data"]) == 10
    second = (await boss.ask("GET", "?page=2&per_page=10")).json()
    assert [each["email"] for each in second["data"]] == [f"u{n:02}@example.com" for n in (9, 10, 11)]
    assert (await boss.ask("GET", "?page=9")).json()["data"] == []
    admins = (await boss.ask("GET", "?role=admin")).json()
    assert [each["roles"] for each in admins["data"]] == [["user", "admin"]]
    for name in ("query", "q"):
        found = (await boss.ask("GET", f"/search?{name}=nAmE%2007")).json()
        assert [each["email"] for each in found["data"]] == ["u07@example.com"]
        assert (await boss.ask("GET", f"/search?{name}=U03@")).json()["pagination"]["total"] == 1
        assert code(await boss.ask("GET", f"/search?{name}=u")) == (400, "VALIDATION_ERROR")
    assert (await boss.ask("GET", "/search?query=%25%25")).json()["data"] == [], "a sign means itself"
    for bad in ("page=0", "per_page=0", "per_page=101", "role=king"):
        assert code(await boss.ask("GET", f"?{bad}")) == (400, "VALIDATION_ERROR"), bad


async def test_an_admin_finds_somebody(api: Keeper) -> None:
    boss, (_, own) = await api.boss(), await api.new("ivan@example.com")
    assert (await boss.ask("GET", f"/{own}")).json()["data"]["email"] == "ivan@example.com"
    assert code(await boss.ask("GET", f"/{uuid.uuid4()}")) == (404, "NOT_FOUND")
    for bad in ("17", "not-a-uuid", own[:-1]):
        assert code(await boss.ask("GET", f"/{bad}")) == (400, "INVALID_UUID")
        assert code(await boss.ask("PUT", f"/{bad}/roles", {"roles": ["user"]})) == (400, "INVALID_UUID")
        assert code(await boss.ask("DELETE", f"/{bad}")) == (400, "INVALID_UUID")


async def test_roles(api: Keeper) -> None:
    boss, (ivan, own) = await api.boss(), await api.new("ivan@example.com")
    assert code(await ivan.ask("PUT", f"/{own}/roles", {"roles": ["admin"]})) == (403, "FORBIDDEN")
    for bad in ([], ["king"], ["user", "admin", "user"], "admin", None):
        answer = await boss.ask("PUT", f"/{own}/roles", {"roles": bad})
        assert code(answer) == (400, "VALIDATION_ERROR"), bad
    for given in (["user", "admin"], ["admin"]):
        answer = await boss.ask("PUT", f"/{own}/roles", {"roles": given})
        assert answer.json()["data"]["user"]["roles"] == ["user", "admin"]
    assert (await ivan.ask("GET", "")).status_code == 200, "a greater role holds at once"


async def test_a_role_that_is_taken_away_ends_the_tokens_that_say_it(api: Keeper) -> None:
    boss, (ivan, own) = await api.boss(), await api.new("ivan@example.com")
    await boss.ask("PUT", f"/{own}/roles", {"roles": ["user", "admin"]})
    ivan = await api.enter("ivan@example.com", IVAN["password"])
    assert (await boss.ask("PUT", f"/{own}/roles", {"roles": ["user"]})).status_code == 200
    assert code(await ivan.ask("GET", "/profile")) == (401, "UNAUTHORIZED")
    again = await api.enter("ivan@example.com", IVAN["password"])
    assert code(await again.ask("GET", "")) == (403, "FORBIDDEN")


async def test_the_last_admin_stays_one(api: Keeper) -> None:
    boss = await api.boss()
    own = (await boss.ask("GET", "/profile")).json()["data"]["id"]
    assert code(await boss.ask("PUT", f"/{own}/roles", {"roles": ["user"]})) == (409, "CONFLICT")
    assert code(await boss.ask("DELETE", f"/{own}")) == (409, "CONFLICT")


async def test_two_admins_do_not_both_go(api: Keeper) -> None:
    boss, (_, second) = await api.boss(), await api.new("ivan@example.com")
    own = (await boss.ask("GET", "/profile")).json()["data"]["id"]
    await boss.ask("PUT", f"/{second}/roles", {"roles": ["admin"]})
    other = await api.enter("ivan@example.com", IVAN["password"])
    answers = await asyncio.gather(boss.ask("DELETE", f"/{second}"), other.ask("DELETE", f"/{own}"))
    assert sorted(each.status_code for each in answers) in ([200, 401], [200, 404], [200, 409])
    assert await api.rows("SELECT count(*) FROM users WHERE role = 'admin'") == [(1,)]


async def test_a_user_is_deleted(api: Keeper) -> None:
    boss, (ivan, own) = await api.boss(), await api.new("ivan@example.com")
    answer = await boss.ask("DELETE", f"/{own}")
    assert answer.status_code == 200
    assert set(answer.json()["data"]) == {"message", "deletedUser"}
    assert answer.json()["data"]["deletedUser"]["id"] == own
    assert code(await ivan.ask("GET", "/profile")) == (401, "UNAUTHORIZED")
    assert code(await boss.ask("GET", f"/{own}")) == (404, "NOT_FOUND")
    assert code(await boss.ask("DELETE", f"/{own}")) == (404, "NOT_FOUND")
    assert (await api.ask("POST", "/register", IVAN)).status_code == 201, "the address is free again"


async def test_logging_out(api: Keeper) -> None:
    ivan, _ = await api.new("ivan@example.com")
    assert (await ivan.ask("POST", "/logout")).status_code == 200
    assert code(await ivan.ask("GET", "/profile")) == (401, "UNAUTHORIZED")


async def test_too_many_tries(start: Start) -> None:
    async with start(contract="gatekeeper", application="gatekeeper", login_attempts=2) as found:
        api = Keeper(found.http, found.settings)
        await api.new("ivan@example.com")
        wrong = {"email": "ivan@example.com", "password": "wrong-one"}
        assert [(await api.ask("POST", "/login", wrong)).status_code for _ in range(3)] == [401, 401, 429]
        answer = await api.ask("POST", "/login", wrong)
        assert code(answer) == (429, "RATE_LIMIT_EXCEEDED")
        assert answer.json()["error"]["message"] == "Too many requests. Please try again later."
        assert answer.json()["error"]["retry_after"] == int(answer.headers["retry-after"]) >= 1


async def test_tokens_of_other_applications_are_nobody(api: Keeper, start: Start) -> None:
    async with start() as warehouse:
        stranger = await warehouse.admin()
    assert code(await Keeper(api.http, api.settings, stranger.token).ask("GET", "/profile")) == (
        401,
        "UNAUTHORIZED",
    )


async def test_nothing_is_told_to_a_broker(api: Keeper) -> None:
    await api.new("ivan@example.com")
    assert await api.rows("SELECT count(*) FROM outbox") == [(0,)]
