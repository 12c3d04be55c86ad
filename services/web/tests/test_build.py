"""How a site is built: nothing that changes keeps its address, nothing refers to what is not there."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from web.build import build

PAGE = """<!doctype html>
<html lang="en"><head>
<base href="/panel/">
<link rel="stylesheet" href="look.css">
<script type="module" src="app.js"></script>
</head><body><a href="https://example.com/">out</a> <a href="#/orders">in</a></body></html>
"""
FILES = {
    "index.html": PAGE,
    "look.css": "body { margin: 0 }\n" * 40,
    "app.js": 'import { one } from "./views/one.js";\nimport "./texts.js";\none();\n',
    "texts.js": "export const texts = {};\n",
    "views/one.js": 'import {\n  two,\n} from "../shared/two.js";\nexport const one = two;\n',
    "picture.svg": "<svg/>",
}
SHARED = {"two.js": "export const two = () => 2;\n", "unused.js": "\n"}


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.builds = 0
        for name, text in {f"site/{key}": value for key, value in FILES.items()}.items():
            self.write(name, text)
        for name, text in SHARED.items():
            self.write(f"shared/{name}", text)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def build(self) -> tuple[str, Path]:
        self.builds += 1
        out = self.folder / f"out{self.builds}"
        return build(self.folder / "site", self.folder / "shared", out), out


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_files_lie_below_the_hash_of_all(site: Site) -> None:
    digest, out = site.build()
    assets = out / "www/panel/assets"
    assert re.fullmatch("[0-9a-f]{12}", digest)
    assert [each.name for each in assets.iterdir()] == [digest]
    found = {str(each.relative_to(assets / digest)) for each in assets.rglob("*") if each.is_file()}
    wanted = {name for name in FILES if name != "index.html"} | {f"shared/{name}" for name in SHARED}
    assert {name for name in found if not name.endswith(".gz")} == wanted
    for name in wanted & FILES.keys():
        assert (assets / digest / name).read_text() == FILES[name]


def test_the_page_names_them(site: Site) -> None:
    digest, out = site.build()
    page = (out / "www/panel/index.html").read_text()
    assert f'<link rel="stylesheet" href="assets/{digest}/look.css">' in page
    assert f'<script type="module" src="assets/{digest}/app.js">' in page
    assert '<base href="/panel/">' in page
    assert '<a href="https://example.com/">out</a> <a href="#/orders">in</a>' in page


def test_modules_are_preloaded_that_are_needed_and_no_other(site: Site) -> None:
    digest, out = site.build()
    page = (out / "www/panel/index.html").read_text()
    found = re.findall(rf'<link rel="modulepreload" href="assets/{digest}/([^"]+)">', page)
    assert found == ["app.js", "views/one.js", "shared/two.js", "texts.js"]


@pytest.mark.parametrize("changed", ["site/app.js", "site/look.css", "site/picture.svg", "shared/two.js"])
def test_any_change_is_another_address(site: Site, changed: str) -> None:
    first, _ = site.build()
    again, _ = site.build()
    assert again == first
    site.write(changed, (site.folder / changed).read_text() + "\n")
    other, _ = site.build()
    assert other != first


def test_a_moved_file_is_another_address(site: Site) -> None:
    first, _ = site.build()
    (site.folder / "site/picture.svg").rename(site.folder / "site/photo.svg")
    assert site.build()[0] != first


def test_compressed_where_it_pays(site: Site) -> None:
    digest, out = site.build()
    place = out / "www/panel/assets" / digest
    small = place / "look.css.gz"
    assert gzip.decompress(small.read_bytes()).decode() == FILES["look.css"]
    assert small.stat().st_size < (place / "look.css").stat().st_size
    assert not (place / "picture.svg.gz").exists()


def test_the_same_twice_to_the_byte(site: Site) -> None:
    contents = []
    for _ in range(2):
        _, out = site.build()
        contents.append(
            {each.relative_to(out): each.read_bytes() for each in out.rglob("*") if each.is_file()}
        )
    assert contents[0] == contents[1]


def test_settings_of_nginx_know_the_place(site: Site) -> None:
    _, out = site.build()
    settings = (out / "nginx.conf").read_text()
    assert "location /panel/assets/ {" in settings
    assert "@BASE@" not in settings


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("site/index.html", PAGE.replace("app.js", "gone.js"), "index.html: gone.js is not there"),
        ("site/app.js", 'import "./gone.js";\n', "app.js: ./gone.js is not there"),
        ("site/views/one.js", 'export { x } from "../../x.js";\n', "views/one.js: ../../x.js is not there"),
        ("site/index.html", PAGE.replace("<base", "<bass"), "a line <base href> must say"),
    ],
)
def test_what_is_not_there(site: Site, name: str, text: str, complaint: str) -> None:
    site.write(name, text)
    with pytest.raises(ValueError, match=re.escape(complaint)):
        site.build()
