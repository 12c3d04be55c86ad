"""Pulumi and its plug-ins at pinned versions: from PATH, else official releases, else built from source."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hostwright import paths, pulumi_process
from hostwright.errors import BadInput, Failure
from hostwright.toolchain import golang

HERE = Path(__file__).resolve().parent
Say = Callable[[str], None]


@dataclass(frozen=True)
class Tool:
    """One pinned set of programs that belong together."""

    name: str
    version: str
    programs: list[str]
    release: dict[str, Any]
    build: dict[str, Any]
    plugin: str = ""

    @property
    def folder(self) -> Path:
        """Where Pulumi looks for the programs: its own and language hosts on PATH, a plug-in in its home."""
        if self.plugin:
            home = Path(pulumi_process.pulumi_env()["PULUMI_HOME"])
            return home / "plugins" / f"{self.plugin}-v{self.version}"
        return pulumi_process.toolchain_bin()

    @property
    def key(self) -> str:
        """Digest of everything the programs follow from; another key means they must be had anew."""
        parts = [json.dumps([self.version, self.programs, self.release, self.build], sort_keys=True)]
        parts += [path.read_text() for path in sorted((HERE / self.name).glob("*"))]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def ensure(say: Say | None = None) -> Path:
    """Have every pinned program in one folder and return it; when all are there this only looks.

    Two of these at once wait for each other; what a killed one left is removed.
    Raises BadInput when a program can be had in none of the three ways, Failure when a release is not what
    its publisher made, or a build does not end well.
    """
    say = say or (lambda _: None)
    folder = pulumi_process.toolchain_bin()
    if not missing():
        return folder
    with _locked():
        for left in folder.parent.glob(".new-*"):
            shutil.rmtree(left)  # a killed run's: ours is the lock
        for name in missing():
            tool = pins()[name]
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as new:
                say(_obtain(tool, Path(new), say))
                tool.folder.mkdir(parents=True, exist_ok=True)
                for program in tool.programs:
                    Path(new, program).replace(tool.folder / program)
            _stamp(tool.name, tool.key)
    return folder


def missing() -> list[str]:
    """Names of the tools that `ensure` would have to get."""
    have = _stamps()
    return [
        tool.name
        for tool in pins().values()
        if have.get(tool.name) != tool.key or not all((tool.folder / p).exists() for p in tool.programs)
    ]


def exports() -> str:
    """Shell lines after which plain `pulumi` works in infra/ as the commands of this toolkit run it."""
    env = pulumi_process.pulumi_env()
    names = sorted(name for name in env if name == "PATH" or name.startswith("PULUMI_"))
    return "\n".join(f"export {name}={shlex.quote(env[name])}" for name in names)


def modules() -> list[Path]:
    """The folders of the Go modules that the tools are built from."""
    return [HERE / name for name in pins()]


@cache
def pins() -> dict[str, Tool]:
    """The pinned tools by name, in the order they are got."""
    document = tomllib.loads((HERE / "pins.toml").read_text())
    return {name: Tool(name=name, **entry) for name, entry in document.items()}


def _obtain(tool: Tool, new: Path, say: Say) -> str:
    """Put the tool's programs into the folder `new`; the remark says which way they came."""
    if found := _on_path(tool):
        for program in tool.programs:
            (new / program).symlink_to(found / program)
        return f"{tool.name} {tool.version}: from {found}"
    try:
        _from_release(tool, new)
        return f"{tool.name} {tool.version}: official release"
    except (OSError, urllib.error.URLError) as error:
        refused = f"{type(error).__name__}: {error}"
    try:
        golang.check(HERE / tool.name)
    except BadInput as error:
        raise BadInput(
            f"no {tool.name} {tool.version} on PATH, its release cannot be had ({refused}), and {error.what}",
            where=str(tool.release["url"]),
            fix=f"{error.fix}, or put {tool.name} on PATH, then: hostwright toolchain",
        ) from None
    say(f"{tool.name} {tool.version}: building from Go modules, some minutes; its release: {refused}")
    _from_modules(tool, new)
    return f"{tool.name} {tool.version}: built from Go modules"


def _on_path(tool: Tool) -> Path | None:
    """The folder of a complete set on PATH that fits: same major, the pinned version or newer."""
    ours = pulumi_process.toolchain_bin()
    for entry in os.get_exec_path():
        folder = Path(entry)
        if folder.resolve() == ours.resolve() or not all(
            os.access(folder / p, os.X_OK) for p in tool.programs
        ):
            continue
        # A language host does not say its version; it is released with the CLI beside it.
        asked = {"pulumi": ["pulumi", "version"], "libvirt": ["pulumi-resource-libvirt", "--version"]}.get(
            tool.name, ["pulumi", "version"]
        )
        if _fits(_version(folder / asked[0], asked[1]), tool.version):
            return folder
    return None


def _version(program: Path, argument: str) -> str:
    try:
        answer = subprocess.run(
            [program, argument],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def _fits(found: str, pinned: str) -> bool:
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", found)
    have = tuple(map(int, match.groups())) if match else (0, 0, 0)
    want = tuple(map(int, pinned.split(".")))
    return have[0] == want[0] and have >= want


def _from_release(tool: Tool, new: Path) -> None:
    """Unpack the official archive. Raises OSError when it cannot be had, Failure when it is another one."""
    amd64 = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    url = tool.release["url"].format(amd64=amd64, x64=amd64.replace("amd64", "x64"))
    expected = tool.release["sha256"].get(amd64) or _published_sum(
        tool.release["sums"], url.rsplit("/", 1)[1]
    )
    with tempfile.TemporaryFile() as archive:
        digest = hashlib.sha256()
        with _get(url) as answer:
            while chunk := answer.read(1 << 20):
                digest.update(chunk)
                archive.write(chunk)
        if digest.hexdigest() != expected:
            # No reason to build it instead: who could change this may have changed more.
            raise Failure(
                f"this is not the release of {tool.name} {tool.version}: "
                f"its SHA-256 digest is {digest.hexdigest()}, not {expected}",
                where=url,
                fix="run it again; if it stays so, find out who changes it on its way, "
                f"or put a {tool.name} that you trust on PATH",
            )
        archive.seek(0)
        with tarfile.open(fileobj=archive) as bundle:
            members = {Path(m.name).name: m for m in bundle.getmembers() if m.isfile()}
            for program in tool.programs:
                stream = bundle.extractfile(members[program]) if program in members else None
                if stream is None:
                    raise OSError(f"{url} has no {program}")
                with (new / program).open("wb") as out:
                    shutil.copyfileobj(stream, out)
                (new / program).chmod(0o755)


def _published_sum(url: str, archive: str) -> str:
    with _get(url) as answer:
        for line in answer.read(1 << 20).decode().splitlines():
            digest, _, name = line.partition(" ")
            if name.strip().lstrip("*") == archive:
                return str(digest)
    raise OSError(f"{url} does not name {archive}")


def _get(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=10)  # noqa: S310  (https by pins.toml)


def _from_modules(tool: Tool, new: Path) -> None:
    env = os.environ | {"GOWORK": "off"}
    source = HERE / tool.name

    def go(*arguments: str) -> str:
        done = subprocess.run(
            ["go", *arguments], cwd=source, env=env, text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise Failure(
                f"building {tool.name} {tool.version} failed: {done.stderr.strip()[-2000:]}",
                where=str(source),
                fix="see the message; Go must reach a module proxy (go env GOPROXY)",
            )
        return done.stdout.strip()

    build = tool.build
    go(
        "build", "-trimpath", "-mod=readonly", "-ldflags", build["ldflags"],
        "-o", str(new / tool.programs[0]), build["package"],
    )  # fmt: skip
    if scripts := build.get("copy"):
        module = Path(go("list", "-mod=readonly", "-m", "-f", "{{.Dir}}", build["module"]))
        for script in scripts:
            shutil.copyfile(module / script, new / Path(script).name)
            (new / Path(script).name).chmod(0o755)


def _stamps() -> dict[str, str]:
    try:
        return dict(json.loads((pulumi_process.toolchain_bin().parent / "stamps.json").read_text()))
    except (OSError, ValueError):
        return {}


def _stamp(name: str, key: str) -> None:
    path = pulumi_process.toolchain_bin().parent / "stamps.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(_stamps() | {name: key}, indent=2))
    new.replace(path)


@contextmanager
def _locked() -> Iterator[None]:
    folder = paths.cache() / "toolchain"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
