"""What a play does once it does on a server: a worker has no API, and says so with success."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live import program

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
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


@pytest.mark.parametrize("name", ["patch.yml", "upgrade.yml"])
@pytest.mark.parametrize("brought", [True, False])
def test_an_application_is_dealt_out_over_nodes_that_were_filled_again(
    tmp_path: Path, name: str, brought: bool
) -> None:
    """Where there is one: a cluster may have none yet."""
    kubectl = f'echo "$@" >> {tmp_path}/asked; echo \'{{"kind": "List", "items": []}}\''
    folder = tmp_path / "shop-prod"
    if brought:
        folder.mkdir()
    told = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "app_kubernetes_directory": str(folder),
        "app_kubernetes_namespace": "shop-prod",
        "app_kubernetes_kubectl": ["sh", "-c", kubectl, "kubectl"],
    }
    inventory = {"all": {"children": {"servers": {"hosts": {"server-1": told}}}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    last = yaml.safe_load((PLAYBOOKS / name).read_text())[-1]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([last]))
    command = [program("ansible-playbook"), "-i", tmp_path / "hosts.yml", tmp_path / "play.yml"]
    subprocess.run(
        command, cwd=ROOT, env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, check=True
    )
    asked = (tmp_path / "asked").read_text() if brought else ""
    assert (tmp_path / "asked").exists() is brought
    assert ("get deployments,pods --namespace shop-prod" in asked) is brought
    assert "apply" not in asked
