"""The lines of an application's document: each is shown by something, and judged by what shows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hostwright import paths
from hostwright.proof import lines, report
from hostwright.proof.lines import Line, Section

CONTRACTS = paths.toolkit() / "tests" / "contracts"
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
