"""The page of what can go wrong is found by the words that are printed when it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hostwright.environments import Environment
from hostwright.errors import BadInput
from hostwright.hosts import stack

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = re.findall(r"^## (.*)$", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
PROD = Environment("prod", Path("shop"), {})


@pytest.mark.parametrize(
    "text", ["the stack is currently locked by 1 lock(s)", "error: incorrect passphrase"]
)
def test_what_pulumi_says_is_under_what_we_make_of_it(text: str) -> None:
    assert [each for each in HEADINGS if f"`{stack.explain(PROD, text).what}`" in each]


def test_a_passphrase_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(BadInput) as caught:
        stack.check_passphrase()
    assert [each for each in HEADINGS if f"`{caught.value.what}`" in each]


def test_what_the_role_says_of_selinux() -> None:
    tasks = yaml.safe_load((ROOT / "roles/base/tasks/main.yml").read_text())
    told = next(each["ansible.builtin.assert"]["fail_msg"] for each in tasks if "SELinux" in each["name"])
    said = re.sub(r"\{\{.*?\}\}", "...", told).partition(". Either")[0]
    assert f"`{said}`" in HEADINGS
