"""A host or an engine that is restarted stands up again by itself, with what it knew. Containers: rounds."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest

from tests import environment
from tests.environment import Account, Gateway
from tests.host import Node, until
from tests.killed import assert_whole

ORDER = {
    "customer_name": "Ewa",
    "customer_email": "ewa@example.com",
    "source": "manual",
    "total_amount": 12.5,
}


def place(who: Account) -> dict[str, Any]:
    answer = who.ask("POST", "/api/orders", json=ORDER)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def known(who: Account, order: dict[str, Any]) -> bool:
    answer = who.ask("GET", f"/api/orders/{order['id']}")
    return bool(answer.status_code == 200 and answer.json() == order)


def test_up_killed_in_one_phase_converged(live: Any) -> None:
    """Another phase each day, before any test of the environment; all of them: test_kill.py."""
    assert_whole(live)


@pytest.mark.slow
def test_a_restarted_host_comes_back(live: Any, node: Node, gateway: Gateway, customer: Account) -> None:
    order = place(customer)
    node.container.restart(timeout=60)
    fresh = environment.client(gateway)
    back = Account(fresh, customer.id, customer.email, customer.role, customer.token, customer.password)
    until(lambda: known(back, order), 180, "the order is known after the host's restart")
    assert environment.login(fresh, customer.email, customer.password).id == customer.id
    until(lambda: live.hostwright("status", check=False).returncode == 0, 90, "all containers are healthy")
    proof = live.hostwright("proof", "--json")
    assert json.loads(proof.stdout)["ok"]


def test_a_restarted_engine_drops_nothing(node: Node, http: httpx2.Client, customer: Account) -> None:
    """Containers outlive their engine: live-restore."""
    order, before = place(customer), node.inspect(node.service("orders"), "{{.State.StartedAt}}")
    node.run("systemctl", "restart", "docker.service")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert http.get("/api/v1/health").status_code == 200
        time.sleep(0.2)
    assert known(customer, order)
    assert node.inspect(node.service("orders"), "{{.State.StartedAt}}") == before
