"""What is done to a container: slow it down, put its clock wrong; without a live host."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from testing.clock import PRELOADED, faked, library

from hostwright import application
from tests.faults import faults
from tests.faults.faults import JUMP, RHYTHM, Clock, Slow, moments
from tests.faults.load import Attempt

HOUR = 3600


class Node:
    """A host that writes down what is run on it; `log` is what the container has logged."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.brought: dict[str, bytes] = {}
        self.log = ""
        self.container = SimpleNamespace(put_archive=self._put)

    def run(self, *command: str) -> str:
        self.ran.append(command)
        return self.log if command[:2] == ("docker", "logs") else ""

    def service(self, name: str) -> str:
        return f"container-of-{name}"

    def healthy(self, _: str) -> bool:
        return True

    def _put(self, folder: str, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as found:
            for each in found.getmembers():
                content = found.extractfile(each)
                assert content is not None
                self.brought[f"{folder}/{each.name}"] = content.read()


def shop(node: Any = None) -> Any:
    return SimpleNamespace(node=node, application=application.load("warehouse"), people=None)


def test_what_is_slow_is_frozen_again_and_again_and_goes_on_at_the_end(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$@" >> "$0.said"\n')
    docker.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    words = ("sh", "-euc", RHYTHM, "sh", "abc", "3", "0", "0")
    subprocess.run(words, env={"PATH": path}, check=True)
    assert (tmp_path / "docker.said").read_text().split("\n")[:-1] == ["pause abc", "unpause abc"] * 3


def test_what_is_slow_may_refuse_whoever_needs_it_and_leave_nobody_waiting() -> None:
    way = Slow(shop(), "orders-db")
    orders, site = "/api/orders?limit=5", "/"
    assert way.excuses(Attempt(orders, 0, "503"))
    assert not way.excuses(Attempt(orders, 0, "ReadTimeout", answered=False))
    assert not way.excuses(Attempt(site, 0, "503"))


def test_a_clock_is_put_before_the_containers_own_and_taken_away_again() -> None:
    node = Node()
    way = Clock(shop(node), "orders")
    with way.staged():
        assert node.brought[f"{way.folder}/{PRELOADED}"] == library().read_bytes()
        override = f"{way.folder}/{faults.OVERRIDE}"
        own = yaml.safe_load(node.brought[override])["services"]["orders"]
        assert own["environment"] == faked(way.folder / PRELOADED, way.folder / "offset")
        assert own["volumes"] == [f"{way.folder}:{way.folder}:ro,z"]
        assert node.ran[-2][-2:] == (f"{way.folder}/offset", "+0"), "true before anybody looks"
        assert override in node.ran[-1]
        way.begin()
        assert node.ran[-1][-1] == f"+{HOUR}"
        way.end()
        assert node.ran[-1][-1] == "+0"
    made, removed = node.ran[-2:]
    assert made[:2] == ("docker", "compose")
    assert override not in made
    assert removed == ("rm", "-r", str(way.folder))


def test_a_process_sees_the_clock_jump(tmp_path: Path) -> None:
    """The environment and the jump of the fault, around a shell and what it becomes, as in an image's CMD."""
    offset = tmp_path / "offset"

    def jump(seconds: int) -> None:
        subprocess.run(("sh", "-euc", JUMP, "sh", str(offset), f"{seconds:+d}"), check=True)

    jump(0)
    program = "while read -r _; do date +%s; done"
    with subprocess.Popen(
        ["sh", "-c", f"exec bash -c '{program}'"],
        env=faked(PurePosixPath(library()), PurePosixPath(offset)) | {"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def off() -> float:
            print(file=process.stdin, flush=True)
            return int(process.stdout.readline()) - time.time()

        found = []
        for seconds in (0, HOUR, 0):
            jump(seconds)
            found.append(round(off() / HOUR))
        process.stdin.close()
    assert found == [0, 1, 0]


@pytest.mark.parametrize(("ahead", "said"), [(HOUR, 0), (0, 1)])
def test_a_clock_that_did_not_jump_is_told(ahead: int, said: int) -> None:
    node = Node()
    wrong = datetime.fromtimestamp(time.time() + ahead, UTC).isoformat().replace("+00:00", "Z")
    lines = ("plain text", "[]", '{"message": "no time"}', json.dumps({"timestamp": wrong}))
    node.log = "\n".join(lines)
    assert len(list(moments(node.log))) == 1
    assert len(Clock(shop(node), "orders").complaints()) == said
