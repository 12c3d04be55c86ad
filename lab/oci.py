"""OCI images written by code: a tree becomes a layer, layers and a configuration become an image layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Layer:
    """A gzipped tar: `path` with its digest and size, and `diff_id`, the digest of what is in it."""

    path: Path
    digest: str
    diff_id: str
    size: int


def layer(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Make folder `target`, a layer of the tar that `write(stream)` writes; `load` reads it back."""
    target.mkdir()
    blob = target / "blob"
    with blob.open("wb") as raw:
        compressed = _Digesting(raw)
        # A file name or a time in the gzip header would change the digest of the same content.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=compressed, mtime=0) as zipped:
            plain = _Digesting(zipped)
            write(plain)
    made = Layer(Path("blob"), compressed.digest(), plain.digest(), compressed.written)
    (target / "layer.json").write_text(json.dumps(asdict(made), default=str))


def load(folder: Path) -> Layer:
    """The layer kept in `folder`."""
    kept = json.loads((folder / "layer.json").read_text())
    return Layer(folder / kept["path"], kept["digest"], kept["diff_id"], kept["size"])


def write_changes(
    upper: Path, lower: Path, stream: IO[bytes], *, skip: Callable[[str], bool], epoch: int
) -> None:
    """Write an overlay's upper folder as a tar: deletions as OCI whiteouts, no time after `epoch`.

    `skip(name)` says of a path relative to `upper` whether to leave it out.
    """
    names: dict[int, str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in _walk(upper):
            name = str(path.relative_to(upper))
            if skip(name):
                continue
            found = path.lstat()
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                tar.addfile(_empty(str(Path(name).with_name(f".wh.{path.name}")), epoch))
                continue
            entry = tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
            entry.mtime = min(int(found.st_mtime), epoch)
            if path.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                tar.addfile(entry)
            elif path.is_dir():
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
                replaced = "trusted.overlay.opaque" in os.listxattr(path) and (lower / name).is_dir()
                if replaced:
                    tar.addfile(_empty(f"{name}/.wh..wh..opq", epoch))
            elif found.st_ino in names:
                entry.type, entry.linkname = tarfile.LNKTYPE, names[found.st_ino]
                tar.addfile(entry)
            else:
                entry.size, names[found.st_ino] = found.st_size, name
                with path.open("rb") as content:
                    tar.addfile(entry, content)


def image(
    target: Path, layers: Sequence[Layer], config: dict[str, Any], history: Sequence[str], created: str
) -> None:
    """Write the OCI layout `target` holding one image; `digest` tells its manifest's digest."""
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for each in layers:
        place = blobs / each.digest.partition(":")[2]
        try:
            place.hardlink_to(each.path)
        except OSError:
            shutil.copyfile(each.path, place)

    def keep(document: dict[str, Any], kind: str) -> dict[str, Any]:
        content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        media = f"application/vnd.oci.image.{kind}.v1+json"
        return {"mediaType": media, "digest": f"sha256:{name}", "size": len(content)}

    described = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
        "history": [{"created": created, "created_by": each} for each in history],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": keep(described, "config"),
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": each.digest,
                "size": each.size,
            }
            for each in layers
        ],
    }
    index = {"schemaVersion": 2, "manifests": [keep(manifest, "manifest")]}
    (target / "index.json").write_text(json.dumps(index))
    (target / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def digest(layout: Path) -> str:
    """The digest (`sha256:...`) of the one manifest in an OCI layout."""
    found: str = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _empty(name: str, epoch: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime = epoch
    return entry


class _Digesting(io.RawIOBase):
    """Passes writes on, counting and hashing them."""

    def __init__(self, to: IO[bytes] | gzip.GzipFile) -> None:
        self._to = to
        self._hash = hashlib.sha256()
        self.written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hash.update(data)
        self.written += len(data)
        self._to.write(data)
        return len(data)

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
