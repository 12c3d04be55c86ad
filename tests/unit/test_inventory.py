"""What the inventory plugin makes of a stack's outputs, and what it says when there are none."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hostwright import paths
from hostwright.hosts.record import EnvironmentRecord, HostRecord
from tests.live import program

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


def inventory(project: Path, form: str = "--graph", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("ansible-inventory"), "-i", project / "inventories/shop", form],
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
        [program("ansible-inventory"), "-i", project / "inventories/shop", "--graph"],
        cwd=paths.toolkit(),
        env={name: value for name, value in os.environ.items() if name != "PULUMI_CONFIG_PASSPHRASE"} | env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0
    assert "no passphrase for the environment's secrets" in done.stderr


def put_out(project: Path, environment: EnvironmentRecord, *hosts: HostRecord) -> None:
    """Make these the outputs of the project's stack, in a state as Pulumi keeps it in files."""
    outputs: dict[str, Any] = {
        "environment": environment.model_dump(exclude_none=True),
        "hosts": [host.model_dump() for host in hosts],
    }
    name = "urn:pulumi:shop::hostwright::pulumi:pulumi:Stack::hostwright-shop"
    stack = {"urn": name, "custom": False, "type": "pulumi:pulumi:Stack", "outputs": outputs}
    latest = {"manifest": {"time": "2026-01-01T00:00:00Z", "magic": "", "version": ""}, "resources": [stack]}
    backend = project / "state/hostwright/pulumi/.pulumi"
    (backend / "stacks/hostwright").mkdir(parents=True)
    (backend / "meta.yaml").write_text("version: 1\n")
    checkpoint = {"stack": "organization/hostwright/shop", "latest": latest}
    (backend / "stacks/hostwright/shop.json").write_text(
        json.dumps({"version": 3, "checkpoint": checkpoint}, indent=1)
    )


def listing(project: Path) -> dict[str, Any]:
    """What `ansible-inventory --list` prints."""
    done = inventory(project, "--list")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def groups(listed: dict[str, Any]) -> dict[str, list[str]]:
    """Hosts of each group that has some."""
    return {name: group.get("hosts", []) for name, group in listed.items() if name not in ("_meta", "all")}


def test_hosts_of_a_cluster_are_in_their_groups(project: Path) -> None:
    environment = EnvironmentRecord(
        name="shop",
        topology="cluster",
        driver="container",
        application="warehouse",
        pod_network="10.1.0.0/16",
        service_network="10.152.183.0/24",
    )
    server = HostRecord(name="shop-server-1", address="192.0.2.11", groups=["cluster", "servers"])
    put_out(project, environment, server)
    listed = listing(project)
    assert groups(listed) == {"cluster": ["shop-server-1"], "servers": ["shop-server-1"]}
    assert "workers" in listed["all"]["children"], "a group without hosts is there too"
    known = listed["_meta"]["hostvars"]["shop-server-1"]["hostwright_environment"]
    assert (known["pod_network"], known["service_network"]) == ("10.1.0.0/16", "10.152.183.0/24")


def test_a_single_host_is_in_its_group(project: Path) -> None:
    environment = EnvironmentRecord(
        name="shop", topology="single", driver="container", application="warehouse"
    )
    put_out(project, environment, HostRecord(name="shop-1", address="192.0.2.11", groups=["single"]))
    listed = listing(project)
    assert groups(listed) == {"single": ["shop-1"]}
    # Plays name the groups of either topology.
    assert set(listed["all"]["children"]) == {"ungrouped", "single", "cluster", "servers", "workers"}
