"""The published document: as committed, and kept by every answer."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import mail
import schemathesis
from hypothesis import HealthCheck, given, settings
from kit.tokens import Issuer
from mail.bootstrap import create
from mail.settings import MailSettings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from testing.rabbitmq import RabbitMQ
from testing.service import Service

COMMITTED = Path(mail.__file__).parent / "openapi.json"
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
    app = create(MailSettings.model_validate(own_settings))
    found = json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE"):
        COMMITTED.write_text(found)
    assert COMMITTED.read_text() == found, "UPDATE=1 pytest services/mail/tests/test_openapi.py rewrites it"


def test_nothing_breaks_it(own_settings: dict[str, object], rabbitmq: RabbitMQ, issuer: Issuer) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    token = issuer.issue(user_id=1, email="boss@example.com", role="admin", session="s")
    wanted = {key: value for key, value in own_settings.items() if key != "mail_delays"}
    with Service.running("mail", wanted | rabbitmq.settings()) as service:
        document = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
        found: Any = document.get_all_operations()
        operations = [each.ok() for each in found]
        headers = {"Authorization": f"Bearer {token}"}
        asked = {(each.method, each.path): attack(each, headers) for each in operations}
    assert set(asked) == {
        ("get", "/api/mail"),
        ("get", "/api/mail/templates"),
        ("post", "/api/mail/preview"),
        ("post", "/api/mail/{mail_id}/retry"),
        ("get", "/health"),
    }
    assert asked["post", "/api/mail/preview"][200] > 0
    assert asked["get", "/api/mail"][200] > 0
    assert sum(answers[400] for answers in asked.values()) > 20


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
