"""Two runs on one host: the modules that work on an application's folder there, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

COLLECTIONS = Path(__file__).parents[2] / ".collections"
MODULES = "ansible_collections.hostwright.hostwright.plugins.modules"
# Docker that says that it was asked, and then nothing until it may.
DOCKER = """#!/bin/sh
here=$(dirname "$0")
touch "$here/asked"
while [ ! -e "$here/go" ]; do sleep 0.05; done
exit 1
"""


class Host:
    """A folder of an application, and an engine that takes its time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder / "warehouse", folder / "bin"
        for each in (self.folder, self.bin):
            each.mkdir()
        (self.folder / "compose.yaml").write_text("services: {}\n")
        (self.bin / "docker").write_text(DOCKER)
        (self.bin / "docker").chmod(0o755)

    def start(self, name: str, **given: Any) -> subprocess.Popen[str]:
        """The module of that name, which has been told what to do."""
        process = subprocess.Popen(
            [sys.executable, "-m", f"{MODULES}.{name}"],
            env=os.environ
            | {
                "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join([str(COLLECTIONS), *sys.path]),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {"directory": str(self.folder), **given}}))
        process.stdin.close()
        process.stdin = None
        return process

    def bring(self) -> subprocess.Popen[str]:
        return self.start("application_files", files={"compose.yaml": "services: {other: {}}\n"})

    @contextmanager
    def at_work(self) -> Iterator[subprocess.Popen[str]]:
        """The module `compose`, which waits for the engine."""
        process = self.start("compose")
        try:
            while not (self.bin / "asked").exists():
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            yield process
        finally:
            (self.bin / "go").touch()
            process.wait()


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    return dict(json.loads(process.communicate(timeout=120)[0]))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("options", [{}, {"restart": ["orders"]}])
def test_a_second_run_says_who_is_there_and_touches_nothing(host: Host, options: dict[str, Any]) -> None:
    with host.at_work() as first:
        told = answer(host.start("compose", timeout=0, **options))
        assert told["failed"]
        assert f"at work on {host.folder} of this host, as process {first.pid}, and nothing" in told["msg"]


def test_a_second_run_waits_for_the_end_of_the_first(host: Host) -> None:
    with host.at_work():
        second = host.bring()
        assert answer(host.start("compose", timeout=3))["failed"]
        assert second.poll() is None
        assert (host.folder / "compose.yaml").read_text() == "services: {}\n"
    assert answer(second)["changed"]
    assert "other" in (host.folder / "compose.yaml").read_text()


def test_who_only_looks_is_in_nobodys_way(host: Host) -> None:
    with host.at_work():
        looking = host.start("application_files", files={}, _ansible_check_mode=True)
        assert "failed" not in answer(looking)


def test_a_run_that_is_killed_lets_go_while_its_children_live(host: Host) -> None:
    with host.at_work() as first:
        first.kill()
        first.wait()
        assert answer(host.bring())["changed"]
