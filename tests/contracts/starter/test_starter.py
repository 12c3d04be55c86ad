"""The starter's document through its gateway."""

from __future__ import annotations

import uuid
from dataclasses import replace

import httpx2
import pytest

from tests.contracts import plain
from tests.contracts.plain import PASSWORD, claims, code, signed
from tests.environment import Gateway, fresh_email

USERS, ORDERS = "/api/users", "/api/orders"


@pytest.mark.shows("users/register", "users/login", "service/users", "pattern/errors")
def test_register_and_login(nobody: httpx2.Client) -> None:
    account = {"name": "John Doe", "email": fresh_email(), "password": PASSWORD}
    made = nobody.post(f"{USERS}/register", json=account)
    assert made.status_code == 201
    user = made.json()["data"]
    assert (user["name"], user["email"]) == ("John Doe", account["email"])
    login = nobody.post(f"{USERS}/login", json={"email": account["email"], "password": PASSWORD})
    assert login.json()["data"]["user"] == user
    assert code(nobody.post(f"{USERS}/register", json=account)) == (409, "EMAIL_EXISTS")
    assert code(nobody.post(f"{USERS}/register", json={})) == (400, "VALIDATION_ERROR")
    wrong = {"email": account["email"], "password": "not-this-one"}
    assert code(nobody.post(f"{USERS}/login", json=wrong)) == (401, "INVALID_CREDENTIALS")


@pytest.mark.shows("users/list", "users/by-id", "pattern/authentication")
def test_reading_needs_a_token(nobody: httpx2.Client, john, jane, place) -> None:
    order = place(john)
    for path in (USERS, f"{USERS}/{john.id}", ORDERS, f"{ORDERS}/{order['id']}"):
        assert code(nobody.get(path)) == (401, "UNAUTHORIZED"), path
    emails = [each["email"] for each in john.ask("GET", f"{USERS}?per_page=100").json()["data"]]
    assert emails
    assert jane.ask("GET", f"{USERS}/{john.id}").json()["data"]["email"] == john.email
    assert code(john.ask("GET", f"{USERS}/{uuid.uuid4()}")) == (404, "NOT_FOUND")


@pytest.mark.shows("pattern/authentication", "config/secret")
def test_tokens_are_of_the_secret(door: Gateway, nobody: httpx2.Client, john) -> None:
    secret, said = door.secrets["jwt_secret"], claims(john.token)
    assert (said["user_id"], said["aud"]) == (john.id, "starter")

    def asked(token: str) -> httpx2.Response:
        return nobody.get(USERS, headers={"Authorization": f"Bearer {token}"})

    assert asked(signed(said, secret)).status_code == 200, "so that what follows fails for its own reason"
    for wrong in (
        signed(said, "another secret of enough characters"),
        signed(said, "", "none"),
        signed(said | {"exp": said["iat"]}, secret),
        signed(said | {"iat": said["iat"] + 3600}, secret),
        signed(said | {"aud": "warehouse"}, secret),
        signed(said | {"typ": "refresh"}, secret),
    ):
        assert code(asked(wrong)) == (401, "UNAUTHORIZED")


@pytest.mark.shows("users/update")
def test_a_user_is_changed_by_themselves_and_by_admins(john, jane, boss) -> None:
    path = f"{USERS}/{john.id}"
    assert john.ask("PUT", path, json={"name": "John Smith"}).json()["data"]["name"] == "John Smith"
    assert code(jane.ask("PUT", path, json={"name": "Nobody"})) == (403, "FORBIDDEN")
    assert boss.ask("PUT", path, json={"name": "John Doe"}).json()["data"]["name"] == "John Doe"


@pytest.mark.shows("orders/create", "orders/list", "orders/by-id", "service/orders", "pattern/context")
def test_orders(john, jane, boss, place) -> None:
    order = place(john)
    assert (order["user_id"], order["product"]) == (john.id, "Go Programming Book")
    assert (order["quantity"], order["price"], order["total_amount"]) == (2, 29.99, 59.98)
    assert john.ask("GET", f"{ORDERS}/{order['id']}").json()["data"] == order
    assert john.ask("GET", ORDERS).json()["data"][0] == order
    assert order not in jane.ask("GET", ORDERS).json()["data"]
    assert code(jane.ask("GET", f"{ORDERS}/{order['id']}")) == (403, "FORBIDDEN")
    assert boss.ask("GET", f"{ORDERS}/{order['id']}").status_code == 200
    assert code(john.ask("POST", ORDERS, json={"product": ""})) == (400, "VALIDATION_ERROR")


@pytest.mark.shows("orders/status", "service/tracking", "pattern/errors")
def test_a_status_is_changed_by_owner_or_admin(nobody: httpx2.Client, john, jane, boss, place) -> None:
    path = f"{ORDERS}/{place(john)['id']}/status"
    assert code(nobody.put(path, json={"status": "shipped"})) == (401, "UNAUTHORIZED")
    assert code(jane.ask("PUT", path, json={"status": "shipped"})) == (403, "FORBIDDEN")
    assert john.ask("PUT", path, json={"status": "confirmed"}).json()["data"]["status"] == "confirmed"
    assert boss.ask("PUT", path, json={"status": "shipped"}).json()["data"]["status"] == "shipped"
    assert code(john.ask("PUT", path, json={"status": "confirmed"})) == (409, "CONFLICT")


@pytest.mark.shows("orders/create", "service/validation", "pattern/communication")
def test_who_is_no_user_places_nothing(door: Gateway, nobody: httpx2.Client, john) -> None:
    """The token is good, but the service of users, which is asked, does not know whom it names."""
    nobodys = {"user_id": str(uuid.uuid4()), "sid": str(uuid.uuid4())}
    ghost = signed(claims(john.token) | nobodys, door.secrets["jwt_secret"])
    body = {"product": "Book", "quantity": 1, "price": 1}
    answer = nobody.post(ORDERS, json=body, headers={"Authorization": f"Bearer {ghost}"})
    assert code(answer) == (401, "UNAUTHORIZED")


@pytest.mark.shows("system/health", "service/gateway")
def test_health_has_the_breakers(nobody: httpx2.Client) -> None:
    breakers = nobody.get("/health").json()["data"]["circuit_breakers"]
    assert {name: each["state"] for name, each in breakers.items()} == {"auth": "closed", "orders": "closed"}


@pytest.mark.shows("system/metrics", "pattern/metrics")
def test_metrics_are_for_who_has_a_token(nobody: httpx2.Client, john) -> None:
    assert code(nobody.get("/metrics")) == (401, "UNAUTHORIZED")
    assert john.ask("GET", "/metrics").json()["data"]["circuit_breakers"].keys() == {"auth", "orders"}


@pytest.mark.shows("pattern/limits")
def test_the_twenty_first_order_of_a_minute_waits(door: Gateway, enrol) -> None:
    with plain.client(door, patient=False) as hasty:
        user = replace(enrol(), http=hasty)
        book = {"product": "Book", "quantity": 1, "price": 1}
        answers = [user.ask("POST", ORDERS, json=book) for _ in range(21)]
        assert [each.status_code for each in answers] == [201] * 20 + [429]
        assert code(answers[-1]) == (429, "RATE_LIMIT_EXCEEDED")
        assert user.ask("GET", ORDERS).status_code == 200, "reading has a window of its own"


@pytest.mark.shows("pattern/cors")
def test_pages_may_ask(nobody: httpx2.Client) -> None:
    ask = {"Origin": "https://pages.example.com", "Access-Control-Request-Method": "POST"}
    answer = nobody.options(ORDERS, headers=ask)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", ask["Origin"])
