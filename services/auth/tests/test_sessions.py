"""Sessions: listed, ended one by one or all, by their owner or an admin; and refreshed."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx2
import pytest
from auth import opaque
from auth.passwords import Passwords
from auth.sessions import GRACE
from auth.tests.conftest import PASSWORD, Api, Start
from testing.service import Service

LOGIN = {"email": "jan@example.com", "password": PASSWORD}
OLD_AND_NEW = {"old_password": PASSWORD, "new_password": "nowy-rower-8"}


async def user_id(api: Api) -> int:
    return int((await api.get("/api/v1/profile")).json()["user"]["id"])


async def listed(api: Api, path: str = "/api/auth/sessions") -> list[dict[str, Any]]:
    answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["sessions"]
    return found


async def refresh(api: Api, token: str) -> httpx2.Response:
    return await api.call("POST", "/api/auth/refresh", {"refresh_token": token})


async def test_list(start: Start) -> None:
    async with start() as api, start(peer="192.0.2.7") as elsewhere:
        await api.register("jan@example.com")
        phone = await elsewhere.logged_in("jan@example.com", **{"User-Agent": "phone"})
        desk = await api.logged_in("jan@example.com", **{"User-Agent": "desk"})
        await api.user("ewa@example.com")
        found = await listed(desk)
        assert [(each["client"], each["user_agent"], each["current"]) for each in found] == [
            ("127.0.0.1", "desk", True),
            ("192.0.2.7", "phone", False),
        ], "the newest first, and nobody else's"
        assert list(found[0]) == [
            "id",
            "client",
            "user_agent",
            "created_at",
            "expires_at",
            "refreshed_at",
            "current",
        ]
        assert [each["current"] for each in await listed(phone)] == [False, True]
        assert [each["refreshed_at"] for each in found] == [None, None]
        await refresh(phone, phone.refresh_token)
        refreshed = (await listed(desk))[1]
        assert refreshed["created_at"] < refreshed["refreshed_at"] < refreshed["expires_at"]
        await api.rows("UPDATE sessions SET expires_at = now() WHERE user_agent = 'phone'")
        assert len(await listed(desk)) == 1
        assert (await api.get("/api/auth/sessions")).status_code == 401


async def test_end_one(api: Api) -> None:
    jan = await api.user("jan@example.com")
    second, third = [await api.logged_in("jan@example.com") for _ in range(2)]
    ewa = await api.user("ewa@example.com")
    (own,) = [each["id"] for each in await listed(second) if each["current"]]
    path = f"/api/auth/sessions/{own}"
    missing = {"error": "Session not found"}
    for stranger in (ewa, await api.admin()):
        refused = await stranger.call("DELETE", path)
        assert (refused.status_code, refused.json()) == (404, missing), "somebody else's"
    assert (await api.call("DELETE", path)).status_code == 401
    assert await second.stands()
    assert (await jan.call("DELETE", path)).json() == {"message": "Session ended"}
    assert not await second.stands()
    assert (await refresh(api, second.refresh_token)).status_code == 401
    assert await jan.stands()
    assert await third.stands()
    assert (await jan.call("DELETE", path)).status_code == 404, "it has ended already"
    assert (await jan.call("DELETE", f"/api/auth/sessions/{uuid.uuid4()}")).status_code == 404
    wrong = await jan.call("DELETE", "/api/auth/sessions/7")
    assert (wrong.status_code, set(wrong.json()["fields"])) == (400, {"session_id"})


async def test_end_the_others(api: Api) -> None:
    jan = await api.user("jan@example.com")
    others = [await api.logged_in("jan@example.com") for _ in range(3)]
    ewa = await api.user("ewa@example.com")
    answer = await jan.call("DELETE", "/api/auth/sessions")
    assert (answer.status_code, answer.json()) == (200, {"message": "Other sessions ended", "ended": 3})
    assert [await each.stands() for each in (jan, ewa, *others)] == [True, True, False, False, False]
    for each in others:
        assert (await refresh(api, each.refresh_token)).status_code == 401
    assert (await refresh(api, jan.refresh_token)).status_code == 200
    assert (await jan.call("DELETE", "/api/auth/sessions")).json()["ended"] == 0


async def test_an_admin_sees_and_ends_them(api: Api) -> None:
    jan = await api.user("jan@example.com")
    second = await api.logged_in("jan@example.com")
    admin, employee = await api.admin(), await api.user("ewa@example.com", role="employee")
    path = f"/api/auth/users/{await user_id(jan)}/sessions"
    for method in ("GET", "DELETE"):
        assert (await api.call(method, path)).status_code == 401
        assert (await employee.call(method, path)).status_code == 403
        assert (await jan.call(method, path)).status_code == 403
        missing = await admin.call(method, "/api/auth/users/999999/sessions")
        assert (missing.status_code, missing.json()) == (404, {"error": "User not found"})
    found = await listed(admin, path)
    assert [each["id"] for each in found] == [each["id"] for each in await listed(jan)]
    assert [each["current"] for each in found] == [False, False]
    ended = await admin.call("DELETE", path)
    assert (ended.status_code, ended.json()) == (200, {"message": "Sessions ended", "ended": 2})
    assert [await each.stands() for each in (jan, second, admin, employee)] == [False, False, True, True]
    assert await listed(admin, path) == []


async def test_refresh(api: Api) -> None:
    jan = await api.user("jan@example.com")
    answer = await refresh(api, jan.refresh_token)
    assert answer.status_code == 200
    found = answer.json()
    assert list(found) == ["token", "user", "refresh_token", "expires_in", "token_type"]
    assert found["user"]["email"] == "jan@example.com"
    assert found["refresh_token"] != jan.refresh_token
    renewed = Api(api.http, api.settings, found["token"])
    assert await renewed.stands()
    assert await jan.stands(), "the access token lives its own life"
    (current,) = await listed(renewed)
    assert current["current"], "the same session"
    stored = await api.rows("SELECT digest, used_at IS NULL FROM refresh_tokens ORDER BY created_at")
    tokens = ((jan.refresh_token, False), (found["refresh_token"], True))
    assert stored == [(hashlib.sha256(token.encode()).digest(), unused) for token, unused in tokens]


async def test_refresh_brings_the_role_of_now(api: Api) -> None:
    jan, admin = await api.user("jan@example.com"), await api.admin()
    await admin.call("PUT", f"/api/auth/users/{await user_id(jan)}/role", {"role": "employee"})
    assert (await refresh(api, jan.refresh_token)).json()["user"]["role"] == "employee"


async def test_what_is_no_refresh_token(api: Api) -> None:
    jan = await api.user("jan@example.com")
    for token in (
        "x",
        "x" * 43,
        jan.token or "",
        jan.refresh_token + "=",
        "żółw\x00",
        jan.refresh_token[:-1],
    ):
        refused = await refresh(api, token[:256])
        assert (refused.status_code, refused.json()) == (401, {"error": "Invalid or expired token"}), token
    for body in ({}, {"refresh_token": ""}, {"refresh_token": 7}, {"refresh_token": "x" * 257}, []):
        assert (await api.call("POST", "/api/auth/refresh", body)).status_code == 400
    assert (await refresh(api, jan.refresh_token)).status_code == 200, "rubbish ends nothing"
    jan.token = jan.refresh_token
    assert not await jan.stands(), "nor is it an access token"


@pytest.mark.parametrize("ending", ["logout", "expired", "user gone"])
async def test_no_refresh_after_the_end(api: Api, ending: str) -> None:
    jan = await api.user("jan@example.com")
    if ending == "logout":
        await jan.call("POST", "/logout")
    elif ending == "expired":
        await api.rows("UPDATE sessions SET expires_at = now()")
    else:
        await api.rows("DELETE FROM users WHERE email = 'jan@example.com'")
    assert (await refresh(api, jan.refresh_token)).status_code == 401


async def test_no_refresh_makes_a_session_longer(api: Api) -> None:
    jan = await api.user("jan@example.com")
    (before,) = await listed(jan)
    await refresh(api, jan.refresh_token)
    (after,) = await listed(jan)
    assert after["expires_at"] == before["expires_at"]


@pytest.mark.parametrize("uses", [1, 2])
async def test_a_token_used_twice_ends_the_family(api: Api, uses: int) -> None:
    """However old the stolen one is: neither the thief's nor the owner's is good any more."""
    jan = await api.user("jan@example.com")
    elsewhere = await api.logged_in("jan@example.com")
    newest = jan.refresh_token
    for _ in range(uses):
        newest = (await refresh(api, newest)).json()["refresh_token"]
    if uses == 1:
        await grace_is_over(api)
    stolen = await refresh(api, jan.refresh_token)
    assert (stolen.status_code, stolen.json()) == (401, {"error": "Invalid or expired token"})
    assert not await jan.stands(), "its access tokens too, at once"
    assert (await refresh(api, newest)).status_code == 401
    assert await elsewhere.stands(), "another login has nothing to do with it"
    assert (await refresh(api, elsewhere.refresh_token)).status_code == 200


async def grace_is_over(api: Api) -> None:
    await api.rows("UPDATE refresh_tokens SET created_at = created_at - interval '31 seconds'")


def test_the_documents_name_the_grace() -> None:
    told = (Path(__file__).parents[3] / "docs/warehouse.md").read_text()
    assert f"Within {GRACE.seconds} s, while its successor is unused" in told


async def test_a_lost_answer_is_given_again(api: Api) -> None:
    """Twice and more: a page may be reloaded as often as somebody can press a key."""
    jan = await api.user("jan@example.com")
    answers = [(await refresh(api, jan.refresh_token)).json() for _ in range(3)]
    assert len({each["refresh_token"] for each in answers}) == 1
    for each in answers:
        assert await Api(api.http, api.settings, each["token"]).stands()
    assert await api.rows("SELECT count(*) FROM refresh_tokens") == [(2,)]
    assert len(await listed(jan)) == 1
    heir = answers[0]["refresh_token"]
    after = (await refresh(api, heir)).json()["refresh_token"]
    assert after not in (heir, jan.refresh_token)
    assert (await refresh(api, heir)).json()["refresh_token"] == after


async def test_a_thief_within_the_grace_gains_nothing(api: Api) -> None:
    """What the two then have is one token: whoever is second with it ends the session."""
    jan = await api.user("jan@example.com")
    owners, thiefs = [(await refresh(api, jan.refresh_token)).json()["refresh_token"] for _ in range(2)]
    assert owners == thiefs
    newest = (await refresh(api, thiefs)).json()
    await grace_is_over(api)
    assert (await refresh(api, owners)).status_code == 401
    assert not await Api(api.http, api.settings, newest["token"]).stands()
    assert (await refresh(api, newest["refresh_token"])).status_code == 401


async def test_no_heir_of_a_session_that_has_ended(api: Api) -> None:
    jan = await api.user("jan@example.com")
    await refresh(api, jan.refresh_token)
    await jan.call("POST", "/logout")
    assert (await refresh(api, jan.refresh_token)).status_code == 401


async def test_a_database_tells_no_token(api: Api) -> None:
    """Salt and digests are not enough to make one."""
    jan = await api.user("jan@example.com")
    heir = (await refresh(api, jan.refresh_token)).json()["refresh_token"]
    ((salt,),) = await api.rows("SELECT heir_salt FROM sessions")
    assert opaque.heir(jan.refresh_token, salt)[0] == heir
    for (digest,) in await api.rows("SELECT digest FROM refresh_tokens"):
        for key in (digest.hex(), digest.decode("latin-1")):
            assert (await refresh(api, opaque.heir(key, salt)[0])).status_code == 401
    assert (await refresh(api, heir)).status_code == 200


def test_two_clients_race_with_the_same_token(own_settings: dict[str, object]) -> None:
    """At a real server, again and again: both get one and the same next token."""
    with racing(own_settings) as race:
        token = race.login()["refresh_token"]
        for _ in range(10):
            first, second = (answer.json() for answer, _ in race.refresh(token, token))
            assert first["refresh_token"] == second["refresh_token"] != token
            assert [race.status(each["token"]) for each in (first, second)] == [200, 200]
            token = first["refresh_token"]


def test_a_thief_races_with_the_owner(own_settings: dict[str, object]) -> None:
    """The owner may still win; the moment the thief is refused nobody has anything."""
    with racing(own_settings) as race:
        for _ in range(10):
            stolen = race.login()["refresh_token"]
            second = race.refresh(stolen)[0][0].json()["refresh_token"]
            newest = race.refresh(second)[0][0].json()
            (thief, after), (owner, _) = race.refresh(stolen, newest["refresh_token"], access=newest["token"])
            assert (thief.status_code, after) == (401, 401)
            if owner.status_code == 200:
                assert race.status(owner.json()["token"]) == 401
                newest = owner.json()
            assert race.refresh(newest["refresh_token"])[0][0].status_code == 401


@dataclass
class Race:
    """Clients of one server, each with a connection of its own."""

    clients: list[httpx2.Client]
    threads: ThreadPoolExecutor

    def login(self) -> Any:
        return self.clients[0].post("/api/auth/login", json=LOGIN).raise_for_status().json()

    def status(self, access: str, client: int = 0) -> int:
        """Of the gateway's question about an access token."""
        headers = {"Authorization": f"Bearer {access}"}
        return self.clients[client].get("/api/v1/validate", headers=headers).status_code

    def refresh(self, *tokens: str, access: str = "") -> list[tuple[httpx2.Response, int | None]]:
        """All at once. With each answer, what `access` is worth the moment that answer is there."""
        together = Barrier(len(tokens))

        def one(client: int, token: str) -> tuple[httpx2.Response, int | None]:
            together.wait()
            answer = self.clients[client].post("/api/auth/refresh", json={"refresh_token": token})
            return answer, self.status(access, client) if access else None

        return list(self.threads.map(one, range(len(tokens)), tokens))


@contextmanager
def racing(settings: dict[str, object]) -> Iterator[Race]:
    with Service.running("auth", settings) as service, ThreadPoolExecutor(2) as threads, ExitStack() as stack:
        clients = [stack.enter_context(httpx2.Client(base_url=service.url, timeout=30)) for _ in range(2)]
        clients[0].post("/api/auth/register", json=LOGIN).raise_for_status()
        yield Race(clients, threads)


async def test_a_new_password_ends_the_others(api: Api) -> None:
    jan = await api.user("jan@example.com")
    elsewhere = await api.logged_in("jan@example.com")
    answer = await jan.post("password", **OLD_AND_NEW)
    assert (answer.status_code, answer.json()) == (200, {"message": "Password changed successfully"})
    assert await jan.stands()
    assert not await elsewhere.stands()
    assert (await refresh(api, elsewhere.refresh_token)).status_code == 401
    assert (await refresh(api, jan.refresh_token)).status_code == 200
    assert (await api.login("jan@example.com")).status_code == 401
    assert (await api.login("jan@example.com", "nowy-rower-8")).status_code == 200


async def test_a_new_password_is_refused(api: Api) -> None:
    jan = await api.user("jan1@example.com")
    elsewhere = await api.logged_in("jan1@example.com")
    for changes, field in (
        ({"old_password": "wrong-password-1"}, "old_password"),
        ({"new_password": PASSWORD}, "new_password"),
        ({"new_password": "shor1"}, "new_password"),
        ({"new_password": "Password1"}, "new_password"),
        ({"new_password": "jan1@example.com"}, "new_password"),
        ({"new_password": "x1" * 37}, "new_password"),
        ({"old_password": ""}, "old_password"),
    ):
        await api.rows("DELETE FROM login_attempts")
        refused = await jan.post("password", **{**OLD_AND_NEW, **changes})
        assert (refused.status_code, set(refused.json()["fields"])) == (400, {field}), changes
    assert (await api.post("password", **OLD_AND_NEW)).status_code == 401
    assert await elsewhere.stands()
    assert (await api.login("jan1@example.com")).status_code == 200


async def test_a_login_that_a_new_password_overtakes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified with the old password, it must not begin a session after all have ended."""
    jan = await api.user("jan@example.com")
    verify = Passwords.verify

    async def overtaken(self: Passwords, password: str, hashed: str | None) -> tuple[bool, str | None]:
        found = await verify(self, password, hashed)
        monkeypatch.setattr(Passwords, "verify", verify)
        assert (await jan.post("password", **OLD_AND_NEW)).status_code == 200
        return found

    monkeypatch.setattr(Passwords, "verify", overtaken)
    assert (await api.login("jan@example.com")).status_code == 401
    assert len(await listed(jan)) == 1
