"""The warehouse at work: an order through its gateway, as a customer and an admin would see it."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pytest

from hostwright.proof.feed import Feed
from hostwright.proof.knock import trusting
from hostwright.proof.named import Named
from hostwright.proof.wanted import Machine, bracketed
from hostwright.secrets import trusted

pytestmark = [pytest.mark.app_compose, pytest.mark.app_kubernetes, pytest.mark.place("outside")]

AREA = "Warehouse"
Detail = Callable[[object], None]
PATIENCE = 60  # seconds; an emulated guest needs many of them


# Where only a Python is known: one body to notification, once for each headers.
POST = """
import json, sys, urllib.error, urllib.request
found = []
for headers in json.loads(sys.argv[2]):
    asked = urllib.request.Request(sys.argv[1] + "/webhooks/orders", sys.argv[3].encode(), headers)
    try:
        answer = urllib.request.urlopen(asked, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    found.append({"status": answer.status, "body": json.load(answer)})
json.dump(found, sys.stdout)
"""


class Step(functools.cached_property[Any]):
    """A step of an errand: what it found, or how it failed, holds for every row. None is taken twice."""

    def __get__(self, errand: Any, owner: type[Any] | None = None) -> Any:
        if error := errand.failed.get(self.func):
            raise error
        try:
            return super().__get__(errand, owner)
        except Exception as error:
            errand.failed[self.func] = error
            raise


class Errand:
    """What the proof does at one warehouse, each step once; it leaves a cancelled order behind."""

    def __init__(self, machine: Machine) -> None:
        self.failed: dict[Callable[..., Any], Exception] = {}
        self.machine = machine
        self.secrets = machine.secrets
        self.tls = trusting(trusted(self.secrets))
        self.address = machine.addresses[0]
        self.name = machine.known_as(self.address)
        self.http = httpx2.Client(
            base_url=f"https://{bracketed(self.name)}",
            transport=Named(self.address, self.tls),
            timeout=PATIENCE,
        )

    def live(self) -> Feed:
        """The customer's WebSocket."""
        return Feed(
            f"wss://{bracketed(self.name)}/ws",
            self.tls,
            host=self.address,
            additional_headers=self.bearer(self.customer),
        )

    @Step
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

    @Step
    def admin(self) -> dict[str, Any]:
        account = {"email": self.secrets["admin_email"], "password": self.secrets["admin_password"]}
        answer = self.http.post("/api/auth/login", json=account)
        stack = self.machine.variables["hostwright_environment"]["name"]
        assert answer.status_code != 401, (
            "the first admin has another password than the environment's secrets: put it there, "
            f"in infra/: pulumi config set --stack {stack} --secret secret-admin_password; then hostwright up"
        )
        assert answer.status_code == 200, f"login answered {answer.status_code}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    @Step
    def order(self) -> dict[str, Any]:
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
        # By when it has become all that follows from an order: one wait for all, as they happen side by side.
        self.settled = time.monotonic() + PATIENCE
        found: dict[str, Any] = answer.json()
        return found

    def hook(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        """What the host's listener answers to the event of a notification: `{"status", "body"}`.

        First to the event with a wrong signature, then with a good one. On a cluster it is what notification
        answers to orders, to whom alone it listens beside the gateway.
        """
        names = ("order_id", "customer_name", "status", "total_amount")
        body = json.dumps({name: told[name] for name in names} | {"timestamp": told["occurred_at"]})
        now = str(int(time.time()))
        content = f"{told['event_id']}.{now}.{body}".encode()
        good = hmac.digest(self.secrets["webhook_key"].encode(), content, "sha256")
        kind = "order.created" if told["status"] == "new" else "order.status_changed"
        requests = [
            {
                "webhook-id": told["event_id"],
                "webhook-timestamp": now,
                "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
                "ce-type": kind,
                "ce-source": "/orders",
                "ce-time": told["occurred_at"],
                "content-type": "application/json",
            }
            for signature in (bytes(32), good)
        ]
        if self.machine.clustered:
            program = ("python", "-c", POST, "http://notification:8080", json.dumps(requests), body)
            said = self.machine.inside("orders", *program)
        else:
            arguments = (POST, "http://127.0.0.1:8082", json.dumps(requests), body)
            done = self.machine.host.run("python3 -c %s %s %s %s", *arguments)
            assert done.rc == 0, done.stderr
            said = done.stdout
        found: list[dict[str, Any]] = json.loads(said)
        return found

    def bearer(self, login: dict[str, Any]) -> dict[str, str]:
        return {"Authorization": f"Bearer {login['token']}"}

    def heard(self, path: str, found: Callable[[Any], Any]) -> Any:
        """What `found` makes of a path's answer to the admin, as soon as it is something."""
        while True:
            answer = self.http.get(path, headers=self.bearer(self.admin))
            assert answer.status_code == 200, f"answered {answer.status_code}: {answer.text}"
            seen = found(answer.json())
            if seen or time.monotonic() > self.settled:
                return seen
            time.sleep(0.2)


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
def test_notification(errand: Errand, case: str, detail: Detail) -> None:
    """the order becomes a notification for staff"""
    number = errand.order["id"]
    found = errand.heard(
        "/api/notifications?limit=50", lambda all_: [each for each in all_ if each["order_id"] == number]
    )
    assert found, "nobody was notified of it"
    detail(found[0]["text"])


@pytest.mark.place("host")
@pytest.mark.each(cases=here)
def test_webhook(errand: Errand, case: str) -> None:
    """the webhook takes signed events alone, and drops the twin of one that came"""
    number = errand.order["id"]
    found = errand.heard(
        "/api/notifications?limit=50", lambda all_: [each for each in all_ if each["order_id"] == number]
    )
    assert found, "nobody was notified of the order"
    answers = errand.hook(found[0])
    assert [answer["status"] for answer in answers] == [401, 202]
    assert answers[1]["body"] == {"event_id": found[0]["event_id"], "duplicate": True}


@pytest.mark.each(cases=here)
def test_statistics(errand: Errand, case: str, detail: Detail) -> None:
    """analytics counts the order"""
    placed = datetime.fromisoformat(errand.order["created_at"])
    period = urlencode({"start": placed.isoformat(), "end": (placed + timedelta(seconds=1)).isoformat()})
    found = errand.heard(f"/api/reports/stats?{period}", lambda stats: stats["total_orders"])
    assert found, "it is not counted"
    detail(f"{found} in its second")


@pytest.mark.each(cases=here)
def test_mail(errand: Errand, case: str, detail: Detail) -> None:
    """the customer's mail about the order is sent"""
    query = urlencode({"recipient": errand.customer["user"]["email"], "template": "order_placed"})
    sent = errand.heard(
        f"/api/mail?{query}&created_from={quote(errand.order['created_at'])}",
        lambda mails: [each for each in mails if each["status"] == "sent"],
    )
    assert sent, "no mail was sent"
    detail(f"{sent[0]['template']} in {sent[0]['language']}")


@pytest.mark.each(cases=lambda machine: ["/", "/panel/"] if here(machine) else [])
def test_page(errand: Errand, case: str) -> None:
    """the page {case} is served"""
    answer = errand.http.get(case, headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src" in answer.headers["Content-Security-Policy"]


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
    with errand.live() as live:
        answer = errand.http.patch(path, json={"status": "cancelled"}, headers=errand.bearer(errand.admin))
        assert answer.status_code == 200, answer.text
        wanted = {"order_id": errand.order["id"], "new_status": "cancelled", "updated_by": "admin"}
        pushed = json.loads(live.recv())
        while pushed["type"] != "order_update":
            pushed = json.loads(live.recv())
        assert pushed["payload"] == wanted


@pytest.mark.each(cases=here)
def test_logout(errand: Errand, case: str) -> None:
    """a token that was logged out is refused"""
    for login in (errand.admin, errand.customer):
        assert errand.http.post("/logout", headers=errand.bearer(login)).status_code == 200
        assert errand.http.get("/api/orders", headers=errand.bearer(login)).status_code == 401
