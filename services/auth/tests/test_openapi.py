"""The published document: as committed, and kept by every answer."""

from __future__ import annotations

from typing import Any

import pytest
from auth.bootstrap import create
from auth.settings import AuthSettings
from auth.tests.conftest import ADMIN
from testing import openapi, patient
from testing.service import Service


@pytest.fixture
def given_settings(own_settings: dict[str, object]) -> dict[str, object]:
    limits = ("login_attempts", "client_attempts", "client_registrations", "client_resets")
    return own_settings | dict.fromkeys(limits, 10**6)


def test_openapi_is_committed(given_settings: dict[str, object]) -> None:
    openapi.check_committed("auth", create(AuthSettings.model_validate(given_settings)))


def test_nothing_breaks_it(given_settings: dict[str, object], examples: int) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    with Service.running("auth", given_settings) as service:
        standing: dict[str, str] = {}

        def headers(operation: Any) -> dict[str, str]:
            """What ends sessions leaves the next request without one."""
            ends = operation.method.upper() == "DELETE" or operation.path.endswith("/logout")
            if ends or not standing:
                answer = patient.post(f"{service.url}/auth/login", json=ADMIN)
                standing["Authorization"] = f"Bearer {answer.json()['token']}"
            found = dict(standing)
            if ends:
                standing.clear()
            return found

        # What is below /auth/ is below /api/auth/ too.
        asked = openapi.attack("auth", service.url, headers, examples=examples, without="^/auth/")
    assert len(asked) > 10
    for (method, path), answers in asked.items():
        if path.rpartition("/")[2] not in ("login", "refresh"):  # where what is made up is no bad request
            assert answers.total() > answers[401], f"{method} {path}: {answers}"
    assert sum(answers[400] for answers in asked.values()) > 10
