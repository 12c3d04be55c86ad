"""Contract tests speak HTTP to a gateway, and know of an environment only its address, authority and admin.

By default that is the tests' own live environment; or any that runs:

    pytest tests/contracts --base-url=https://192.0.2.10 --ca=ca.pem --admin=admin@example.com:PASSWORD
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests import environment
from tests.environment import Account, Gateway, login


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--base-url", help="the gateway, as https://ADDRESS")
    parser.addoption("--ca", type=Path, help="PEM file of the authority that signed its certificate")
    parser.addoption("--admin", help="EMAIL:PASSWORD of an admin")


@pytest.fixture(scope="session")
def gateway(request: pytest.FixtureRequest) -> Gateway:
    option = request.config.getoption
    if url := option("--base-url", default=None):
        email, _, password = option("--admin").partition(":")
        return Gateway(url.rstrip("/"), option("--ca").read_text(), email, password)
    live = request.getfixturevalue("live")
    return environment.gateway(live)


@pytest.fixture(scope="session")
def http(gateway: Gateway) -> Iterator[httpx2.Client]:
    """Nobody in particular; redirects are answers, not followed."""
    with environment.client(gateway) as client:
        yield client


@pytest.fixture(scope="session")
def admin(http: httpx2.Client, gateway: Gateway) -> Account:
    return login(http, gateway.admin_email, gateway.admin_password)


Register = Callable[..., Account]


@pytest.fixture(scope="session")
def account(http: httpx2.Client, admin: Account) -> Register:
    """Makes accounts: `account()` a customer, `account("employee")` one whom the admin gave that role."""

    def make(role: str = "customer") -> Account:
        made = environment.register(http)
        if role == "customer":
            return made
        answer = admin.ask("PUT", f"/api/auth/users/{made.id}/role", json={"role": role})
        assert answer.status_code == 200, answer.text
        return login(http, made.email, made.password)

    return make


@pytest.fixture(scope="session")
def customer(account: Register) -> Account:
    return account()


@pytest.fixture(scope="session")
def other(account: Register) -> Account:
    """Another customer."""
    return account()


@pytest.fixture(scope="session")
def employee(account: Register) -> Account:
    return account("employee")
