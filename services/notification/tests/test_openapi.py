"""The published document: as committed, and kept by every answer."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import notification
import schemathesis
from hypothesis import HealthCheck, given, settings
from notification.bootstrap import create
from notification.settings import NotificationSettings
from notification.tests.conftest import Deployed, event
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

COMMITTED = Path(notification.__file__).parent / "openapi.json"
SMALL = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
KEPT = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def test_openapi_is_committed(own_settings: dict[str, object]) -> None:
    app = create(NotificationSettings.model_validate(own_settings))
    found = json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE"):
        COMMITTED.write_text(found)
    assert COMMITTED.read_text() == found, (
        "UPDATE=1 pytest services/notification/tests/test_openapi.py rewrites it"
    )


def test_nothing_breaks_it(deployed: Deployed) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    deployed.hook(event())
    document = schemathesis.openapi.from_url(f"{deployed.notification.url}/openapi.json")
    found: Any = document.get_all_operations()
    operations = [each.ok() for each in found]
    asked = {(each.method, each.path): attack(each, deployed.admin.headers()) for each in operations}
    assert set(asked) == {
        ("get", "/api/notifications"),
        ("get", "/api/notifications/{notification_id}"),
        ("post", "/webhooks/orders"),
        ("get", "/health"),
    }
    assert asked["get", "/api/notifications"][200] > 0
    assert asked["post", "/webhooks/orders"][401] > 0
    assert asked["get", "/api/notifications"][400] > 0


def attack(operation: Any, headers: dict[str, str]) -> Counter[int]:
    """Good and bad requests of one operation; how often each status came."""
    asked: Counter[int] = Counter()

    @SMALL
    @given(operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def one(case: Any) -> None:
        answer = case.call_and_validate(headers=headers, checks=KEPT)
        asked[answer.status_code] += 1

    one()
    return asked
