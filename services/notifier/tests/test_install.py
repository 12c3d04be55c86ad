"""The agent installed as its README says: in an environment of its own, with the dependencies it declares."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest
from testing.service import ROOT


@pytest.mark.slow
def test_it_brings_what_it_needs(tmp_path: Path) -> None:
    """What pipx does, from whatever index pip has here, within the ranges of its pyproject.toml."""
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin" / "python"

    def run(*command: str | Path) -> str:
        # -I: nothing of ours beside it may help.
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(python, "-I", "-m", "pip", "install", "--quiet", ROOT / "notifier")
    run(python, "-I", "-m", "pip", "check")
    said = run(python, "-I", tmp_path / "bin" / "hostwright-notifier", "--help")
    assert "login" in said
