"""A stand-in for `snap`: the commands, messages and exit codes of snapd, for snaps that are zip files.

What it installs runs unconfined, unpacked and not mounted. Its store is a folder of the lab's mirror:
`channels.json` ({"SNAP": {"TRACK": "VERSION"}}), and TRACK/SNAP.snap with TRACK/SNAP.assert.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

CLASSIC = """error: This revision of snap "{}" was published using classic confinement and thus may perform
       arbitrary system changes outside of the security sandbox that snaps are usually confined to,
       which may put your system at risk.

       If you understand and want to proceed repeat the command including --classic."""
NO_CHANNEL = """error: snap "{name}" is not available on {channel} but is available to install on the
       following tracks:

{tracks}

       Please be mindful that different tracks may include different features. Get more information
       with 'snap info {name}'."""
TASKS = """error: cannot perform the following tasks:
- {task} ({why})"""
UNIT = """[Unit]
Description=Service for snap application {snap}.{app}
After=network.target snapd.service
X-Snappy=yes

[Service]
EnvironmentFile=-/etc/environment
ExecStart={root}snap/{snap}/current/{command}
Environment=SNAP={root}snap/{snap}/current SNAP_NAME={snap}
Environment=SNAP_DATA={root}var/snap/{snap}/current SNAP_COMMON={root}var/snap/{snap}/common
Restart={restart}
WorkingDirectory={root}var/snap/{snap}/current
TimeoutStopSec=30
Type=simple

[Install]
WantedBy=multi-user.target
"""


class Failed(Exception):
    """What it says on standard error; the exit status is 1."""


class Snapd:
    """Snaps below a root folder, which is the host's own but in tests."""

    def __init__(self, root: Path = Path("/"), store: str = "") -> None:
        self.root = root
        self.store = store
        self.state = root / "var/lib/snapd"

    # --- commands ---

    def run(self, words: list[str]) -> int:
        plain = [word for word in words if not word.startswith("-")]
        options = dict(word.lstrip("-").partition("=")[::2] for word in words if word.startswith("-"))
        try:
            match plain:
                case ["version"]:
                    print("snap    2.72\nsnapd   2.72\nseries  16")
                case ["wait", "system", "seed.loaded"]:
                    pass
                case ["ack", file]:
                    self.ack(Path(file))
                case ["list", *names]:
                    return self.listed(names)
                case ["info", name]:
                    self.info(name)
                case ["install", name] if "/" in name or name.endswith(".snap"):
                    self.install_file(Path(name), options)
                case ["install", name]:
                    self.install(name, options)
                case ["refresh", name] if "hold" in options:
                    self.hold(name)
                case ["refresh", name]:
                    self.refresh(name, options.get("channel", ""))
                case ["remove", name]:
                    self.remove(name, "purge" in options)
                case ["start" | "stop" | "restart" as verb, name]:
                    self.services(verb, name)
                case _:
                    raise Failed(f"error: unknown command \"{' '.join(words)}\", see 'snap help'.")
        except Failed as error:
            print(error, file=sys.stderr)
            return 1
        return 0

    def ack(self, file: Path) -> None:
        """Take over what is asserted of a snap's file."""
        try:
            told = _asserted(file.read_text())
            digest = told["snap-sha3-384"]
        except (OSError, KeyError) as error:
            raise Failed(f"error: cannot assert: {error}") from None
        self._write(self.state / "assertions" / digest, json.dumps(told))

    def listed(self, names: list[str]) -> int:
        found = [self._known(path.stem) for path in sorted((self.state / "snaps").glob("*.json"))]
        if not found and not names:
            print("No snaps are installed yet. Try 'snap install hello-world'.", file=sys.stderr)
            return 0
        found = [each for each in found if not names or each["name"] in names]
        if not found:
            raise Failed("error: no matching snaps installed")
        rows = [("Name", "Version", "Rev", "Tracking", "Publisher", "Notes")]
        for each in found:
            notes = [*(["classic"] if each["classic"] else []), *(["held"] if each["held"] else [])]
            tracking = each["tracking"] or "-"
            notes_text = ",".join(notes) or "-"
            rows.append(
                (each["name"], each["version"], each["revision"], tracking, "canonical**", notes_text)
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        return 0

    def info(self, name: str) -> None:
        tracks = self._tracks(name)
        if not tracks:
            raise Failed(f'error: no snap found for "{name}"')
        print(f"name:      {name}\npublisher: Canonical**\nchannels:")
        for track, version in sorted(tracks.items(), reverse=True):
            with self._open(f"{track}/{name}.assert") as answer:
                told = _asserted(answer.read().decode())
            print(f"  {track}/stable: {version} 2026-01-01 ({_number(told['snap-sha3-384'])}) 1MB classic")
            print(f"  {track}/candidate: ^")

    def install(self, name: str, options: dict[str, str]) -> None:
        """From the store; what is there already is left as it is, and that is no failure."""
        if self._installed(name):
            print(f"snap \"{name}\" is already installed, see 'snap help refresh'", file=sys.stderr)
            return
        channel = _full(options.get("channel", ""))
        self._needs_classic(name, options)
        for base in ("snapd", "core22"):
            if name not in ("snapd", "core22") and not self._installed(base):
                self._put(self._fetched(base, channel), base, "latest/stable")
        self._put(self._fetched(name, channel), name, channel)
        print(f"{name} ({channel}) {self._known(name)['version']} from Canonical** installed")

    def install_file(self, file: Path, options: dict[str, str]) -> None:
        """From a file, which an assertion must know, or --dangerous overlook that."""
        if not file.is_file():
            raise Failed(f'error: cannot open: "{file}"')
        name = _meta(file)["name"]
        if "dangerous" not in options and not (self.state / "assertions" / _digest(file)).exists():
            raise Failed(f'error: cannot find signatures with metadata for snap/component "{file}"')
        self._needs_classic(name, options)
        for base in ("snapd", "core22"):
            if name not in ("snapd", "core22") and not self._installed(base):
                self._put(self._fetched(base, "latest/stable"), base, "latest/stable")
        self._put(file, name, self._known(name)["tracking"] if self._installed(name) else "")
        print(f"{name} {self._known(name)['version']} from Canonical** installed")

    def hold(self, name: str) -> None:
        self._must(name)
        self._remember(name, held=True)
        print(f'General refreshes of "{name}" held indefinitely')

    def refresh(self, name: str, channel: str) -> None:
        self._must(name)
        known = self._known(name)
        channel = _full(channel) if channel else known["tracking"]
        file = self._fetched(name, channel)
        if _revision(file) == known["revision"]:
            self._remember(name, tracking=channel)
            print(f'snap "{name}" has no updates available', file=sys.stderr)
            return
        self._put(file, name, channel)
        print(f"{name} ({channel}) {self._known(name)['version']} from Canonical** refreshed")

    def remove(self, name: str, purge: bool) -> None:
        if not self._installed(name):
            print(f'snap "{name}" is not installed', file=sys.stderr)
            return
        data = self.root / "var/snap" / name
        self.services("stop", name)
        if not purge:
            saved = self.state / "snapshots" / f"{name}-{int(time.time())}"
            shutil.copytree(data, saved, symlinks=True)
        shutil.rmtree(data, ignore_errors=True)
        if data.exists():  # for a mount is in it; the data is gone, and the snap stays
            task = f'Remove data for snap "{name}" ({self._known(name)["revision"]})'
            raise Failed(TASKS.format(task=task, why=f"unlinkat {data}/common: device or resource busy"))
        self.services("disable", name)
        if units := self._units(name):
            for unit in units:
                unit.unlink()
            _systemctl("daemon-reload")
        shutil.rmtree(self.root / "snap" / name)
        (self.root / "snap/bin" / name).unlink(missing_ok=True)
        (self.state / "snaps" / f"{name}.json").unlink()
        print(f"{name} removed")

    def services(self, verb: str, name: str) -> None:
        """Start, stop or restart the services of a snap, or SNAP.SERVICE alone."""
        snap, _, service = name.partition(".")
        self._must(snap)
        units = [
            unit.name
            for unit in self._units(snap)
            if not service or unit.name.endswith(f".{service}.service")
        ]
        if units:
            now = ["--now"] if verb == "disable" else []
            _systemctl(verb, *now, *units)

    # --- what is installed ---

    def _put(self, file: Path, name: str, tracking: str) -> None:
        """Unpack a revision, run its hooks, start its services; what fails leaves all as it was."""
        meta, revision = _meta(file), _revision(file)
        before = self._known(name) if self._installed(name) else None
        place = self.root / "snap" / name / revision
        if before:
            self.services("stop", name)
        shutil.rmtree(place, ignore_errors=True)
        _unpack(file, place)
        data = self.root / "var/snap" / name
        (data / "common").mkdir(parents=True, exist_ok=True)
        if before and not (data / revision).exists():
            shutil.copytree(data / before["revision"], data / revision, symlinks=True)
        (data / revision).mkdir(exist_ok=True)
        self._point(name, revision)
        try:
            if not before:
                self._hook(name, "install")
        except Failed:
            shutil.rmtree(self.root / "snap" / name)
            shutil.rmtree(data, ignore_errors=True)
            raise
        known = {"name": name, "version": meta["version"], "revision": revision, "tracking": tracking}
        held = bool(before and before["held"])
        self._write(
            self.state / "snaps" / f"{name}.json",
            json.dumps(known | {"classic": meta.get("confinement") == "classic", "held": held}),
        )
        self._make_units(name, meta)
        if meta.get("apps", {}).get(name):
            self._make_command(name, meta["apps"][name]["command"])
        self.services("enable", name)
        self.services("restart", name)

    def _point(self, name: str, revision: str) -> None:
        """`current`, below /snap and below /var/snap."""
        for folder in (self.root / "snap" / name, self.root / "var/snap" / name):
            fresh = folder / ".current"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(revision)
            fresh.rename(folder / "current")

    def _hook(self, name: str, hook: str) -> None:
        program = self.root / "snap" / name / "current/meta/hooks" / hook
        if not program.exists():
            return
        done = subprocess.run(
            [program],
            env=self._environment(name),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            task = f'Run {hook} hook of "{name}" snap if present'
            raise Failed(TASKS.format(task=task, why=f'run hook "{hook}": \n-----\n{done.stdout}-----'))

    def _environment(self, name: str) -> dict[str, str]:
        folders = {
            "SNAP": self.root / "snap" / name / "current",
            "SNAP_DATA": self.root / "var/snap" / name / "current",
            "SNAP_COMMON": self.root / "var/snap" / name / "common",
        }
        return {**os.environ, "SNAP_NAME": name, **{key: str(path) for key, path in folders.items()}}

    def _make_command(self, name: str, command: str) -> None:
        place = self.root / "snap/bin" / name
        lines = [
            f"export {key}='{value}'"
            for key, value in self._environment(name).items()
            if key.startswith("SNAP")
        ]
        text = "\n".join(["#!/bin/sh", *lines, f'exec "$SNAP/{command}" "$@"', ""])
        self._write(place, text)
        place.chmod(0o755)

    def _make_units(self, name: str, meta: dict[str, Any]) -> None:
        for app, told in meta.get("apps", {}).items():
            if "daemon" in told:
                unit = self.root / "etc/systemd/system" / f"snap.{name}.{app}.service"
                restart = told.get("restart-condition", "on-failure")
                root = f"{self.root}/".replace("//", "/")
                filled = {
                    "snap": name,
                    "app": app,
                    "command": told["command"],
                    "root": root,
                    "restart": restart,
                }
                self._write(unit, UNIT.format(**filled))
        if self._units(name):
            _systemctl("daemon-reload")

    def _units(self, name: str) -> list[Path]:
        return sorted((self.root / "etc/systemd/system").glob(f"snap.{name}.*.service"))

    def _needs_classic(self, name: str, options: dict[str, str]) -> None:
        if name == "microk8s" and "classic" not in options:
            raise Failed(CLASSIC.format(name))

    def _installed(self, name: str) -> bool:
        return (self.state / "snaps" / f"{name}.json").exists()

    def _must(self, name: str) -> None:
        if not self._installed(name):
            raise Failed(f'error: snap "{name}" is not installed')

    def _known(self, name: str) -> dict[str, Any]:
        known: dict[str, Any] = json.loads((self.state / "snaps" / f"{name}.json").read_text())
        return known

    def _remember(self, name: str, **changes: object) -> None:
        self._write(self.state / "snaps" / f"{name}.json", json.dumps(self._known(name) | changes))

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    # --- the store ---

    def _tracks(self, name: str) -> dict[str, str]:
        with self._open("channels.json") as answer:
            tracks: dict[str, str] = json.loads(answer.read()).get(name, {})
        return tracks

    def _fetched(self, name: str, channel: str) -> Path:
        """The file of a channel, with its assertion taken over."""
        track = channel.partition("/")[0]
        tracks = self._tracks(name)
        if not tracks:
            raise Failed(f'error: snap "{name}" not found')
        if name != "microk8s":
            track = max(tracks)
        elif track not in tracks or channel.partition("/")[2] != "stable":
            found = "\n".join(
                f"       {each}/stable  snap install --channel={each} {name}"
                for each in sorted(tracks, reverse=True)
            )
            raise Failed(NO_CHANNEL.format(name=name, channel=channel, tracks=found))
        folder = self.state / "cache"
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("snap", "assert"):
            with (
                self._open(f"{track}/{name}.{kind}") as answer,
                (folder / f"{name}.{kind}").open("wb") as file,
            ):
                shutil.copyfileobj(answer, file)
        self.ack(folder / f"{name}.assert")
        return folder / f"{name}.snap"

    def _open(self, path: str) -> Any:
        try:
            return urllib.request.urlopen(f"{self.store}/{path}", timeout=30)  # noqa: S310
        except (OSError, ValueError) as error:
            raise Failed(
                f"error: cannot install: Post {self.store or 'https://api.snapcraft.io'}: {error}"
            ) from None


def _full(channel: str) -> str:
    """`1.35` is `1.35/stable`, and nothing is `latest/stable`."""
    if not channel:
        return "latest/stable"
    if channel in ("stable", "candidate", "beta", "edge"):
        return f"latest/{channel}"
    return channel if "/" in channel else f"{channel}/stable"


def _meta(file: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as snap:
            meta: dict[str, Any] = json.loads(snap.read("meta/snap.yaml"))
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise Failed(f'error: cannot install snap file: cannot read "{file}"') from None
    return meta


def _revision(file: Path) -> str:
    """A number that follows from the content, as the store counts them."""
    return _number(_digest(file))


def _number(digest: str) -> str:
    return str(int(digest[:4], 16))


def _asserted(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def _digest(file: Path) -> str:
    return hashlib.sha3_384(file.read_bytes()).hexdigest()


def _unpack(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        scratch = Path(folder) / "snap"
        with zipfile.ZipFile(file) as snap:
            snap.extractall(scratch)
            for entry in snap.infolist():
                if mode := entry.external_attr >> 16:
                    (scratch / entry.filename).chmod(mode & 0o777)
        scratch.rename(place)


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True)
    if done.returncode:
        raise Failed(TASKS.format(task=f"systemctl {words[0]}", why=done.stderr.strip()))


def main() -> int:
    """Entry point of the command."""
    if os.geteuid() != 0:
        print("error: access denied (try with sudo)", file=sys.stderr)
        return 1
    settings = Path("/etc/sysconfig/snapd").read_text() if Path("/etc/sysconfig/snapd").exists() else ""
    told = dict(
        line.split("=", 1) for line in settings.splitlines() if "=" in line and not line.startswith("#")
    )
    return Snapd(store=told.get("SNAPPY_STORE", "")).run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
