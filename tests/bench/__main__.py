"""Every figure of one run, beside what one would have without us: `python -m tests.bench`, or `make bench`.

Phases and the same steps by hand, the application through its gateway, its services by themselves and on the
plain server, the policy gateway beside others, analytics over a million orders, a cluster, and how all that
grows with the number of hosts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

import lab
from hostwright import application, render
from lab import inventory
from tests.bench import analytics, cluster, gateway, growth, policy, services
from tests.live import OWN, Live, make, program, purge

ROOT = Path(__file__).resolve().parents[2]
OURS = ("bench-ours", {"mode": "nat", "cidr": "10.95.0.0/24", "cidr6": "fd00:95::/64"})
HAND = ("bench-hand", {"mode": "nat", "cidr": "10.96.0.0/24", "cidr6": "fd00:96::/64"})
ANALYTICS_MS = 200  # at most, for the stats of a million orders

Say = Callable[[str], None]


def main() -> int:
    """Measure, print a table, keep the JSON; 1 when a step did not end well."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of load on each request (%(default)s)")
    parser.add_argument("--only", choices=PARTS, help="a part (default: all); phases has the gateway")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json", help="the JSON")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for part in [given.only] if given.only else list(PARTS):
        found |= PARTS[part](given.seconds)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"figures: {given.out}")
    missed = list(missing(found))
    for each in missed:
        print(f"missed: {each}")
    return 1 if missed else 0


def missing(found: dict[str, Any]) -> Iterator[str]:
    """The targets that were measured and not met."""
    if "gateway" in found and not found["gateway"]["good"]:
        yield "through the gateway: memory, feed or errors"
    for each in found.get("services", {}).get("figures", ()):
        if each["errors"]:
            yield f"{each['name']}: {each['errors']} errors"
    yield from found.get("policy", {}).get("missed", ())
    for each in found.get("analytics", {}).get("figures", ()):
        if each["name"].startswith("stats") and each["median_ms"] > ANALYTICS_MS:
            yield f"analytics, {each['name']}: {each['median_ms']:.0f} ms, at most {ANALYTICS_MS}"
    if "cluster" in found:
        yield from cluster.missing(found["cluster"])
    if "growth" in found:
        yield from growth.missing(found["growth"]["exponents"])


def _phases(seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = phases(Path(folder), seconds, lambda text: print(text, file=sys.stderr))
    through: gateway.Found = found["gateway"]
    print(f"phases: python -m tests.bench --only phases\n{table(found)}\n\n{gateway.table(through)}\n")
    return found | {"gateway": asdict(through) | {"good": through.good}}


def _services(seconds: float) -> dict[str, Any]:
    ours, plain = services.measure(seconds), services.measure(seconds, server=services.uvicorn)
    command = "python -m tests.bench.services"
    print(f"each service by itself: {command}; plain, which is uvicorn as it comes: {command} --plain")
    print(services.table(ours, plain), end="\n\n")
    figures = {"figures": [asdict(each) for each in ours], "plain": [asdict(each) for each in plain]}
    return {"services": {"command": command, **figures}}


def _policy(seconds: float) -> dict[str, Any]:
    command, found = "python -m tests.bench --only policy", policy.measure(seconds)
    print(f"the policy gateway: {command}\n{policy.table(found)}\n")
    figures, missed = [asdict(each) for each in found], list(policy.missing(found))
    return {
        "policy": {"command": command, "figures": figures, "ratios": policy.ratios(found), "missed": missed}
    }


def _analytics(_seconds: float) -> dict[str, Any]:
    command, found = "python -m tests.bench.analytics", analytics.measure(analytics.ORDERS, times=10)
    print(f"analytics over {analytics.ORDERS:,} orders: {command}\n{analytics.table(found)}\n")
    return {"analytics": {"command": command, "figures": [asdict(each) for each in found]}}


def _cluster(_seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = cluster.measure(Path(folder), lambda text: print(text, file=sys.stderr))
    command = "python -m tests.bench --only cluster"
    print(f"a cluster of three: {command}\n{cluster.table(found)}\n")
    return {"cluster": {"command": command, **found}}


def _growth(_seconds: float) -> dict[str, Any]:
    found = growth.measure(lambda text: print(text, file=sys.stderr))
    command = "python -m tests.bench --only growth"
    print(f"growth with the number of hosts: {command}\n{growth.table(found)}\n")
    figures = [asdict(each) for each in found]
    return {"growth": {"command": command, "figures": figures, "exponents": growth.exponents(found)}}


PARTS = {
    "phases": _phases, "services": _services, "policy": _policy, "analytics": _analytics, "cluster": _cluster,
    "growth": _growth,
}  # fmt: skip


def phases(folder: Path, load: float, say: Say) -> dict[str, Any]:
    """Wall seconds of each step, ours and by hand in turn, and the ratios that travel between machines.

    Then the application through its gateway, with `load` seconds of each request.
    """
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
        clock("hosts", ours, sys.executable, "-c", growth.UP, ours.name)
        clock("hosts by hand's host", hand, sys.executable, "-c", growth.UP, hand.name)
        site = [program("ansible-playbook"), "-i", f"inventories/{ours.name}", "playbooks/site.yml"]
        flat = [program("ansible-playbook"), *_flat(folder, hand)]
        defaults = {"ANSIBLE_CONFIG": str(ROOT / "tests/bench/flat/ansible.cfg")}
        clock("converge", ours, *site)
        clock("converge by hand", hand, *flat, env=defaults)
        clock("second run", ours, *site)
        clock("second run by hand", hand, *flat, env=defaults)
        clock("proof", ours, program("hostwright"), "proof")
        clock("second up", ours, program("hostwright"), "up")
        hand.hostwright("down", "--data", "--yes")  # it would idle beside what is measured
        say("through the gateway")
        through = gateway.measure(ours, load)
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
        "gateway": through,
        "load": os.getloadavg()[0],
    }


def table(found: dict[str, Any]) -> str:
    """The figures of `phases` as text."""
    lines = [f"{step:<28}{value:>8.1f} s" for step, value in found["seconds"].items()]
    lines += [f"{name:<28}{value:>8.2f}" for name, value in found["ratios"].items()]
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


if __name__ == "__main__":
    raise SystemExit(main())
