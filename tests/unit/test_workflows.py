"""The workflows call what anybody can call: `make ci` is what they run."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_make_ci_is_what_the_workflow_runs() -> None:
    """Lint is part of `test`, and .ci/run is nothing but that; `roles` only tells the roles there are."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    steps = "\n".join(step.get("run", "") for job in jobs for step in job["steps"])
    steps = steps.replace("bash .ci/run", "make test")
    called = set(re.findall(r"(?m)(?:^|\()make (?:--silent )?([a-z]+)", steps))
    assert "exec make test " in (ROOT / ".ci/run").read_text()
    assert "tests/lint" in (ROOT / "tests/run").read_text()
    (prerequisites,) = re.findall(r"^ci: (.+) ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(prerequisites.split()) == called - {"lint", "roles"}
