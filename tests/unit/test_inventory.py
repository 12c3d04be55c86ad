"""The inventory plugin's own words when there is nothing to make an inventory of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostwright import paths

PLUGIN = "plugin: hostwright.hostwright.pulumi\nenvironment: {name}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an environment that has no hosts."""
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra/Pulumi.yaml").write_text("name: hostwright\nruntime: python\n")
    (tmp_path / "infra/Pulumi.shop.yaml").write_text("config:\n  hostwright:driver: container\n")
    (tmp_path / "inventories/shop").mkdir(parents=True)
    (tmp_path / "inventories/shop/pulumi.yml").write_text(PLUGIN.format(name="shop"))
    return tmp_path


def inventory(project: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", project / "inventories/shop", "--graph"],
        cwd=paths.toolkit(),
        env=os.environ
        | {"XDG_STATE_HOME": str(project / "state"), "PULUMI_CONFIG_PASSPHRASE": "of the tests"}
        | env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_no_hosts_yet(project: Path) -> None:
    done = inventory(project)
    assert done.returncode != 0
    assert "shop has no hosts yet" in done.stderr
    assert "fix: hostwright up" in done.stderr


def test_an_unknown_environment(project: Path) -> None:
    (project / "inventories/shop/pulumi.yml").write_text(PLUGIN.format(name="shoop"))
    done = inventory(project)
    assert done.returncode != 0
    assert "unknown environment 'shoop'" in done.stderr


def test_no_toolchain(project: Path) -> None:
    done = inventory(project, XDG_CACHE_HOME=str(project / "cache"))
    assert done.returncode != 0
    assert "the toolchain lacks pulumi" in done.stderr
    assert "fix: hostwright toolchain" in done.stderr


def test_no_passphrase(project: Path) -> None:
    env = {"PULUMI_CONFIG_PASSPHRASE_FILE": str(project / "none")}
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", project / "inventories/shop", "--graph"],
        cwd=paths.toolkit(),
        env={name: value for name, value in os.environ.items() if name != "PULUMI_CONFIG_PASSPHRASE"} | env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0
    assert "no passphrase for the environment's secrets" in done.stderr
