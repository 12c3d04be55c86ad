"""`up` that ends in the middle, and what is left of it in Pulumi's state and in the container engine."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import time
from pathlib import Path

from tests.live import Live, made_by

# What a run says when the phase has begun, and how far into it (seconds) it is killed.
PHASES = {"hosts": 2.0, "system": 6.0, "runtime": 5.0, "deploy": 4.0, "proof": 3.0}
INTO = 4.0  # seconds into a task
TODAY = list(PHASES)[datetime.date.today().timetuple().tm_yday % len(PHASES)]


def kill_in(live: Live, phase: str, alone: bool = False) -> None:
    """Start `up` and SIGKILL it within the phase: with all of its children, or `alone`, leaving them."""
    with live.begun(phase, "up") as (process, said):
        time.sleep(PHASES[phase])
        while phase == "hosts" and not locks(live) and process.poll() is None:
            time.sleep(0.05)
        assert process.poll() is None, f"{phase} is over before it is killed: {''.join(said)}"
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        process.wait(30)
    assert alone or len(locks(live)) == (phase == "hosts"), "the dead one's lock"


def kill_at(live: Live, task: str, patience: float = 1800) -> None:
    """Start `up` and SIGKILL it, with its children, as it is at a task; what the task does there goes on."""
    begun = time.time()
    with live.begun("runtime", "up") as (process, said):
        deadline = time.monotonic() + patience
        while f"{task}] **" not in _log(live, begun):
            assert process.poll() is None, f"it is over before {task}: {''.join(said)}"
            assert time.monotonic() < deadline, f"it does not come to {task}: {_log(live, begun)[-3000:]}"
            time.sleep(0.5)
        time.sleep(INTO)
        assert process.poll() is None, f"it is over before it is killed at {task}"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _log(live: Live, since: float) -> str:
    """What Ansible has said since then (seconds)."""
    folder = Path(live.env["XDG_STATE_HOME"]) / "hostwright" / live.name / "log"
    new = [each for each in folder.glob("site-*.log") if each.stat().st_mtime >= since]
    return "".join(each.read_text() for each in sorted(new))


def lock_folder(live: Live) -> Path:
    state = Path(live.env["XDG_STATE_HOME"]) / "hostwright/pulumi/.pulumi"
    return state / "locks/organization/hostwright" / live.name


def locks(live: Live) -> list[Path]:
    """Pulumi's locks of the environment."""
    return sorted(lock_folder(live).glob("*.json"))


def running(*words: str) -> list[str]:
    """The command lines of this machine's processes in which all of the words are."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(each.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
    return [each for each in found if all(word in each for word in words)]


def assert_whole(live: Live) -> None:
    """What it made is what it is made of, and nothing of a run that was killed is left."""
    made = made_by(live.name)
    assert [len(each) for each in made.values()] == [1, 1, 1], f"orphans: {made}"
    assert locks(live) == []
