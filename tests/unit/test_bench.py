"""What is made of figures: the exponent that fits, what a recap says, and which targets were missed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import cluster, growth, policy
from tests.bench.growth import Figure
from tests.bench.load import Load

FOUND: dict[str, Any] = {
    "seconds": {
        "up, to all Ready": 170.0,
        "up, to its proof": 400.0,
        "second run": 50.0,
        "a worker more": 80.0,
    },
    "changed": 0,
    "rolling": {"requests": 900, "failed": 0, "kept": True, "details": ()},
}


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(exponent: float) -> None:
    assert growth.fitted({size: 7 * size**exponent for size in (3, 10, 30, 100)}) == pytest.approx(exponent)


def test_the_exponent_is_of_the_power_that_fits_best() -> None:
    assert growth.fitted({1: 1.0, 10: 30.0, 100: 100.0}) == pytest.approx(1.0), (
        "one that is off by as much each way"
    )


def test_each_step_has_its_exponents_and_what_is_above_linear_is_named() -> None:
    figures = [Figure("base", size, 2.0 * size, 80.0) for size in (3, 30)]
    figures += [Figure("again", size, 0.1 * size**1.5, 80.0) for size in (3, 30)]
    found = growth.exponents(figures)
    assert found == {"base": {"seconds": 1.0, "memory": 0.0}, "again": {"seconds": 1.5, "memory": 0.0}}
    assert list(growth.missing(found)) == [
        "growth, again: seconds as the 1.50th power of the number of hosts"
    ]
    lines = [line.split() for line in growth.table(figures).splitlines()]
    assert lines[1] == ["base", "30", "hosts", "60.0", "s", "80", "MiB"]
    assert lines[2] == ["base", "exponent", "1.00", "0.00"]


def test_a_command_is_clocked_with_what_it_took_itself(tmp_path: Path) -> None:
    here = b"x" * (96 << 20)  # which is not the command's
    sizes = []
    for size in (1, 64):
        command = [sys.executable, "-c", f"held = b'x' * ({size} << 20); print('said')"]
        found = growth.clocked("held", 3, command, tmp_path, dict(os.environ))
        assert (found.step, found.hosts) == ("held", 3)
        sizes.append(found.memory)
    assert sizes[0] + 50 < sizes[1] < len(here) >> 20
    with pytest.raises(SystemExit) as failure:
        growth.clocked("held", 3, [sys.executable, "-c", "exit('no such thing')"], tmp_path, dict(os.environ))
    assert str(failure.value) == "held failed with 3 hosts\nno such thing\n"


def test_the_preview_of_ten_hosts_is_one_of_ten_hosts() -> None:
    found = growth.previewed(10)
    assert (found.step, found.hosts) == ("preview, with mocks", 10)
    assert min(found.seconds, found.memory) > 0


def test_changes_are_those_of_the_recap() -> None:
    said = """TASK [Say] ***
ok: [k1] => changed=7
PLAY RECAP ***
k1 : ok=9 changed=2 unreachable=0 failed=0
k2 : ok=9 changed=1 unreachable=0 failed=0
"""
    assert cluster.changed(said) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"seconds": FOUND["seconds"] | {"second run": 61.0}}, ["cluster, second run: 61 s, at most 60"]),
        ({"changed": 2}, ["cluster, second run: 2 changes"]),
        ({"rolling": FOUND["rolling"] | {"failed": 1}}, ["cluster, rolling update: 1 requests failed"]),
    ],
)
def test_targets_of_a_cluster(changes: dict[str, Any], said: list[str]) -> None:
    assert list(cluster.missing(FOUND | changes)) == said
    assert "at most 180" in cluster.table(FOUND | changes)


def gateways(ours: float, plain: float, errors: int = 0) -> list[policy.Figures]:
    """Three rounds, on a machine that is twice as slow in the second and lies in the third."""
    full, half = Load(1000, 0, 1.0, 1.0, 2.0), Load(500, errors, 1.0, 1.0, 3.0)

    def figures(name: str, cpu_us: float, last: float) -> policy.Figures:
        return policy.Figures(name, [policy.Round(us, full, half) for us in (cpu_us, 2 * cpu_us, last)])

    return [figures("nginx", 20, 20), figures("ours", ours, 999), figures("plain", plain, 1)]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (gateways(44, 308), []),
        (gateways(45, 400), ["policy, CPU of ours to nginx: 2.25, at most 2.2"]),
        (gateways(40, 276), ["policy, CPU of plain Python to ours: 6.90, at least 7"]),
        (gateways(40, 400, errors=1), [f"policy, {name}: 3 errors" for name in ("nginx", "ours", "plain")]),
    ],
)
def test_targets_of_the_policy_gateway(figures: list[policy.Figures], said: list[str]) -> None:
    assert list(policy.missing(figures)) == said
    lines = [line.split() for line in policy.table(figures).splitlines()]
    assert lines[1][:5] == ["nginx", "20.0", "1000", "500", "3.0"]
    assert lines[-1][-3:] == ["(at", "least", "7)"]
