"""The lines of the document that an application follows, and what of a proof shows each.

They are data: tests/contracts/APPLICATION/lines.yml. A contract test names the lines it shows
(`@pytest.mark.shows(KEY)`); a line that hosts and ports show names rows of their proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from hostwright import paths

Row = Mapping[str, Any]


class Line(BaseModel):
    """One line. Where no row of a proof can show it, `elsewhere` says what does, or why nothing does yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    text: str
    hosts: list[dict[str, str | int]] = []  # rows of hosts: what of each must be so, see `fits`
    optional: bool = False  # of a component that may be absent
    elsewhere: str = ""
    topology: str = ""  # the only one that has it
    note: str = ""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    lines: list[Line]


def folder(application: str) -> Path:
    """Where the application's contract tests are, if it has any."""
    return paths.toolkit() / "tests" / "contracts" / application


def load(application: str) -> list[Section]:
    """The document's sections, in its order."""
    document = yaml.safe_load((folder(application) / "lines.yml").read_text())
    return [Section.model_validate(each) for each in document["sections"]]


def judge(sections: Sequence[Section], rows: Sequence[Row], topology: str) -> list[dict[str, Any]]:
    """A dict a line: section, key, text, `result` (holds, fails, not deployed), tests, detail.

    A line fails if anything that shows it does, and if nothing does that ought to.
    """
    return [
        {"section": section.title, "key": line.key, "text": line.text} | _judged(line, rows, topology)
        for section in sections
        for line in section.lines
    ]


def _judged(line: Line, rows: Sequence[Row], topology: str) -> dict[str, Any]:
    shown = [row for row in rows if line.key in row["shows"] or any(fits(row, each) for each in line.hosts)]
    results = {row["result"] for row in shown}
    detail = line.note
    if line.topology and line.topology != topology:
        result, detail, shown = "not deployed", f"of the topology {line.topology}; this is {topology}", []
    elif "fails" in results:
        result = "fails"
        detail = "; ".join(row["what"] for row in shown if row["result"] == "fails")
    elif "holds" in results:
        result = "holds"
    elif shown or line.optional or line.elsewhere:
        result = "not deployed"
        detail = line.elsewhere or line.note or "the component is not part of this environment"
    else:
        result, detail = "fails", "nothing showed it"
    return {"result": result, "tests": _names(shown), "detail": detail}


def _names(rows: Sequence[Row]) -> list[str]:
    """Each once; the cases of one test together."""
    names = (f"{row['area']}: {row['what'].partition(' [')[0]}" for row in rows)
    return list(dict.fromkeys(names))


def fits(row: Row, wanted: Mapping[str, str | int]) -> bool:
    """Whether a line means the row: by its number as `port`, a part of its `what`, anything else as it is."""
    for name, value in wanted.items():
        if name == "port":
            if not row["port"] or row["port"]["number"] != value:
                return False
        elif name == "what":
            if str(value) not in row["what"]:
                return False
        elif row[name] != value:
            return False
    return True
