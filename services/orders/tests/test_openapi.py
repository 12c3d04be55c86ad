"""The published document: as committed, and kept by every answer."""

from __future__ import annotations

from orders.bootstrap import create
from orders.settings import OrdersSettings
from orders.tests.conftest import Deployed
from testing import openapi


def test_openapi_is_committed(own_settings: dict[str, object]) -> None:
    openapi.check_committed("orders", create(OrdersSettings.model_validate(own_settings)))


def test_nothing_breaks_it(deployed: Deployed, examples: int) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    deployed.place(deployed.admin)
    asked = openapi.attack("orders", deployed.orders.url, deployed.admin.headers(), examples=examples)
    assert asked["post", "/api/orders"][201] > 0
    assert asked["get", "/api/orders"][200] > 0
    assert sum(answers[400] for answers in asked.values()) > examples // 2
