"""The published document: as committed, and kept by every answer."""

from __future__ import annotations

from notification.bootstrap import create
from notification.settings import NotificationSettings
from notification.tests.conftest import Deployed, event
from testing import openapi


def test_openapi_is_committed(own_settings: dict[str, object]) -> None:
    openapi.check_committed("notification", create(NotificationSettings.model_validate(own_settings)))


def test_nothing_breaks_it(deployed: Deployed, examples: int) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    deployed.hook(event())
    asked = openapi.attack(
        "notification", deployed.notification.url, deployed.admin.headers(), examples=examples
    )
    assert asked["get", "/api/notifications"][200] > 0
    assert asked["post", "/webhooks/orders"][401] > 0
    assert asked["get", "/api/notifications"][400] > 0
