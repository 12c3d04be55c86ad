"""`hostwright up` to its proof, see `python -m tests.bench --only phases`, and the parts by name.

With everything cached, step by step and beside the same by hand; from nothing, one host or a cluster; on an
emulated guest; and with all that watches the application.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import lab
from hostwright import toolchain
from lab import libvirtd
from tests.bench import gateway, hand
from tests.live import Live, make, program, project, temporary

ROOT = Path(__file__).resolve().parents[2]
NETWORK = {"mode": "nat", "cidr": "10.87.0.0/24", "cidr6": "fd00:87::/64"}  # of whichever is up
UP, ALL = "up, to its proof", "all of it"
# Seconds that steps of each part may take, and what our steps may be of those by hand.
TARGETS = {
    "phases": {UP: 240, "proof": 20, "second up": 30},
    "cold": {ALL: 1800},
    "cold-cluster": {ALL: 3600},
    "libvirt": {UP: 1200},
    "observed": {},
}
RATIOS = {"converge, to by hand": 0.6, "second run, to by hand": 0.3}
CHANGES = {"Pulumi": r"^Hosts: .*?(\d+) changes", "Ansible": r"^Ansible: .*?\bchanged=(\d+)"}

Say = Callable[[str], None]


@dataclass
class Clock:
    """Wall seconds of steps, each told as it ends."""

    say: Say
    seconds: dict[str, float] = field(default_factory=dict)

    def note(self, step: str, seconds: float) -> None:
        self.seconds[step] = round(seconds, 1)
        self.say(f"{step}: {self.seconds[step]} s")

    def run(self, step: str, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str:
        """What the command says, errors too. Raises SystemExit with the end of that for one that fails."""
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        self.note(step, time.monotonic() - started)
        if done.returncode != 0:
            raise SystemExit(f"{step} failed\n{done.stdout[-8000:]}")
        return done.stdout

    def up(self, live: Live) -> None:
        """The whole, and what of it is hosts, converging and the proof."""
        self.run(UP, live.command("up"), live.project, live.env)
        state = Path(live.env["XDG_STATE_HOME"], "hostwright", live.name)
        phases = json.loads((state / "phases.json").read_text())
        for step, seconds in parts(self.seconds[UP], phases).items():
            self.note(step, seconds)


def measure(folder: Path, load: float, say: Say) -> tuple[dict[str, Any], gateway.Found]:
    """Each step, ours and by hand in turn, and the ratios that travel between machines.

    Then the application through its gateway, after `load` seconds of each request.
    """
    toolchain.ensure()
    clock = Clock(say)
    with temporary(_made(folder, "bench-ours")) as ours:
        site = [program("ansible-playbook"), "-i", f"inventories/{ours.name}", "playbooks/site.yml"]
        with hand.ready(folder) as by_hand:
            clock.up(ours)
            clock.run("hosts by hand", by_hand.host, folder, by_hand.env)
            clock.run("converge by hand", by_hand.site, folder, by_hand.env)
            clock.run("second run", site, ours.project, ours.env)
            clock.run("second run by hand", by_hand.site, folder, by_hand.env)
        clock.run("proof", ours.command("proof"), ours.project, ours.env)
        said = clock.run("second up", ours.command("up"), ours.project, ours.env)
        say("through the gateway")
        through = gateway.measure(ours, load, plain=True)
    ratios = {
        f"{step}, to by hand": round(clock.seconds[step] / clock.seconds[f"{step} by hand"], 2)
        for step in ("hosts", "converge", "second run")
    }
    found = {"seconds": clock.seconds, "ratios": ratios, "changes": changes(said), "load": os.getloadavg()[0]}
    return found, through


def cold(folder: Path, say: Say, servers: int = 0) -> dict[str, Any]:
    """From nothing: the toolchain, the mirror, and `up`, with caches of their own in the folder.

    `servers`: of a cluster; without, one host. The container engine keeps what it has, which is not the
    lab's alone: layers that it built are not built again.
    """
    clock = Clock(say)
    topology = "cluster" if servers else "single"
    with _own_caches(folder):
        clock.run("toolchain", [program("hostwright"), "toolchain"], ROOT, os.environ)
        clock.run(
            "mirror",
            [program("hostwright"), "lab", "--only-mirror", "--topology", topology],
            ROOT,
            os.environ,
        )
        with temporary(_made(folder, "bench-cold", servers=servers)) as live:
            clock.up(live)
    clock.note(ALL, sum(clock.seconds[step] for step in ("toolchain", "mirror", UP)))
    return {"seconds": clock.seconds}


def guest(folder: Path, say: Say) -> dict[str, Any]:
    """On a virtual machine that is emulated, also where KVM works; with everything cached."""
    toolchain.ensure()
    mirror = lab.build(qcow2=True)
    disk = {"image": str(mirror.qcow2), "sha256": mirror.qcow2_sha256}
    settings = {"network": NETWORK, "libvirt": disk | {"uri": libvirtd.ensure(), "type": "qemu"}}
    place = folder / "bench-guest"
    place.mkdir()
    clock = Clock(say)
    with temporary(project(place, place.name, "libvirt", settings=settings, mirror=mirror)) as live:
        clock.up(live)
    return {"seconds": clock.seconds}


def observed(folder: Path, say: Say) -> tuple[dict[str, Any], gateway.Idle]:
    """With all components, everything cached; and what its containers take when it has been proved."""
    toolchain.ensure()
    clock = Clock(say)
    with temporary(_made(folder, "bench-observed", components=True)) as live:
        clock.up(live)
        return {"seconds": clock.seconds}, gateway.idle(live)


def parts(whole: float, phases: Mapping[str, float]) -> dict[str, float]:
    """Seconds of an `up`, by what they went into; `phases` are those that it wrote down itself.

    What a command takes before and between its phases is converging: a playbook by hand has to start too.
    """
    hosts, proof = phases["toolchain"] + phases["hosts"], phases["proof"]
    return {"hosts": hosts, "converge": whole - hosts - proof, "first proof": proof}


def changes(said: str) -> dict[str, int]:
    """How many things `up` says that Pulumi changed, and Ansible. Raises ValueError where it does not say."""
    found = {}
    for tool, pattern in CHANGES.items():
        if not (line := re.search(pattern, said, re.M)):
            raise ValueError(f"`up` does not say what {tool} changed:\n{said}")
        found[tool] = int(line[1])
    return found


def table(part: str, found: Mapping[str, Any]) -> str:
    """The figures of a part as text, each with its target."""
    lines = []
    for step, value in found["seconds"].items():
        lines.append(f"{step:<28}{value:>8.1f} s{_most(TARGETS[part].get(step))}")
    for name, value in found.get("ratios", {}).items():
        lines.append(f"{name:<28}{value:>8.2f}{_most(RATIOS.get(name))}")
    for tool, count in found.get("changes", {}).items():
        lines.append(f"{'second up, ' + tool:<28}{count:>8} changes")
    if "load" in found:
        lines.append(f"{'load average at the end':<28}{found['load']:>8.1f}")
    return "\n".join(lines)


def missing(part: str, found: Mapping[str, Any]) -> Iterator[str]:
    """The targets of a part that were not met."""
    for step, most in TARGETS[part].items():
        if found["seconds"][step] > most:
            yield f"{part}, {step}: {found['seconds'][step]:.0f} s, at most {most}"
    for name, ratio in found.get("ratios", {}).items():
        if ratio > RATIOS.get(name, ratio):
            yield f"{part}, {name}: {ratio:.2f}, at most {RATIOS[name]}"
    for tool, count in found.get("changes", {}).items():
        if count:
            yield f"{part}, second up: {count} changes by {tool}"


def _most(target: float | None) -> str:
    return "" if target is None else f", at most {target}"


def _made(folder: Path, name: str, components: bool = False, servers: int = 0) -> Live:
    (folder / name).mkdir()
    return make(folder / name, name, NETWORK, components, servers=servers)


@contextmanager
def _own_caches(folder: Path) -> Iterator[None]:
    """For the lab, Go and pip; afterwards the mirror serves what it served before."""
    places = {"XDG_CACHE_HOME": "cache", "GOCACHE": "go-build", "GOMODCACHE": "go-modules"}
    try:
        with mock.patch.dict(os.environ, {name: str(folder / place) for name, place in places.items()}):
            yield
    finally:
        lab.serve()
