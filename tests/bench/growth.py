"""How time and memory grow with the number of hosts: `python -m tests.bench --only growth`.

Thin node containers, which the environment takes as machines that exist already: made known, brought to what
the role base wants, and asked again; and the preview of a cluster with Pulumi's mocks. The exponent is that
of the power of the number of hosts that fits best: 1 is linear.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pulumi

import lab
from hostwright.hosts import containers
from infra import config, topology
from tests.infra.conftest import PUBLIC, Mocks
from tests.live import Live, program, project, purge, temporary

ROOT = Path(__file__).resolve().parents[2]
NAME = "bench-growth"
THEIRS = f"{NAME}-machines"  # the mark of what is not the environment's
CIDR = IPv4Network("10.83.0.0/24")
SIZES = (3, 10, 30)
PREVIEWS = (3, 10, 30, 100)
SERVERS = 3  # of each size; all others are workers
MEMORY = 512  # MiB that a node may take
MOST = 1.05  # linear, and as much again as measuring twice differs
PLAYBOOK = Path(__file__).with_name("growth.yml")
UP = (
    "import sys; from hostwright import environments; from hostwright.hosts import engine;"
    " engine.up(environments.load(sys.argv[1]))"
)

# From a small process: the kernel counts what the one that starts another has as that one's own.
CLOCK = """
import json, os, sys, time
started = time.monotonic()
over = [(os.POSIX_SPAWN_DUP2, 2, 1)]
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=over)
_, status, usage = os.wait4(process, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - started, usage.ru_maxrss / 1024]))
"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Figure:
    """A step with so many hosts: wall seconds, and MiB of the largest of its processes."""

    step: str
    hosts: int
    seconds: float
    memory: float


def measure(say: Say) -> list[Figure]:
    """Every step at every size."""
    found = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder, machines(Path(folder), size) as live:
            for step, command in steps(live).items():
                found.append(clocked(step, size, command, live.project, live.env))
                say(f"{step}, {size} hosts: {found[-1].seconds:.1f} s")
    return found + [previewed(size) for size in PREVIEWS]


def steps(live: Live) -> dict[str, list[str]]:
    """What is measured of an environment, in this order."""
    play = [program("ansible-playbook"), "-i", f"inventories/{live.name}", str(PLAYBOOK)]
    return {
        "hosts made known": [sys.executable, "-c", UP, live.name],
        "up to the role base": play,
        "the same again": play,
    }


def exponents(figures: Sequence[Figure]) -> dict[str, dict[str, float]]:
    """Step -> the exponents of `seconds` and `memory`."""
    return {
        step: {
            what: round(fitted({each.hosts: getattr(each, what) for each in figures if each.step == step}), 2)
            for what in ("seconds", "memory")
        }
        for step in dict.fromkeys(each.step for each in figures)
    }


def fitted(points: Mapping[int, float]) -> float:
    """The exponent of the power that fits best: the slope of least squares among the logarithms."""
    logs = [(math.log(size), math.log(value)) for size, value in points.items()]
    middle, height = (sum(each) / len(logs) for each in zip(*logs, strict=True))
    spread = sum((x - middle) ** 2 for x, _ in logs)
    return sum((x - middle) * (y - height) for x, y in logs) / spread


def table(figures: Sequence[Figure]) -> str:
    """A line a step and size, and after each step its exponents."""
    lines = []
    for step, found in exponents(figures).items():
        lines += [
            f"{step:<24}{each.hosts:>4} hosts{each.seconds:>9.1f} s{each.memory:>8.0f} MiB"
            for each in figures
            if each.step == step
        ]
        lines.append(f"{step:<24}{'exponent':>10}{found['seconds']:>11.2f}{found['memory']:>12.2f}")
    return "\n".join(lines)


def missing(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """What grows faster than the number of hosts."""
    for step, of in found.items():
        for what, exponent in of.items():
            if exponent > MOST:
                yield f"growth, {step}: {what} as the {exponent:.2f}th power of the number of hosts"


def clocked(step: str, hosts: int, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Figure:
    """Run a command to its end. Raises SystemExit, with its own words, for one that fails."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        done = subprocess.run(
            [sys.executable, "-c", CLOCK, *command],
            cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True,
            check=True,
        )  # fmt: skip
        status, seconds, memory = json.loads(done.stdout)
        if status:
            said.seek(0)
            raise SystemExit(f"{step} failed with {hosts} hosts\n{said.read()[-4000:]}")
    return Figure(step, hosts, round(seconds, 1), round(memory, 1))


@contextmanager
def machines(folder: Path, size: int) -> Iterator[Live]:
    """An environment of so many machines, which are there and have not been touched yet."""
    names = [f"machine-{number}" for number in range(1, size + 1)]
    placed = {name: str(CIDR[10 + number]) for number, name in enumerate(names, 1)}
    counts = (f"--servers={SERVERS}", f"--workers={size - SERVERS}")
    hosts = [f"--host={name}={address}" for name, address in placed.items()]
    live = project(folder, NAME, "static", *counts, *hosts, topology="cluster")
    public = Path(live.env["XDG_STATE_HOME"], "hostwright", NAME, "id_ed25519.pub").read_text().strip()
    network = {
        "environment": THEIRS,
        "name": f"hostwright-{THEIRS}",
        "bridge": topology.bridge(THEIRS, "container"),
        "cidr": str(CIDR),
    }
    purge(THEIRS)
    image = lab.build(only=("node", "packages")).node_image
    with temporary(live):
        try:
            containers.create_network(network)
            for name, address in placed.items():
                volume = {"environment": THEIRS, "name": f"{THEIRS}-{name}", "host": name}
                containers.create_volume(volume)
                node = {
                    "environment": THEIRS, "name": name, "image": image, "network": network["name"],
                    "address": address, "address6": None, "mac": topology.mac(name),
                    "volume": volume["name"], "mount": topology.LAYOUTS["workers"].data,
                    "memory": MEMORY, "cpus": 2, "user": "opensuse", "publicKey": public,
                }  # fmt: skip
                containers.create_node(node)
            yield live
        finally:
            purge(THEIRS)


# --- the preview ---


def previewed(size: int) -> Figure:
    """The preview in a process of its own, whose memory is its own too; Python's start is not in its time."""
    command = [sys.executable, "-m", "tests.bench.growth", str(size)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Figure(**json.loads(done.stdout))


def preview(folder: Path, size: int) -> float:
    """Seconds that infra/ takes for a cluster of so many virtual machines, with mocks."""
    key, image = folder / "id_ed25519", folder / "leap.qcow2"
    key.write_text("private\n")
    image.write_bytes(b"QFI\xfb" + bytes(20) + (5 << 30).to_bytes(8, "big") + bytes(480))
    settings = config.parse(
        NAME,
        {
            "topology": "cluster",
            "driver": "libvirt",
            "cluster": {"servers": SERVERS, "workers": size - SERVERS},
            "ssh": {"user": "opensuse", "privateKey": str(key), "publicKey": PUBLIC},
            "network": {"mode": "nat", "cidr": str(CIDR)},
            "libvirt": {
                "uri": "qemu:///system",
                "image": str(image),
                "sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
                "type": "qemu",
            },
        },
    )
    driver = import_module("infra.drivers.libvirt")
    pulumi.runtime.set_mocks(Mocks(), project="hostwright", stack=NAME, preview=True)

    @pulumi.runtime.test
    def run() -> Any:
        return pulumi.Output.all(*driver.build(settings))

    started = time.monotonic()
    run()
    return time.monotonic() - started


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        hosts = int(sys.argv[1])
        spent = preview(Path(place), hosts)
    (most,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    print(json.dumps(asdict(Figure("preview, with mocks", hosts, round(spent, 2), int(most) / 1024))))
