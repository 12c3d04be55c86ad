"""The example of docs/bring-your-own.md: what the page writes, and what it does with it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from hostwright import paths

PAGE = (paths.toolkit() / "docs" / "bring-your-own.md").read_text()
DEFINITION, LINE = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
IMAGE: str = yaml.safe_load(DEFINITION)["image"]


def bring(project: Path) -> None:
    """Copy the application, make the folder, add the line."""
    for folder in ("apps", "miniflux"):
        (project / "services" / folder).mkdir(parents=True)
    (project / "services" / "miniflux" / "service.yml").write_text(DEFINITION)
    text = (paths.toolkit() / "services" / "apps" / "starter.yml").read_text()
    before, after = text.split("\ncomponents:")
    (project / "services" / "apps" / "starter.yml").write_text(f"{before}{LINE}\ncomponents:{after}")
