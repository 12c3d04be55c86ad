"""What the tests share: the slow layer, and one live environment of their own, built and proven once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.journeys import recording
from tests.killed import TODAY, kill_in
from tests.live import Live, make, temporary

NAME = "test-live"
NETWORK = {"mode": "nat", "cidr": "10.94.0.0/24", "cidr6": "fd00:94::/64"}
# Files that share an environment which is up, and what takes it away.
LIVE = ("tests/contracts/", "tests/journeys/", "tests/faults/")
OBSERVED = ("tests/monitoring/test_live.py", "tests/monitoring/test_request.py")
CLUSTERS = ("test_promote.py", "test_cluster.py")  # real Kubernetes, whose leases end where it is not let run
GUESTS = ("test_libvirt_live.py", "test_node.py")
LOCAL = ("tests/contracts/gatekeeper/", "tests/contracts/starter/")  # without hosts, but in the slow layer
OWN = ("test_kill.py", "test_others.py", *CLUSTERS)  # which have environments of their own
BEFORE = "tests/journeys/test_bring_your_own.py"  # its environment is gone before the first of these is up
ENVIRONMENTS = (BEFORE, *LIVE, *OBSERVED, "tests/monitoring/test_cluster.py")
LONG = (*ENVIRONMENTS, "tests/roles/test_molecule.py", "tests/infra/", "tests/lab/", "tests/unit/test_app")
UP = {LIVE: ExitStack(), OBSERVED: ExitStack()}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the slow layer too")
    parser.addoption(
        "--screenshots",
        type=Path,
        metavar="DIR",
        help="make the documentation's pictures there, and a recording",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: runs with --full only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow layer out unless it is asked for; what takes long first."""
    if not config.getoption("--full"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        if slow:
            config.hook.pytest_deselected(items=slow)
            items[:] = [item for item in items if not item.get_closest_marker("slow")]
    items.sort(key=lambda item: _rank(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """By place: from pytest 9.2 on, pytest-xdist does not see the groups that marks name."""
    return Together(config, log)


class Together(LoadScopeScheduling):
    """One worker for what shares an environment, one for each scenario, and for each other file.

    Two environments that are shared go to one worker too, all clusters to another, and so on with emulated
    guests: two cores are no place for several at once.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        scope = name if file.endswith("test_molecule.py") else file
        if file.endswith(CLUSTERS) or name.startswith("test_molecule[app_kubernetes"):
            scope = "cluster"
        elif file.endswith(GUESTS) or name == "test_molecule[microk8s-life]":
            scope = "guest"
        elif file.startswith(LOCAL) and not self.config.getoption("--full"):
            scope = file.rpartition("/")[0]
        elif file.startswith((*LIVE, *OBSERVED)) and not file.endswith(OWN):
            scope = "live"
        return scope


def _rank(nodeid: str) -> int:
    return next((rank for rank, part in enumerate(LONG) if nodeid.startswith(part)), len(LONG))


@pytest.fixture(scope="session")
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The live environment: up and proven before the first test that asks for it, gone after the last.

    Its `up` was killed on the way, and run again: what is shown of it is shown of one that converged.
    """
    with UP[LIVE] as stack:
        environment = stack.enter_context(temporary(make(tmp_path_factory.mktemp("live"), NAME, NETWORK)))
        if pictures := request.config.getoption("--screenshots"):
            recording.up(environment, pictures)
        else:
            kill_in(environment, TODAY)
            environment.hostwright("up")
        yield environment


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A session's end would be late: an environment would run beside all that its worker does then."""
    for files, stack in UP.items():
        if nextitem and item.nodeid.startswith(files) and not nextitem.nodeid.startswith(files):
            stack.close()
