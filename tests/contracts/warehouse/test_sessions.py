"""Logins as people keep them: sessions listed and ended, tokens refreshed, passwords changed and reset."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from tests.environment import Account, heard, login, refused

pytestmark = pytest.mark.shows("auth/sessions")
PATH = "/api/auth/sessions"


def sessions(user: Account) -> list[dict[str, Any]]:
    answer = user.ask("GET", PATH)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["sessions"]
    return found


def stands(user: Account) -> bool:
    return user.ask("GET", "/api/v1/validate").status_code == 200


def test_a_login_is_a_session(account) -> None:
    user = account()
    (own,) = sessions(user)
    assert own.keys() == {
        "id", "client", "user_agent", "created_at", "expires_at", "refreshed_at", "current",
    }  # fmt: skip
    assert own["current"]


def test_one_session_is_ended(http, account, other) -> None:
    user = account()
    second = login(http, user.email, user.password)
    (there,) = (each for each in sessions(second) if each["current"])
    assert [each["current"] for each in sessions(user)].count(True) == 1
    refused(other.ask("DELETE", f"{PATH}/{there['id']}"), 404)
    assert user.ask("DELETE", f"{PATH}/{there['id']}").json() == {"message": "Session ended"}
    assert (stands(user), stands(second)) == (True, False)
    refused(user.ask("DELETE", f"{PATH}/{there['id']}"), 404)
    refused(user.ask("DELETE", f"{PATH}/none"), 400, fields=["session_id"])
    refused(http.get(PATH), 401)


def test_all_others_are_ended(http, account) -> None:
    user = account()
    others = [login(http, user.email, user.password) for _ in range(2)]
    assert user.ask("DELETE", PATH).json() == {"message": "Other sessions ended", "ended": 2}
    assert stands(user)
    assert not any(map(stands, others))


def test_an_admin_ends_a_users_sessions(admin, customer, account) -> None:
    user = account()
    path = f"/api/auth/users/{user.id}/sessions"
    refused(customer.ask("GET", path), 403)
    refused(customer.ask("DELETE", path), 403)
    assert len(admin.ask("GET", path).json()["sessions"]) == 1
    assert admin.ask("DELETE", path).json() == {"message": "Sessions ended", "ended": 1}
    assert not stands(user)
    refused(admin.ask("GET", "/api/auth/users/2147483647/sessions"), 404)


@pytest.mark.shows("auth/jwt")
def test_refresh(http: httpx2.Client, account) -> None:
    """each refresh gives the next; one used again afterwards ends the session"""
    user = account()

    def refresh(token: str) -> httpx2.Response:
        return http.post("/api/auth/refresh", json={"refresh_token": token})

    body = {"email": user.email, "password": user.password}
    given = http.post("/api/auth/login", json=body).json()
    assert given.keys() == {"token", "user", "refresh_token", "expires_in", "token_type"}
    assert (given["expires_in"], given["token_type"]) == (24 * 3600, "Bearer")
    second = refresh(given["refresh_token"])
    assert second.status_code == 200
    assert second.json().keys() == given.keys()
    third = refresh(second.json()["refresh_token"])
    newest = {"Authorization": f"Bearer {third.json()['token']}"}
    assert http.get("/api/v1/validate", headers=newest).status_code == 200
    refused(refresh(given["refresh_token"]), 401)
    refused(refresh(third.json()["refresh_token"]), 401)
    refused(http.get("/api/v1/validate", headers=newest), 401)
    assert stands(user), "another session of the same user"
    refused(refresh("nonsense"), 401)
    refused(refresh(user.token), 400, fields=["refresh_token"])


def test_a_refresh_token_opens_nothing(http: httpx2.Client, account) -> None:
    user = account()
    given = http.post("/api/auth/login", json={"email": user.email, "password": user.password}).json()
    for path in ("/api/v1/validate", "/api/orders"):
        refused(http.get(path, headers={"Authorization": f"Bearer {given['refresh_token']}"}), 401)


@pytest.mark.shows("auth/validation")
def test_a_password_is_changed(http, account) -> None:
    user = account()
    second = login(http, user.email, user.password)
    path, fresh = "/api/auth/password", "nowy-rower99"
    change = {"old_password": user.password, "new_password": fresh}
    refused(
        user.ask("POST", path, json=change | {"old_password": "nie-to-haslo1"}), 400, fields=["old_password"]
    )
    refused(user.ask("POST", path, json=change | {"new_password": "short"}), 400, fields=["new_password"])
    refused(http.post(path, json=change), 401)
    assert user.ask("POST", path, json=change).json() == {"message": "Password changed successfully"}
    assert (stands(user), stands(second)) == (True, False)
    refused(http.post("/api/auth/login", json={"email": user.email, "password": user.password}), 401)
    assert stands(login(http, user.email, fresh))


@pytest.mark.shows("picture/mail")
def test_a_password_is_reset_by_mail(http, account, mails) -> None:
    user = account(language="en")
    answers = [
        http.post("/api/auth/password/forgot", json={"email": each})
        for each in (user.email, "x@hostwright.invalid")
    ]
    assert [each.status_code for each in answers] == [202, 202]
    assert answers[0].json() == answers[1].json(), "nobody finds out who has an account"
    (mail,) = heard(lambda: mails(user.email, "password"), "the mail with the link")
    (token,) = set(re.findall(r"/reset#token=([\w-]+)", mail["text"]))
    reset = {"token": token, "new_password": "nowy-rower99"}
    path = "/api/auth/password/reset"
    refused(http.post(path, json=reset | {"new_password": "short"}), 400, fields=["new_password"])
    assert http.post(path, json=reset).status_code == 200
    assert not stands(user), "every session ends"
    assert stands(login(http, user.email, reset["new_password"]))
    refused(http.post(path, json=reset), 400)
    refused(http.post(path, json=reset | {"token": "nonsense"}), 400)
