"""The package that a user installs: it carries the whole toolkit, and works far from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.live import program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel, as built from this checkout, unpacked into it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_a_project_made_by_the_wheel_stands_on_the_wheel(site: Path, tmp_path: Path) -> None:
    env = os.environ | {
        "PYTHONPATH": str(site),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTEST_ADDOPTS": "",
    }

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path / "elsewhere", env=env, check=True, capture_output=True, text=True
        )
        return done.stdout

    (tmp_path / "elsewhere").mkdir()
    init = [sys.executable, "-m", "hostwright.cli", "init", ".", "--driver", "static"]
    run(*init, "--host", "web1=192.0.2.10")
    link = tmp_path / "elsewhere/.collections/ansible_collections/hostwright/hostwright"
    assert link.resolve() == site / "hostwright" / "_toolkit"
    documented = run(program("ansible-doc"), "hostwright.hostwright.compose")
    assert str(link) in documented
    tests = link / "tests" / "contracts"
    collect = [sys.executable, "-m", "pytest", str(tests / "warehouse"), "-c", str(tests / "proof.ini")]
    collected = run(*collect, f"--confcutdir={tests}", "--collect-only", "-q")
    assert "test_orders.py::test_create" in collected
    (tmp_path / "hosts.yml").write_text("all: {hosts: {web1: {}}}")
    ours = ["--hosts=ansible://all", f"--ansible-inventory={tmp_path / 'hosts.yml'}", "--collect-only", "-q"]
    assert "test_lets_us_in[web1]" in run(program("pytest"), "tests/hosts", *ours)
    playbook = [program("ansible-playbook"), "--list-tasks", "playbooks/site.yml"]
    assert "app_compose" in run(*playbook, "--inventory", str(tmp_path / "hosts.yml"))
