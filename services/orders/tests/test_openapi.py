"""The published documents: as committed, and kept by every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest
from kit.settings import Settings
from orders.bootstrap import contract, create
from orders.tests.conftest import SHARED, Deployed
from testing import openapi, patient
from testing.postgres import Postgres
from testing.process import free_port
from testing.service import Service

LOGINS = {"gatekeeper": "/v1/users/login", "starter": "/login"}


@pytest.mark.parametrize("name", ["warehouse", "gatekeeper", "starter"])
def test_openapi_is_committed(own_settings: dict[str, object], name: str) -> None:
    given = own_settings | {"contract": name}
    settings = contract(Settings.model_validate(given)).settings
    openapi.check_committed("orders", create(settings.model_validate(given)))


def test_nothing_breaks_it(deployed: Deployed, examples: int) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    deployed.place(deployed.admin)
    asked = openapi.attack("orders", deployed.orders.url, deployed.admin.headers(), examples=examples)
    assert asked["post", "/api/orders"][201] > 0
    assert asked["get", "/api/orders"][200] > 0
    assert sum(answers[400] for answers in asked.values()) > examples // 2


@pytest.fixture(params=LOGINS)
def other(
    request: pytest.FixtureRequest,
    common: Mapping[str, object],
    postgres: Postgres,
    template: Callable[[str], str],
) -> Iterator[tuple[str, Service, dict[str, str]]]:
    """The name of another contract, orders deployed with it and with auth, and an admin's headers."""
    nowhere = {
        "broker_host": "127.0.0.1",
        "broker_port": free_port(),
        "broker_user": "x",
        "broker_password": "x",
    }
    given = {**common, **nowhere, **SHARED, "contract": request.param, "application": request.param}
    with ExitStack() as stack:
        of_auth = given | postgres.settings(postgres.create(template("auth")))
        auth = stack.enter_context(Service.running("auth", of_auth))
        of_orders = given | postgres.settings(postgres.create(template("orders"))) | {"auth_url": auth.url}
        orders = stack.enter_context(Service.running("orders", of_orders))
        who = {"email": common["admin_email"], "password": common["admin_password"]}
        answer = patient.post(f"{auth.url}{LOGINS[request.param]}", json=who).json()
        yield request.param, orders, {"Authorization": f"Bearer {answer['data']['token']}"}


def test_nothing_breaks_the_others(other: tuple[str, Service, dict[str, str]], examples: int) -> None:
    name, orders, headers = other
    path = {"gatekeeper": "/v1/orders", "starter": "/api/orders"}[name]
    asked = openapi.attack("orders", orders.url, headers, examples=examples, contract=name)
    assert asked["post", path][201] > 0
    assert asked["get", path][200] > 0
    assert sum(answers[400] for answers in asked.values()) > examples // 2
