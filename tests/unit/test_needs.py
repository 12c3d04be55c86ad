"""What a request waits for, as the application file has it."""

from __future__ import annotations

import pytest

from hostwright import application
from tests.faults.faults import possible
from tests.faults.needs import READS, containers, needs

WAREHOUSE = application.load("warehouse")
AUTH = {"gateway", "auth", "auth-db"}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/", {"gateway", "storefront"}),
        ("/panel/", {"gateway", "panel"}),
        ("/panels", {"gateway", "storefront"}),
        ("/api/auth/login", AUTH),
        ("/api/orders", AUTH | {"orders", "orders-db"}),
        ("/api/orders/7/status?x=/ws", AUTH | {"orders", "orders-db"}),
        ("/api/reports/stats", AUTH | {"analytics", "orders-db"}),
        ("/ws/notifications", {"gateway", "notification", "orders-db"}),
    ],
)
def test_needs(path: str, names: set[str]) -> None:
    assert needs(WAREHOUSE, path) == names


def test_every_service_behind_the_gateway_is_read() -> None:
    assert {each.service for each in WAREHOUSE.gateway.routes} == set(READS)
    for service, path in READS.items():
        assert service in needs(WAREHOUSE, path)


def test_what_can_happen_to_whom() -> None:
    found = {name: possible(WAREHOUSE, name) for name in containers(WAREHOUSE)}
    assert {name for name, faults in found.items() if "poison" in faults} == {
        "notification",
        "analytics",
        "mail",
    }
    assert {name for name, faults in found.items() if "full disk" in faults} == {"orders-db", "auth-db"}
    assert {name for name, faults in found.items() if "slow" in faults} == {
        "orders-db",
        "auth-db",
        "rabbitmq",
        "auth",
    }
    assert {name for name, faults in found.items() if "clock jump" in faults} == {"orders"}
    assert all(faults[:3] == ["kill", "stop", "pause"] for faults in found.values())


def test_containers() -> None:
    found = containers(WAREHOUSE)
    assert {"gateway", "mailsink", "rabbitmq", "auth-db"} < set(found)
    assert len(found) == len(set(found)) == 1 + len(WAREHOUSE.services) + len(WAREHOUSE.stores)
