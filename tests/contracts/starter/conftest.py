"""What the starter's tests share: its gateway, and few accounts, as ten a minute may enter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.contracts import plain
from tests.contracts.plain import Trial, User
from tests.environment import Gateway, fresh_email

NETWORK = {"mode": "nat", "cidr": "10.96.0.0/24", "cidr6": "fd00:96::/64"}


@pytest.fixture(scope="package")
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    folder = tmp_path_factory.mktemp("starter")
    with plain.trial(request, folder, "starter", NETWORK, tls=True) as found:
        yield found


@pytest.fixture(scope="package")
def door(trial: Trial) -> Gateway:
    return trial.door


@pytest.fixture(scope="package")
def nobody(door: Gateway) -> Iterator[httpx2.Client]:
    with plain.client(door) as found:
        yield found


@pytest.fixture(scope="package")
def enrol(nobody: httpx2.Client) -> Callable[[], User]:
    """Makes somebody new, logged in."""

    def made() -> User:
        account = {"name": "John Doe", "email": fresh_email(), "password": plain.PASSWORD}
        answer = nobody.post("/api/users/register", json=account)
        assert answer.status_code == 201, answer.text
        return plain.enter(nobody, "/api/users/login", account["email"])

    return made


@pytest.fixture(scope="package")
def boss(door: Gateway, nobody: httpx2.Client) -> User:
    """The first admin."""
    return plain.enter(nobody, "/api/users/login", door.admin_email, door.admin_password)


@pytest.fixture(scope="package")
def john(enrol: Callable[[], User]) -> User:
    return enrol()


@pytest.fixture(scope="package")
def jane(enrol: Callable[[], User]) -> User:
    return enrol()


@pytest.fixture(scope="package")
def place() -> Callable[[User], dict[str, Any]]:
    def placed(who: User) -> dict[str, Any]:
        body = {"product": "Go Programming Book", "quantity": 2, "price": 29.99}
        answer = who.ask("POST", "/api/orders", json=body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found

    return placed
