"""What the gatekeeper's tests share: its gateway, and few accounts, as ten a minute may enter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.contracts import plain
from tests.contracts.plain import Trial, User
from tests.environment import Gateway, fresh_email

NETWORK = {"mode": "nat", "cidr": "10.95.0.0/24", "cidr6": "fd00:95::/64"}
USERS = "/v1/users"


@pytest.fixture(scope="package")
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    folder = tmp_path_factory.mktemp("gatekeeper")
    with plain.trial(request, folder, "gatekeeper", NETWORK) as found:
        yield found


@pytest.fixture(scope="package")
def door(trial: Trial) -> Gateway:
    return trial.door


@pytest.fixture(scope="package")
def nobody(door: Gateway) -> Iterator[httpx2.Client]:
    with plain.client(door) as found:
        yield found


Enter = Callable[..., User]


@pytest.fixture(scope="package")
def enter(nobody: httpx2.Client) -> Enter:
    """`enter(email, password)`: a login."""
    return lambda email, password=plain.PASSWORD: plain.enter(nobody, f"{USERS}/login", email, password)


@pytest.fixture(scope="package")
def enrol(nobody: httpx2.Client, enter: Enter) -> Callable[[], User]:
    """Makes somebody new, logged in."""

    def made() -> User:
        account = {"email": fresh_email(), "password": plain.PASSWORD, "name": "Ivan"}
        answer = nobody.post(f"{USERS}/register", json=account)
        assert answer.status_code == 201, answer.text
        return enter(account["email"])

    return made


@pytest.fixture(scope="package")
def boss(door: Gateway, enter: Enter) -> User:
    """The first admin."""
    return enter(door.admin_email, door.admin_password)


@pytest.fixture(scope="package")
def ivan(enrol: Callable[[], User]) -> User:
    return enrol()


@pytest.fixture(scope="package")
def olga(enrol: Callable[[], User]) -> User:
    return enrol()


@pytest.fixture(scope="package")
def place() -> Callable[..., dict[str, Any]]:
    """`place(ivan, price=10)`: a new order of theirs, as the answer shows it."""

    def placed(who: User, **changes: Any) -> dict[str, Any]:
        item = {"product": "Laptop", "quantity": 1, "price": 75000.00, **changes}
        answer = who.ask("POST", "/v1/orders", json={"items": [item]})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found

    return placed
