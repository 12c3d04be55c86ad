"""Settings of sshd as it reads them, whatever type YAML makes of a word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.live import program

ROLE = Path(__file__).resolve().parents[2] / "roles" / "base"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"AllowAgentForwarding": True}, "AllowAgentForwarding yes"),
        ({"UseDNS": False}, "UseDNS no"),
        ({"AllowTcpForwarding": "no"}, "AllowTcpForwarding no"),
        ({"MaxAuthTries": 1}, "MaxAuthTries 1"),
        ({"LogLevel": None}, None),
    ],
)
def test_a_setting_is_a_line_as_sshd_spells_it(
    tmp_path: Path, given: dict[str, object], line: str | None
) -> None:
    template = ROLE / "templates" / "sshd.conf.j2"
    tasks = [
        {"ansible.builtin.include_vars": str(ROLE / "vars" / "main.yml")},
        {"ansible.builtin.template": {"src": str(template), "dest": str(tmp_path / "made"), "mode": "0600"}},
    ]
    play = {"hosts": "localhost", "gather_facts": False, "vars": {"base_sshd": given}, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    subprocess.run([program("ansible-playbook"), tmp_path / "play.yml"], cwd=tmp_path, check=True)
    (keyword,) = given
    made = (tmp_path / "made").read_text().splitlines()
    assert [each for each in made if each.startswith(f"{keyword} ")] == ([line] if line else [])
