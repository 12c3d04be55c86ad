"""The two sites as the gateway serves them: a page, files that never change, and nothing else."""

from __future__ import annotations

import re

import httpx2
import pytest

from tests.environment import refused

SITES = [
    pytest.param("/", marks=pytest.mark.shows("picture/frontend")),
    pytest.param("/panel/", marks=pytest.mark.shows("picture/panel")),
]
HTML = {"Accept": "text/html"}


def assets(http: httpx2.Client, site: str) -> list[str]:
    page = http.get(site, headers=HTML).text
    assert f'<base href="{site}">' in page
    return [site + each for each in re.findall(r'(?:src|href)="(assets/[^"]+)"', page)]


@pytest.mark.parametrize("site", SITES)
def test_page(http, site: str) -> None:
    answer = http.get(site, headers=HTML)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "<script>" not in answer.text, "the policy would not let it run"
    again = http.get(site, headers=HTML | {"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("site", SITES)
def test_every_file_of_the_page_is_there(http, site: str) -> None:
    """kept by browsers for good, and sent compressed"""
    found = assets(http, site)
    assert {each.rpartition(".")[2] for each in found} == {"css", "js", "svg"}
    for path in found:
        answer = http.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        kind = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}[path.rpartition(".")[2]]
        assert answer.headers["Content-Type"].startswith(kind)
    small = http.get(
        next(each for each in found if each.endswith(".js")), headers={"Accept-Encoding": "gzip"}
    )
    assert small.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("site", SITES)
def test_a_place_within_the_page_gets_the_page(http, site: str) -> None:
    page = http.get(site, headers=HTML).content
    assert http.get(f"{site}orders/7", headers=HTML).content == page
    refused(http.get(f"{site}orders/7", headers={"Accept": "application/json"}), 404)
    refused(http.get(f"{site}assets/nothing.js", headers=HTML), 404)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_pages_take_nothing(http, site: str, method: str) -> None:
    refused(http.request(method, site, headers=HTML), 405)


@pytest.mark.shows("picture/frontend")
def test_catalogue(http) -> None:
    """the shop has something to sell"""
    script = next(each for each in assets(http, "/") if each.endswith("/storefront.js"))
    found = http.get(script.replace("storefront.js", "catalogue.json")).json()
    assert found, "nothing to sell"


def test_nothing_but_the_site(http) -> None:
    for path in ("/nginx.conf", "/panel/nginx.conf", "/.env", "/assets/", "/panel/../nginx.conf"):
        assert http.get(path).status_code in (400, 404), path
