"""Proof of an environment: tests/hosts over its inventory, and if asked for the application's contract tests.

The answer is a table, JUnit XML, JSON and one HTML page.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from hostwright import application, paths
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.proof import lines, report
from hostwright.pulumi_process import pulumi_env

MARKS = {
    "holds": ("✓", "green"),
    "fails": ("✗", "red"),
    "not deployed": ("–", "yellow"),
    "unproved": ("?", "yellow"),
}
FIRST = 5  # rows that an error names


@dataclass(frozen=True)
class ProofResult:
    """What was proved, a row a fact.

    Its `result` is holds, fails, not deployed, or unproved: nothing here can show it; the detail says why.
    `lines`: of the application's document, where contracts were asked for; see lines.judge.
    """

    environment: dict[str, str]
    started: str
    seconds: float
    hosts: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    page: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return len(self.rows)

    @property
    def failed(self) -> int:
        return sum(row["result"] == "fails" for row in self.rows)

    @property
    def holds(self) -> int:
        """Without what is declared and not deployed, or could not be shown."""
        return sum(row["result"] == "holds" for row in self.rows)

    @property
    def ok(self) -> bool:
        """Everything asked holds, and something was asked; every line is shown that can be."""
        return self.total > 0 and self.failed == 0 and not self.lines_failed

    @property
    def lines_hold(self) -> int:
        return sum(line["result"] == "holds" for line in self.lines)

    @property
    def lines_failed(self) -> int:
        return sum(line["result"] == "fails" for line in self.lines)

    def check(self) -> None:
        """Raise Failure, which names the first that fail, unless all is well."""
        if self.ok:
            return
        failed = f"{self.failed} of {self.total} proofs failed"
        if self.lines_failed:
            failed += f", {self.lines_failed} of {len(self.lines)} lines of the document"
        failing = [row for row in self.rows if row["result"] == "fails"][:FIRST]
        named = [f"\n    {row['host']}, {row['what']}: {_first(row['detail'])}" for row in failing]
        raise Failure("".join([failed, *named]), where=str(self.page), fix="see the page")

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
            "lines": self.lines,
        }


def run(
    environment: Environment,
    markers: str = "",
    output: Path | None = None,
    quiet: bool = False,
    contracts: bool = False,
) -> ProofResult:
    """Prove the environment, or the roles of a pytest marker expression, and print the table unless `quiet`.

    `contracts`: run the application's contract tests too; the users and orders they make stay. Writes
    proof.json, junit.xml (and contracts.xml) and index.html to `output` (default: the environment's state
    folder). Raises Failure when nothing could be asked, BadInput for an application without such tests.
    """
    if contracts and not contracted(environment):
        raise BadInput(
            f"application {_tests(environment).name} has no contract tests",
            where=str(_tests(environment)),
            fix="hostwright proof, without --contracts",
        )
    output = output or environment.state / "proof"
    output.mkdir(parents=True, exist_ok=True)
    hosts = paths.toolkit() / "tests" / "hosts"
    document = _asked(
        environment, hosts, hosts / "pytest.ini", output / "junit.xml", output / "pytest.log",
        "--hosts=ansible://all", f"--ansible-inventory=inventories/{environment.name}",
        *(["-m", markers] if markers else []),
    )  # fmt: skip
    named = {
        "name": environment.name,
        "application": environment.application,
        "topology": environment.topology,
        "driver": environment.driver,
    }
    result = ProofResult(environment=named, page=output / "index.html", **document)
    return extend(environment, result, quiet, hosts=True) if contracts else _written(result, quiet)


def contracted(environment: Environment) -> bool:
    """Whether its application has contract tests."""
    return _tests(environment).is_dir()


def extend(
    environment: Environment, proved: ProofResult, quiet: bool = False, hosts: bool = False
) -> ProofResult:
    """The proof with the application's contract tests after it, written over it, and as `run` otherwise.

    What it prints begins with what was proved of hosts if `hosts`.
    """
    tests, output = _tests(environment), proved.page.parent
    settings, junit, log = tests.with_name("proof.ini"), output / "contracts.xml", output / "contracts.log"
    more = _asked(environment, tests, settings, junit, log, f"--environment={environment.name}")
    rows = proved.rows + more["rows"]
    result = replace(
        proved,
        rows=rows,
        seconds=round(proved.seconds + more["seconds"], 1),
        lines=lines.judge(lines.load(tests.name), rows, environment.topology),
    )
    return _written(result, quiet, hosts)


def _tests(environment: Environment) -> Path:
    """Where the contract tests of its application are, if it has any."""
    return lines.folder(application.load(environment.application, environment.project).name)


def _written(result: ProofResult, quiet: bool, hosts: bool = True) -> ProofResult:
    """The same, when it is on the page and in the file for programs, and shown unless `quiet`."""
    (result.page.parent / "proof.json").write_text(json.dumps(result.as_dict(), indent=1) + "\n")
    result.page.write_text(report.page(result.as_dict()))
    if not quiet:
        show(result, Console(highlight=False), hosts)
    return result


def _asked(
    environment: Environment, tests: Path, settings: Path, junit: Path, log: Path, *arguments: str
) -> dict[str, Any]:
    """What the tests of a folder proved, see rows.Rows. Raises Failure when they could not run."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.json")
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", str(tests), "-q", "--tb=short", "--no-header",
                "-c", str(settings), "--confcutdir", str(settings.parent), "-p", "hostwright.proof.rows",
                f"--proof-rows={rows}", f"--junitxml={junit}", *arguments,
            ],
            cwd=environment.project,
            # An operator's own options of pytest could leave out what is to be proved.
            env=pulumi_env() | {"PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        log.write_text(done.stdout + done.stderr)
        # 0: all hold, 1: some fail; anything else is not an answer.
        if done.returncode not in (0, 1) or not rows.exists():
            last = (done.stdout + done.stderr).strip().splitlines()[-12:]
            raise Failure(
                "the proof could not run\n" + "\n".join(f"    {line}" for line in last),
                where=str(log),
                fix="are the hosts there? hostwright up",
            )
        found: dict[str, Any] = json.loads(rows.read_text())
        return found


def _first(text: str) -> str:
    """Its first line."""
    return text.partition("\n")[0]


def show(result: ProofResult, console: Console, hosts: bool = True) -> None:
    """The table: by area and short on a terminal, one tab-separated line a row elsewhere.

    Without `hosts`, of contracts alone.
    """
    rows = [row for row in result.rows if hosts or not row["host"]]
    if console.is_terminal:
        for area in report.areas(rows):
            if (
                result.lines and not area["rows"][0]["host"]
            ):  # of contracts their lines tell, if nothing fails
                area["rows"] = [row for row in area["rows"] if row["result"] == "fails"]
            for line in _area(area, several=len(result.hosts) > 1):
                console.print(line, no_wrap=line.no_wrap, overflow="ellipsis" if line.no_wrap else "fold")
        for line in _lines(result.lines):
            console.print(line, no_wrap=True, overflow="ellipsis")
    else:
        columns = ("result", "host", "area", "place", "what", "detail")
        for row in rows:
            print("\t".join(str(row[column]).replace("\n", "; ") for column in columns))
        for each in result.lines:
            print("\t".join((each["result"], "line", each["section"], each["text"], _shown_by(each))))
    results = [row["result"] for row in result.rows]
    absent, unproved = results.count("not deployed"), results.count("unproved")
    console.print(
        ("\n" if console.is_terminal else "")
        + f"{result.holds} of {result.total} hold, {result.failed} fail"
        + (f", {absent} declared, not deployed" if absent else "")
        + (f", {unproved} unproved" if unproved else "")
        + f" ({result.seconds} s)",
        style="bold green" if result.ok else "bold red",
    )
    if result.lines:
        elsewhere = len(result.lines) - result.lines_hold - result.lines_failed
        console.print(
            f"{result.lines_hold} of {len(result.lines)} lines of the document hold here, "
            f"{result.lines_failed} fail, {elsewhere} cannot be shown here",
            style="bold red" if result.lines_failed else "bold green",
        )
    if any(host["system"].get("VARIANT_ID") == "lab" for host in result.hosts):
        console.print("This is a lab: what that shows and what it does not is on the page.")


def _area(area: dict[str, Any], several: bool) -> Iterator[Text]:
    """The rows of an area, a line each; what fails tells everything, below."""
    yield Text(f"\n{area['name']}  {area['total'] - area['failed']}/{area['total']}", style="bold")
    width = max((len(row["what"]) for row in area["rows"]), default=0)
    for row in area["rows"]:
        mark, style = MARKS[row["result"]]
        where = f"{row['place']} {row['host']}" if several else row["place"]
        short = "" if row["result"] == "fails" else row["detail"].partition("\n")[0]
        yield Text.assemble(
            (f"  {mark} ", style), f"{row['what']:{width}}", (f"  {where:8}  {short}", "dim"), no_wrap=True
        )
        if row["result"] == "fails":
            yield from (Text(f"      {line}", style=style) for line in row["detail"].splitlines())


def _lines(found: list[dict[str, Any]]) -> Iterator[Text]:
    """The lines of the application's document by its sections, each with the tests that show it."""
    width = max((len(each["text"]) for each in found), default=0)
    for section in report.sections(found):
        yield Text(f"\n{section['name']}  {section['holding']}/{len(section['lines'])}", style="bold")
        for each in section["lines"]:
            mark, style = MARKS[each["result"]]
            yield Text.assemble(
                (f"  {mark} ", style), f"{each['text']:{width}}", (f"  {_shown_by(each)}", "dim")
            )


def _shown_by(line: dict[str, Any]) -> str:
    """How many tests and which; what fails, or what there is to say in their place, before them."""
    tests = line["tests"]
    names = f"{len(tests)}: {', '.join(tests)}" if tests else ""
    return "; ".join(each for each in (line["detail"], names) if each)
