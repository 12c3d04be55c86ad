"""A cluster of three servers is disturbed while a shop is at work. All of it: `make faults-cluster`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.faults import cluster, rounds
from tests.faults.load import PATIENCE, Shop
from tests.killed import kill_at
from tests.live import Live, temporary

NETWORK = {"mode": "nat", "cidr": "10.86.0.0/24", "cidr6": "fd00:86::/64"}
# On a connection that was kept and ended in that moment: only its client may send it again.
SENT = re.compile(r"(POST|PATCH) \S+: 502 ")
TASKS = ("Install MicroK8s, and see what is there", "Join servers")
pytestmark = pytest.mark.slow  # a cluster of its own


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A cluster that did not come up at once: its playbook was killed, and run again, and killed."""
    with temporary(cluster.make(tmp_path_factory.mktemp("cluster"), "test-faults", NETWORK)) as made:
        for task in TASKS:
            kill_at(made, task)
        made.hostwright("up", timeout=cluster.AN_HOUR)
        yield made


@pytest.fixture(scope="module")
def shop(live: Live) -> Shop:
    return Shop.of(live)


def test_up_killed_while_nodes_join_converges(live: Live) -> None:
    """To what it would have come to at once, as another run finds nothing to do."""
    again = live.run("ansible-playbook", "-i", f"inventories/{live.name}", "playbooks/site.yml")
    recap = again.stdout.rpartition("PLAY RECAP")[2]
    assert recap.count(" changed=0 ") == len(live.hosts()) == 3, again.stdout[-3000:]


def test_nobody_hears_of_services_that_are_made_anew(shop: Shop) -> None:
    """And no order is lost or counts twice. Late is no failure: other tests have the machine too."""
    row = asyncio.run(rounds.run(cluster.Redeploy(shop), attempt=PATIENCE))
    failed = [each for each in row.details if not SENT.match(each)]
    assert (row.kept, failed) == (True, []), f"{rounds.table([row])}\n" + "\n".join(row.details)


def test_no_order_is_lost_and_none_counts_twice(shop: Shop) -> None:
    row = asyncio.run(rounds.run(cluster.FirstServerOff(shop)))
    assert row.kept, f"{rounds.table([row])}\n" + "\n".join(row.details)
