"""A role's interface is written once: its README and its defaults agree with its argument_specs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live import program

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


@pytest.mark.parametrize("role", ROLES)
def test_readme_is_made_from_argument_specs(role: str, tmp_path: Path) -> None:
    fresh = tmp_path / "README.md"
    command = [program("aar-doc"), "--output-file", fresh, f"roles/{role}", "markdown"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert (ROOT / "roles" / role / "README.md").read_text() == fresh.read_text(), (
        f"aar-doc roles/{role} markdown"
    )


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_documented(role: str) -> None:
    folder = ROOT / "roles" / role
    options = _load(folder / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = _load(folder / "defaults/main.yml")
    assert defaults.keys() <= options.keys(), "a variable that argument_specs do not know"
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert {name: defaults[name] for name in documented} == documented


@pytest.mark.parametrize("role", ROLES)
def test_readme_uses_the_role_as_its_scenario_does(role: str) -> None:
    folder = ROOT / "roles" / role
    [shown] = re.findall(r"```yaml\n(.+?)```", (folder / "README.md").read_text(), re.DOTALL)
    [play] = yaml.safe_load(shown)
    [converging] = yaml.safe_load((folder / "molecule/default/converge.yml").read_text())
    assert play["roles"] == [converging["roles"][-1]]
    assert play == {key: value for key, value in converging.items() if key != "name"} | {
        "roles": play["roles"]
    }


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded
