"""The lines of an application's document: each is shown by something, and judged by what shows it."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from hostwright import paths
from hostwright.proof import lines, report, rows
from hostwright.proof.lines import Line, Section
from hostwright.proof.wanted import ROLES, Machine, Unreachable

CONTRACTS = paths.toolkit() / "tests" / "contracts"
HOSTS = paths.toolkit() / "tests" / "hosts"
APPLICATIONS = sorted(path.parent.name for path in CONTRACTS.glob("*/lines.yml"))


def shown(application: str) -> Iterator[tuple[str, Path]]:
    """The keys that marks in the application's tests name, and where."""
    for path in sorted((CONTRACTS / application).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.shows":
                for argument in node.args:
                    yield ast.literal_eval(argument), path


def test_every_application_with_contract_tests_has_lines() -> None:
    assert "warehouse" in APPLICATIONS
    assert sorted({path.parent.name for path in CONTRACTS.glob("*/test_*.py")}) == APPLICATIONS


@pytest.mark.parametrize("application", APPLICATIONS)
def test_every_line_is_shown_by_something(application: str) -> None:
    keys = {key for key, _ in shown(application)}
    found = [line for section in lines.load(application) for line in section.lines]
    assert len({line.key for line in found}) == len(found)
    for line in found:
        assert line.key in keys or line.hosts or line.elsewhere, f"nothing shows {line.key}"


def asked_of_hosts() -> Iterator[list[str]]:
    """Words of each question of the proof of hosts; what is in braces differs from case to case."""
    for path in sorted((paths.toolkit() / "tests" / "hosts").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield (ast.get_docstring(node) or "").split()


@pytest.mark.parametrize("application", APPLICATIONS)
def test_what_hosts_are_to_show_is_asked_of_them(application: str) -> None:
    questions = list(asked_of_hosts())
    assert len(questions) > 50
    rows = [each for section in lines.load(application) for line in section.lines for each in line.hosts]
    for what in [str(row["what"]).split() for row in rows if "what" in row]:
        assert any(
            all("{" in said or word in said for said, word in zip(asked[at:], what, strict=False))
            for asked in questions
            for at in range(len(asked) - len(what) + 1)
        ), f"no host is asked whether {' '.join(what)}"


@pytest.mark.parametrize("application", APPLICATIONS)
def test_every_mark_names_a_line(application: str) -> None:
    known = {line.key for section in lines.load(application) for line in section.lines}
    for key, path in shown(application):
        assert key in known, f"{path}: the document has no line {key}"


class Declared(Machine):
    """A host of an application with all of its components, as an inventory has it; nothing of it is seen."""

    asked = True
    addresses = ("127.0.0.1",)  # type: ignore[assignment]
    ipv6 = False

    def __init__(self, application: str, topology: str) -> None:
        self.name, self.inventory, self._look = "web-1", "", "there is nothing to see"
        self.variables = {
            "group_names": [topology, "servers"],
            "groups": {each: [self.name, "web-2"] for each in (topology, "servers")},
            "hostwright_environment": {"application": application, "components": "all"},
        }
        self.deployed = {"objects": {"error": self._look}}

    def let_in(self, *_: object, **__: object) -> set[int]:
        """All of them: what its firewall is told depends on what can be seen of it."""
        return {*range(1, 65536)}


class Unseen:
    """A case that only a host could tell: in words it is nothing."""

    def __getattr__(self, _: str) -> Unseen:
        return self

    def __getitem__(self, _: object) -> Unseen:
        return self

    def __str__(self) -> str:
        return ""


@functools.cache
def proofs() -> list[ModuleType]:
    found = []
    for path in sorted(HOSTS.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"proofs_{path.stem}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        with warnings.catch_warnings(action="ignore", category=pytest.PytestUnknownMarkWarning):
            spec.loader.exec_module(module)
        found.append(module)
    return found


@functools.cache
def possible(application: str, topology: str) -> list[dict[str, Any]]:
    """Rows that the hosts' proof of the application has on that topology, in form."""
    machine, found = Declared(application, topology), []
    for module in proofs():
        own = getattr(module, "pytestmark", [])
        own = own if isinstance(own, list) else [own]
        for name, function in vars(module).items():
            if not name.startswith("test_"):
                continue
            marks = {
                mark.name: mark for each in (*own, function) for mark in getattr(each, "pytestmark", [each])
                if hasattr(mark, "name")
            }  # fmt: skip
            if marks.keys() & {*ROLES} and not marks.keys() & {*machine.roles}:
                continue
            try:
                cases = marks["each"].kwargs["cases"](machine) if "each" in marks else [None]
            except Unreachable:
                cases = [Unseen()]
            item: Any = SimpleNamespace(
                name=name, function=function, module=module, get_closest_marker=marks.get
            )
            found += [rows._of_host(item, machine, case) for case in cases]
    return found


def test_rows_are_those_of_the_application() -> None:
    what = {each["what"] for each in possible("gatekeeper", "single")}
    assert "loki runs and is healthy, and starts again by itself" in what
    assert "users_db of postgres is there for users alone, and has its tables" in what
    assert not [each for each in what if "webhook" in each], "which is the warehouse's"
    assert "auth is available, every instance of it" in {
        each["what"] for each in possible("gatekeeper", "cluster")
    }


@pytest.mark.parametrize("application", APPLICATIONS)
def test_every_row_that_a_line_names_can_be(application: str) -> None:
    for line in (each for section in lines.load(application) for each in section.lines):
        topologies = [line.topology] if line.topology else ["single", "cluster"]
        known = [row for topology in topologies for row in possible(application, topology)]
        for wanted in line.hosts:
            assert any(lines.fits(row, wanted) for row in known), f"{line.key}: no row is {wanted}"


@pytest.mark.parametrize("application", APPLICATIONS)
def test_what_shows_a_line_elsewhere_is_there(application: str) -> None:
    for line in (each for section in lines.load(application) for each in section.lines):
        for path in re.findall(r"\b(?:tests|services)/[\w/.]*\w", line.elsewhere):
            assert (paths.toolkit() / path).exists(), f"{line.key}: there is no {path}"


def row(result: str = "holds", **more: Any) -> dict[str, Any]:
    given = {"area": "Ports", "what": "8080/http answers", "port": None, "shows": [], "result": result}
    return given | more


def judged(line: dict[str, Any], *rows: dict[str, Any]) -> dict[str, Any]:
    section = Section(title="One", lines=[Line.model_validate({"key": "a", "text": "A line"} | line)])
    (found,) = lines.judge([section], rows, "single")
    assert (found["section"], found["key"], found["text"]) == ("One", "a", "A line")
    return found


@pytest.mark.parametrize(
    ("line", "rows", "result"),
    [
        ({}, [], "fails"),
        ({}, [row()], "fails"),
        ({}, [row(shows=["a"])], "holds"),
        ({}, [row(shows=["a"]), row("fails", shows=["a"])], "fails"),
        ({}, [row(shows=["a"]), row("not deployed", shows=["a"])], "holds"),
        ({}, [row("not deployed", shows=["a"])], "not deployed"),
        ({"hosts": [{"port": 8080}]}, [row(port={"number": 8080})], "holds"),
        ({"hosts": [{"port": 8080}]}, [row(port={"number": 8081}), row()], "fails"),
        ({"hosts": [{"what": "answers", "area": "Ports"}]}, [row()], "holds"),
        ({"hosts": [{"what": "answers", "area": "Docker"}]}, [row()], "fails"),
        ({"hosts": [{"what": "x"}, {"what": "8080"}]}, [row("fails")], "fails"),
        ({"hosts": [{"what": "Loki"}], "optional": True}, [row()], "not deployed"),
        ({"elsewhere": "on a desktop"}, [], "not deployed"),
        ({"topology": "cluster"}, [], "not deployed"),
        ({"topology": "cluster", "hosts": [{"port": 443}]}, [row(port={"number": 443})], "not deployed"),
        ({"topology": "single", "hosts": [{"port": 443}]}, [row(port={"number": 443})], "holds"),
        ({"topology": "single"}, [], "fails"),
    ],
)
def test_a_line_is_judged_by_what_shows_it(
    line: dict[str, Any], rows: list[dict[str, Any]], result: str
) -> None:
    assert judged(line, *rows)["result"] == result


def test_a_line_names_its_tests_once() -> None:
    case = {"area": "Contract: auth", "shows": ["a"]}
    found = judged({}, row(what="login [x]", **case), row(what="login [y]", **case))
    assert found["tests"] == ["Contract: auth: login"]
    broken = judged({}, row("fails", what="login [x]", **case))
    assert broken["detail"] == "login [x]"


def test_a_line_knows_no_other_words() -> None:
    with pytest.raises(ValidationError):
        Line.model_validate({"key": "a", "text": "A", "test": "b"})


def test_sections_keep_their_order() -> None:
    found = [
        {"section": name, "result": result}
        for name, result in (("b", "holds"), ("b", "fails"), ("a", "holds"))
    ]
    assert [(each["name"], each["holding"], each["failed"]) for each in report.sections(found)] == [
        ("b", 1, 1),
        ("a", 1, 0),
    ]
