"""Every container fails in every way while orders come in, or a cluster is disturbed (`--cluster`).

`make faults` and `make faults-cluster` build what the lab needs first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.faults import cluster, faults, rounds
from tests.faults.load import Shop
from tests.faults.needs import containers
from tests.live import Live, existing, make, temporary

ROOT = Path(__file__).resolve().parents[2]
NAME = "faults"
NETWORK = {"mode": "nat", "cidr": "10.85.0.0/24", "cidr6": "fd00:85::/64"}


def main() -> int:
    """A table, and the JSON; 0 when nothing was lost or done twice and all came back in time, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="CONTAINER", help="these containers (default: all)")
    kinds = (*faults.FAULTS, *cluster.KINDS)
    parser.add_argument("--fault", nargs="+", choices=kinds, default=kinds, help="(default: all)")
    parser.add_argument("--rate", type=float, default=0, help="orders a second (default: each fault's own)")
    parser.add_argument("--cluster", action="store_true", help="disturb a cluster of three servers")
    parser.add_argument("--environment", help="one that is up, of the project here (default: one of its own)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "faults.json", help="the JSON")
    given = parser.parse_args()
    if given.cluster and given.only:
        parser.error("--only: a cluster is disturbed as a whole; --fault says how")
    with _live(given.environment, given.cluster) as live:
        shop = Shop.of(live)
        known = containers(shop.application)
        if unknown := set(given.only or ()) - set(known):
            parser.error(f"unknown container {sorted(unknown)[0]!r}: give some of {', '.join(known)}")
        if given.cluster:
            ways = cluster.ways(shop, given.fault)
        else:
            ways = faults.ways(shop, given.only or known, given.fault)
        if not ways:
            parser.error("--fault: nothing here can be disturbed in these ways")
        rows = []
        for way in ways:
            row = asyncio.run(rounds.run(way, given.rate))
            print(rounds.table([row]).splitlines()[1], *row.details[:20], sep="\n  ", file=sys.stderr)
            rows.append(row)
    print(rounds.table(rows))
    good = all(each.good for each in rows)
    found = {"good": good, "rows": [asdict(each) for each in rows]}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{sum(each.accepted for each in rows)} orders accepted; {given.out}")
    return 0 if good else 1


@contextmanager
def _live(name: str | None, clustered: bool) -> Iterator[Live]:
    if name:
        yield existing(name)
        return
    with tempfile.TemporaryDirectory() as folder:
        made = cluster.make(Path(folder)) if clustered else make(Path(folder), NAME, NETWORK)
        with temporary(made) as live:
            print("an environment of its own is built first", file=sys.stderr)
            live.hostwright("up", timeout=cluster.AN_HOUR)
            yield live


if __name__ == "__main__":
    raise SystemExit(main())
