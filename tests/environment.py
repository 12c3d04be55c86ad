"""What the tests of a live environment ask of it beyond what an operator's command answers."""

from __future__ import annotations

import json
import secrets as randomness
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import httpx2

READ = """
import json, sys
from hostwright import environments, secrets
json.dump(secrets.read(environments.load(sys.argv[1])), sys.stdout)
"""


def secrets(live: Any) -> dict[str, str]:
    """The environment's secrets by name, read where its project and passphrase are."""
    done = subprocess.run(
        [sys.executable, "-c", READ, live.name],
        cwd=live.project,
        env=live.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class Gateway:
    """Where the application is, whom to trust, and its first admin."""

    url: str
    ca: str
    admin_email: str
    admin_password: str

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca)

    @property
    def host(self) -> str:
        """As in a URL: an IPv6 address in brackets."""
        return self.url.removeprefix("https://")


@dataclass
class Account:
    """A user who is logged in."""

    http: httpx2.Client
    id: int
    email: str
    role: str
    token: str = field(repr=False)
    password: str = field(repr=False)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """A request with the user's token."""
        return self.http.request(method, path, headers=self.bearer | options.pop("headers", {}), **options)


def fresh_email() -> str:
    return f"jan.{randomness.token_hex(6)}@example.com"


def login(http: httpx2.Client, email: str, password: str) -> Account:
    answer = http.post("/api/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    user = answer.json()["user"]
    return Account(http, user["id"], user["email"], user["role"], answer.json()["token"], password)


def gateway(live: Any) -> Gateway:
    """The live environment's own."""
    held = secrets(live)
    return Gateway(
        f"https://{live.hosts()[0]['address']}",
        held["ca_certificate"],
        held["admin_email"],
        held["admin_password"],
    )


def client(gateway: Gateway) -> httpx2.Client:
    """Nobody in particular; redirects are answers, not followed."""
    return httpx2.Client(base_url=gateway.url, verify=gateway.tls, timeout=15)


def register(http: httpx2.Client) -> Account:
    """A new customer, logged in."""
    email, password = fresh_email(), f"rower-{randomness.token_hex(6)}"
    answer = http.post("/api/auth/register", json={"email": email, "password": password})
    assert answer.status_code == 201, answer.text
    return login(http, email, password)
