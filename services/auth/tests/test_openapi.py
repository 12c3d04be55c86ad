"""The published document: as committed, and kept by every answer."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import auth
import httpx2
import pytest
import schemathesis
from auth.bootstrap import create
from auth.settings import AuthSettings
from auth.tests.conftest import ADMIN
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from testing.service import Service

COMMITTED = Path(auth.__file__).parent / "openapi.json"
SMALL = settings(
    max_examples=20,
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


@pytest.fixture
def given_settings(own_settings: dict[str, object]) -> dict[str, object]:
    limits = ("login_attempts", "client_attempts", "client_registrations", "client_resets")
    return own_settings | dict.fromkeys(limits, 10**6)


def test_openapi_is_committed(given_settings: dict[str, object]) -> None:
    app = create(AuthSettings.model_validate(given_settings))
    found = json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE"):
        COMMITTED.write_text(found)
    assert COMMITTED.read_text() == found, "UPDATE=1 pytest services/auth/tests/test_openapi.py rewrites it"


def test_nothing_breaks_it(given_settings: dict[str, object]) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    with Service.running("auth", given_settings) as service:

        def bearer() -> dict[str, str]:
            answer = httpx2.post(f"{service.url}/auth/login", json=ADMIN)
            return {"Authorization": f"Bearer {answer.json()['token']}"}

        document = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
        operations: Any = document.exclude(path_regex="^/auth/").get_all_operations()  # as /api/auth/
        asked = {(each.ok().method, each.ok().path): attack(each.ok(), bearer) for each in operations}
    assert len(asked) > 10
    for (method, path), answers in asked.items():
        if path.rpartition("/")[2] not in ("login", "refresh"):  # where what is made up is no bad request
            assert answers.total() > answers[401], f"{method} {path}: {answers}"
    assert sum(answers[400] for answers in asked.values()) > 20


def ends_sessions(operation: Any) -> bool:
    """The next request needs a token of its own."""
    return operation.method.upper() == "DELETE" or operation.path.endswith("/logout")


def attack(operation: Any, bearer: Callable[[], dict[str, str]]) -> Counter[int]:
    """Good and bad requests of one operation; how often each status came."""
    asked: Counter[int] = Counter()
    own = bearer()

    @SMALL
    @given(operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def one(case: Any) -> None:
        headers = bearer() if ends_sessions(operation) else own
        answer = case.call_and_validate(headers=headers, checks=KEPT)
        asked[answer.status_code] += 1

    one()
    return asked
