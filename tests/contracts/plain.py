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
from typing import Any, Protocol

import httpx2
import pytest

from hostwright.proof.named import Named
from tests.environment import Gateway

PASSWORD = "password123"


class Hands(Protocol):
    """Of whoever may let a service die and come back, by its name."""

    def kill(self, name: str) -> None: ...

    def start(self, name: str) -> None: ...


@dataclass(frozen=True)
class Trial:
    """An application that is tried: its gateway, and `hands` where nobody is harmed by them."""

    door: Gateway
    hands: Hands | None = None


class Patient(Named):
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
    transport = (Patient if patient else Named)(gateway.address, gateway.tls)
    with httpx2.Client(base_url=gateway.url, transport=transport, timeout=60) as found:
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
def trial(
    request: pytest.FixtureRequest, folder: Path, name: str, network: dict[str, str], tls: bool = False
) -> Iterator[Trial]:
    """The application in the environment that the command line names, or in one of the tests' own.

    That has a host in the slow layer, and none elsewhere: there anybody may enter as often as they like, and
    the main port has TLS if `tls`.
    """
    if request.config.getoption("--environment", default=None):
        yield Trial(request.getfixturevalue("gateway"))
        return
    from tests.contracts import own

    if request.config.getoption("--full"):
        with own.hosted(name, folder, network) as found:
            yield found
    else:
        with own.local(name, limits={"entry": 1000}, tls=tls) as found:
            yield Trial(found.door, found)
