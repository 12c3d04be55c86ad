"""People in front of the live environment: browsers, a desktop, and a camera for those who ask for it.

    pytest tests/journeys --screenshots docs/images

makes the pictures of the documentation anew, from a run of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx2
import pytest
from PIL.Image import Dither, Image, new
from PIL.Image import open as opened
from playwright.sync_api import Browser, Page, expect
from testing import desktop as desktops
from testing.browser import PATIENCE, Visitor, chromium, visitor
from testing.desktop import Desktop
from testing.process import give, own_directory

from tests import environment
from tests.contracts.conftest import admin, gateway, http
from tests.contracts.warehouse.conftest import mails
from tests.environment import Account, Gateway

__all__ = ["admin", "gateway", "http", "mails"]
expect.set_options(timeout=PATIENCE)
MOST = 150_000  # bytes of a picture
LOADED = """() => document.fonts.status === "loaded" && [...document.images].every((each) =>
    each.complete || each.getBoundingClientRect().top > innerHeight)"""

Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def employee(http: httpx2.Client, admin: Account) -> Account:
    made = environment.register(http)
    answer = admin.ask("PUT", f"/api/auth/users/{made.id}/role", json={"role": "employee"})
    assert answer.status_code == 200, answer.text
    return environment.login(http, made.email, made.password)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module, and not longer: it would be in the way of tests with an event loop."""
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser, gateway: Gateway) -> Iterator[Visit]:
    """`visit(locale="pl")`: somebody with a browser, whose complaints are looked at in the end.

    The environment's authority is unknown to it; that its certificate is good is seen by `http`.
    """
    with ExitStack() as stack:
        options = {"ignore_https_errors": True}
        yield lambda **more: stack.enter_context(visitor(browser, gateway.url, **options, **more))


@pytest.fixture(scope="session")
def ca(gateway: Gateway) -> Iterator[Path]:
    """The authority's certificate, where the desktop's user can read it."""
    folder = own_directory("ca")
    file = folder / "ca.pem"
    file.write_text(gateway.ca)
    give(file)
    yield file
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def desktop() -> Iterator[Desktop]:
    with desktops.desktop("en_GB.UTF-8") as found:
        yield found


@dataclass(frozen=True)
class Album:
    """Pictures for the documentation, where somebody asked for them."""

    folder: Path | None

    def take(self, name: str, what: Page | Image) -> None:
        """What a browser's window or the desktop shows, in the 255 colours that it has most of."""
        if self.folder is None:
            return
        if isinstance(what, Page):
            what.wait_for_function(LOADED)
            what = opened(BytesIO(what.screenshot(animations="disabled")))
        path = self.folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = what.convert("RGB")
        colours = sorted(whole.getcolors(whole.width * whole.height), reverse=True)[:255]
        few = new("P", (1, 1))
        few.putpalette([part for _, colour in colours for part in colour])
        whole.quantize(palette=few, dither=Dither.NONE).save(path, optimize=True)
        assert path.stat().st_size < MOST, f"{path} is too large"


@pytest.fixture(scope="session")
def album(request: pytest.FixtureRequest) -> Album:
    return Album(request.config.getoption("--screenshots"))
