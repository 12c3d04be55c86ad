"""Three instances of a service: requests go on while they are made anew, or one is ill, and on a rollback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tests import environment
from tests.environment import Account, Gateway
from tests.host import Node

pytestmark = pytest.mark.slow  # deployments under load; what is decided is tested without hosts too

INSTANCES = ("orders", "orders-2", "orders-3")
ORDER = {
    "customer_name": "Ola",
    "customer_email": "ola@example.com",
    "source": "website",
    "total_amount": 1.5,
}
WAIT = 5  # seconds that the gateway waits for an answer here


@pytest.fixture(scope="module")
def three(live: Any) -> Iterator[None]:
    """Three instances of orders; afterwards `up` goes forward to what others expect, and proves it."""
    before = live.variables.read_text()
    live.configure(app_compose_replicas={"orders": 3}, app_compose_gateway={"timeout": WAIT})
    live.deploy()
    try:
        yield
    finally:
        live.variables.write_text(before)
        live.hostwright("up")


class Load:
    """What was answered while it was on: (method, status or error, seconds)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any, float]] = []

    def failures(self, method: str = "") -> list[tuple[str, Any, float]]:
        return [each for each in self.seen if each[1] not in (200, 201) and (not method or each[0] == method)]

    def methods(self) -> set[str]:
        return {method for method, _, _ in self.seen}


@contextmanager
def load(gateway: Gateway, account: Account) -> Iterator[Load]:
    """Reads and writes all the while, each client over a connection that it keeps."""
    found, stop = Load(), threading.Event()

    def go(method: str) -> None:
        with environment.client(gateway) as http:
            while not stop.wait(0.4):
                started, status = time.monotonic(), None
                try:
                    order = {"json": ORDER} if method == "POST" else {}
                    path, token = "/api/orders?limit=1", account.bearer
                    status = http.request(method, path, headers=token, **order).status_code
                except httpx2.HTTPError as error:
                    status = repr(error)
                found.seen.append((method, status, time.monotonic() - started))

    threads = [threading.Thread(target=go, args=(method,)) for method in ("GET", "POST", "GET", "POST")]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert found.methods() == {"GET", "POST"}


def releases(live: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(live.hostwright("releases", "--json").stdout)
    return found


def level(node: Node, name: str) -> str:
    """What an instance was told to log."""
    told = node.inspect(node.service(name), "{{range .Config.Env}}{{println .}}{{end}}")
    return next(line for line in told.splitlines() if line.startswith("LOG_LEVEL="))


@pytest.mark.usefixtures("three")
def test_a_change_is_rolled_in_and_back_and_forward_again(
    live: Any, node: Node, gateway: Gateway, customer: Account
) -> None:
    assert all(node.healthy(name) for name in INSTANCES)
    before = {name: node.service(name) for name in (*INSTANCES, "auth", "gateway")}
    kept = releases(live)
    assert [each["state"] for each in kept].count("current") == 1
    with load(gateway, customer) as seen:
        live.configure(app_compose_settings={"orders": {"LOG_LEVEL": "debug"}})
        live.deploy()
        assert {level(node, name) for name in INSTANCES} == {"LOG_LEVEL=debug"}
        after = {name: node.service(name) for name in before}
        assert {name for name in before if before[name] != after[name]} == {*INSTANCES}
        newer = releases(live)
        assert newer[0]["release"] == kept[0]["release"] + 1
        assert (newer[0]["state"], newer[0]["databases"]["orders-db/orders_db"] != "") == ("current", True)

        done = live.hostwright("rollback")
        assert f"release {kept[0]['release']} of" in done.stdout
        assert "migrations only go forward" in done.stderr
        assert {level(node, name) for name in INSTANCES} == {"LOG_LEVEL=info"}
        assert releases(live)[0]["release"] == kept[0]["release"]

        live.deploy()
        assert {level(node, name) for name in INSTANCES} == {"LOG_LEVEL=debug"}
        assert releases(live)[0]["release"] == newer[0]["release"]

        started = node.inspect(node.service("auth"), "{{.State.StartedAt}}")
        live.hostwright("restart", "auth")
        assert node.inspect(node.service("auth"), "{{.State.StartedAt}}") > started
    assert len(seen.seen) > 200
    assert seen.failures() == []


@pytest.mark.usefixtures("three")
def test_an_instance_that_does_not_answer_is_left_alone(
    node: Node, gateway: Gateway, customer: Account
) -> None:
    with load(gateway, customer) as seen:
        time.sleep(1)
        node.run("docker", "pause", node.service("orders-2"))
        try:
            time.sleep(WAIT + 1)
            since = len(seen.seen)
            time.sleep(WAIT)
        finally:
            node.run("docker", "unpause", node.service("orders-2"))
    assert len(seen.seen[since:]) > 10, "requests go on"
    assert seen.failures("GET") == [], "what may be asked twice is asked of another"
    lost = seen.failures("POST")
    assert len(lost) <= 4
    assert {status for _, status, _ in lost} <= {504}


@pytest.mark.usefixtures("three")
def test_a_release_that_does_not_run_is_told_and_disturbs_nobody(
    live: Any, node: Node, gateway: Gateway, customer: Account
) -> None:
    held = live.variables.read_text()
    current = releases(live)[0]["release"]
    with load(gateway, customer) as seen:
        live.configure(app_compose_settings={"auth": {"LOG_LEVEL": "loud"}}, app_compose_timeout=30)
        with pytest.raises(AssertionError) as failure:
            live.deploy()
        live.variables.write_text(held)
        assert "LOG_LEVEL" in str(failure.value)
        assert f"hostwright rollback {current}" in str(failure.value)
        unwell, last, *_ = releases(live)
        assert (unwell["state"], last["state"], last["release"]) == ("not well", "ran last", current)
        assert f"release {current} of" in live.hostwright("rollback").stdout
        assert releases(live)[0]["release"] == current
    assert seen.failures() == []


@pytest.mark.parametrize(
    ("release", "what"), [("999", "unknown release 999"), ("last", "'last' is no release")]
)
def test_a_release_that_is_not_there_is_refused(live: Any, release: str, what: str) -> None:
    done = live.hostwright("rollback", release, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr
