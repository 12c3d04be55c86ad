"""The page of a proof: one file without anything outside it, light or dark, for a desk or a telephone."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import jinja2

from hostwright import __version__, paths

PLACES = ("network", "host", "outside")


def page(proof: dict[str, Any]) -> str:
    """HTML of a ProofResult.as_dict()."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.toolkit() / "templates" / "proof"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("page.html.j2").render(
        **proof,
        version=__version__,
        areas=areas(proof["rows"]),
        ports=ports(proof["rows"]),
        sections=sections(proof["lines"]),
        places=PLACES,
        failures=[row for row in proof["rows"] if row["result"] == "fails"],
        absent=[row for row in proof["rows"] if row["result"] == "not deployed"],
        unproved=[row for row in proof["rows"] if row["result"] == "unproved"],
        several=len(proof["hosts"]) > 1,
        lab=any(host["system"].get("VARIANT_ID") == "lab" for host in proof["hosts"]),
    )


def areas(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by area, in the order they were asked: name, rows, how many hold and fail, seconds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["area"], []).append(row)
    return [
        {
            "name": name,
            "rows": group,
            "total": len(group),
            "failed": sum(row["result"] == "fails" for row in group),
            "seconds": round(sum(row["seconds"] for row in group), 1),
        }
        for name, group in found.items()
    ]


def sections(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of the application's document by section, in its order: name, lines, how many hold and fail."""
    found = []
    for name, group in groupby(lines, key=lambda line: line["section"]):
        held = list(group)
        results = [line["result"] for line in held]
        found.append(
            {
                "name": name,
                "lines": held,
                "holding": results.count("holds"),
                "failed": results.count("fails"),
            }
        )
    return found


def ports(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each declared port with what each place saw of it: `open`, `closed`, `fails`, `unproved` or nothing."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        port = row["port"]
        return (row["scope"] == "internal", row["host"], port["number"], port["owner"], port["protocol"])

    asked = sorted((row for row in rows if row["port"]), key=key)
    found = []
    for _, group in groupby(asked, key):
        answers = list(group)
        port = answers[0]["port"]
        found.append(
            {
                **port,
                "host": answers[0]["host"],
                "scope": answers[0]["scope"],
                "seen": {place: [cell(row) for row in answers if row["place"] == place] for place in PLACES},
            }
        )
    return found


def cell(row: dict[str, Any]) -> dict[str, str]:
    """One answer: what was seen and whether that is as declared."""
    expected = "closed" if row["closed"] else "open"
    family = "" if not row["address"] else "IPv6" if ":" in row["address"] else "IPv4"
    state = {"holds": expected, "unproved": "unproved"}.get(row["result"], "fails")
    return {"state": state, "family": family, "title": f"{row['what']}: {row['detail'] or row['result']}"}
