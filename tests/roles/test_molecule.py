"""Every role's molecule scenario, run as its developer would run it: check, converge, idempotence, verify."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live import program

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent for path in ROOT.glob("roles/*/molecule/*/molecule.yml"))


def test_every_role_has_a_scenario() -> None:
    roles = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
    assert [path.parents[1] for path in SCENARIOS if path.name == "default"] == roles


def _case(scenario: Path) -> Any:
    """One with a real Kubernetes is slow: what that needs is built for minutes where it is not there."""
    role, name = scenario.parents[1].name, scenario.name
    platforms = yaml.safe_load((scenario / "molecule.yml").read_text())["platforms"]
    slow = name != "default" or any(each.get("kubernetes") for each in platforms)
    title = role if name == "default" else f"{role}-{name}"
    return pytest.param(role, name, id=title, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("role", "scenario"), [_case(each) for each in SCENARIOS])
def test_molecule(role: str, scenario: str) -> None:
    """`default` is what a run of the role is; `life`, what happens to a host in its life and is set right."""
    done = subprocess.run(
        [program("molecule"), "test", "--scenario-name", scenario],
        cwd=ROOT / "roles" / role,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3600,  # for one whose mirror is to be built first
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
