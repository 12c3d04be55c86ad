"""Who is made anew while requests go on, in which order, and who has to wait for nobody."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application
from hostwright.render import Environment, render

sys.path.append(str(Path(__file__).parents[2] / ".collections"))
from ansible_collections.hostwright.hostwright.plugins.modules import compose as module
from ansible_collections.hostwright.hostwright.plugins.modules.compose import (
    ASIDE,
    ASKED,
    GONE,
    OTHER,
    Deployment,
    Roll,
    rolling,
    waves,
)

Services = dict[str, Any]


@pytest.fixture(scope="module")
def services() -> Services:
    """The warehouse with three instances of orders, two of notification, one of all others."""
    environment = Environment(replicas={"orders": 3, "notification": 2})
    files = render(application.load("warehouse"), environment)
    found: Services = yaml.safe_load(files["compose.yaml"])["services"]
    return found


@pytest.fixture
def serving(services: Services) -> set[str]:
    return {name for name, each in services.items() if each["restart"] != "no" and "profiles" not in each}


def other(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, OTHER)


def test_instances_of_a_service_come_one_after_another(services: Services, serving: set[str]) -> None:
    reasons = other("orders-migrate", "orders", "orders-2", "orders-3")
    rolls = rolling(services, reasons, serving)
    assert rolls == [Roll(["orders", "orders-2", "orders-3"], None)]
    assert waves(rolls) == [["orders"], ["orders-2"], ["orders-3"]]


def test_who_is_alone_has_somebody_stand_in(services: Services, serving: set[str]) -> None:
    assert rolling(services, other("auth"), serving) == [Roll(["auth"], "auth-spare")]


def test_services_do_not_wait_for_each_other(services: Services, serving: set[str]) -> None:
    reasons = other("auth", "orders", "orders-2", "orders-3", "notification", "notification-2")
    rolls = rolling(services, reasons, serving)
    assert waves(rolls) == [["auth", "orders", "notification"], ["orders-2", "notification-2"], ["orders-3"]]


def test_what_has_been_done_before_a_run_was_killed_is_not_done_again(
    services: Services, serving: set[str]
) -> None:
    reasons = other("orders-3") | {"orders-2": ASIDE, "auth-spare": GONE}
    assert rolling(services, reasons, serving) == [Roll(["orders-3"], None)]


def test_a_restart_is_no_less_gentle(services: Services, serving: set[str]) -> None:
    reasons = dict.fromkeys(("storefront", "orders", "orders-2", "orders-3"), ASKED)
    assert rolling(services, reasons, serving) == [
        Roll(["orders", "orders-2", "orders-3"], None),
        Roll(["storefront"], "storefront-spare"),
    ]


def test_who_does_not_serve_is_made_anew_at_once(services: Services, serving: set[str]) -> None:
    reasons = other("orders", "orders-2", "orders-3", "auth")
    assert rolling(services, reasons, serving - {"orders-2", "auth"}) == [Roll(["orders", "orders-3"], None)]
    assert rolling(services, {"orders-2": "unhealthy"}, serving) == []


def test_without_its_database_nobody_serves(services: Services, serving: set[str]) -> None:
    reasons = other("orders-db", "orders", "orders-2", "auth")
    assert rolling(services, reasons, serving) == [Roll(["auth"], "auth-spare")]
    assert rolling(services, {"orders-db": "exited", **other("orders")}, serving) == []


def test_without_the_broker_orders_are_taken(services: Services, serving: set[str]) -> None:
    assert rolling(services, other("rabbitmq", "orders"), serving) == [Roll(["orders"], None)]


def test_whom_the_gateway_directs_nobody_to_is_not_waited_for(services: Services, serving: set[str]) -> None:
    assert rolling(services, other("rabbitmq"), serving) == []
    assert rolling(services, other("orders"), serving - {"gateway"}) == []


def test_a_signal_that_the_gateway_does_not_hear_is_sent_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HAProxy drops those that come between its first answer and the loop of its master."""
    monkeypatch.setattr(module, "HEARD", 0.01)
    signals: list[tuple[str, ...]] = []

    class Starting(Deployment):
        def __init__(self) -> None:
            self.services = {"gateway": {**services["gateway"], "labels": {module.RELOAD: "USR2"}}}

        def compose(self, *arguments: str) -> str:
            signals.append(arguments)
            return ""

        def _fresh(self, service: str) -> bool:
            return service == "gateway" and len(signals) > 1

    Starting().reload("gateway")
    assert signals == 2 * [("kill", "--signal", "USR2", "gateway")]
