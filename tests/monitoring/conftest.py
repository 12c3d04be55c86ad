"""A live environment of its own with all that watches the application."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests import environment
from tests.environment import Gateway
from tests.live import Live, make, purge

NAME = "test-observed"
NETWORK = {"mode": "nat", "cidr": "10.95.0.0/24", "cidr6": "fd00:95::/64"}


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Up and proven before the first test that asks for it, gone after the last."""
    folder = tmp_path_factory.mktemp("observed")
    live = make(folder, NAME, NETWORK, components=True)
    try:
        live.hostwright("up", timeout=1800)
        yield live
    finally:
        live.hostwright("down", "--data", "--yes", check=False)
        purge(NAME)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shop(observed: Live) -> Gateway:
    return environment.gateway(observed)
