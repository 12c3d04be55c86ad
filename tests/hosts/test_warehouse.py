"""The warehouse at work: an order through its gateway, as a customer and an admin would see it."""

from __future__ import annotations

import functools
import hashlib
import json
import ssl
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

from hostwright.proof.wanted import BESIDE, Machine

pytestmark = [pytest.mark.app_compose, pytest.mark.place("outside")]

AREA = "Warehouse"
Detail = Callable[[object], None]
QUEUE = "order_notifications"

# Runs beside a container of orders, with its settings and secrets: how many events of the order still wait in
# the outbox (they leave it when the broker has confirmed that a queue has them), and how deep the queue is.
LOOK = """
import asyncio, json, os, sys, time
from pathlib import Path
import aio_pika, psycopg

def told(kind):
    password = Path("/run/secrets", kind.lower() + "_password").read_text().strip()
    return {name: os.environ[f"{kind}_{name.upper()}"] for name in ("host", "port", "user")}, password

async def main(order, queue):
    where, password = told("DATABASE")
    database = psycopg.connect(
        **where, password=password, dbname=os.environ["DATABASE_NAME"], autocommit=True
    )
    until = time.monotonic() + 10
    while True:
        waiting = database.execute("SELECT count(*) FROM outbox WHERE aggregateid = %s", [order])
        left = waiting.fetchone()[0]
        if not left or time.monotonic() > until:
            break
        await asyncio.sleep(0.1)
    found = {"left": left, "messages": 0, "consumers": 0}
    where, password = told("BROKER")
    async with await aio_pika.connect(
        host=where["host"], port=int(where["port"]), login=where["user"], password=password
    ) as connection:
        try:
            channel = await connection.channel()
            state = (await channel.declare_queue(queue, passive=True)).declaration_result
            found |= {"messages": state.message_count, "consumers": state.consumer_count}
        except aio_pika.exceptions.ChannelNotFoundEntity:
            pass
    print(json.dumps(found))

asyncio.run(main(*sys.argv[1:]))
"""


class Errand:
    """What the proof does at one warehouse, each step once; it leaves a cancelled order behind."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        secrets = machine.secrets
        self.secrets = secrets
        self.tls = ssl.create_default_context(cadata=secrets["ca_certificate"])
        address = machine.addresses[0]
        self.address = f"[{address}]" if ":" in address else address
        self.http = httpx2.Client(base_url=f"https://{self.address}", verify=self.tls, timeout=60)

    @functools.cached_property
    def customer(self) -> dict[str, Any]:
        """The proof's own customer: `{"token", "user"}`; its password follows from a secret, to come back."""
        password = hashlib.sha256(f"proof {self.secrets['admin_password']}".encode()).hexdigest()[:32]
        email = f"proof-{hashlib.sha256(password.encode()).hexdigest()[:8]}@hostwright.invalid"
        account = {"email": email, "password": password}
        answer = self.http.post("/api/auth/login", json=account)
        if answer.status_code == 401:
            assert self.http.post("/api/auth/register", json=account).status_code == 201
            answer = self.http.post("/api/auth/login", json=account)
        assert answer.status_code == 200, f"login answered {answer.status_code}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    @functools.cached_property
    def admin(self) -> dict[str, Any]:
        account = {"email": self.secrets["admin_email"], "password": self.secrets["admin_password"]}
        answer = self.http.post("/api/auth/login", json=account)
        assert answer.status_code == 200, f"login answered {answer.status_code}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    @functools.cached_property
    def order(self) -> dict[str, Any]:
        self.before = self.look()
        answer = self.http.post(
            "/api/orders",
            headers=self.bearer(self.customer),
            json={
                "customer_name": "hostwright proof",
                "customer_email": self.customer["user"]["email"],
                "source": "manual",
                "total_amount": 0.01,
            },
        )
        assert answer.status_code == 201, f"answered {answer.status_code}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def bearer(self, login: dict[str, Any]) -> dict[str, str]:
        return {"Authorization": f"Bearer {login['token']}"}

    def look(self, order: object = "") -> dict[str, int]:
        """What LOOK says of the order."""
        containers = self.machine.seen["containers"]["containers"]
        name = next(each["name"] for each in containers if each["service"] == "orders")
        command = "sudo -n sh -c %s sh %s %s %s %s"
        done = self.machine.host.run(command, BESIDE, name, LOOK, str(order), QUEUE)
        if done.rc != 0:
            said = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.rc}"]
            pytest.fail(f"orders cannot look at its queue: {said[0]}", pytrace=False)
        found: dict[str, int] = json.loads(done.stdout)
        return found


@functools.cache
def _errand(machine: Machine) -> Errand:
    return Errand(machine)


@pytest.fixture
def errand(machine: Machine) -> Errand:
    return _errand(machine)


def here(machine: Machine) -> list[str]:
    return ["warehouse"] if machine.application and machine.application.name == "warehouse" else []


@pytest.mark.each(cases=here)
def test_login(errand: Errand, case: str) -> None:
    """a customer logs in through the gateway"""
    assert errand.customer["user"]["role"] == "customer"


@pytest.mark.each(cases=here)
def test_no_token(errand: Errand, case: str) -> None:
    """without a token orders are closed: 401"""
    assert errand.http.get("/api/orders").status_code == 401
    assert errand.http.post("/api/orders", json={}).status_code == 401


@pytest.mark.each(cases=here)
def test_order(errand: Errand, case: str, detail: Detail) -> None:
    """the customer places an order and finds it in the list"""
    detail(f"order {errand.order['id']}")
    listed = errand.http.get("/api/orders", headers=errand.bearer(errand.customer)).json()
    assert errand.order["id"] in [each["id"] for each in listed]


@pytest.mark.each(cases=here)
def test_queue(errand: Errand, case: str, detail: Detail) -> None:
    """the order's event reaches queue order_notifications"""
    after = errand.look(errand.order["id"])
    detail(f"{after['messages']} in the queue, {after['consumers']} consumers")
    assert after["left"] == 0, "its event still waits in the outbox"
    assert after["consumers"] or after["messages"] > errand.before["messages"]


@pytest.mark.each(cases=here)
def test_customer_may_not(errand: Errand, case: str) -> None:
    """a customer may not move an order along: 403"""
    path = f"/api/orders/{errand.order['id']}/status"
    answer = errand.http.patch(path, json={"status": "confirmed"}, headers=errand.bearer(errand.customer))
    assert answer.status_code == 403


@pytest.mark.each(cases=here)
def test_push(errand: Errand, case: str) -> None:
    """an admin's change of the order is pushed to the customer's WebSocket"""
    path = f"/api/orders/{errand.order['id']}/status"
    with connect(
        f"wss://{errand.address}/ws", ssl=errand.tls, additional_headers=errand.bearer(errand.customer)
    ) as live:
        answer = errand.http.patch(path, json={"status": "cancelled"}, headers=errand.bearer(errand.admin))
        assert answer.status_code == 200, answer.text
        wanted = {"order_id": errand.order["id"], "new_status": "cancelled", "updated_by": "admin"}
        pushed = json.loads(live.recv(timeout=30))
        while pushed["type"] != "order_update":
            pushed = json.loads(live.recv(timeout=30))
        assert pushed["payload"] == wanted


@pytest.mark.each(cases=here)
def test_logout(errand: Errand, case: str) -> None:
    """a token that was logged out is refused"""
    for login in (errand.admin, errand.customer):
        assert errand.http.post("/logout", headers=errand.bearer(login)).status_code == 200
        assert errand.http.get("/api/orders", headers=errand.bearer(login)).status_code == 401
