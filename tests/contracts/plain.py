"""What contract tests of applications behind a plain port and an envelope share."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.environment import Gateway, bracketed

PORT = 8080
PASSWORD = "password123"


class Patient(httpx2.HTTPTransport):
    """Comes again when the gateway says that it may: who runs many tests asks more than any client would."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        deadline = time.monotonic() + 180
        while True:
            answer = super().handle_request(request)
            if answer.status_code != 429 or time.monotonic() > deadline:
                return answer
            answer.read()
            time.sleep(float(answer.headers["Retry-After"]))


@contextmanager
def client(gateway: Gateway, patient: bool = True) -> Iterator[httpx2.Client]:
    """Nobody in particular; redirects are answers, not followed."""
    transport = Patient() if patient else httpx2.HTTPTransport()
    url = f"http://{bracketed(gateway.address)}:{PORT}"
    with httpx2.Client(base_url=url, transport=transport, timeout=60) as found:
        yield found


@dataclass
class User:
    """Somebody who is logged in. `id` is a UUID."""

    http: httpx2.Client
    id: str
    email: str
    token: str = field(repr=False)

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """A request with the user's token."""
        bearer = {"Authorization": f"Bearer {self.token}"}
        return self.http.request(method, path, headers=bearer | options.pop("headers", {}), **options)


def enter(http: httpx2.Client, path: str, email: str, password: str = PASSWORD) -> User:
    answer = http.post(path, json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    return User(http, found["user"]["id"], email, found["token"])


def claims(token: str) -> dict[str, Any]:
    """What a token says, whoever signed it."""
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(f"{body}=="))
    return found


def signed(claims: Mapping[str, object], secret: str, algorithm: str = "HS256") -> str:
    """A token signed with a shared secret; by the algorithm `none`, not at all."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = {"alg": algorithm, "typ": "JWT"}
    text = ".".join(part(json.dumps(each).encode()) for each in (head, claims))
    mac = hmac.digest(secret.encode(), text.encode(), "sha256") if algorithm == "HS256" else b""
    return f"{text}.{part(mac)}"


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal, which has the documented form and tells nothing of us."""
    asked = f"{answer.request.method} {answer.request.url}"
    assert answer.headers["Content-Type"].startswith("application/json"), asked
    body = answer.json()
    assert body["success"] is False, asked
    assert body["error"]["message"], asked
    assert not [word for word in ("Traceback", "sqlalchemy", "psycopg", "/app/") if word in answer.text], (
        asked
    )
    return answer.status_code, body["error"]["code"]


@contextmanager
def own_gateway(
    request: pytest.FixtureRequest, folder: Path, application: str, network: dict[str, str]
) -> Iterator[Gateway]:
    """Of the environment that the command line names, or of one that is there for these tests alone."""
    if request.config.getoption("--environment", default=None):
        yield request.getfixturevalue("gateway")
        return
    from hostwright import paths
    from tests import environment
    from tests.live import make, temporary

    file = paths.toolkit() / "services" / "apps" / f"{application}.yml"
    with temporary(make(folder, f"test-{application}", network, application=file)) as live:
        live.hostwright("up")
        yield environment.gateway(live)
