"""Builds one site for nginx: `python build.py SITE SHARED OUT`, with nothing but the standard library.

OUT gets www/ and nginx.conf. Everything but the page itself goes into assets/HASH/, where HASH is made of all
the contents: such a file never changes, so browsers keep it for good, and relative addresses stay as written.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
import sys
from pathlib import Path

BASE = re.compile(r'<base href="(/(?:[a-z][a-z0-9-]*/)?)">')  # where the site lives
REFERENCE = re.compile(r'(?<=[ \n])(src|href)="([^":/#][^":#]*)"')  # from the page to a file beside it
IMPORT = re.compile(r'^(?:import|export)\b[^";]*"(\.[^"]+)";$', re.MULTILINE)
COMPRESSED = {".html", ".css", ".js", ".svg", ".json"}
HEAD = "</head>"


def build(site: Path, shared: Path, out: Path) -> str:
    """Returns HASH. Raises ValueError for a page or a module that refers to a file that is not there."""
    page = (site / "index.html").read_text()
    if not (found := BASE.search(page)):
        raise ValueError(f"{site}/index.html: a line <base href> must say where the site lives")
    base = found[1]
    files = _files(site) | {f"shared/{name}": content for name, content in _files(shared).items()}
    del files["index.html"]
    digest = _digest(files)

    www = out / "www" / base.strip("/")
    for name, content in files.items():
        _write(www / "assets" / digest / name, content)
    _write(www / "index.html", _page(page, files, digest).encode())
    settings = (Path(__file__).parent / "nginx.conf").read_text()
    (out / "nginx.conf").write_text(settings.replace("@BASE@", base))
    return digest


def _files(folder: Path) -> dict[str, bytes]:
    """Path in the folder -> content."""
    found = {each.relative_to(folder): each for each in sorted(folder.rglob("*")) if each.is_file()}
    return {name.as_posix(): each.read_bytes() for name, each in found.items()}


def _digest(files: dict[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:12]


def _page(page: str, files: dict[str, bytes], digest: str) -> str:
    """With the files' real addresses, and all modules named at once: else each import costs a round trip."""
    entries = []

    def real(reference: re.Match[str]) -> str:
        attribute, name = reference.groups()
        if name not in files:
            raise ValueError(f"index.html: {name} is not there")
        if name.endswith(".js"):
            entries.append(name)
        return f'{attribute}="assets/{digest}/{name}"'

    page = REFERENCE.sub(real, page)
    modules: dict[str, None] = {}
    for entry in entries:
        _follow(entry, files, modules)
    preloads = (f'<link rel="modulepreload" href="assets/{digest}/{name}">\n' for name in modules)
    return page.replace(HEAD, "".join(preloads) + HEAD)


def _follow(module: str, files: dict[str, bytes], found: dict[str, None]) -> None:
    if module in found:
        return
    found[module] = None
    for target in IMPORT.findall(files[module].decode()):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(module), target))
        if name not in files:
            raise ValueError(f"{module}: {target} is not there")
        _follow(name, files, found)


def _write(path: Path, content: bytes) -> None:
    """And beside it what nginx sends to who takes gzip, where that is less."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if path.suffix in COMPRESSED:
        small = gzip.compress(content, 9, mtime=0)
        if len(small) < len(content):
            path.with_name(f"{path.name}.gz").write_bytes(small)


if __name__ == "__main__":
    try:
        print(build(*map(Path, sys.argv[1:4])))
    except ValueError as error:
        sys.exit(str(error))
