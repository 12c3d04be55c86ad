"""What tests of services start from: real servers, one each a test process, and fresh databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from kit import broker, calls, consumer, database, health, lanes, webhooks
from kit.tokens import Issuer
from testing.keys import Keys
from testing.postgres import Postgres
from testing.rabbitmq import RabbitMQ
from testing.service import migrate

APPLICATION = "warehouse"

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """The kit's bounds are those of a host that does its work; a busy one may let any process stand still.

    So here, in this process, they are longer; a test of one of them sets its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (broker, "TIMEOUT"),
            (calls, "CONNECT_TIMEOUT"),
            (consumer, "TIMEOUT"),
            (database, "CONNECT_TIMEOUT"),
            (database, "POOL_TIMEOUT"),
            (health, "CHECK_TIMEOUT"),
            (lanes, "WAIT"),
            (webhooks, "TIMEOUT"),
        ):
            patch.setattr(module, name, 30)
        patch.setattr(database, "STATEMENT_TIMEOUT", 30_000)
        yield


@pytest.fixture(scope="session")
def examples(request: pytest.FixtureRequest) -> int:
    """How many requests of each operation are made up: few, unless the slow layer runs."""
    return 150 if request.config.getoption("--full", default=False) else 10


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def broker_server() -> Iterator[RabbitMQ]:
    with RabbitMQ.running() as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq(broker_server: RabbitMQ) -> Iterator[RabbitMQ]:
    """In a virtual host of the module, so that no other's events come late. A test may stop the server."""
    with broker_server.vhost() as server:
        yield server


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys.generate()


@pytest.fixture(scope="session")
def issuer(keys: Keys) -> Issuer:
    """Makes tokens as auth does."""
    return Issuer(keys.private, APPLICATION)


@pytest.fixture(scope="session")
def common(keys: Keys) -> dict[str, object]:
    """Settings that are the same for every service, auth's secrets among them."""
    return {
        "application": APPLICATION,
        "contract": "warehouse",
        "environment": "test",
        "token_public_key": keys.public,
        "token_private_key": keys.private,
        "jwt_secret": "s" * 43,
        "admin_email": "admin@example.com",
        "admin_password": "correct-horse-battery-9",
        "public_url": "https://shop.example.com",
    }


@pytest.fixture(scope="session")
def template(postgres: Postgres, common: dict[str, object]) -> Callable[[str], str]:
    """Name of the database that a service's migrations made, once a session."""
    made: dict[str, str] = {}

    def of(service: str) -> str:
        if service not in made:
            name = postgres.create()
            migrate(service, common | postgres.settings(name))
            made[service] = name
        return made[service]

    return of


@pytest.fixture
def new_database(
    postgres: Postgres, template: Callable[[str], str]
) -> Iterator[Callable[..., dict[str, str | int]]]:
    """`new_database("orders")`: settings of a fresh migrated database; `new_database()`: of an empty one."""
    made = []

    def make(service: str | None = None) -> dict[str, str | int]:
        made.append(postgres.create(template(service) if service else None))
        return postgres.settings(made[-1])

    yield make
    for name in made:
        postgres.drop(name)
