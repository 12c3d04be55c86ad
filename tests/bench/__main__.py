"""Every figure of one run, beside what one would have without us: `python -m tests.bench`, or `make bench`.

Phases and the same steps by hand, the application through its gateway, its services by themselves and on the
plain server, the policy gateway beside others and services behind it beside Flask's, analytics over a million
orders, a cluster, and how all that grows with the number of hosts. By name only, as they take longest: `up`
with all that watches the application, from nothing (one host, and a cluster), and on an emulated guest.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hostwright import paths
from tests.bench import analytics, cluster, gatekeeper, gateway, growth, phases, policy, services

ROOT = Path(__file__).resolve().parents[2]
ANALYTICS_MS = 200  # at most, for the stats of a million orders


def main() -> int:
    """Measure, print a table, keep the JSON; 1 when a step did not end well."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of load on each request (%(default)s)")
    parser.add_argument("--only", choices=PARTS, help=f"a part (default: all but {', '.join(BY_NAME)})")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json", help="the JSON")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who is told to end takes hosts down before
    found: dict[str, Any] = {}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for part in [given.only] if given.only else [each for each in PARTS if each not in BY_NAME]:
        found |= PARTS[part](given.seconds)
        # After each: a part that fails an hour later takes nothing of what was measured with it.
        given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"figures: {given.out}")
    missed = list(missing(found))
    for each in missed:
        print(f"missed: {each}")
    return 1 if missed else 0


def missing(found: dict[str, Any]) -> Iterator[str]:
    """The targets that were measured and not met."""
    for part in phases.TARGETS:
        if part in found:
            yield from phases.missing(part, found[part])
    for part in ("gateway", "observed", "policy", "gatekeeper"):
        yield from found.get(part, {}).get("missed", ())
    for each in found.get("services", {}).get("figures", ()):
        if each["errors"]:
            yield f"{each['name']}: {each['errors']} errors"
    for each in found.get("analytics", {}).get("figures", ()):
        if each["name"].startswith("stats") and each["median_ms"] > ANALYTICS_MS:
            yield f"analytics, {each['name']}: {each['median_ms']:.0f} ms, at most {ANALYTICS_MS}"
    if "cluster" in found:
        yield from cluster.missing(found["cluster"])
    if "growth" in found:
        yield from growth.missing(found["growth"]["exponents"])


def _phases(seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found, through = phases.measure(Path(folder), seconds, _say)
    _told("phases", found)
    print(f"{gateway.table(through)}\n")
    more = {"ratios": gateway.ratios(through), "missed": list(gateway.missing(through))}
    return {"phases": found, "gateway": asdict(through) | more}


def _cold(_seconds: float, part: str = "cold", servers: int = 0) -> dict[str, Any]:
    # Where the cache is, there is room, and a file system that overlays can be laid over.
    paths.cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cold-", dir=paths.cache()) as folder:
        found = phases.cold(Path(folder), _say, servers)
    _told(part, found)
    return {part: found}


def _cold_cluster(seconds: float) -> dict[str, Any]:
    return _cold(seconds, "cold-cluster", servers=3)


def _libvirt(_seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = phases.guest(Path(folder), _say)
    _told("libvirt", found)
    return {"libvirt": found}


def _observed(_seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found, idle = phases.observed(Path(folder), _say)
    _told("observed", found)
    print(f"{gateway.total(idle)}\n")
    return {"observed": found | {"idle": asdict(idle), "missed": list(gateway.excess(idle))}}


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


def _gatekeeper(seconds: float) -> dict[str, Any]:
    command, found = "python -m tests.bench --only gatekeeper", gatekeeper.measure(seconds)
    print(f"services behind the policy gateway: {command}\n{gatekeeper.table(found)}\n")
    figures, missed = [asdict(each) for each in found], list(gatekeeper.missing(found))
    ratios = gatekeeper.ratios(found)
    return {"gatekeeper": {"command": command, "figures": figures, "ratios": ratios, "missed": missed}}


def _analytics(_seconds: float) -> dict[str, Any]:
    command, found = "python -m tests.bench.analytics", analytics.measure(analytics.ORDERS, times=10)
    print(f"analytics over {analytics.ORDERS:,} orders: {command}\n{analytics.table(found)}\n")
    return {"analytics": {"command": command, "figures": [asdict(each) for each in found]}}


def _cluster(_seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = cluster.measure(Path(folder), _say)
    command = "python -m tests.bench --only cluster"
    print(f"a cluster of three: {command}\n{cluster.table(found)}\n")
    return {"cluster": {"command": command, **found}}


def _growth(_seconds: float) -> dict[str, Any]:
    found = growth.measure(_say)
    command = "python -m tests.bench --only growth"
    print(f"growth with the number of hosts: {command}\n{growth.table(found)}\n")
    figures = [asdict(each) for each in found]
    return {"growth": {"command": command, "figures": figures, "exponents": growth.exponents(found)}}


def _told(part: str, found: dict[str, Any]) -> None:
    print(f"{part}: python -m tests.bench --only {part}\n{phases.table(part, found)}\n")


def _say(text: str) -> None:
    """What has been measured so far, for who waits."""
    print(text, file=sys.stderr)


PARTS = {
    "phases": _phases, "services": _services, "policy": _policy, "gatekeeper": _gatekeeper,
    "analytics": _analytics, "cluster": _cluster, "growth": _growth,
    "observed": _observed, "cold": _cold, "cold-cluster": _cold_cluster, "libvirt": _libvirt,
}  # fmt: skip
BY_NAME = ("observed", "cold", "cold-cluster", "libvirt")  # are not among all


if __name__ == "__main__":
    raise SystemExit(main())
