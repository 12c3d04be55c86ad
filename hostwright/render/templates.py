"""Filling in what is in templates/, and the small conversions that this needs."""

from __future__ import annotations

import hashlib
import json
from functools import cache, partial
from typing import Any

import jinja2

from hostwright import paths
from hostwright.application import Setting


def fill(name: str, **model: Any) -> str:
    """The text of a template; what is no template is taken as it is."""
    if not name.endswith(".j2"):
        return (paths.toolkit() / "templates" / name).read_text()
    return _templates().get_template(name).render(**model)


def fill_all(folder: str, **model: Any) -> dict[str, str]:
    """File name -> text of everything in a folder."""
    found = {name.removesuffix(".j2"): fill(f"{folder}/{name}", **model) for name in names(folder)}
    return {name: text for name, text in found.items() if text}  # an empty one is not wanted here


def names(folder: str) -> list[str]:
    """Paths in a folder of templates, sorted."""
    root = paths.toolkit() / "templates" / folder
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def worded(value: Setting) -> str:
    """A setting as the text that an environment variable takes."""
    return value if isinstance(value, str) else json.dumps(value)


def variable(header: str) -> str:
    """A header's name as nginx spells it in its variables."""
    return header.lower().replace("-", "_")


def digest(*texts: str) -> str:
    """12 characters that change when one of the texts does."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(  # noqa: S701  (not HTML)
        loader=jinja2.FileSystemLoader(paths.toolkit() / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["value"] = _yaml
    found.filters["variable"] = variable
    found.filters["lua"] = _lua
    found.filters["json"] = partial(json.dumps, indent=1, ensure_ascii=False)
    return found


def _lua(value: str | None) -> str:
    """A Lua value; where a text has no control characters it is spelled as in JSON."""
    return "nil" if value is None else json.dumps(value, ensure_ascii=False)


def _yaml(value: Any) -> str:
    """A YAML value on one line that Compose does not interpolate; JSON is YAML."""
    return json.dumps(value, ensure_ascii=False).replace("$", "$$")
