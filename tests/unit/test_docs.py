"""Pages are found from README, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("*.md", "docs/*.md", "roles/*/README.md", "services/*/README.md")


def links(page: Path) -> list[tuple[Path, str]]:
    """File and heading (its anchor, or nothing) of each link to something of ours."""
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text())
    return [((page.parent / path).resolve() if path else page, anchor) for path, anchor in found]


def anchors(page: Path) -> set[str]:
    """What GitHub calls the page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_found_from_readme_and_every_link_leads_somewhere() -> None:
    pages, seen, dangling = [ROOT / "README.md"], set(), []
    while pages:
        page = pages.pop()
        seen.add(page)
        for target, anchor in links(page):
            if not target.exists() or (anchor and anchor not in anchors(target)):
                dangling.append(f"{page.relative_to(ROOT)}: {target.name}#{anchor}")
            elif target.suffix == ".md" and target not in seen:
                pages.append(target)
    assert dangling == []
    assert {page for pattern in PAGES for page in ROOT.glob(pattern)} == seen
