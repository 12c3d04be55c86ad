"""Proof of an environment: tests/hosts over its inventory; a table, JUnit XML, JSON and one HTML page."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from hostwright import paths
from hostwright.environment import pulumi_env
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.proof import report

MARKS = {"holds": ("✓", "green"), "fails": ("✗", "red"), "not deployed": ("–", "yellow")}


@dataclass(frozen=True)
class ProofResult:
    """What was proved, a row a fact; its `result` is holds, fails, or not deployed."""

    environment: dict[str, str]
    started: str
    seconds: float
    hosts: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    page: Path

    @property
    def total(self) -> int:
        return len(self.rows)

    @property
    def failed(self) -> int:
        return sum(row["result"] == "fails" for row in self.rows)

    @property
    def holds(self) -> int:
        """Without what is declared and not deployed."""
        return sum(row["result"] == "holds" for row in self.rows)

    @property
    def ok(self) -> bool:
        """Everything asked holds, and something was asked."""
        return self.total > 0 and self.failed == 0

    def as_dict(self) -> dict[str, Any]:
        """For programs: the same as proof.json."""
        return {
            "environment": self.environment,
            "ok": self.ok,
            "total": self.total,
            "failed": self.failed,
            "started": self.started,
            "seconds": self.seconds,
            "page": str(self.page),
            "hosts": self.hosts,
            "rows": self.rows,
        }


def run(
    environment: Environment, markers: str = "", output: Path | None = None, quiet: bool = False
) -> ProofResult:
    """Prove the environment, or the roles of a pytest marker expression, and print the table unless `quiet`.

    Writes proof.json, junit.xml and index.html to `output` (default: the environment's state folder).
    Raises Failure when nothing could be asked.
    """
    output = output or environment.state / "proof"
    output.mkdir(parents=True, exist_ok=True)
    tests = paths.toolkit() / "tests" / "hosts"
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.json")
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", str(tests), "-q", "--tb=short", "--no-header",
                "-c", str(tests / "pytest.ini"), "--confcutdir", str(tests), "-p", "hostwright.proof.rows",
                "--hosts=ansible://all", f"--ansible-inventory=inventories/{environment.name}",
                f"--proof-rows={rows}", f"--junitxml={output / 'junit.xml'}",
                *(["-m", markers] if markers else []),
            ],
            cwd=environment.project,
            env=pulumi_env() | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        (output / "pytest.log").write_text(done.stdout + done.stderr)
        # 0: all hold, 1: some fail; anything else is not an answer.
        if done.returncode not in (0, 1) or not rows.exists():
            last = (done.stdout + done.stderr).strip().splitlines()[-12:]
            raise Failure(
                "the proof could not run\n" + "\n".join(f"    {line}" for line in last),
                where=str(output / "pytest.log"),
                fix="are the hosts there? hostwright up",
            )
        document = json.loads(rows.read_text())
    named = {
        "name": environment.name,
        "application": environment.application,
        "topology": environment.topology,
        "driver": environment.driver,
    }
    result = ProofResult(environment=named, page=output / "index.html", **document)
    (output / "proof.json").write_text(json.dumps(result.as_dict(), indent=1) + "\n")
    result.page.write_text(report.page(result.as_dict()))
    if not quiet:
        show(result, Console(highlight=False))
    return result


def show(result: ProofResult, console: Console) -> None:
    """The table: by area and short on a terminal, one tab-separated line a row elsewhere."""
    if console.is_terminal:
        for area in report.areas(result.rows):
            for line in _area(area, several=len(result.hosts) > 1):
                console.print(line, no_wrap=line.no_wrap, overflow="ellipsis" if line.no_wrap else "fold")
    else:
        columns = ("result", "host", "area", "place", "what", "detail")
        for row in result.rows:
            print("\t".join(str(row[column]).replace("\n", "; ") for column in columns))
    absent = result.total - result.holds - result.failed
    console.print(
        ("\n" if console.is_terminal else "")
        + f"{result.holds} of {result.total} hold, {result.failed} fail"
        + (f", {absent} declared, not deployed" if absent else "")
        + f" ({result.seconds} s)",
        style="bold green" if result.ok else "bold red",
    )
    if any(host["system"].get("VARIANT_ID") == "lab" for host in result.hosts):
        console.print("This is a lab: what that shows and what it does not is on the page.")


def _area(area: dict[str, Any], several: bool) -> Iterator[Text]:
    """The rows of an area, a line each; what fails tells everything, below."""
    yield Text(f"\n{area['name']}  {area['total'] - area['failed']}/{area['total']}", style="bold")
    width = max(len(row["what"]) for row in area["rows"])
    for row in area["rows"]:
        mark, style = MARKS[row["result"]]
        where = f"{row['place']} {row['host']}" if several else row["place"]
        short = "" if row["result"] == "fails" else row["detail"].partition("\n")[0]
        yield Text.assemble(
            (f"  {mark} ", style), f"{row['what']:{width}}", (f"  {where:8}  {short}", "dim"), no_wrap=True
        )
        if row["result"] == "fails":
            yield from (Text(f"      {line}", style=style) for line in row["detail"].splitlines())
