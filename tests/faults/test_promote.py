"""An environment with ten thousand orders moves to a cluster: killed on the way, and whole in the end."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests import environment
from tests.environment import Account
from tests.live import Live, cluster, make, purge, temporary

pytestmark = pytest.mark.slow  # two environments

OLD, NEW = "test-single", "test-cluster"
NETWORKS = [
    {"mode": "nat", "cidr": f"10.{number}.0.0/24", "cidr6": f"fd00:{number}::/64"} for number in (102, 103)
]
ORDERS = "10000"
ORDER = {"customer_name": "Iga", "customer_email": "iga@example.com", "source": "manual", "total_amount": 3.5}
FILL = """
    INSERT INTO orders (owner_id, customer_name, customer_email, source, status, total_amount)
    SELECT 1, 'Zażółć ' || n, n || '@example.com', 'website', 'new', (n * 0.01)::numeric(12, 2)
    FROM generate_series(1, 10000) AS n
"""
COUNT = "SELECT count(*) FROM orders WHERE customer_name LIKE 'Zażółć %'"
PSQL = ("env", "PGHOST=/run/postgresql", "PGUSER=postgres", "psql", "-tA", "--dbname=orders_db")
HOST = ("docker", "compose", "--project-directory", "/etc/hostwright/warehouse", "exec", "-T", "orders-db")
CLUSTER = (
    "/snap/bin/microk8s", "kubectl", "--namespace=warehouse-prod", "exec", "orders-db-0", "--",
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Live]]:
    """A host with orders, and a cluster that nobody has used yet; both up and proven."""
    with temporary(make(tmp_path_factory.mktemp("promote"), OLD, NETWORKS[0])) as made:
        # With two in the project each has to say which it is.
        old = dataclasses.replace(made, env=made.env | {"HOSTWRIGHT_ENVIRONMENT": OLD})
        old.hostwright("up")
        sql(old, HOST, FILL)
        try:
            new = cluster(old, NEW, NETWORKS[1])
            new.hostwright("up", timeout=3600)
            yield old, new
        finally:
            old.hostwright("down", "-e", NEW, "--data", "--yes", check=False)
            purge(NEW)


def sql(live: Live, into: tuple[str, ...], query: str) -> str:
    done = live.hostwright("ssh", "--", "sudo", *into, *PSQL, f"--command={query}")
    return done.stdout.strip()


def promote(live: Live, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return live.hostwright("promote", "--from", OLD, "--to", NEW, *options, check=check, timeout=3600)


def client(live: Live) -> httpx2.Client:
    return environment.client(environment.gateway(live))


def kill_in(live: Live, phase: str) -> None:
    """Start it, and SIGKILL it and its children when the phase begins."""
    with live.begun(phase, "promote", "--from", OLD, "--to", NEW) as (process, said):
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, "".join(said)


def test_ten_thousand_orders_go_to_a_cluster(pair: tuple[Live, Live]) -> None:
    old, new = pair
    secrets = environment.secrets(old)
    with client(old) as http:
        customer = environment.register(http)
        order = customer.ask("POST", "/api/orders", json=ORDER).json()

    kill_in(old, "copy")
    refused = old.hostwright("up", check=False)
    assert refused.returncode == 1
    assert "has been promoted, or is about to be" in refused.stderr
    half = new.hostwright("up", check=False, timeout=3600)
    assert half.returncode == 1
    assert f'marked "copying {OLD}"' in half.stderr

    promote(old, "--abort")
    with client(old) as http:
        back = dataclasses.replace(customer, http=http)
        assert seen(back, order) == order

    done = promote(old)
    assert f"{NEW} serves, and {OLD} is stopped" in done.stdout
    assert sql(new, CLUSTER, COUNT) == ORDERS
    carried = environment.secrets(new)
    assert carried["token_private_key"] == secrets["token_private_key"]
    assert carried["ca_private_key"] != secrets["ca_private_key"]
    with client(new) as http:
        moved = dataclasses.replace(customer, http=http)  # with the token that the old one gave
        assert seen(moved, order) == order
        again = environment.login(http, customer.email, customer.password)
        assert again.ask("POST", "/api/orders", json=ORDER).json()["id"] > order["id"]
    with client(old) as http, pytest.raises(httpx2.TransportError):
        http.get("/")

    new.hostwright("proof", "--contracts", timeout=3600)
    assert "hostwright down -e" in promote(old, "--confirm").stdout
    new.hostwright("up", timeout=3600)
    ended = promote(old, check=False)
    assert ended.returncode == 2
    assert f"{OLD} has been promoted to {NEW}" in ended.stderr


def seen(account: Account, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = account.ask("GET", f"/api/orders/{order['id']}").json()
    return found
