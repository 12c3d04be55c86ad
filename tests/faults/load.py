"""A shop at work: customers place orders at a steady rate, staff confirm each of them and read everything.

They are good clients: a request without an answer, or with one that says "later", is sent again, an order
under the same idempotency key. Every attempt is written down: afterwards it is known what failed when.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from hostwright import application, environments
from hostwright.application import Application
from hostwright.proof.wanted import GATEWAYS
from tests import environment
from tests.environment import Account, Gateway
from tests.faults.named import AsyncNamed
from tests.faults.needs import READS
from tests.host import Node
from tests.live import Live

PATIENCE = 60.0  # seconds that a client tries for
ATTEMPT = 6.0  # seconds for one attempt
PAUSES = (0.2, 0.5, 1.0)  # seconds between attempts, the last again and again
LATER = frozenset({429, 500, 502, 503, 504})
READ_EVERY = 1.0  # seconds, of each service
MAX_PAGE = 1000


@dataclass(frozen=True)
class Attempt:
    """One request: its path, when it was sent (monotonic seconds), and what went wrong, if anything did.

    `answered`: by whatever status, in time.
    """

    path: str
    at: float
    problem: str | None
    answered: bool = True


@dataclass
class Order:
    """What a customer wanted, under one key; `id` is known from the moment the shop accepted it.

    `refused`: what it, or staff who confirmed it, was told in its place, and not only for now.
    """

    email: str  # of this order alone: it leads from the order to its mails
    amount: int
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    id: int | None = None
    accepted_at: float = 0.0  # monotonic seconds
    confirmed: bool = False
    refused: str = ""


@dataclass(frozen=True)
class People:
    """Who is there: logged in once, for as many rounds as one likes."""

    gateway: Gateway
    customers: tuple[Account, ...]
    admin: Account

    @classmethod
    def of(cls, gateway: Gateway) -> People:
        http = environment.client(gateway)
        customers = tuple(environment.register(http) for _ in range(3))
        return cls(gateway, customers, environment.login(http, gateway.admin_email, gateway.admin_password))


@dataclass(frozen=True)
class Shop:
    """A live environment with people in it; `node` is its one host, or a cluster's first server."""

    live: Live
    node: Node
    application: Application
    people: People

    @classmethod
    def of(cls, live: Live) -> Shop:
        app = application.load(environments.load(live.name, live.project).application, live.project)
        return cls(live, Node(live.hosts()[0]["name"]), app, People.of(environment.gateway(live)))


class Load:
    """Placed by `rate` a second while it runs; `orders` and `attempts` stay to be looked at."""

    def __init__(self, people: People, http: httpx2.AsyncClient, rate: float, attempt: float) -> None:
        self.people = people
        self.orders: list[Order] = []
        self.attempts: list[Attempt] = []
        self._http = http
        self._rate = rate
        self._attempt = attempt
        self._mark = uuid.uuid4().hex[:12]
        self._stop = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def running(cls, people: People, rate: float, attempt: float = ATTEMPT) -> AsyncIterator[Load]:
        """On exit nobody begins anything new, and who waits for an answer gets it or gives up.

        `attempt`: seconds that each waits for an answer.
        """
        async with client(people.gateway, attempt) as http:
            load = cls(people, http, rate, attempt)
            loops = [asyncio.create_task(each) for each in (load._customers(), *map(load._reader, READS))]
            try:
                yield load
            finally:
                load._stop.set()
                await asyncio.gather(*loops)
                await asyncio.gather(*load._under_way)

    @property
    def accepted(self) -> list[Order]:
        return [each for each in self.orders if each.id is not None]

    @property
    def refused(self) -> list[str]:
        return [f"{each.email} was refused: {each.refused}" for each in self.orders if each.refused]

    async def _customers(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set():
            number = len(self.orders) + 1
            order = Order(f"order-{self._mark}-{number}@example.com", number)
            self.orders.append(order)
            task = asyncio.create_task(self._live(order))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await self._until(begun + number / self._rate)

    async def _reader(self, service: str) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            await self._ask(self.people.admin, "GET", READS[service])
            await self._until(started + READ_EVERY)

    async def _live(self, order: Order) -> None:
        """An order's life as far as people push it: placed by its customer, confirmed by staff."""
        customer = self.people.customers[order.amount % len(self.people.customers)]
        body = {"customer_name": order.key, "customer_email": order.email, "total_amount": order.amount}
        key = {"Idempotency-Key": order.key}
        answer = await self._insist(customer, "POST", "/api/orders", json=body, headers=key)
        if answer is None or answer.status_code != 201:
            order.refused = _told(answer)
            return
        order.id, order.accepted_at = int(answer.json()["id"]), time.monotonic()
        path = f"/api/orders/{order.id}/status"
        answer = await self._insist(self.people.admin, "PATCH", path, json={"status": "confirmed"})
        # 409 after a try whose answer was lost: it is confirmed already.
        order.confirmed = answer is not None and (
            answer.status_code == 200
            or (answer.status_code == 409 and answer.json().get("status") == "confirmed")
        )
        order.refused = "" if order.confirmed else _told(answer)

    async def _insist(self, who: Account, method: str, path: str, **more: Any) -> httpx2.Response | None:
        """The first answer that is final; None if there is none in time."""
        deadline = time.monotonic() + PATIENCE
        for attempt in range(1000):
            answer = await self._ask(who, method, path, **more)
            later = answer is None or answer.status_code in LATER or _foreign(answer) or _under_way(answer)
            if not later or time.monotonic() > deadline:
                return None if later else answer
            await asyncio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
        return None

    async def _ask(self, who: Account, method: str, path: str, **more: Any) -> httpx2.Response | None:
        """One attempt, written down."""
        at = time.monotonic()
        headers = who.bearer | more.pop("headers", {})
        answer, problem = None, None
        try:
            async with asyncio.timeout(self._attempt):
                answer = await self._http.request(method, path, headers=headers, **more)
            if answer.status_code >= 500 or answer.status_code in (401, 429) or _foreign(answer):
                problem = _told(answer)
        except (httpx2.TransportError, TimeoutError) as error:
            problem = f"{type(error).__name__} {error}"
        said = problem and f"{method} {path}: {problem}"
        self.attempts.append(Attempt(path, at, said, answer is not None))
        return answer

    async def _until(self, moment: float) -> None:
        """Waits for the moment (monotonic seconds), or for the end."""
        try:
            async with asyncio.timeout(max(moment - time.monotonic(), 0)):
                await self._stop.wait()
        except TimeoutError:
            return


def client(gateway: Gateway, attempt: float = ATTEMPT) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=200, max_keepalive_connections=20)
    way = AsyncNamed(gateway.address, gateway.tls, limits)
    return httpx2.AsyncClient(base_url=gateway.url, transport=way, timeout=attempt)


def _told(answer: httpx2.Response | None) -> str:
    return f"{answer.status_code} {answer.text[:200]}" if answer is not None else ""


def _foreign(answer: httpx2.Response) -> bool:
    """Whether somebody before our gateways answers, as a controller that knows of no way yet."""
    return GATEWAYS not in answer.headers


def _under_way(answer: httpx2.Response) -> bool:
    """409 of a key whose first request has not been answered yet."""
    return answer.status_code == 409 and "under way" in answer.text
