"""What the sites' nginx answers, with the very settings of their images."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import httpx2
import pytest
from testing import patient, shop

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
BASES = {"storefront": "/", "panel": "/panel/"}


@pytest.fixture(scope="module", params=BASES)
def site(request: pytest.FixtureRequest) -> Iterator[tuple[httpx2.Client, str]]:
    """A client of the site, and where the site lives."""
    with shop.site(request.param) as url, httpx2.Client(base_url=url, timeout=60) as client:
        yield client, BASES[request.param]


def asset(client: httpx2.Client, base: str) -> str:
    page = client.get(base, headers=HTML).text
    found = re.search(r'<script type="module" src="(assets/[^"]+)"', page)
    assert found, page
    return base + found[1]


def test_the_page_is_asked_for_anew(site: tuple[httpx2.Client, str]) -> None:
    client, base = site
    answer = client.get(base)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(base, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_an_asset_is_kept_for_good(site: tuple[httpx2.Client, str]) -> None:
    client, base = site
    answer = client.get(asset(client, base))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_compressed_for_who_takes_it(site: tuple[httpx2.Client, str]) -> None:
    client, base = site
    for path in (base, asset(client, base)):
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as small:
            body = b"".join(small.iter_raw())
        assert small.headers["content-encoding"] == "gzip"
        assert small.headers["vary"] == "Accept-Encoding"
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert gzip.decompress(body) == plain.content


def test_rules_for_the_browser(site: tuple[httpx2.Client, str]) -> None:
    client, base = site
    for path, status in ((base, 200), (asset(client, base), 200), (f"{base}assets/gone.js", 404)):
        answer = client.get(path)
        assert answer.status_code == status
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "nginx/" not in answer.headers["server"]


def test_a_path_of_the_page_is_the_page_for_people_only(site: tuple[httpx2.Client, str]) -> None:
    client, base = site
    page = client.get(base).text
    assert client.get(f"{base}reset", headers=HTML).text == page
    answer = client.get(f"{base}reset", headers={"Accept": "application/json"})
    assert answer.status_code == 404
    assert client.get(f"{base}assets/000000000000/app.js", headers=HTML).status_code == 404


def test_health(site: tuple[httpx2.Client, str]) -> None:
    client, _ = site
    for path in ("/health/live", "/health/ready"):
        assert (client.get(path).status_code, client.get(path).text) == (200, "ok\n")


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "..%2f..%2fetc/passwd", "../nginx.conf", "%2e%2e/nginx.conf"]
)
def test_nothing_else_is_served(site: tuple[httpx2.Client, str], path: str) -> None:
    client, base = site
    answer = client.get(f"{base}{path}", headers={"Accept": "*/*"})
    assert answer.status_code in (400, 404)


def test_the_panel_without_its_slash() -> None:
    with shop.site("panel") as url:
        answer = patient.get(f"{url}/panel", headers=HTML)
        assert (answer.status_code, answer.headers["location"]) == (301, "/panel/")
