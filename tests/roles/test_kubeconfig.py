"""Where an operator's kubeconfig is kept, on the machine that Ansible runs on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.live import program

TASKS = Path(__file__).resolve().parents[2] / "roles" / "microk8s" / "tasks" / "kubeconfig.yml"


@pytest.mark.parametrize(("before", "after"), [(None, 0o700), (0o755, 0o755), (0o777, 0o777)])
def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path, before: int | None, after: int) -> None:
    folder = tmp_path / "kept"
    if before is not None:
        folder.mkdir()
        folder.chmod(before)
    told = {"microk8s_kubeconfig": str(folder / "kubeconfig"), "__microk8s_exported": {"kubeconfig": "text"}}
    tasks = [{"ansible.builtin.import_tasks": str(TASKS)}]
    play = {"hosts": "localhost", "gather_facts": False, "vars": told, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    subprocess.run([program("ansible-playbook"), tmp_path / "play.yml"], cwd=tmp_path, check=True)
    assert folder.stat().st_mode & 0o777 == after
    assert (folder / "kubeconfig").stat().st_mode & 0o777 == 0o600
