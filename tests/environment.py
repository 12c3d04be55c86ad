"""What the tests of a live environment ask of it beyond what an operator's command answers."""

from __future__ import annotations

import json
import secrets as randomness
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from hostwright.application import Application
from hostwright.proof.feed import Feed
from hostwright.proof.knock import trusting
from hostwright.proof.named import Named
from hostwright.secrets import trusted

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
    """Where the application is, whom to trust, and its first admin.

    `names`: by address, the first for everything, under which name the application is asked for there.
    `protocol` and `port` are those of `entrance`. `sink`: mails stay in the application's own sink, where an
    admin can read them. `ingress`: a cluster's controller is before it.
    """

    names: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    protocol: str = "https"
    port: int = 443
    sink: bool = True
    ingress: bool = False

    @property
    def address(self) -> str:
        return next(iter(self.names))

    @property
    def name(self) -> str:
        return self.names[self.address]

    @property
    def host(self) -> str:
        """The name as in a URL: an IPv6 address in brackets."""
        return bracketed(self.name)

    @property
    def url(self) -> str:
        usual = (self.protocol, self.port) in (("https", 443), ("http", 80))
        return f"{self.protocol}://{self.host}" + ("" if usual else f":{self.port}")

    @property
    def ca(self) -> str:
        return trusted(self.secrets)

    @property
    def admin_email(self) -> str:
        return self.secrets["admin_email"]

    @property
    def admin_password(self) -> str:
        return self.secrets["admin_password"]

    @property
    def tls(self) -> ssl.SSLContext:
        return trusting(self.ca)

    def feed(self, path: str, **options: Any) -> Feed:
        """A WebSocket; `options` are those of Feed."""
        return Feed(f"wss://{self.host}{path}", self.tls, host=self.address, **options)


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


def bracketed(address: str) -> str:
    """As in a URL."""
    return f"[{address}]" if ":" in address else address


def fresh_email() -> str:
    return f"jan.{randomness.token_hex(6)}@hostwright.invalid"


def login(http: httpx2.Client, email: str, password: str) -> Account:
    answer = http.post("/api/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    user = answer.json()["user"]
    return Account(http, user["id"], user["email"], user["role"], answer.json()["token"], password)


def gateway(live: Any, name: str = "", **options: Any) -> Gateway:
    """The live environment's own, at its first host or one of that name.

    A cluster's is asked for by a server's name: its Ingress has it. `options` are more of Gateway's fields.
    """
    host = next(each for each in live.hosts() if name in ("", each["name"]))
    clustered = "servers" in host["groups"]
    names = {address: host["name"] if clustered else address for address in addresses(host)}
    return Gateway(names, secrets(live), ingress=clustered, **options)


def entrance(application: Application) -> dict[str, Any]:
    """Where people come in: protocol and port."""
    assert application.entrance
    return {"protocol": application.entrance.protocol, "port": application.entrance.port}


def addresses(host: Mapping[str, Any]) -> list[str]:
    """Of a host record: by which its gateway is reached, the first for everything."""
    return [found for name in ("address", "address6") if (found := host.get(name))]


def client(gateway: Gateway, address: str = "", tls: ssl.SSLContext | None = None) -> httpx2.Client:
    """Nobody in particular, at the first address unless told; redirects are answers, not followed."""
    address = address or gateway.address
    return httpx2.Client(
        base_url=f"https://{bracketed(gateway.names[address])}",
        transport=Named(address, tls or gateway.tls),
        timeout=60,
    )


def register(http: httpx2.Client) -> Account:
    """A new customer, logged in."""
    email, password = fresh_email(), f"rower-{randomness.token_hex(6)}"
    answer = http.post("/api/auth/register", json={"email": email, "password": password})
    assert answer.status_code == 201, answer.text
    return login(http, email, password)


def enrol(admin: Account, role: str = "customer", **more: Any) -> Account:
    """A new user whom the admin registered, logged in: of these no limit of registrations is asked."""
    body = {"email": fresh_email(), "password": f"rower-{randomness.token_hex(6)}", "role": role} | more
    answer = admin.ask("POST", "/api/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    return login(admin.http, body["email"], body["password"])


T = TypeVar("T")


def heard(ask: Callable[[], T], what: str, seconds: float = 60) -> T:
    """What is answered as soon as it is something: services hear of each other's doings a moment later."""
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return found


def following(feed: Feed, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
    """The next message that is wanted. Others go by: heartbeats, and what is late of before."""
    deadline = time.monotonic() + seconds
    while True:
        message: dict[str, Any] = json.loads(feed.recv(max(deadline - time.monotonic(), 0)))
        if wanted(message):
            return message


def refused(answer: httpx2.Response, *statuses: int, fields: list[str] | None = None) -> dict[str, Any]:
    """The body of a refusal with one of the statuses: in the documented form, and telling nothing of us."""
    asked = f"{answer.request.method} {answer.request.url}"
    assert answer.status_code in statuses, f"{asked}: {answer.status_code} {answer.text[:300]}"
    assert answer.headers["Content-Type"].startswith("application/json"), asked
    body: dict[str, Any] = answer.json()
    assert isinstance(body["error"], str), asked
    assert body["error"], asked
    assert not [word for word in ("Traceback", "sqlalchemy", "psycopg", "/app/") if word in answer.text], (
        asked
    )
    if fields is not None:
        named = {each.partition(".")[0] for each in body["fields"]}
        assert named == set(fields), f"{asked}: {answer.text[:300]}"
    return body
