"""What a play does once it does on a server: a worker has no API, and says so with success."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live import program

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
# As an environment may name them: group `cluster` has all, in this order.
GROUPS = {
    "cluster": ["worker", "server-1", "server-2"],
    "workers": ["worker"],
    "servers": ["server-1", "server-2"],
}
PLAYS = [
    (path.name, play)
    for path in sorted(PLAYBOOKS.glob("*.yml"))
    for play in yaml.safe_load(path.read_text())
    if "hosts" in play and "app_kubernetes" in yaml.safe_dump(play)
]


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    groups = {group: {"hosts": {each: {} for each in hosts}} for group, hosts in GROUPS.items()}
    path.write_text(yaml.safe_dump({"all": {"children": groups}}, sort_keys=False))
    return path


def hosts(inventory: Path, pattern: str) -> list[str]:
    """Those of a pattern, in Ansible's own order."""
    command = [program("ansible"), "-i", inventory, "--list-hosts", pattern]
    done = subprocess.run(command, cwd=inventory.parent, capture_output=True, text=True, check=True)
    return done.stdout.split()[2:]  # after "hosts (3):"


def test_a_cluster_may_begin_with_a_worker(inventory: Path) -> None:
    assert hosts(inventory, "cluster") == GROUPS["cluster"]


@pytest.mark.parametrize(("name", "play"), PLAYS, ids=[name for name, _ in PLAYS])
def test_an_applications_first_host_is_a_server(inventory: Path, name: str, play: dict[str, Any]) -> None:
    pattern = play["hosts"].replace("{{ hostwright_server | default('servers[0]') }}", "servers[0]")
    found = hosts(inventory, pattern)
    assert found == (["server-1", "server-2", "worker"] if name == "deploy.yml" else ["server-1"])
