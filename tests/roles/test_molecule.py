"""Every role's molecule scenario, run as its developer would run it: check, converge, idempotence, verify."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.live import program

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parents[2].name for path in ROOT.glob("roles/*/molecule/default/molecule.yml"))


def test_every_role_has_a_scenario() -> None:
    assert sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir()) == ROLES


@pytest.mark.parametrize("role", ROLES)
def test_molecule(role: str) -> None:
    done = subprocess.run(
        [program("molecule"), "test"],
        cwd=ROOT / "roles" / role,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
