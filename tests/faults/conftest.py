"""Faults are made by hand on the tests' own live environment, on its one host, a node container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests import environment
from tests.environment import Account, Gateway
from tests.host import Node


@pytest.fixture(scope="session")
def node(live: Any) -> Node:
    return Node(live.hosts()[0]["name"])


@pytest.fixture(scope="session")
def gateway(live: Any) -> Gateway:
    return environment.gateway(live)


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx2.Client]:
    with environment.client(gateway) as client:
        yield client


@pytest.fixture
def customer(http: httpx2.Client) -> Account:
    return environment.register(http)


@pytest.fixture
def admin(http: httpx2.Client, gateway: Gateway) -> Account:
    return environment.login(http, gateway.admin_email, gateway.admin_password)
