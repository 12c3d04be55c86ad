"""What `make` does before there is anything of ours to do it, with programs that say what they are asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAYS = '#!/bin/sh\necho "$(basename "$0") $*" >> "$LOG"\n'
# A Python without what makes virtual environments, until Debian's package is there.
PYTHON = """
case "$*" in
"-c import ensurepip") test -e "$LOG.installed";;
*) exit 3;;
esac
"""


class Checkout:
    """The Makefile in a folder of its own; what its programs were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.log = folder, folder / "programs", folder / "log"
        for name in ("Makefile", "requirements.lock", "requirements.uv"):
            shutil.copy(ROOT / name, folder)
        for name, script in {
            "programs/python3": PYTHON,
            "programs/apt-get": 'test "$1" != install || touch "$LOG.installed"\n',
            ".venv/bin/hostwright": "",
            ".venv/bin/python": "",
        }.items():
            self.program(name, script)
        (folder / "infra").mkdir()

    def program(self, name: str, script: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SAYS + script)
        path.chmod(0o755)

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "LOG": str(self.log)}
        return subprocess.run(
            ["make", target], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("labs", [[], ["lab-cluster"], ["lab-cluster", "lab-single"]])
def test_every_lab_is_taken_away_and_then_its_servers(checkout: Checkout, labs: list[str]) -> None:
    for name in (*labs, "prod"):
        (checkout.folder / f"infra/Pulumi.{name}.yaml").touch()
    done = checkout.make("clean")
    assert done.returncode == 0, done.stderr
    downs = [f"hostwright down --environment {name} --data --yes" for name in labs]
    assert checkout.asked == [*downs, "python -m lab stop"]


def test_servers_stay_for_a_lab_that_does(checkout: Checkout) -> None:
    (checkout.folder / "infra/Pulumi.lab-single.yaml").touch()
    checkout.program(".venv/bin/hostwright", "exit 1")
    assert checkout.make("clean").returncode == 2
    assert len(checkout.asked) == 1


def test_what_makes_a_virtual_environment_is_installed(checkout: Checkout) -> None:
    checkout.program("programs/id", "echo 0")
    checkout.make("venv")
    assert [each for each in checkout.asked if not each.startswith("id")] == [
        "python3 -c import ensurepip",
        "apt-get update --quiet",
        "apt-get install --quiet --yes python3-venv",
        "python3 -m venv .venv",
    ]


def test_who_may_not_install_it_is_told_what_is_missing(checkout: Checkout) -> None:
    checkout.program("programs/id", "echo 1000")
    done = checkout.make("venv")
    assert done.returncode == 2
    assert "apt-get install python3-venv, as root" in done.stderr
    assert checkout.asked == ["python3 -c import ensurepip", "id -u"]
