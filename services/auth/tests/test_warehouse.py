"""The warehouse's contract, as its original service answered, and the holes that it had."""

from __future__ import annotations

import asyncio
from datetime import datetime

from auth.tests.conftest import ADMIN, PASSWORD, Api


async def test_register_login_profile_logout(api: Api) -> None:
    registered = await api.register("Jan@Example.com")
    assert registered.status_code == 201
    user_id = registered.json()["user_id"]
    assert registered.json() == {"message": "User registered successfully", "user_id": user_id}
    assert isinstance(user_id, int)

    answer = await api.login("jan@example.com")
    assert answer.status_code == 200
    assert list(answer.json()) == ["token", "user", "refresh_token", "expires_in", "token_type"]
    assert (answer.json()["expires_in"], answer.json()["token_type"]) == (86400, "Bearer")
    user = answer.json()["user"]
    assert list(user) == ["id", "email", "role", "created_at", "updated_at"]
    assert (user["id"], user["email"], user["role"]) == (user_id, "jan@example.com", "customer")
    assert datetime.fromisoformat(user["created_at"]).tzinfo is not None

    jan = await api.logged_in("jan@example.com")
    assert (await jan.get("/api/v1/profile")).json() == {"user": user}
    checked = (await jan.get("/api/v1/validate-token")).json()
    claims = checked.pop("claims")
    assert checked == {"valid": True, "user_id": user_id, "email": "jan@example.com", "role": "customer"}
    assert (claims["typ"], claims["aud"], claims["exp"] - claims["iat"]) == ("access", "warehouse", 86400)

    out = await jan.call("POST", "/logout")
    assert (out.status_code, out.json()) == (200, {"message": "Logged out successfully"})
    for path in ("/api/v1/profile", "/api/v1/validate", "/api/v1/validate-token", "/api/auth/profile"):
        refused = await jan.get(path)
        assert (refused.status_code, refused.json()) == (401, {"error": "Invalid or expired token"})
    assert (await jan.call("POST", "/logout")).status_code == 401


async def test_validate_is_what_nginx_needs(api: Api) -> None:
    jan = await api.user("jan@example.com", role="employee")
    good = await jan.get("/api/v1/validate")
    assert (good.status_code, good.content) == (200, b"")
    assert good.headers["x-user-id"].isdecimal()
    assert (good.headers["x-user-email"], good.headers["x-user-role"]) == ("jan@example.com", "employee")
    assert good.headers["cache-control"] == "no-store"
    nobody = await api.get("/api/v1/validate")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")


async def test_every_documented_path(api: Api) -> None:
    await api.register("jan@example.com")
    body = {"email": "jan@example.com", "password": PASSWORD}
    for path in ("/api/auth/login", "/auth/login"):
        assert (await api.call("POST", path, body)).status_code == 200
    for path in ("/api/auth/register", "/auth/register"):
        assert (await api.call("POST", path, body)).status_code == 409
    for prefix in ("/api/auth", "/auth", "/api/v1"):
        for path in ("profile", "validate", "validate-token"):
            assert (await (await api.logged_in("jan@example.com")).get(f"{prefix}/{path}")).status_code == 200
    for path in ("/logout", "/auth/logout", "/api/auth/logout"):
        assert (await (await api.logged_in("jan@example.com")).call("POST", path)).status_code == 200
    assert (await api.get("/api/v1/health")).json() == {"status": "ok", "service": "auth"}


async def test_nobody_registers_with_a_role_of_their_choice(api: Api) -> None:
    eve = await api.user("eve@example.com")
    forger = Api(api.http, api.settings, token="rubbish")
    for n, role in enumerate(["admin", "employee", "emperor", 7, {"a": 1}]):
        for who, asking in {"nobody": api, "eve": eve, "forger": forger}.items():
            email = f"{who}{n}@example.com"
            assert (await asking.register(email, role=role)).status_code == 201, (who, role)
            assert (await api.login(email)).json()["user"]["role"] == "customer", (who, role)


async def test_an_admin_registers_with_a_role(api: Api) -> None:
    admin = await api.admin()
    assert (await admin.register("ewa@example.com", role="employee")).status_code == 201
    assert (await api.login("ewa@example.com")).json()["user"]["role"] == "employee"
    wrong = await admin.register("adam@example.com", role="emperor")
    assert (wrong.status_code, set(wrong.json()["fields"])) == (400, {"role"})


async def test_one_email_one_account(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.register(each) for each in ("jan@example.com", "JAN@Example.COM ") * 6)
    )
    assert sorted(each.status_code for each in answers) == [201] + [409] * 11
    taken = await api.register("jan@example.com", "another-good-1")
    assert (taken.status_code, taken.json()) == (409, {"error": "Failed to create user"})
    assert (await api.login("jan@example.com")).status_code == 200


BAD_EMAILS = [
    "",
    "jan",
    "jan@",
    "@example.com",
    "jan@example",
    "jan@@example.com",
    "jan@exam ple.com",
    "jan@example..com",
    "jan..k@example.com",
    ".jan@example.com",
    "jan@-example.com",
    "jan@example.com\nBcc: all@example.com",
    "jan@example.com\x00",
    "j" * 65 + "@example.com",
    "jan@" + "e" * 250 + ".com",
    "żółw@example.com",
    None,
    7,
]


async def test_bad_emails(api: Api) -> None:
    for email in BAD_EMAILS:
        answer = await api.call("POST", "/api/auth/register", {"email": email, "password": PASSWORD})
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {"email"}), email
        assert answer.json()["error"] == "Invalid request"
        login = await api.call("POST", "/api/auth/login", {"email": email, "password": PASSWORD})
        assert login.status_code == 400, email


BAD_PASSWORDS = {
    "a1b2c": "at least 6",
    "": "at least 6",
    "x1" * 37: "at most 72 bytes",
    "ż1" * 25: "at most 72 bytes",
    "onlyletters": "something else",
    "1234567890": "must have letters",
    "Password1": "most common",
    "jan1@example.com": "e-mail",
}


async def test_bad_passwords(api: Api) -> None:
    for password, problem in BAD_PASSWORDS.items():
        answer = await api.register("jan1@example.com", password)
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {"password"}), password
        assert problem in answer.json()["fields"]["password"]
        assert password == "" or password not in answer.text


async def test_good_passwords(api: Api) -> None:
    for n, password in enumerate(["a1b2c3", "hasło ze spacjami", "x1" * 36, "🚲🚲 rower", "nul\x00inside1"]):
        email = f"u{n}@example.com"
        assert (await api.register(email, password)).status_code == 201, password
        assert (await api.login(email, password)).status_code == 200
        assert (await api.login(email, password + "x")).status_code == 401
        assert (await api.login(email, password[:-1])).status_code == 401


async def test_wrong_password_and_unknown_email_answer_alike(api: Api, hashing: list[str]) -> None:
    await api.register("jan@example.com")
    costs, texts = [], set()
    for email in ("jan@example.com", "nobody@example.com"):
        for password in ("wrong-password-1", "x" * 200):
            hashing.clear()
            answer = await api.login(email, password)
            assert answer.status_code == 401
            texts.add(answer.text)
            costs.append(list(hashing))
    assert texts == {'{"error":"Invalid email or password"}'}
    assert costs == [["verify"]] * 4, "each takes one hash, so as long as the others"


async def test_the_first_admin(api: Api) -> None:
    admin = await api.login(ADMIN["email"], ADMIN["password"])
    assert admin.json()["user"]["role"] == "admin"
