"""The warehouse's accounts through its gateway: register, log in and out, roles, limits."""

from __future__ import annotations

import base64
import json

import httpx2
import pytest

from tests.environment import fresh_email

PREFIXES = ("/api/auth", "/auth")
LOGOUTS = ("/logout", "/auth/logout", "/api/auth/logout")


def fresh() -> dict[str, str]:
    return {"email": fresh_email(), "password": "zielony-rower7"}


@pytest.mark.shows("auth/service", "auth/register", "auth/login")
@pytest.mark.parametrize("prefix", PREFIXES)
def test_register_and_login(http: httpx2.Client, prefix: str) -> None:
    account = fresh()
    made = http.post(f"{prefix}/register", json=account)
    assert made.status_code == 201
    user_id = made.json()["user_id"]
    assert made.json() == {"message": "User registered successfully", "user_id": user_id}
    answer = http.post(f"{prefix}/login", json=account)
    assert answer.status_code == 200
    assert answer.json().keys() >= {"token", "user"}
    user = answer.json()["user"]
    assert user.keys() == {"id", "email", "role", "created_at", "updated_at"}
    assert (user["id"], user["email"], user["role"]) == (user_id, account["email"], "customer")


@pytest.mark.shows("auth/roles")
@pytest.mark.parametrize("role", ["admin", "employee", "customer", "root", 7])
def test_nobody_registers_as_more_than_a_customer(http: httpx2.Client, role: object) -> None:
    account = fresh()
    assert http.post("/api/auth/register", json=account | {"role": role}).status_code == 201
    assert http.post("/api/auth/login", json=account).json()["user"]["role"] == "customer"


@pytest.mark.shows("auth/roles")
def test_a_customer_registers_nobody_as_admin(http, customer) -> None:
    account = fresh()
    assert customer.ask("POST", "/api/auth/register", json=account | {"role": "admin"}).status_code == 201
    assert http.post("/api/auth/login", json=account).json()["user"]["role"] == "customer"


@pytest.mark.shows("auth/roles")
def test_an_admin_registers_an_employee(http, admin) -> None:
    account = fresh()
    assert admin.ask("POST", "/api/auth/register", json=account | {"role": "employee"}).status_code == 201
    assert http.post("/api/auth/login", json=account).json()["user"]["role"] == "employee"


@pytest.mark.shows("auth/register")
def test_an_email_is_taken_once(http, customer) -> None:
    answer = http.post(
        "/api/auth/register", json={"email": customer.email.upper(), "password": "inny-rower7"}
    )
    assert (answer.status_code, answer.json()) == (409, {"error": "Failed to create user"})


@pytest.mark.shows("auth/validation")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "jan"),
        ("email", "jan@localhost"),
        ("email", "a@b@hostwright.invalid"),
        ("email", ""),
        ("password", "ab1"),
        ("password", "onlyletters"),
        ("password", "password1"),
        ("password", "x1" * 40),
    ],
)
def test_bad_input_is_named(http: httpx2.Client, field: str, value: str) -> None:
    answer = http.post("/api/auth/register", json=fresh() | {field: value})
    assert answer.status_code == 400
    assert answer.json()["error"] == "Invalid request"
    assert list(answer.json()["fields"]) == [field]


@pytest.mark.shows("auth/validation")
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"email": 1}', b"\xff\xfe"])
def test_what_is_no_account_is_400(http: httpx2.Client, body: bytes) -> None:
    answer = http.post("/api/auth/register", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "error" in answer.json()


@pytest.mark.shows("auth/login")
def test_wrong_password_and_unknown_email_are_alike(http, account) -> None:
    known = {"email": account().email, "password": "nie-to-haslo1"}
    wanted = (401, {"error": "Invalid email or password"})
    for body in (known, known | {"email": "nikt@hostwright.invalid"}):
        answer = http.post("/api/auth/login", json=body)
        assert (answer.status_code, answer.json()) == wanted


@pytest.mark.shows("auth/jwt", "tech/auth")
def test_token_names_its_owner(customer) -> None:
    head, claims = (
        json.loads(base64.urlsafe_b64decode(f"{part}==")) for part in customer.token.split(".")[:2]
    )
    assert head["alg"] == "RS256"
    assert (claims["user_id"], claims["email"], claims["role"]) == (customer.id, customer.email, "customer")
    assert claims["exp"] - claims["iat"] == 24 * 3600
    assert (claims["typ"], claims["iss"], claims["aud"]) == ("access", "hostwright", "warehouse")


@pytest.mark.shows("auth/jwt")
def test_validate(http, customer) -> None:
    answer = customer.ask("GET", "/api/v1/validate")
    assert (answer.status_code, answer.content) == (200, b"")
    assert http.get("/api/v1/validate").status_code == 401


@pytest.mark.shows("auth/jwt")
@pytest.mark.parametrize("prefix", [*PREFIXES, "/api/v1"])
def test_profile_and_validate_token(customer, prefix: str) -> None:
    profile = customer.ask("GET", f"{prefix}/profile").json()["user"]
    assert (profile["id"], profile["email"], profile["role"]) == (customer.id, customer.email, "customer")
    valid = customer.ask("GET", f"{prefix}/validate-token").json()
    assert valid.keys() == {"valid", "user_id", "email", "role", "claims"}
    assert (valid["valid"], valid["user_id"], valid["role"]) == (True, customer.id, "customer")


@pytest.mark.shows("auth/logout", "auth/blacklist")
@pytest.mark.parametrize("path", LOGOUTS)
def test_logout_blacklists_the_token(account, path: str) -> None:
    leaving = account()
    assert leaving.ask("POST", path).json() == {"message": "Logged out successfully"}
    for closed in ("/api/v1/validate", "/api/v1/profile", "/api/orders"):
        assert leaving.ask("GET", closed).status_code == 401
    assert leaving.ask("POST", path).status_code == 401


@pytest.mark.shows("auth/logout", "auth/sessions")
def test_logout_ends_one_session_only(http, account) -> None:
    user = account()
    body = {"email": user.email, "password": user.password}
    second = http.post("/api/auth/login", json=body).json()["token"]
    assert user.ask("POST", "/logout").status_code == 200
    assert http.get("/api/orders", headers={"Authorization": f"Bearer {second}"}).status_code == 200


@pytest.mark.shows("auth/roles")
def test_only_an_admin_assigns_roles(http, customer, employee, account) -> None:
    target = account()
    path = f"/api/auth/users/{target.id}/role"
    for asking in (customer, employee, target):
        answer = asking.ask("PUT", path, json={"role": "admin"})
        assert answer.status_code == 403
        assert answer.json() == {
            "error": "insufficient_permissions",
            "message": answer.json()["message"],
            "required_roles": ["admin"],
            "user_role": asking.role,
        }
    assert http.put(path, json={"role": "admin"}).status_code == 401
    assert target.ask("GET", "/api/v1/profile").json()["user"]["role"] == "customer"


@pytest.mark.shows("auth/roles", "auth/middleware")
def test_a_role_holds_at_once(admin, account) -> None:
    """Also for tokens that were issued before, on every service."""
    user, path = account(), "/api/auth/users"
    assert user.ask("GET", path).status_code == 403
    assert (
        admin.ask("PUT", f"{path}/{user.id}/role", json={"role": "admin"}).json()["user"]["role"] == "admin"
    )
    assert user.ask("GET", path).status_code == 200
    admin.ask("PUT", f"{path}/{user.id}/role", json={"role": "customer"})
    assert user.ask("GET", path).status_code == 403


@pytest.mark.shows("auth/roles")
def test_unknown_roles_and_users(admin, customer) -> None:
    path = f"/api/auth/users/{customer.id}/role"
    assert admin.ask("PUT", path, json={"role": "king"}).status_code == 400
    assert admin.ask("PUT", "/api/auth/users/2147483647/role", json={"role": "employee"}).status_code == 404
    assert admin.ask("PUT", "/api/auth/users/0/role", json={"role": "employee"}).status_code == 400


@pytest.mark.shows("auth/roles")
def test_an_admin_finds_users(http, admin, customer, employee) -> None:
    def found(**query: object) -> tuple[int, list[str]]:
        answer = admin.ask("GET", "/api/auth/users", params=query)
        assert answer.headers["X-Total-Count"] == str(answer.json()["total"])
        return answer.json()["total"], [each["email"] for each in answer.json()["users"]]

    assert found(query=customer.email) == (1, [customer.email])
    assert found(query=customer.email, role="admin") == (0, [])
    assert found(query=customer.email, offset=1) == (1, [])
    assert employee.email in found(query=employee.email.upper(), role="employee", limit=1)[1]
    for bad in ("role=king", "limit=0", "limit=501", "offset=-1"):
        assert admin.ask("GET", f"/api/auth/users?{bad}").status_code == 400
    for who, status in ((customer, 403), (employee, 403)):
        assert who.ask("GET", "/api/auth/users").status_code == status
    assert http.get("/api/auth/users").status_code == 401


@pytest.mark.shows("auth/limits")
def test_failed_logins_are_limited(http, account) -> None:
    victim, stranger = account(), account()
    wrong = {"email": victim.email, "password": "nie-to-haslo1"}
    codes = [http.post("/api/auth/login", json=wrong).status_code for _ in range(6)]
    assert codes == [401] * 5 + [429]
    answer = http.post("/api/auth/login", json=wrong | {"password": victim.password})
    assert answer.status_code == 429, "the right password must not be found out while it is limited"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["error"] == "Too many login attempts"
    body = {"email": stranger.email, "password": stranger.password}
    assert http.post("/api/auth/login", json=body).status_code == 200


@pytest.mark.shows("auth/health")
def test_health(http) -> None:
    answer = http.get("/api/v1/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": "auth"})
