"""The workflows call what anybody can call: `make ci` is what they run."""

from __future__ import annotations

import re
from fnmatch import fnmatch
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


def test_what_readme_installs_is_published_and_nothing_else() -> None:
    """By trusted publishing, which takes no more than the right to say who asks."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    uses = {name: [step.get("uses", "") for step in job.get("steps", ())] for name, job in jobs.items()}
    (publishing,) = (name for name in uses if any("gh-action-pypi-publish" in each for each in uses[name]))
    assert jobs[publishing]["environment"] == "pypi"
    assert jobs[publishing]["permissions"] == {"id-token": "write"}
    handed = [step["with"] for job in jobs.values() for step in job.get("steps", ()) if "with" in step]
    (kept,) = (each["path"] for each in handed if "*" in each.get("path", ""))
    built = ["hostwright-0.1.0-py3-none-any.whl", "hostwright-0.1.0.tar.gz"]
    others = [
        "hostwright_notifier-0.1.0-py3-none-any.whl",
        "hostwright-hostwright-0.1.0.tar.gz",
        "SHA256SUMS",
    ]
    assert [each for each in built + others if fnmatch(f"dist/{each}", kept)] == built
    assert "pip install hostwright\n" in (ROOT / "README.md").read_text()
