"""openSUSE's names, as opensuse.yml has them, and giving them to files that came out of Debian packages."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hostwright.errors import Failure
from lab.parts import discard, run

TABLE = Path(__file__).with_name("opensuse.yml")
OVERLAY = Path(__file__).with_name("overlay")
UNITS = "usr/lib/systemd/system"

# What no node of ours reads, and what belongs to Debian's way of starting and configuring things.
_UNWANTED = (
    *(f"usr/share/{each}" for each in ("doc", "man", "info", "locale", "lintian", "bug")),
    *(f"usr/share/{each}" for each in ("bash-completion", "zsh", "fish")),
    *(f"etc/{each}" for each in ("init.d", "default", "apparmor.d", "cron.daily", "bash_completion.d")),
    *(f"etc/{each}" for each in ("network", "ppp", "dhcp")),
)


@dataclass(frozen=True)
class Package:
    """One entry of the table: openSUSE's names, and what they are made from (see the table's own head)."""

    name: str
    source: str
    base: bool = False
    origin: list[str] = field(default_factory=list)
    requires: list[str] = field(default_factory=list)
    provides: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    edits: dict[str, str] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)


@cache
def table() -> dict[str, Package]:
    """Every package by its name."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(TABLE.read_text())["packages"]
    return {name: Package(name=name, origin=entry.pop("from"), **entry) for name, entry in entries.items()}


def base() -> list[Package]:
    """Those that every installation has."""
    return [each for each in table().values() if each.base]


def offered() -> list[Package]:
    """Those that a repository has."""
    return [each for each in table().values() if not each.base]


def rename(package: Package, root: Path) -> None:
    """Turn Debian files below `root` into what the table says; Failure when a thing it names is missing."""
    moves = {path: was for path, was in package.paths.items() if was.startswith("/")}
    moves |= {
        f"/{UNITS}/{unit}": f"/{UNITS}/{was}"
        for unit, was in package.units.items()
        if was not in ("same", "overlay")
    }
    for path, was in moves.items():
        place = under(root, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        under(root, was).rename(place)
    for unwanted in (*_UNWANTED, *package.drop):
        discard(under(root, unwanted))
    for left in (*moves.values(), *package.drop):
        _prune(root, under(root, left).parent)
    overlay = OVERLAY / package.name
    if overlay.is_dir():
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(overlay, root, symlinks=True, dirs_exist_ok=True, ignore=unwanted)
    make_folders(package, root)
    for path, target in package.links.items():
        under(root, path).symlink_to(target)
    for path, expression in package.edits.items():
        run("sed", "--in-place", "--regexp-extended", expression, under(root, path))
    check(package, root)
    _check_users(package, root)


def make_folders(package: Package, root: Path) -> None:
    """Make the empty folders that belong to a package."""
    for path, was in package.paths.items():
        if was == "folder":
            under(root, path).mkdir(parents=True, exist_ok=True)


def check(package: Package, root: Path) -> None:
    """Failure when a unit or path that the table promises is not below `root`."""
    promised = [*package.paths, *(f"/{UNITS}/{unit}" for unit in package.units)]
    _complain(package, [path for path in promised if not os.path.lexists(under(root, path))])


def under(root: Path, path: str) -> Path:
    """Where an absolute path is below another root."""
    return root / path.strip("/")


def _check_users(package: Package, root: Path) -> None:
    texts = [file.read_text() for file in root.glob("usr/lib/sysusers.d/*.conf")]
    lines = [line.split() for text in texts for line in text.splitlines()]
    made = {line[1] for line in lines if line and line[0] in ("u", "g")}
    _complain(package, sorted({*package.users, *package.groups} - made))


def _complain(package: Package, missing: list[str]) -> None:
    if missing:
        what = f"{package.name} lacks what the table promises: {', '.join(missing)}"
        raise Failure(what, fix=f"mend lab/{TABLE.name}")


def _prune(root: Path, folder: Path) -> None:
    """Remove folders that moving and dropping have left empty."""
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
