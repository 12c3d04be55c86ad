"""The gatekeeper's users through its gateway: accounts, profiles, roles, and sessions that end."""

from __future__ import annotations

import re
import uuid

import httpx2
import pytest

from tests.contracts.plain import PASSWORD, claims, code, signed
from tests.environment import Gateway, fresh_email, heard

USERS = "/v1/users"


@pytest.mark.shows("users/register", "users/login", "format/success", "model/user")
def test_register_and_login(nobody: httpx2.Client) -> None:
    account = {"email": fresh_email(), "password": PASSWORD, "name": "Ivan"}
    made = nobody.post(f"{USERS}/register", json=account)
    assert made.status_code == 201
    assert made.json()["success"] is True
    user = made.json()["data"]["user"]
    assert (user["email"], user["name"], user["roles"]) == (account["email"], "Ivan", ["user"])
    assert str(uuid.UUID(user["id"])) == user["id"]
    login = nobody.post(f"{USERS}/login", json={"email": account["email"], "password": PASSWORD})
    assert re.findall(r'"token":"[^"]*"', login.text), "as the document's grep finds it"
    assert login.json()["data"]["user"] == user


@pytest.mark.shows("jwt/lifetime", "jwt/payload", "security/jwt")
def test_tokens(ivan) -> None:
    said = claims(ivan.token)
    assert (said["user_id"], said["email"], said["roles"]) == (ivan.id, ivan.email, ["user"])
    assert said["exp"] - said["iat"] == 24 * 3600


@pytest.mark.shows("jwt/header", "security/jwt")
def test_who_has_no_token_of_ours(door: Gateway, nobody: httpx2.Client, ivan) -> None:
    head, body, signature = ivan.token.split(".")
    said, key = claims(ivan.token), door.secrets["token_public_key"]
    wrong = [None, "", "Bearer", "Bearer x.y.z", f"Basic {ivan.token}", f"Bearer {head}.{body}"]
    wrong += [f"Bearer {head}.{body}.{signature[:-4]}AAAA"]
    # Not signed, and signed with what everybody may know as if that were a secret.
    wrong += [f"Bearer {signed(said, '', 'none')}", f"Bearer {signed(said, key)}"]
    for header in wrong:
        headers = {} if header is None else {"Authorization": header}
        for path in (f"{USERS}/profile", "/v1/orders", "/metrics"):
            assert code(nobody.get(path, headers=headers)) == (401, "UNAUTHORIZED"), (path, header)
    forged = {"X-User-Id": ivan.id, "X-User-Role": "admin"}
    assert code(nobody.get(f"{USERS}/profile", headers=forged)) == (401, "UNAUTHORIZED")
    assert code(ivan.ask("GET", USERS, headers=forged)) == (403, "FORBIDDEN")
    assert code(ivan.ask("GET", "/v1/orders/stats", headers=forged)) == (403, "FORBIDDEN")


@pytest.mark.shows("format/error", "users/register", "users/login")
def test_refusals(nobody: httpx2.Client, ivan) -> None:
    account = {"email": ivan.email.upper(), "password": PASSWORD, "name": "Ivan"}
    assert code(nobody.post(f"{USERS}/register", json=account)) == (400, "EMAIL_EXISTS")
    assert code(nobody.post(f"{USERS}/register", json={})) == (400, "VALIDATION_ERROR")
    wrong = {"email": ivan.email, "password": "not-this-one"}
    assert code(nobody.post(f"{USERS}/login", json=wrong)) == (401, "INVALID_CREDENTIALS")
    assert code(nobody.get("/v1/nothing")) == (404, "NOT_FOUND")


@pytest.mark.shows("users/profile", "users/update-profile")
def test_profile(ivan, olga) -> None:
    mine = ivan.ask("GET", f"{USERS}/profile").json()
    assert mine["success"] is True
    assert (mine["data"]["id"], mine["data"]["email"]) == (ivan.id, ivan.email)
    changed = ivan.ask("PUT", f"{USERS}/profile", json={"name": "Ivan the Second"})
    assert changed.json()["data"]["name"] == "Ivan the Second"
    taken = ivan.ask("PUT", f"{USERS}/profile", json={"email": olga.email})
    assert code(taken) == (400, "EMAIL_EXISTS")


@pytest.mark.shows("users/password")
def test_a_changed_password_ends_other_sessions(enrol, enter) -> None:
    user = enrol()
    elsewhere = enter(user.email)
    body = {"old_password": "not-this-one", "new_password": "another-one"}
    assert code(user.ask("PUT", f"{USERS}/password", json=body)) == (401, "INVALID_CREDENTIALS")
    body["old_password"] = PASSWORD
    assert user.ask("PUT", f"{USERS}/password", json=body).status_code == 200
    # The gateway hears of it a moment later, and so does every service behind it.
    heard(lambda: elsewhere.ask("GET", "/v1/orders").status_code == 401, "the session's end")
    assert user.ask("GET", "/v1/orders").status_code == 200
    enter(user.email, "another-one")


@pytest.mark.shows("users/list", "users/by-id", "users/search")
def test_an_admin_finds_people(boss, ivan) -> None:
    listed = boss.ask("GET", f"{USERS}?per_page=1").json()
    assert len(listed["data"]) == 1
    assert listed["pagination"] | {"total": 0, "pages": 0} == {
        "page": 1,
        "per_page": 1,
        "total": 0,
        "pages": 0,
    }
    assert listed["pagination"]["total"] >= 2
    assert boss.ask("GET", f"{USERS}/{ivan.id}").json()["data"]["email"] == ivan.email
    for name in ("query", "q"):
        found = boss.ask("GET", f"{USERS}/search", params={name: ivan.email}).json()
        assert [each["id"] for each in found["data"]] == [ivan.id]
    assert code(boss.ask("GET", f"{USERS}/17")) == (400, "INVALID_UUID")
    assert code(boss.ask("GET", f"{USERS}/{uuid.uuid4()}")) == (404, "NOT_FOUND")
    for path in ("", f"/{ivan.id}", "/search?query=ivan"):
        assert code(ivan.ask("GET", USERS + path)) == (403, "FORBIDDEN")


@pytest.mark.shows("users/roles")
def test_a_role_that_is_taken_away_is_gone(boss, enrol, enter) -> None:
    user = enrol()
    path = f"{USERS}/{user.id}/roles"
    assert code(user.ask("PUT", path, json={"roles": ["admin"]})) == (403, "FORBIDDEN")
    given = boss.ask("PUT", path, json={"roles": ["user", "admin"]})
    assert given.json()["data"]["user"]["roles"] == ["user", "admin"]
    greater = enter(user.email)
    assert greater.ask("GET", "/v1/orders/stats").status_code == 200
    assert boss.ask("PUT", path, json={"roles": ["user"]}).status_code == 200
    heard(lambda: greater.ask("GET", "/v1/orders/stats").status_code == 401, "the session's end")


@pytest.mark.shows("users/delete")
def test_a_deleted_user_is_gone(boss, ivan, enrol) -> None:
    user = enrol()
    assert code(ivan.ask("DELETE", f"{USERS}/{user.id}")) == (403, "FORBIDDEN")
    gone = boss.ask("DELETE", f"{USERS}/{user.id}").json()["data"]
    assert gone["deletedUser"]["id"] == user.id
    heard(lambda: user.ask("GET", "/v1/orders").status_code == 401, "the session's end")
    assert code(boss.ask("GET", f"{USERS}/{user.id}")) == (404, "NOT_FOUND")
