"""The stand-in's snaps: zip files that the stand-in for snapd unpacks, and the store they come from."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from lab.parts import part
from lab.snaps.microk8s.standin.node import DAEMONS

SOURCES = Path(__file__).with_name("snaps")
# Each minor is one upgrade further; from 1.35 on the ingress is another.
MINORS = (34, 35, 36)
BASES = {"snapd": "2.72", "core22": "20260101"}

_TIME = (2024, 1, 1, 0, 0, 0)


def snaps() -> Path:
    """A folder as the store has it: channels.json, and TRACK/NAME.snap with TRACK/NAME.assert."""

    def make(target: Path) -> None:
        write(target)

    return part("snaps", make, SOURCES, Path(__file__))


def write(target: Path) -> None:
    """Make that folder. The same sources give the same bytes."""
    versions = {f"1.{minor}": f"v1.{minor}.0" for minor in MINORS}
    for track, version in versions.items():
        folder = target / track
        folder.mkdir(parents=True)
        for name, of_base in BASES.items():
            _pack(folder / f"{name}.snap", {"name": name, "version": of_base, "type": "base"}, None)
        _pack(folder / "microk8s.snap", microk8s(version), SOURCES / "microk8s")
    known = {name: dict.fromkeys(versions, version) for name, version in BASES.items()}
    (target / "channels.json").write_text(json.dumps({"microk8s": versions, **known}, indent=2))


def microk8s(version: str) -> dict[str, Any]:
    """The meta/snap.yaml of a version."""
    wrapper = "microk8s.wrapper"
    daemons = {
        f"daemon-{name}": {"command": f"{wrapper} daemon {name}", "daemon": "simple"} for name in DAEMONS
    }
    return {
        "name": "microk8s",
        "version": version,
        "confinement": "classic",
        "base": "core22",
        "apps": {"microk8s": {"command": wrapper}, **daemons},
    }


def _pack(file: Path, meta: dict[str, Any], sources: Path | None) -> None:
    """One snap, and beside it what is asserted of it."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as snap:
        _add(snap, "meta/snap.yaml", json.dumps(meta, indent=2).encode(), 0o644)
        for path in sorted(sources.rglob("*")) if sources else ():
            if path.is_file() and "__pycache__" not in path.parts:
                _add(
                    snap,
                    str(path.relative_to(sources or path)),
                    path.read_bytes(),
                    path.stat().st_mode & 0o755,
                )
    told = {
        "type": "snap-revision",
        "snap-sha3-384": hashlib.sha3_384(file.read_bytes()).hexdigest(),
        "snap-name": meta["name"],
    }
    file.with_suffix(".assert").write_text("".join(f"{key}: {value}\n" for key, value in told.items()))


def _add(snap: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = mode << 16
    snap.writestr(entry, content)
