"""The image hosts start from: had once, and never used before its digest is checked."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from hostwright import paths
from hostwright.errors import BadInput

CHUNK = 1 << 20


def verified(image: str, sha256: str, where: str) -> Path:
    """The local file of `image` (a path, or an https URL fetched into the cache), its digest checked.

    Raises BadInput when it cannot be had or is another file than the digest says.
    """
    path = local(image, sha256)
    if image.startswith("https://"):
        return _fetched(image, sha256, where, path)
    if not path.is_file():
        raise BadInput(f"the image {path} does not exist", where=where, fix="give a file or an https URL")
    if (found := _digest(path)) != sha256:
        raise _wrong(str(path), found, sha256, where)
    return path


def local(image: str, sha256: str) -> Path:
    """Where the image's file is here, or will be once it is fetched."""
    return paths.cache() / "images" / f"{sha256}.qcow2" if image.startswith("https://") else Path(image)


def virtual_size(path: Path) -> int:
    """Bytes of the disk that the image holds: by the header of a qcow2, else the file's own size."""
    with path.open("rb") as stream:
        header = stream.read(32)
    if header[:4] == b"QFI\xfb":
        return int.from_bytes(header[24:32], "big")
    return path.stat().st_size


def _fetched(url: str, sha256: str, where: str, target: Path) -> Path:
    if target.is_file() and _digest(target) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as new:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  (https, checked above)
                shutil.copyfileobj(answer, new, CHUNK)
            new.flush()
            found = _sum(Path(new.name))
            if found != sha256:
                raise _wrong(url, found, sha256, where)
            Path(new.name).replace(target)
        except (OSError, urllib.error.URLError) as error:
            raise BadInput(
                f"the image cannot be fetched: {error}", where=f"{where}: {url}", fix="check URL and network"
            ) from None
        finally:
            Path(new.name).unlink(missing_ok=True)
    return target


def _wrong(what: str, found: str, expected: str, where: str) -> BadInput:
    return BadInput(
        f"{what} is not the image it should be: its SHA-256 digest is {found}, not {expected}",
        where=where,
        fix="get the file again, or give the digest that its publisher names",
    )


def _digest(path: Path) -> str:
    """The file's SHA-256, remembered for as long as the file stays the same by size and time."""
    memory = paths.cache() / "digests.json"
    state = path.stat()
    key = f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}:{state.st_ino}"
    try:
        known = dict(json.loads(memory.read_text()))
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = _sum(path)
        memory.parent.mkdir(parents=True, exist_ok=True)
        new = memory.with_suffix(".new")
        new.write_text(json.dumps(known, indent=2))
        new.replace(memory)
    return str(known[key])


def _sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
