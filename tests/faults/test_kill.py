"""`up` killed at any moment and run again converges; `down` removes all that was made, and nothing else.

The live environment of all other tests was killed too, in one phase (test_recovery.py).
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.host import until
from tests.killed import PHASES, assert_whole, kill_in, lock_folder, locks, running
from tests.live import SHOP, Live, made_by, make, temporary

NAME = "test-kill"
NETWORK = {"mode": "nat", "cidr": "10.99.0.0/24", "cidr6": "fd00:99::/64"}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Live]:
    """An environment that is not up yet, gone afterwards."""
    with temporary(make(tmp_path, NAME, NETWORK, application=SHOP)) as made:
        yield made


def assert_converges(live: Live, patience: float = 0) -> None:
    """`up` ends well; with `patience` (seconds) it may first say that an earlier run holds the lock."""
    deadline = time.monotonic() + patience
    while True:
        done = live.hostwright("up", check=False)
        if done.returncode == 0 or "holds the lock" not in done.stderr or time.monotonic() > deadline:
            break
        time.sleep(3)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    proof = json.loads(
        (Path(live.env["XDG_STATE_HOME"]) / "hostwright" / NAME / "proof" / "proof.json").read_text()
    )
    assert proof["ok"]
    assert_whole(live)


@pytest.mark.slow
def test_up_killed_in_each_phase_converges(environment: Live) -> None:
    """A run takes up what the one before left, and is killed in the next."""
    for phase in PHASES:
        kill_in(environment, phase)
    assert_converges(environment)


def test_a_lock_of_the_making_of_the_stack_is_taken_up(environment: Live) -> None:
    """Pulumi locks a stack already to make it; who is killed then leaves a lock, and no stack."""
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    folder = lock_folder(environment)
    folder.mkdir(parents=True)
    owner = {"username": "op", "hostname": socket.gethostname(), "timestamp": "today"}
    (folder / "left.json").write_text(json.dumps({"pid": dead.pid} | owner))
    done = environment.hostwright("down", "--data", "--yes")
    assert f"removed the lock of process {dead.pid}" in done.stderr
    assert locks(environment) == []


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["hosts", "system"])
def test_up_killed_alone_converges(environment: Live, phase: str) -> None:
    """Pulumi goes on for a while, and the next run meets what it does; Ansible ends with it."""
    kill_in(environment, phase, alone=True)
    until(lambda: running("ansible-playbook", f"inventories/{NAME}") == [], 30, "Ansible has ended")
    assert_converges(environment, patience=120)


def strangers() -> dict[str, Any]:
    """Things that look like ours and are not: another environment's, and somebody's without a mark."""
    engine = docker.from_env()
    other = {"hostwright.environment": f"{NAME}-2"}
    image = engine.images.get("hostwright/node:leap16.0-lab").id
    return {
        "network": engine.networks.create(f"hostwright-{NAME}-2", labels=other),
        "volume": engine.volumes.create(f"{NAME}-1-data", labels={}),
        "marked volume": engine.volumes.create(f"{NAME}-2-docker", labels=other),
        "container": engine.containers.run(
            image, ["sleep", "600"], name=f"{NAME}-10", labels=other, detach=True, init=True
        ),
    }


def test_down_removes_what_up_made_and_nothing_else(environment: Live) -> None:
    before, theirs = made_by(NAME), strangers()
    try:
        assert before == {"containers": [], "networks": [], "volumes": []}
        kill_in(environment, "system")
        assert [len(each) for each in made_by(NAME).values()] == [1, 1, 1]

        refused = environment.hostwright("down", check=False)
        assert refused.returncode == 2, "without a terminal it wants its answer beforehand"
        assert "--yes" in refused.stderr
        assert made_by(NAME)["containers"]

        environment.hostwright("down", "--yes")
        left = made_by(NAME)
        assert (left["containers"], left["networks"]) == ([], [])
        assert len(left["volumes"]) == 1, "data stays until somebody says otherwise"

        environment.hostwright("down", "--data", "--yes")
        assert made_by(NAME) == before
        environment.hostwright("down", "--data", "--yes")
        for each in theirs.values():
            each.reload()
        assert theirs["container"].status == "running"
    finally:
        with contextlib.suppress(docker.errors.APIError):
            theirs["container"].remove(force=True)
        for name in ("network", "volume", "marked volume"):
            with contextlib.suppress(docker.errors.APIError):
                theirs[name].remove()
