"""A cluster of three node containers, from nothing: `python -m tests.bench --only cluster`.

Until all nodes are Ready, until the proof, a second run, a worker more, and a rolling update under load: a
round of the faults.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.faults import cluster, rounds
from tests.faults.load import Shop
from tests.live import Live, temporary

NAME = "bench-cluster"
NETWORK = {"mode": "nat", "cidr": "10.82.0.0/24", "cidr6": "fd00:82::/64"}
# Seconds, at most.
TARGETS = {"up, to all Ready": 180, "up, to its proof": 420, "second run": 60, "a worker more": 90}
CHANGED = re.compile(r"\bchanged=(\d+)")

Say = Callable[[str], None]


def measure(folder: Path, say: Say) -> dict[str, Any]:
    """`seconds` of each step, how many changes a second run made, and what became of the rolling update."""
    seconds: dict[str, float] = {}

    def clock(step: str, value: float) -> None:
        seconds[step] = round(value, 1)
        say(f"{step}: {seconds[step]} s")

    with temporary(cluster.make(folder, NAME, NETWORK)) as live:
        ready, whole = phases(live, "deploy", "up")
        clock("up, to all Ready", ready)
        clock("up, to its proof", whole)
        started = time.monotonic()
        site = ("-i", f"inventories/{NAME}", "playbooks/site.yml")
        said = live.run("ansible-playbook", *site, timeout=cluster.AN_HOUR).stdout
        clock("second run", time.monotonic() - started)
        more, proved = phases(live, "proof", "scale", "--workers", "1")
        clock("a worker more", more)
        clock("a worker more, to its proof", proved)
        row = asyncio.run(rounds.run(cluster.Redeploy(Shop.of(live))))
        say(rounds.table([row]))
    rolling = {"requests": row.unrelated, "failed": row.errors, "kept": row.kept, "details": row.details[:20]}
    return {"seconds": seconds, "changed": changed(said), "rolling": rolling}


def phases(live: Live, phase: str, *arguments: str) -> tuple[float, float]:
    """Seconds until a command comes to the phase, and until it ends. Raises AssertionError if it fails."""
    started = time.monotonic()
    with live.begun(phase, *arguments) as (process, said):
        at = time.monotonic() - started
        assert process.wait(cluster.AN_HOUR) == 0, "".join(said)
    return at, time.monotonic() - started


def changed(recap: str) -> int:
    """Tasks that changed something, over all hosts, of what ansible-playbook says in the end."""
    return sum(map(int, CHANGED.findall(recap.rpartition("PLAY RECAP")[2])))


def table(found: Mapping[str, Any]) -> str:
    """The figures as text, each with its target."""
    lines = []
    for step, value in found["seconds"].items():
        most = f", at most {TARGETS[step]}" if step in TARGETS else ""
        lines.append(f"{step:<28}{value:>8.1f} s{most}")
    rolling = found["rolling"]
    lines.append(f"{'changes of the second run':<28}{found['changed']:>8}")
    lines.append(f"{'failed in a rolling update':<28}{rolling['failed']:>8} of {rolling['requests']}")
    return "\n".join(lines)


def missing(found: Mapping[str, Any]) -> Iterator[str]:
    """The targets that were not met."""
    for step, most in TARGETS.items():
        if found["seconds"][step] > most:
            yield f"cluster, {step}: {found['seconds'][step]:.0f} s, at most {most}"
    if found["changed"]:
        yield f"cluster, second run: {found['changed']} changes"
    if found["rolling"]["failed"] or not found["rolling"]["kept"]:
        yield f"cluster, rolling update: {found['rolling']['failed']} requests failed"
