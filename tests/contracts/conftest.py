"""Contract tests speak HTTP to a gateway, and know of an environment only its addresses and secrets.

By default that is the tests' own live environment. `hostwright proof --contracts` runs the same tests against
an environment of the operator's (`--environment`), in its project's folder; the users and orders that they
make stay there. What a test shows of the document that its application follows, it says by
`@pytest.mark.shows(KEY)`: the keys are in the file lines.yml beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from hostwright.proof.wanted import machines
from tests import environment
from tests.environment import Account, Gateway, enrol, login


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--environment", help="an environment of the project in this folder, which is up")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where people are at work nothing is killed."""
    asked = config.getoption("--environment", default=None)
    return True if asked and collection_path.name == "test_breaker.py" else None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "shows(*keys): lines of the application's document that the test shows"
    )


@pytest.fixture(scope="session")
def gateway(request: pytest.FixtureRequest) -> Gateway:
    if name := request.config.getoption("--environment", default=None):
        machine = next(each for each in machines(f"inventories/{name}") if each.application)
        assert machine.application
        settings = machine.wanted["app_kubernetes_settings" if machine.clustered else "app_compose_settings"]
        found = environment.addresses(machine.variables["hostwright_host"])
        return Gateway(
            {each: machine.known_as(each) for each in found if machine.ipv6 or ":" not in each},
            machine.secrets,
            **environment.entrance(machine.application),
            sink="SMTP_HOST" not in settings.get("mail", {}),
            ingress=machine.clustered,
        )
    return environment.gateway(request.getfixturevalue("live"))


@pytest.fixture(scope="session")
def http(gateway: Gateway) -> Iterator[httpx2.Client]:
    """Nobody in particular; redirects are answers, not followed."""
    with environment.client(gateway) as client:
        yield client


@pytest.fixture(scope="session")
def admin(http: httpx2.Client, gateway: Gateway) -> Account:
    return login(http, gateway.admin_email, gateway.admin_password)


Enrol = Callable[..., Account]


@pytest.fixture(scope="session")
def account(admin: Account) -> Enrol:
    """Makes accounts: `account()` a customer, `account("employee")` one of that role."""
    return lambda role="customer", **more: enrol(admin, role, **more)


@pytest.fixture(scope="session")
def customer(account: Enrol) -> Account:
    return account()


@pytest.fixture(scope="session")
def other(account: Enrol) -> Account:
    """Another customer."""
    return account()


@pytest.fixture(scope="session")
def employee(account: Enrol) -> Account:
    return account("employee")
