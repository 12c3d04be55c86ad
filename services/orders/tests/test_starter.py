"""The starter's contract: the paths of its document, and users who are asked for over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import aio_pika
import httpx2
import pytest
from kit.tokens import SHARED as HS256
from kit.tokens import Issuer
from orders.tests.conftest import rows
from testing import patient
from testing.postgres import Postgres
from testing.process import free_port
from testing.rabbitmq import RabbitMQ
from testing.service import Service, environment

BOOK = {"product": "Go Programming Book", "quantity": 2, "price": 29.99}
FORMS = ("/api/orders", "/orders")


@dataclass
class Shop:
    """auth and orders as real processes, and who asks them."""

    settings: Mapping[str, object]  # of orders
    of_auth: Mapping[str, object]
    auth: Service
    orders: Service
    token: str | None = None

    def user(self, email: str | None = None, name: str = "John Doe") -> Shop:
        """Somebody new, logged in."""
        account = {"email": email or f"{uuid.uuid4().hex}@example.com", "password": "password123"}
        patient.post(f"{self.auth.url}/register", json=account | {"name": name}).raise_for_status()
        return self.enter(**account)

    def enter(self, email: str, password: str) -> Shop:
        who = {"email": email, "password": password}
        answer = patient.post(f"{self.auth.url}/login", json=who)
        return replace(self, token=answer.raise_for_status().json()["data"]["token"])

    def admin(self) -> Shop:
        return self.enter(str(self.settings["admin_email"]), str(self.settings["admin_password"]))

    def ask(self, method: str, path: str, json: Any = None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return patient.request(method, f"{self.orders.url}{path}", json=json, headers=headers)

    def place(self, form: str = "/orders", **changes: object) -> dict[str, Any]:
        answer = self.ask("POST", form, BOOK | changes)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found


def code(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.json()["success"] is False
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture(scope="module")
def shop(
    common: dict[str, object],
    postgres: Postgres,
    template: Callable[[str], str],
    rabbitmq: RabbitMQ,
) -> Iterator[Shop]:
    given = {**common, **rabbitmq.settings(), "contract": "starter", "application": "starter"}
    of_auth = given | postgres.settings(postgres.create(template("auth")))
    of_orders = given | postgres.settings(postgres.create(template("orders")))
    with ExitStack() as stack:
        auth = stack.enter_context(Service.running("auth", of_auth))
        of_orders |= {"user_service_url": auth.url}
        orders = stack.enter_context(Service.running("orders", of_orders))
        yield Shop(of_orders, of_auth, auth, orders)


@pytest.mark.parametrize("form", FORMS)
def test_every_documented_path(shop: Shop, form: str) -> None:
    john = shop.user()
    answer = john.ask("POST", form, BOOK)
    assert answer.status_code == 201
    order = answer.json()["data"]
    assert list(order) == [
        "id",
        "user_id",
        "product",
        "quantity",
        "price",
        "total_amount",
        "status",
        "created_at",
        "updated_at",
    ]
    assert '"price":29.99,"total_amount":59.98' in answer.text
    assert order["status"] == "new"
    assert john.ask("GET", form).json() == {
        "success": True,
        "data": [order],
        "pagination": {"page": 1, "per_page": 100, "total": 1, "pages": 1},
    }
    assert john.ask("GET", f"{form}/{order['id']}").json() == {"success": True, "data": order}
    assert code(john.ask("GET", f"{form}/{uuid.uuid4()}")) == (404, "NOT_FOUND")
    assert code(john.ask("GET", f"{form}/17")) == (400, "INVALID_UUID")
    for method, path in (("GET", form), ("POST", form), ("GET", f"{form}/{order['id']}")):
        assert code(shop.ask(method, path, BOOK)) == (401, "UNAUTHORIZED"), (method, path)
    assert shop.ask("GET", "/health").json() == {"status": "healthy", "service": "orders"}


def test_a_status_is_changed_by_owner_or_admin(shop: Shop) -> None:
    john, jane, admin = shop.user(), shop.user(), shop.admin()
    path = f"/api/orders/{john.place()['id']}/status"
    assert code(shop.ask("PUT", path, {"status": "shipped"})) == (401, "UNAUTHORIZED")
    assert code(jane.ask("PUT", path, {"status": "shipped"})) == (403, "FORBIDDEN")
    assert john.ask("PUT", path, {"status": "confirmed"}).json()["data"]["status"] == "confirmed"
    assert admin.ask("PUT", path, {"status": "shipped"}).json()["data"]["status"] == "shipped"
    assert code(john.ask("PUT", path, {"status": "confirmed"})) == (409, "CONFLICT")
    assert code(john.ask("PUT", path, {"status": "lost"})) == (400, "VALIDATION_ERROR")


def test_everybody_sees_their_own(shop: Shop) -> None:
    john, jane, admin = shop.user(), shop.user(), shop.admin()
    order = john.place()
    assert jane.ask("GET", "/api/orders").json()["data"] == []
    assert code(jane.ask("GET", f"/api/orders/{order['id']}")) == (403, "FORBIDDEN")
    assert order["id"] in [each["id"] for each in admin.ask("GET", "/api/orders").json()["data"]]


@pytest.mark.parametrize(
    "changes",
    [{"product": ""}, {"quantity": 0}, {"price": 0}, {"price": 0.001}, {"price": 10**7, "quantity": 100}],
)
def test_bad_orders(shop: Shop, changes: dict[str, object]) -> None:
    john = shop.user()
    assert code(john.ask("POST", "/api/orders", BOOK | changes)) == (400, "VALIDATION_ERROR")
    assert john.ask("GET", "/api/orders").json()["data"] == []


def test_the_users_name_is_asked_for(shop: Shop) -> None:
    jane = shop.user(name="Jane Roe")
    order = jane.place()
    name = "SELECT customer_name FROM orders WHERE uid = %s"
    assert rows(shop.settings, name, order["id"]) == [("Jane Roe",)]


def test_who_is_no_user_places_nothing(shop: Shop) -> None:
    """A token that is signed as it must be, of somebody whom the service of users does not know."""
    issuer = Issuer(str(shop.settings["jwt_secret"]), "starter", algorithm=HS256)
    nobody = {"user_id": str(uuid.uuid4())}
    token = issuer.issue(
        user_id=99, email="x@example.com", role="customer", session=str(uuid.uuid4()), more=nobody
    )
    assert code(replace(shop, token=token).ask("POST", "/api/orders", BOOK)) == (401, "UNAUTHORIZED")


async def test_events_reach_who_binds_a_queue(shop: Shop, rabbitmq: RabbitMQ) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("order_events", "topic", durable=True)
        queue = await channel.declare_queue("mine")
        await queue.bind(exchange, "order.*")
        john = shop.user()
        order = john.place()
        john.ask("PUT", f"/api/orders/{order['id']}/status", {"status": "cancelled"})
        found = []
        async with queue.iterator(timeout=60) as messages:
            async for message in messages:
                await message.ack()
                if json.loads(message.body)["order_id"] == order["id"]:
                    found.append(message)
                if len(found) == 2:
                    break
        assert [each.routing_key for each in found] == ["order.created", "order.status_changed"]
        placed, cancelled = (json.loads(each.body) for each in found)
        assert placed | {"timestamp": ""} == {
            "order_id": order["id"],
            "user_id": order["user_id"],
            "product": "Go Programming Book",
            "quantity": 2,
            "price": 29.99,
            "total_amount": 59.98,
            "status": "new",
            "old_status": None,
            "timestamp": "",
        }
        assert (cancelled["old_status"], cancelled["status"]) == ("new", "cancelled")


def test_orders_go_on_for_users_who_are_known_while_nobody_can_be_asked(shop: Shop) -> None:
    """And the breaker stops asking; what comes back is asked again."""
    port = free_port()
    settings = dict(shop.settings) | {"user_service_url": f"http://127.0.0.1:{port}"}
    known, unknown = shop.user(), shop.user()
    with Service.running("orders", settings) as orders:
        known, unknown = replace(known, orders=orders), replace(unknown, orders=orders)
        with Service.running("auth", shop.of_auth, port=port):
            known.place()
        for _ in range(6):
            known.place()
            refused = unknown.ask("POST", "/orders", BOOK)
            assert code(refused) == (503, "SERVICE_UNAVAILABLE")
        assert int(refused.headers["retry-after"]) >= 1
        assert unknown.ask("GET", "/orders").status_code == 200, "reading needs nobody else"
        lines = [json.loads(line) for line in orders.log.read_text().splitlines()]
        assert next(each["new"] for each in lines if each["message"] == "breaker") == "open"
        with Service.running("auth", shop.of_auth, port=port):
            deadline = time.monotonic() + 60
            while unknown.ask("POST", "/orders", BOOK).status_code != 201:
                assert time.monotonic() < deadline, "it must be asked again"
                time.sleep(0.5)


def run(settings: Mapping[str, object], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from orders.app import app; print(app.state.settings.users_url)"],
        env=environment("orders", settings) | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_environment_variables(shop: Shop) -> None:
    given = {key: value for key, value in shop.settings.items() if key != "user_service_url"}
    good = run(given, USER_SERVICE_URL="http://users:8081", AUTH_URL="http://auth:8080")
    assert (good.returncode, good.stdout.strip()) == (0, "http://users:8081"), good.stderr
    good_url = {"AUTH_URL": "http://auth:8080"}
    assert run(given, **good_url).stdout.strip() == "http://auth:8080"
    for variables, line in (
        ({}, "error: USER_SERVICE_URL: is missing"),
        *(
            ({"USER_SERVICE_URL": url}, "error: USER_SERVICE_URL: is not an address such as http://host:8080")
            for url in (
                "users:8081",
                "http://users:80a",
                "http://users:70000",
                "http://:8081",
                "http://[users",
            )
        ),
        (
            {"AUTH_URL": "http://auth:80a"},
            "error: AUTH_URL: is not an address such as http://host:8080",
        ),
        (
            good_url | {"JWT_SECRET": "short"},
            "error: secret file /nonexistent/jwt_secret",
        ),
        (good_url | {"PORT": "70000"}, "error: PORT: Input should be less than"),
        (good_url | {"LOG_LEVEL": "loud"}, "error: LOG_LEVEL: Input should be"),
    ):
        bad = run(given, **variables)
        assert bad.returncode == 2, variables
        assert bad.stderr.startswith(line), bad.stderr
        assert len(bad.stderr.splitlines()) == 1
        assert "80a" not in bad.stderr
