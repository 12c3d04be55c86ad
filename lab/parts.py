"""The parts a mirror is built from: each kept by the hash of what defines it, there wholly or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from hostwright import paths
from hostwright.errors import Failure


def part(name: str, make: Callable[[Path], object], *inputs: str | Path, quiet: bool = False) -> Path:
    """The file or folder `name` (`base.tar`), built by `make(target)` unless there is one of the same inputs.

    Inputs are texts, and files (or folders of files) whose content counts. `make` writes its target under
    another name on the same file system, so a killed build leaves nothing that looks finished. Two processes
    asking at once build it once.
    """
    target = _place(name, *inputs)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with alone(target.parent / f".{Path(name).name}.lock"):
        if target.exists():
            return target
        started = time.monotonic()
        with scratch() as folder:
            make(folder / target.name)
            (folder / target.name).rename(target)
        _retire(name)
        if not quiet:
            print(f"lab: {name} built in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return target


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder beside the parts for what is being made; those of processes that were killed are removed."""
    folder = store() / f".scratch-{os.getpid()}-{secrets.token_hex(4)}"
    for stale in store().glob(".scratch-*"):
        if not Path("/proc", stale.name.split("-")[1]).exists():
            with suppress(FileNotFoundError):  # another process removes it too
                discard(stale)
    folder.mkdir()
    try:
        yield folder
    finally:
        discard(folder)


def store() -> Path:
    """The folder of all parts."""
    folder = paths.cache() / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key(*inputs: str | Path) -> str:
    """Twelve hexadecimal digits that change when any input does."""
    digest = hashlib.sha256()
    for each in inputs:
        for line in [f"text {each}"] if isinstance(each, str) else _lines(each):
            digest.update(f"{line}\0".encode())
    return digest.hexdigest()[:12]


def sha256(file: Path) -> str:
    """The digest of a file in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> str:
    """Run a program at low priority and give its output; Failure with the end of its messages if it fails."""
    words = ["nice", "-n", "10", *map(str, command)]
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, **(env or {})}, input=stdin, capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-15:]
        raise Failure(
            f"{words[3]} failed in building the lab: {' '.join(words[3:])[:300]}", fix="\n".join(said)
        )
    return done.stdout


def discard(path: Path) -> None:
    """Remove a file or a folder with all it holds, whatever was mounted in it by a build that was killed."""
    if path.is_dir() and not path.is_symlink():
        for point in mounts(path):
            subprocess.run(["umount", "--lazy", point], check=True)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mounts(below: Path) -> list[str]:
    """Where something is mounted at or below a folder, innermost first."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(below)]


def _place(name: str, *inputs: str | Path) -> Path:
    """Where a part is kept: `rpms/docker.rpm` becomes `rpms/docker-0123456789ab.rpm` in the store."""
    path = store() / name
    return path.with_name(f"{path.stem}-{key(*inputs)}{path.suffix}")


def _retire(name: str) -> None:
    """Keep the two newest of a part: the one just made, and the one that others may still be reading."""
    path = store() / name
    digits = "[0-9a-f]" * 12
    made = sorted(
        path.parent.glob(f"{path.stem}-{digits}{path.suffix}"), key=lambda each: each.lstat().st_ctime
    )
    for old in made[:-2]:
        discard(old)


def _lines(path: Path) -> Iterator[str]:
    """One line a file at or below `path`: where it is, whether it may be run, what it holds.

    What Python leaves beside its sources is none of them.
    """
    found = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    for file in found:
        if file.parent.name == "__pycache__":
            continue
        yield f"file {file.relative_to(path.parent)} {os.access(file, os.X_OK)} {sha256(file)}"


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process at a time: others that take the same file wait, and a killed one's turn ends by itself."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
