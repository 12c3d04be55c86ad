"""A real Chromium, and visitors in it whose every complaint is heard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from testing.chromium import CHROMIUM

LAUNCHER = Path(__file__).with_name("chromium.py")
# Without what a browser fetches for itself.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 30_000  # milliseconds: the machine may be busy
SERIOUS = ("serious", "critical")
PHONE = {"viewport": {"width": 360, "height": 740}}
# Language, colours and size of a visitor, each pair of them once; the small screen is where pages break.
LOOKS = [
    {"locale": "en-GB", "color_scheme": "light", **PHONE},
    {"locale": "pl-PL", "color_scheme": "dark", **PHONE},
    pytest.param({"locale": "pl-PL", "color_scheme": "light"}, marks=pytest.mark.slow),
    pytest.param({"locale": "en-GB", "color_scheme": "dark"}, marks=pytest.mark.slow),
]
WIDTHS = """() => {
    const out = (each) => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll");
    const culprits = [...document.body.querySelectorAll("*")].filter(out);
    const shown = culprits.map((each) => each.outerHTML.slice(0, 99));
    return [document.documentElement.scrollWidth, innerWidth, shown];
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """For tests that have no event loop of their own: end it before one that has."""
    if not Path(CHROMIUM).exists():
        raise FileNotFoundError("Chromium is not here: apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=LAUNCHER, args=ARGUMENTS, timeout=2 * PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """Somebody with a browser of their own. `complaints` is what its console and its pages held wrong."""

    page: Page
    context: BrowserContext
    url: str
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def expect_complaint(self, pattern: str) -> None:
        """One that the browser makes of its own accord, as of a refused request."""
        self.expected.append(pattern)

    def check(self) -> None:
        """No error on the console, no broken rule of the content security policy."""
        wrong = [each for each in self.complaints if not any(re.search(ok, each) for ok in self.expected)]
        if wrong:
            raise AssertionError(f"complaints: {wrong}")

    def check_accessible(self) -> None:
        """No serious finding of axe in what is shown."""
        self.page.evaluate("document.getAnimations().forEach((each) => each.finish())")
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        serious = [
            (each["id"], each["help"], [node["html"] for node in each["nodes"]])
            for each in found
            if each["impact"] in SERIOUS
        ]
        if serious:
            raise AssertionError(f"axe at {self.page.url}: {serious}")

    def check_fits(self) -> None:
        """Nothing makes the page wider than the screen."""
        wide, screen, culprits = self.page.evaluate(WIDTHS)
        if wide > screen:
            raise AssertionError(f"{wide} > {screen} at {self.page.url}: {culprits}")

    def shoot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True)


@contextmanager
def visitor(browser: Browser, url: str, **options: Any) -> Iterator[Visitor]:
    """`options` of a browser's context: locale, viewport, color_scheme; English and wide without."""
    options = {"locale": "en-GB", "viewport": {"width": 1360, "height": 900}, **options}
    context = browser.new_context(reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    found = Visitor(page, context, url)

    def heard(each: ConsoleMessage) -> None:
        if each.type in ("error", "warning"):
            found.complaints.append(each.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    try:
        yield found
        found.check()
    finally:
        context.close()
