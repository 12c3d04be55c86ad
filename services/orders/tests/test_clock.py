"""The clock of one service jumps, as with a wrong time server: nothing stops, nothing is lost."""

from __future__ import annotations

import json
import shutil
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from kit.tokens import Issuer
from orders.tests.conftest import ORDER, SHARED, STAFF
from testing import patient
from testing.clock import faked, library
from testing.postgres import Postgres
from testing.process import free_port, give, own_directory
from testing.rabbitmq import RabbitMQ
from testing.service import Service

HOUR = 3600
ANSWER = 25  # seconds, after which a service that waits says so

# Not from the start: the library shares memory with the processes of the user whom it meets first. By way of
# /proc, as that user need not be able to reach the interpreter.
PRELOAD = """
import json, os, sys
os.environ |= json.loads(sys.argv[1])
os.execv("/proc/self/exe", sys.argv[2:])
"""


class Clock:
    """What a process started by `starter` takes the time to be; its monotonic clock is true."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "offset"
        self.jump(0)
        environment = faked(library(), self._file)
        self.starter = [sys.executable, "-c", PRELOAD, json.dumps(environment)]

    def jump(self, seconds: int) -> None:
        """To so many seconds off the true time; at once, as the file is never half written."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        give(fresh)
        fresh.rename(self._file)


@dataclass
class Shop:
    """orders, whose clock jumps, and notification, whose clock is true."""

    orders: Service
    notification: Service
    clock: Clock
    issuer: Issuer

    def staff(self) -> dict[str, str]:
        """Headers with a token of this moment."""
        who = {"user_id": STAFF, "email": "staff@example.com", "role": "employee"}
        return {"Authorization": f"Bearer {self.issuer.issue(**who, session=str(uuid.uuid4()))}"}

    def place(self, headers: dict[str, str], key: str | None = None) -> httpx2.Response:
        own = headers | {"Idempotency-Key": key or uuid.uuid4().hex}
        begun = time.monotonic()
        answer = patient.post(f"{self.orders.url}/api/orders", json=ORDER, headers=own)
        assert time.monotonic() - begun < ANSWER, "a clock is nothing to wait for"
        return answer

    def notified(self) -> Counter[int]:
        url = f"{self.notification.url}/api/notifications?limit=1000"
        found: Any = patient.get(url, headers=self.staff()).raise_for_status().json()
        return Counter(each["order_id"] for each in found)


@pytest.fixture(scope="module")
def shop(
    common: dict[str, object],
    postgres: Postgres,
    template: Callable[[str], str],
    rabbitmq: RabbitMQ,
    issuer: Issuer,
) -> Iterator[Shop]:
    def database(name: str) -> dict[str, str | int]:
        return postgres.settings(postgres.create(template(name)))

    directory, port = own_directory("clock"), free_port()
    clock = Clock(directory)
    settings = common | SHARED | rabbitmq.settings() | {"auth_url": f"http://127.0.0.1:{free_port()}"}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        of_orders = settings | database("orders") | {"notification_url": f"http://127.0.0.1:{port}"}
        orders = stack.enter_context(Service.running("orders", of_orders, starter=clock.starter))
        of_notification = settings | database("notification") | {"orders_url": orders.url}
        notification = stack.enter_context(Service.running("notification", of_notification, port))
        yield Shop(orders, notification, clock, issuer)


def test_orders_are_taken_and_told_whatever_the_clock_says(shop: Shop) -> None:
    long_known, key = shop.staff(), uuid.uuid4().hex
    first = shop.place(long_known, key)
    placed = [first]
    for seconds in (HOUR, -HOUR, 3 * HOUR, 0):
        shop.clock.jump(seconds)
        placed.append(shop.place(long_known))
        again = shop.place(long_known, key)
        assert (again.status_code, again.json()) == (201, first.json()), (
            "keys are kept by the database's clock"
        )
        assert again.headers["Idempotent-Replayed"] == "true"
    assert [each.status_code for each in placed] == [201] * 5
    numbers = [each.json()["id"] for each in placed]
    deadline = time.monotonic() + 60
    while shop.notified() != Counter(numbers):
        assert time.monotonic() < deadline, f"{shop.notified()} of {numbers}"
        time.sleep(0.2)


def test_tokens_are_good_again_when_the_clock_is(shop: Shop) -> None:
    assert shop.place(shop.staff()).status_code == 201
    shop.clock.jump(-3)
    assert shop.place(shop.staff()).status_code == 201, "hosts differ by so much"
    for seconds in (25 * HOUR, -HOUR):  # after its end, long before its beginning
        shop.clock.jump(seconds)
        refused = shop.place(shop.staff())
        assert (refused.status_code, refused.json()) == (401, {"error": "Invalid or expired token"})
    shop.clock.jump(0)
    assert shop.place(shop.staff()).status_code == 201
