"""The last releases of an application that ran well on this host: what was rendered, and never a secret.

FOLDER/releases.json says which there are, FOLDER/releases/NUMBER holds the files of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

MANIFEST = ".hostwright"  # in the application's folder: the paths that are ours, a line each
SECRETS = "secrets/"


class Unfit(Exception):
    """The release cannot be returned to; the text says why and what to do."""


class Releases:
    """What FOLDER knows; nothing is written before `begin` or `end`."""

    def __init__(self, folder: str, keep: int = 5) -> None:
        self.folder = Path(folder)
        self.keep = keep
        try:
            index = json.loads((self.folder / "releases.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            index = {"current": None, "attempt": None, "releases": []}
        self.current: int | None = index["current"]
        self.attempt: dict | None = index["attempt"]
        self.known: dict = {each["release"]: each for each in index["releases"]}

    def files(self, number: int) -> Path:
        """Where the files of a release are."""
        return self.folder / "releases" / str(number)

    def choose(self, asked: int | None) -> dict:
        """The release asked for; else the last that ran well, which is the one before when it runs well now.

        Raises Unfit.
        """
        if not self.known:
            raise Unfit("this host has no release to return to yet; hostwright up makes one")
        if asked is None:
            if self.attempt:
                asked = self.attempt["release"] or self.current
            else:
                others = [each for each in self.known.values() if each["release"] != self.current]
                asked = max(others, key=lambda each: each["deployed"])["release"] if others else None
            if asked is None:
                raise Unfit(f"release {self.current} is the only one; there is none before it")
        if asked not in self.known:
            raise Unfit(f"no release {asked}; there are {', '.join(map(str, sorted(self.known)))}")
        return self.known[asked]

    def begin(self, digest: str, number: int | None = None) -> None:
        """Something else than the current release is about to run: an older one, or what is not known yet."""
        running = self.known.get(self.current) or {}
        if running.get("digest") == digest and not self.attempt:
            return
        self.attempt = {"digest": digest, "release": number, "at": _now()}
        self._write()

    def end(self, application: Path, digest: str, facts: Callable[[], dict]) -> dict | None:
        """It runs well: that is a release now. Returns it, or nothing when it was the current one already."""
        running = self.known.get(self.current) or {}
        if running.get("digest") == digest and not self.attempt:
            return None
        found = next((each for each in self.known.values() if each["digest"] == digest), None)
        if found is None:
            found = {"release": max(self.known, default=0) + 1, "digest": digest}
            self._keep(found["release"], application)
        found |= {"deployed": _now(), **facts()}
        self.known[found["release"]] = found
        self.current, self.attempt = found["release"], None
        oldest_first = sorted(self.known, key=lambda number: self.known[number]["deployed"])
        for number in oldest_first[: -self.keep]:
            del self.known[number]
        self._write()
        for path in (self.folder / "releases").iterdir():
            if path.name not in map(str, self.known):
                shutil.rmtree(path)
        return found

    def _keep(self, number: int, application: Path) -> None:
        target = self.files(number)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        for path in ours(application):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(application / path, target / path)

    def _write(self) -> None:
        """In one step: a run that is killed leaves the index of before or the new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        known = [self.known[number] for number in sorted(self.known)]
        index = {"current": self.current, "attempt": self.attempt, "releases": known}
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8") as new:
            json.dump(index, new, indent=1)
        Path(name).replace(self.folder / "releases.json")


def ours(application: Path, secret: bool = False) -> list:
    """Paths of the application's folder that were rendered, or those of its secrets."""
    try:
        lines = (application / MANIFEST).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return sorted(line for line in lines if line.startswith(SECRETS) == secret)


def texts(folder: Path) -> dict:
    """Path -> text of every file below the folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in found}


def digest(application: Path) -> str:
    """12 characters for the whole of what is rendered there."""
    whole = hashlib.sha256()
    for path in ours(application):
        content = (application / path).read_bytes()
        whole.update(f"{path}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:12]


def obstacles(release: dict, held: list, images: dict, databases: dict) -> list:
    """What is in the way of a release: secrets it needs, images that are others now, databases that went on.

    `held`: paths of the secrets there are. `images`: reference -> id, of those that are here. `databases`:
    STORE/DATABASE -> revision. Pairs of a kind and a text; databases are all that can be overlooked.
    """
    found = []
    if lacking := sorted({*release["secrets"]} - {*held}):
        found.append(("secrets", f"it needs secrets that are gone: {', '.join(lacking)}"))
    moved = sorted(
        {
            each["reference"]
            for each in release["images"].values()
            if "@" not in each["reference"] and images.get(each["reference"], each["id"]) != each["id"]
        }
    )
    if moved:
        found.append(("images", f"these names are other images now: {', '.join(moved)}"))
    ahead = [
        f"{name} is at {databases.get(name, '')}, and it knows {revision or 'none'}"
        for name, revision in sorted(release["databases"].items())
        if databases.get(name, revision) != revision
    ]
    if ahead:
        found.append(("databases", f"migrations only go forward: {'; '.join(ahead)}"))
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
