"""Speed of figures over many orders: `python -m tests.bench.analytics --orders 1000000`.

Real PostgreSQL and the service as one process, asked over loopback without a gateway, one request at a time.
Beside each period the same count by plain SQL over the orders, which is what the kept days save.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx2
import psycopg

sys.path.insert(0, str(Path(__file__).parents[2] / "services"))  # where kit and analytics are imported from

from kit.tokens import Issuer
from testing.keys import Keys
from testing.postgres import Postgres
from testing.process import free_port
from testing.service import Service, migrate

ORDERS = 1_000_000
DAYS = 1096  # over which the orders are spread, to the end of 2026
FILL = """
    INSERT INTO orders (id, source, status, total_amount, created_at, changed_at)
    SELECT n, (ARRAY['website', 'manual', 'zrodlo_jeden', 'zrodlo_dwa'])[1 + floor(random() * 4)::int],
        (ARRAY['new', 'confirmed', 'shipped', 'delivered', 'cancelled'])[1 + floor(random() * 5)::int],
        round((random() * 1000)::numeric, 2), placed, placed
    FROM (
        SELECT n, timestamptz '2027-01-01Z' - random() * make_interval(days => %s) AS placed
        FROM generate_series(1, %s) AS n
    ) AS spread
"""
PLAIN = """
    SELECT source, status, count(*), sum(total_amount) FROM orders
    WHERE created_at >= %s AND created_at < %s GROUP BY 1, 2
"""
PERIODS = {
    "all of it": ("2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
    "a year, ends inside days": ("2025-03-03T15:45:10Z", "2026-03-03T11:10:05Z"),
    "a month": ("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
}


@dataclass(frozen=True)
class Figures:
    """Milliseconds."""

    name: str
    median_ms: float
    worst_ms: float
    plain_ms: float | None = None


def measure(orders: int, times: int) -> list[Figures]:
    keys = Keys.generate()
    token = Issuer(keys.private, "warehouse").issue(user_id=1, email="a@b.pl", role="admin", session="bench")
    with Postgres.running() as postgres:
        settings = {
            "application": "warehouse",
            "token_public_key": keys.public,
            "broker_host": "127.0.0.1",
            "broker_port": free_port(),
            "broker_user": "nobody",
            "broker_password": "nothing",
            **postgres.settings(postgres.create()),
        }
        migrate("analytics", settings)
        with (
            psycopg.connect(postgres.dsn(str(settings["database_name"])), autocommit=True) as connection,
            Service.running("analytics", settings) as service,
            httpx2.Client(
                base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=60
            ) as http,
        ):
            connection.execute(FILL.encode(), [DAYS, orders])
            connection.execute("VACUUM ANALYZE")
            found = []
            for name, (start, end) in PERIODS.items():
                asked = _times(times, partial(_get, http, "stats", {"start": start, "end": end}))
                plain = _times(3, partial(connection.execute, PLAIN.encode(), (start, end)))
                middle = statistics.median(asked), max(asked), statistics.median(plain)
                found.append(Figures(f"stats, {name}", *middle))
            for interval in ("day", "week", "month"):
                asked = _times(times, partial(_get, http, "series", {"interval": interval}))
                found.append(Figures(f"series by {interval}", statistics.median(asked), max(asked)))
            start, end = PERIODS["a month"]
            wanted = {"type": "custom", "period_start": start, "period_end": end}
            made = _times(3, partial(_generate, http, wanted))
            found.append(Figures("report of a month, six files", statistics.median(made), max(made)))
            return found


def table(figures: list[Figures]) -> str:
    lines = [f"{'':32}{'median ms':>12}{'worst ms':>12}{'plain SQL ms':>14}{'ratio':>8}"]
    for each in figures:
        line = f"{each.name:32}{each.median_ms:12.1f}{each.worst_ms:12.1f}"
        if each.plain_ms is not None:
            line += f"{each.plain_ms:14.1f}{each.plain_ms / each.median_ms:8.1f}"
        lines.append(line)
    return "\n".join(lines)


def _get(http: httpx2.Client, path: str, query: dict[str, str]) -> None:
    http.get(f"/api/reports/{path}", params=query).raise_for_status()


def _generate(http: httpx2.Client, wanted: dict[str, str]) -> None:
    http.post("/api/reports/generate", json=wanted).raise_for_status()


def _times(times: int, call: Callable[[], object]) -> list[float]:
    """Milliseconds of each call; the first, which warms up, does not count."""
    call()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        found.append((time.perf_counter() - begun) * 1000)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.analytics", description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS, help="in the database (%(default)s)")
    parser.add_argument("--times", type=int, default=30, help="each request is sent (%(default)s)")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args()
    figures = measure(given.orders, given.times)
    print(json.dumps([asdict(each) for each in figures]) if given.json else table(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
