"""The page that a proof leaves: for a desk and a telephone, in the light and in the dark."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from testing.browser import visitor

from tests.journeys.conftest import Album
from tests.live import Live

SIZES: dict[str, Any] = {"desk": {"width": 1360, "height": 900}, "telephone": {"width": 360, "height": 740}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_anywhere(live: Live, browser: Browser, album: Album, scheme: Any) -> None:
    (page,) = Path(live.env["XDG_STATE_HOME"]).rglob("proof/*.html")
    with ExitStack() as stack:
        for name, size in SIZES.items():
            who = stack.enter_context(visitor(browser, page.as_uri(), color_scheme=scheme, viewport=size))
            who.go("")
            expect(who.page.get_by_role("heading", level=1)).to_have_text(live.name)
            who.check_fits()
            album.take(f"proof-{name}-{scheme}", who.page)
            who.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
            who.check_fits()
            who.check_accessible()
