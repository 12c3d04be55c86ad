"""A cluster of three servers is disturbed while a shop is at work. All of it: `make faults-cluster`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults import cluster, rounds
from tests.faults.load import Shop
from tests.live import temporary

NETWORK = {"mode": "nat", "cidr": "10.86.0.0/24", "cidr6": "fd00:86::/64"}
pytestmark = pytest.mark.slow  # a cluster of its own


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with temporary(cluster.make(tmp_path_factory.mktemp("cluster"), "test-faults", NETWORK)) as live:
        live.hostwright("up", timeout=cluster.AN_HOUR)
        yield Shop.of(live)


@pytest.mark.parametrize("way", [cluster.Redeploy, cluster.FirstServerOff])
def test_no_order_is_lost_and_none_counts_twice(shop: Shop, way: type[cluster.Disturbance]) -> None:
    row = asyncio.run(rounds.run(way(shop)))
    assert row.kept, f"{rounds.table([row])}\n" + "\n".join(row.details)
