"""The published documents: as committed, and kept by every answer."""

from __future__ import annotations

from typing import Any

import pytest
from auth.bootstrap import contract, create
from auth.tests.conftest import ADMIN
from kit.settings import Settings
from testing import openapi, patient
from testing.service import Service

LOGINS = {"warehouse": "/auth/login", "gatekeeper": "/v1/users/login", "starter": "/login"}
# What is below other paths too, or would give who asks another address.
WITHOUT = {"warehouse": "^/auth/", "gatekeeper": "/profile$", "starter": "^/(register|login|users)"}


@pytest.fixture(params=LOGINS)
def given_settings(own_settings: dict[str, object], request: pytest.FixtureRequest) -> dict[str, object]:
    limits = ("login_attempts", "client_attempts", "client_registrations", "client_resets")
    return own_settings | dict.fromkeys(limits, 10**6) | {"contract": request.param}


def test_openapi_is_committed(given_settings: dict[str, object]) -> None:
    settings = contract(Settings.model_validate(given_settings)).settings
    openapi.check_committed("auth", create(settings.model_validate(given_settings)))


def test_nothing_breaks_it(given_settings: dict[str, object], examples: int) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    name = str(given_settings["contract"])
    with Service.running("auth", given_settings) as service:
        standing: dict[str, str] = {}

        def headers(operation: Any) -> dict[str, str]:
            """What ends sessions leaves the next request without one."""
            ends = operation.method.upper() == "DELETE" or operation.path.endswith("/logout")
            if ends or not standing:
                answer = patient.post(f"{service.url}{LOGINS[name]}", json=ADMIN).json()
                standing["Authorization"] = f"Bearer {answer.get('data', answer)['token']}"
            found = dict(standing)
            if ends:
                standing.clear()
            return found

        asked = openapi.attack(
            "auth", service.url, headers, examples=examples, contract=name, without=WITHOUT[name]
        )
    assert len(asked) > 5
    for (method, path), answers in asked.items():
        if path.rpartition("/")[2] not in ("login", "refresh"):  # where what is made up is no bad request
            assert answers.total() > answers[401], f"{method} {path}: {answers}"
    assert sum(answers[400] for answers in asked.values()) > 10
