"""Every figure of one run: phases, the same steps by hand, services, memory. `python -m tests.bench`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

import lab
from hostwright import application, render
from lab import inventory
from tests.bench import services
from tests.live import OWN, Live, make, purge

ROOT = Path(__file__).resolve().parents[2]
OURS = ("bench-ours", {"mode": "nat", "cidr": "10.95.0.0/24", "cidr6": "fd00:95::/64"})
HAND = ("bench-hand", {"mode": "nat", "cidr": "10.96.0.0/24", "cidr6": "fd00:96::/64"})
HOSTS = (
    "import sys; from hostwright import environments; from hostwright.hosts import engine;"
    " engine.up(environments.load(sys.argv[1]))"
)
MEMORY = "sudo docker stats --no-stream --format '{{.MemUsage}}'"
UNITS = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}

Say = Callable[[str], None]


def main() -> int:
    """Measure, print a table, keep the JSON; 1 when a step did not end well."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of load on each request (%(default)s)")
    parser.add_argument("--only", choices=("phases", "services"), help="one part (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json", help="the JSON")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.only != "services":
        with tempfile.TemporaryDirectory() as folder:
            found |= phases(Path(folder), lambda text: print(text, file=sys.stderr))
        print(table(found))
    if given.only != "phases":
        figures = services.measure(given.seconds, "")
        found["services"] = [asdict(each) for each in figures]
        print(services.table(figures))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"figures: {given.out}")
    return 0


def phases(folder: Path, say: Say) -> dict[str, Any]:
    """Wall seconds of each step, ours and by hand in turn, and the ratios that travel between machines."""
    lives = {}
    for name, network in (OURS, HAND):
        (folder / name).mkdir()
        lives[name] = make(folder / name, name, network)
    ours, hand = lives[OURS[0]], lives[HAND[0]]
    seconds: dict[str, float] = {}

    def clock(step: str, live: Live, *command: str, env: dict[str, str] | None = None) -> str:
        started = time.monotonic()
        done = subprocess.run(
            command,
            cwd=live.project,
            env=live.env | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds[step] = round(time.monotonic() - started, 1)
        say(f"{step}: {seconds[step]} s")
        if done.returncode != 0:
            raise SystemExit(f"{step} failed\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    try:
        clock("hosts", ours, sys.executable, "-c", HOSTS, ours.name)
        clock("hosts by hand's host", hand, sys.executable, "-c", HOSTS, hand.name)
        site = [_program("ansible-playbook"), "-i", f"inventories/{ours.name}", "playbooks/site.yml"]
        flat = [_program("ansible-playbook"), *_flat(folder, hand)]
        defaults = {"ANSIBLE_CONFIG": str(ROOT / "tests/bench/flat/ansible.cfg")}
        clock("converge", ours, *site)
        clock("converge by hand", hand, *flat, env=defaults)
        clock("second run", ours, *site)
        clock("second run by hand", hand, *flat, env=defaults)
        clock("proof", ours, _program("hostwright"), "proof")
        clock("second up", ours, _program("hostwright"), "up")
        used = clock("memory", ours, _program("hostwright"), "ssh", "--", MEMORY)
        del seconds["memory"]
    finally:
        for live in lives.values():
            live.hostwright("down", "--data", "--yes", check=False)
            purge(live.name)
    return {
        "seconds": seconds,
        "ratios": {
            "converge, to by hand": round(seconds["converge"] / seconds["converge by hand"], 2),
            "second run, to by hand": round(seconds["second run"] / seconds["second run by hand"], 2),
        },
        "memory_mib": round(sum(_mebibytes(line) for line in used.splitlines() if "iB" in line)),
        "load": os.getloadavg()[0],
    }


def table(found: dict[str, Any]) -> str:
    """The figures of `phases` as text."""
    lines = [f"{step:<28}{value:>8.1f} s" for step, value in found["seconds"].items()]
    lines += [f"{name:<28}{value:>8.2f}" for name, value in found["ratios"].items()]
    lines.append(f"{'application, idle':<28}{found['memory_mib']:>8} MiB")
    lines.append(f"{'load average at the end':<28}{found['load']:>8.1f}")
    return "\n".join(lines)


def _flat(folder: Path, live: Live) -> list[str]:
    """Arguments of ansible-playbook by hand: its inventory and variables as one would have them."""
    host = live.hosts()[0]
    app = application.load("warehouse")
    mirror = lab.build()
    files = folder / "files"
    rendered = render.write(files, app, mirror.images)
    ports = [port for port in app.ports() if port.scope == "public"]
    variables = inventory.variables(mirror) | OWN
    variables |= {
        "firewall_ports": [
            {"port": port.number, "protocol": "tcp", "sources": list(port.sources), "forwarded": True}
            for port in ports
        ],
        "flat_directory": f"/etc/hostwright/{app.name}",
        "flat_files": [_file(path, files) for path in rendered],
        "flat_images": [mirror.images[name] for name in app.images()],
    }
    given = folder / "flat.yml"
    given.write_text(yaml.safe_dump(variables))
    key = Path(live.env["XDG_STATE_HOME"]) / "hostwright" / live.name / "id_ed25519"
    options = f"-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={folder / 'known_hosts'}"
    line = {
        "ansible_host": host["address"],
        "ansible_user": host["user"],
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": options,
    }
    hosts = folder / "hosts.yml"
    hosts.write_text(yaml.safe_dump({"all": {"hosts": {host["name"]: line}}}))
    return ["-i", str(hosts), str(ROOT / "tests/bench/flat/site.yml"), "-e", f"@{given}"]


def _file(path: Path, folder: Path) -> dict[str, Any]:
    state = path.stat()
    mode = f"{state.st_mode & 0o777:04o}"
    return {"src": str(path), "dest": str(path.relative_to(folder)), "mode": mode, "owner": state.st_uid}


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _mebibytes(line: str) -> float:
    """`85.4MiB / 320MiB` -> 85.4"""
    text = line.split("/")[0].strip()
    return float(text[:-3]) * UNITS[text[-3:]]


if __name__ == "__main__":
    raise SystemExit(main())
