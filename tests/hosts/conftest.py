"""Proof of hosts: every test is one fact that must hold, on each host of the inventory that it is meant for.

    pytest tests/hosts --hosts=ansible://all --ansible-inventory=inventories/ENV [-m ROLE]

What must hold is read from the inventory, the roles' variables and the application file. What is there is
seen in one look a host (`machine.seen`), and from outside by a complete scan that runs while the other tests
do. A test's docstring is the fact in words, with `{case}` for what `@pytest.mark.each(cases=function)` gave.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from hostwright.application import Port
from hostwright.proof.wanted import ROLES, Machine, Unreachable, machines

HERE = Path(__file__).resolve().parent  # a project has a link to it


def pytest_configure(config: pytest.Config) -> None:
    for role in ROLES:
        config.addinivalue_line("markers", f"{role}: what must hold on a host with the role {role}")
    config.addinivalue_line("markers", "each(cases): once for each of cases(machine)")
    config.addinivalue_line("markers", "place(name): where from: host (if nothing is said), network, outside")
    # testinfra calls ansible-inventory by name.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without an inventory there is nothing to prove: part of a larger run then, else a mistake."""
    if config.getoption("ansible_inventory") or collection_path.suffix != ".py":
        return None
    if not any(Path(name.split("::")[0]).resolve().is_relative_to(HERE) for name in config.args):
        return True
    raise pytest.UsageError(
        "tests/hosts proves the hosts of an inventory: give\n"
        "  --hosts=ansible://all --ansible-inventory=inventories/ENVIRONMENT"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Pair each test with the machines that have its role, and with the cases of each."""
    if "machine" not in metafunc.fixturenames:
        return
    roles = {mark.name for mark in metafunc.definition.iter_markers()} & set(ROLES)
    marker = metafunc.definition.get_closest_marker("each")
    pairs: list[tuple[Any, Any]] = []
    pattern = (metafunc.config.getoption("hosts") or "ansible://all").removeprefix("ansible://")
    for machine in machines(metafunc.config.getoption("ansible_inventory"), pattern):
        if roles and not roles & set(machine.roles):
            continue
        if "seen" in metafunc.fixturenames and not _reachable(machine):
            continue
        if marker is None:
            pairs.append((machine, None))
        elif _reachable(machine):
            pairs += [(machine, case) for case in marker.kwargs["cases"](machine)]
    if marker is None:
        metafunc.parametrize(
            "machine", [m for m, _ in pairs], ids=[m.name for m, _ in pairs], scope="session"
        )
    else:
        names = [f"{machine.name}-{_named(case)}" for machine, case in pairs]
        metafunc.parametrize(("machine", "case"), pairs, ids=names, scope="session")


def _named(case: Any) -> str:
    """What a case is called in the name of its test."""
    if isinstance(case, Port):
        return f"{case.owner}-{case.number}"
    return str(case[0]) if isinstance(case, tuple) else str(case)


def _reachable(machine: Machine) -> bool:
    """Facts of a host that lets nobody in are not asked one by one: that it does not is one failure."""
    try:
        return bool(machine.seen)
    except Unreachable:
        return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that has no case anywhere is no test. What waits for the scan comes last."""
    empty = [item for item in items if item.get_closest_marker("skip") and _without_cases(item)]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [item for item in items if item not in empty]
    items.sort(key=_looks_outside)


def pytest_collection_finish(session: pytest.Session) -> None:
    """The scan from outside takes longest: it begins before the first test, in processes of its own."""
    for machine in {item.callspec.params["machine"] for item in session.items if _looks_outside(item)}:
        assert machine.scans


def _looks_outside(item: pytest.Item) -> bool:
    """Whether the test needs the complete scan."""
    return isinstance(item, pytest.Function) and item.originalname == "test_nothing_else_answers_outside"


def _without_cases(item: pytest.Item) -> bool:
    return any(
        "got empty parameter set" in mark.kwargs.get("reason", "") for mark in item.iter_markers("skip")
    )


@pytest.fixture(scope="session")
def host(machine: Machine) -> Host:
    """testinfra's host, for what is not in the look."""
    return machine.host


@pytest.fixture
def seen(machine: Machine) -> dict[str, Any]:
    """What the one look at the machine saw; a part of it that could not be seen fails who asks for it."""
    return Seen(machine.seen)


@pytest.fixture
def deployed(machine: Machine) -> dict[str, Any]:
    """The same of the look at the application on its cluster."""
    return Seen(machine.deployed)


class Seen(dict[str, Any]):
    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, dict) and value.keys() == {"error"}:
            pytest.fail(f"cannot be seen: {value['error']}", pytrace=False)
        return value


@pytest.fixture
def detail(record_property: Callable[[str, object], None]) -> Callable[[object], None]:
    """What was seen, for the report: `detail("nginx 1.26")`."""
    return lambda text: record_property("detail", text)
