"""A Linux desktop: a session bus, a notification daemon on a virtual screen, the agent; real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageGrab
from PIL.Image import Image

from testing.process import Process, own_directory, unprivileged, until
from testing.service import ROOT

SCREEN = "1024x768x24"
# Two seconds and it would be gone: 0 is for ever. A left click does what it does on most desktops.
DUNST = """
[global]
    monitor = 0
    follow = none
    width = 400
    origin = top-left
    offset = 24x24
    font = Inter 11
    padding = 14
    horizontal_padding = 18
    frame_width = 1
    frame_color = "#2c3531"
    background = "#1b2320"
    foreground = "#e9eeea"
    corner_radius = 10
    show_indicators = no
    markup = full
    mouse_left_click = do_action, close_current
    notification_limit = 20
    history_length = 200
[urgency_low]
    timeout = 0
[urgency_normal]
    timeout = 0
"""


@dataclass
class Desktop:
    """What its user sees and does."""

    directory: Path
    environment: dict[str, str]
    begun: int = 0

    def run(self, *command: str | Path, told: str = "") -> subprocess.CompletedProcess[str]:
        """A program in the user's session."""
        return subprocess.run(
            ["setpriv", *unprivileged(), "--", *map(str, command)],
            env=self.environment,
            cwd=self.directory,
            input=told,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def agent(self, *arguments: str | Path, told: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, self.program, *arguments, told=told)

    @property
    def program(self) -> Path:
        return self.directory / "package" / "bin" / "hostwright-notifier"

    @property
    def account(self) -> Path:
        return self.directory / "state" / "hostwright-notifier" / "account.json"

    @contextmanager
    def running(self) -> Iterator[Process]:
        """The agent, connected."""
        log = self.directory / "agent.log"
        log.unlink(missing_ok=True)
        process = Process([sys.executable, self.program, "run"], log=log, environment=self.environment)
        try:
            process.wait_for(lambda: "connected to" in log.read_text())
            yield process
        finally:
            process.end()

    def log(self) -> str:
        return (self.directory / "agent.log").read_text()

    def shown(self) -> int:
        """How many notifications are on the screen."""
        found = self.run("dunstctl", "count", "displayed")
        return int(found.stdout) if found.returncode == 0 else 0

    def click(self) -> None:
        """On the topmost notification, with the mouse."""
        search = ("search", "--onlyvisible", "--class", "dunst", "getwindowgeometry", "--shell")
        place: dict[str, str] = {}

        def drawn() -> bool:
            place.update(line.split("=") for line in self.run("xdotool", *search).stdout.split())
            return {"X", "Y"} <= place.keys()

        until(drawn)  # it is counted before it is
        where = (str(int(place["X"]) + 100), str(int(place["Y"]) + 10))
        done = self.run("xdotool", "mousemove", *where, "click", "1")
        if done.returncode:
            raise AssertionError(done.stderr)

    def screenshot(self) -> Image:
        """What is on the screen."""
        return ImageGrab.grab(xdisplay=self.environment["DISPLAY"])

    def close_all(self) -> None:
        """What is on the screen goes to the history."""
        self.run("dunstctl", "close-all")

    def clear(self) -> None:
        """An empty screen, and a history that begins now: dunst cannot forget before 1.10."""
        self.close_all()
        self.begun += len(self.history())
        (self.directory / "opened").unlink(missing_ok=True)

    def history(self) -> list[tuple[str, str]]:
        """Title and body of what was closed, the last first."""
        (found,) = json.loads(self.run("dunstctl", "history").stdout)["data"]
        new = found[: len(found) - self.begun]
        return [(each["summary"]["data"], each["body"]["data"]) for each in new]

    def opened(self) -> list[str]:
        """Addresses that the browser was asked for."""
        record = self.directory / "opened"
        return record.read_text().split() if record.exists() else []


@contextmanager
def desktop(language: str) -> Iterator[Desktop]:
    """`language` as in `pl_PL.UTF-8`. The agent is as its pyproject.toml has it, our packages beside it."""
    directory = own_directory("desktop")
    package = directory / "package"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", package, ROOT / "notifier"], check=True)
    directory.joinpath("dunstrc").write_text(DUNST)
    opener = directory / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" >> {directory}/opened\n')
    opener.chmod(0o755)
    bus = f"unix:path={directory}/bus"
    environment = {
        "PATH": f"{opener.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(package),
        "HOME": str(directory),
        "XDG_STATE_HOME": str(directory / "state"),
        "XDG_CONFIG_HOME": str(directory / "config"),
        "XDG_RUNTIME_DIR": str(directory),
        "DBUS_SESSION_BUS_ADDRESS": bus,
        "LANG": language,
    }
    started: list[Process] = []

    def start(*command: str | Path) -> Process:
        log = directory / f"{command[0]}.log"
        started.append(Process(command, log=log, environment=environment))
        return started[-1]

    try:
        start("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={bus}").wait_for(
            (directory / "bus").exists
        )
        screen, number = directory / "Xvfb.log", re.compile(r"^\d+$", re.MULTILINE)
        command = ("Xvfb", "-displayfd", "1", "-screen", "0", SCREEN, "-wr", "-nolisten", "tcp")
        start(*command).wait_for(lambda: number.search(screen.read_text()))
        environment["DISPLAY"] = f":{number.findall(screen.read_text())[0]}"
        found = Desktop(directory, environment)
        start("dunst", "-config", directory / "dunstrc").wait_for(
            lambda: found.run("dunstctl", "is-paused").returncode == 0
        )
        yield found
    finally:
        for each in reversed(started):
            each.end()
        shutil.rmtree(directory)
