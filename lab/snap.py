"""The stand-in's snaps: zip files that the stand-in for snapd unpacks, and the store they come from.

Of MicroK8s there are two with the same commands: in front of a state machine, for roles, and in front of a
real Kubernetes, for what runs on it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import packages, rootfs
from lab.parts import part, run, scratch
from lab.programs import program
from lab.snaps.microk8s.standin.node import DAEMONS
from lab.tree import unpacked

SOURCES = Path(__file__).with_name("snaps")
# Each minor is one upgrade further; from 1.35 on the ingress is another.
MINORS = (34, 35, 36)
BASES = {"snapd": "2.72", "core22": "20260101"}
# Those that are built, by their programs' names: what clusters begin with, and one minor more to upgrade to.
KUBERNETES = {"kubernetes": "v1.35.8", "kubernetes-upgrade": "v1.36.4"}
# What each needs of Debian.
DEBIAN = ("containerd", "runc", "containernetworking-plugins", "iptables", "conntrack", "ethtool", "socat")

_TIME = (2024, 1, 1, 0, 0, 0)


def snaps() -> Path:
    """A folder as the store has it: channels.json, and TRACK/NAME.snap with TRACK/NAME.assert."""

    def make(target: Path) -> None:
        write(target)

    return part("snaps", make, SOURCES, Path(__file__))


def kubernetes_snaps(name: str) -> Path:
    """The same of one track, whose MicroK8s is one of KUBERNETES; minutes of both cores when not built."""
    binary = program(name)

    def make(target: Path) -> None:
        with unpacked(rootfs.node()) as tree, scratch() as folder:
            debs = packages.closure(tree, DEBIAN)
            for deb in debs.values():
                run("dpkg-deb", "--extract", deb.file, folder)
            used = [folder / each for each in ("usr/bin", "usr/sbin", "usr/lib") if (folder / each).is_dir()]
            _store(
                target,
                {KUBERNETES[name]: {"kubernetes": binary, **{f"usr/{each.name}": each for each in used}}},
            )

    return part(f"snaps-{name}", make, SOURCES, Path(__file__), binary.name, rootfs.node().name)


def write(target: Path) -> None:
    """Make the folder of the state machine's. The same sources give the same bytes."""
    _store(target, {f"v1.{minor}.0": {} for minor in MINORS})


def _store(target: Path, of: Mapping[str, Mapping[str, Path]]) -> None:
    """Version -> what its MicroK8s has beside the stand-in, by its place there."""
    versions = {track(version): version for version in of}
    for of_track, version in versions.items():
        folder = target / of_track
        folder.mkdir(parents=True)
        for name, of_base in BASES.items():
            _pack(folder / f"{name}.snap", {"name": name, "version": of_base, "type": "base"}, {})
        _pack(folder / "microk8s.snap", microk8s(version), {"": SOURCES / "microk8s", **of[version]})
    known = {name: dict.fromkeys(versions, version) for name, version in BASES.items()}
    (target / "channels.json").write_text(json.dumps({"microk8s": versions, **known}, indent=2))


def track(version: str) -> str:
    """`1.35` of `v1.35.8`."""
    return version.removeprefix("v").rpartition(".")[0]


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


def _pack(file: Path, meta: dict[str, Any], sources: Mapping[str, Path]) -> None:
    """One snap of files, or folders of files, by their place in it; and beside it what is asserted of it."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as snap:
        _add(snap, "meta/snap.yaml", json.dumps(meta, indent=2).encode(), 0o644)
        for place, source in sources.items():
            for path in [source] if source.is_file() else sorted(source.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    inner = Path(place, path.relative_to(source))
                    _add(snap, str(inner), path.read_bytes(), path.stat().st_mode & 0o755)
    digest = hashlib.sha3_384(file.read_bytes()).hexdigest()
    told = {
        "type": "snap-revision",
        "snap-sha3-384": digest,
        "snap-name": meta["name"],
        "snap-revision": int(digest[:4], 16),  # as the stand-in for snapd counts them
    }
    file.with_suffix(".assert").write_text("".join(f"{key}: {value}\n" for key, value in told.items()))


def _add(snap: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = mode << 16
    snap.writestr(entry, content)
