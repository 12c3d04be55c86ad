"""The page that a proof leaves: for a desk and a telephone, in the light and in the dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from testing.browser import PHONE, visitor

from tests.journeys.conftest import Album
from tests.live import Live

LOOKS: dict[str, Any] = {
    "proof": {"color_scheme": "light"},
    "proof-telephone": {"color_scheme": "dark", **PHONE},
}


@pytest.mark.parametrize("name", LOOKS)
def test_it_can_be_read_anywhere(live: Live, browser: Browser, album: Album, name: str) -> None:
    (page,) = Path(live.env["XDG_STATE_HOME"]).rglob("proof/*.html")
    with visitor(browser, page.as_uri(), **LOOKS[name]) as who:
        who.go("")
        expect(who.page.get_by_role("heading", level=1)).to_have_text(live.name)
        who.check_fits()
        album.take(name, who.page)
        who.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        who.check_fits()
        who.check_accessible()
