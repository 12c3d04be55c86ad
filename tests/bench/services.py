"""Speed of the services on this machine: requests a second, p99, CPU microseconds a request.

Real PostgreSQL, RabbitMQ, auth and orders, one process each, driven by wrk over loopback without a gateway:
`python -m tests.bench.services --seconds 5`. wrk itself takes CPU from the same cores, so compare CPU
microseconds, which do not mind, before requests a second, which do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2
import psycopg

sys.path.insert(
    0, str(Path(__file__).parents[2] / "services")
)  # where kit, auth and orders are imported from

from testing.keys import Keys
from testing.postgres import Postgres
from testing.process import free_port
from testing.rabbitmq import RabbitMQ
from testing.service import Server, Service, granian, migrate

from tests.bench.load import NEW_ORDER, Case, wrk

ORDERS = 20_000  # in the table before the measurement
ADMIN = {"email": "admin@example.com", "password": "correct-horse-battery-9"}


@dataclass(frozen=True)
class Figures:
    """`cpu_us` is of the service, `database_cpu_us` of its PostgreSQL, each a request; `p99_ms` a latency."""

    name: str
    requests: int
    errors: int
    requests_per_second: float
    p99_ms: float
    cpu_us: float
    database_cpu_us: float


CASES = (
    Case("orders create", "orders", "POST", "/api/orders", NEW_ORDER),
    Case("orders list, 20 of 20000", "orders", "GET", "/api/orders?limit=20"),
    Case("orders list, 100 of 20000", "orders", "GET", "/api/orders"),
    Case("orders get", "orders", "GET", "/api/orders/1"),
    Case("auth validate", "auth", "GET", "/api/v1/validate"),
    Case("auth login, argon2id", "auth", "POST", "/api/auth/login", {**ADMIN}, connections=2),
)


def measure(seconds: float, names: str = "", server: Server = granian) -> list[Figures]:
    """Figures of each case whose name contains `names`, after `seconds` of load each."""
    with _servers(server) as (postgres, services, token):
        return [
            _figures(case, services[case.service], postgres, token, seconds)
            for case in CASES
            if names in case.name
        ]


def table(figures: list[Figures], plain: list[Figures]) -> str:
    """With the ratios to the plain variant, where that was measured: how much faster, how much less CPU."""
    head = ("requests/s", "p99 ms", "CPU us", "database us", "errors", "faster", "less CPU")
    lines = [f"{'':28}" + "".join(f"{each:>12}" for each in head)]
    others = {each.name: each for each in plain}
    for each in figures:
        ratio = ""
        if other := others.get(each.name):
            faster = each.requests_per_second / other.requests_per_second
            ratio = f"{faster:12.2f}{other.cpu_us / each.cpu_us:12.2f}"
        lines.append(
            f"{each.name:28}{each.requests_per_second:12.1f}{each.p99_ms:12.1f}"
            f"{each.cpu_us:12.0f}{each.database_cpu_us:12.0f}{each.errors:12}{ratio}"
        )
    return "\n".join(lines)


def uvicorn(address: str) -> list[str]:
    """The plain variant: the server that everybody takes first, as it comes."""
    return [sys.executable, "-m", "uvicorn", "--host", address]


@contextmanager
def _servers(server: Server) -> Iterator[tuple[Postgres, dict[str, Service], str]]:
    keys = Keys.generate()
    common = {
        "application": "warehouse",
        "token_private_key": keys.private,
        "token_public_key": keys.public,
        "admin_email": ADMIN["email"],
        "admin_password": ADMIN["password"],
        "public_url": "https://shop.example.com",
        "service_key": "k" * 43,
        "webhook_key": "w" * 43,
        "notification_url": f"http://127.0.0.1:{free_port()}",  # away: orders does not wait for it
    }
    with Postgres.running() as postgres, RabbitMQ.running() as rabbitmq:
        of_auth = {**common, **postgres.settings(postgres.create()), **rabbitmq.settings()}
        of_orders = {**common, **postgres.settings(postgres.create()), **rabbitmq.settings()}
        migrate("auth", of_auth)
        migrate("orders", of_orders)
        _fill(postgres.dsn(str(of_orders["database_name"])))
        with (
            Service.running("auth", of_auth, server=server) as auth,
            Service.running("orders", {**of_orders, "auth_url": auth.url}, server=server) as orders,
        ):
            token = httpx2.post(f"{auth.url}/api/auth/login", json=ADMIN).raise_for_status().json()["token"]
            yield postgres, {"auth": auth, "orders": orders}, token


def _fill(dsn: str) -> None:
    """Orders of a year, of a thousand customers."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO orders (owner_id, customer_name, customer_email, source, status, total_amount,
                                created_at, updated_at)
            SELECT mod(n, 1000) + 2, 'Customer ' || n, 'customer' || mod(n, 1000) || '@example.com',
                   'website', (ARRAY['new', 'confirmed', 'shipped', 'delivered'])[mod(n, 4) + 1],
                   mod(n, 90000) / 100.0, now() - n * interval '25 minutes', now() - n * interval '25 minutes'
            FROM generate_series(%s, 1, -1) AS n
            """,
            [ORDERS],
        )
        connection.execute("VACUUM ANALYZE")


def _figures(case: Case, service: Service, postgres: Postgres, token: str, seconds: float) -> Figures:
    wrk(case, service.url, [token], min(1.0, seconds))  # connections, caches
    before = cpu(service.pid), cpu(postgres.pid)
    found = wrk(case, service.url, [token], seconds)
    after = cpu(service.pid), cpu(postgres.pid)
    return Figures(
        name=case.name,
        requests=found.requests,
        errors=found.errors,
        requests_per_second=found.requests_per_second,
        p99_ms=found.p99_ms,
        cpu_us=(after[0] - before[0]) / max(found.requests, 1) * 1e6,
        database_cpu_us=(after[1] - before[1]) / max(found.requests, 1) * 1e6,
    )


def cpu(pid: int) -> float:
    """Seconds that a process and its descendants, living and reaped, have computed."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
        except FileNotFoundError:
            continue
        total += sum(map(int, fields[11:15])) / ticks
        waiting += map(int, children.split())
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.services", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of load for each case (%(default)s)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--plain", action="store_true", help="on uvicorn with its default settings")
    found = parser.parse_args()
    figures = measure(found.seconds, found.only, uvicorn if found.plain else granian)
    print(json.dumps([asdict(each) for each in figures], indent=1) if found.json else table(figures, []))
    return 1 if any(each.errors for each in figures) else 0


if __name__ == "__main__":
    raise SystemExit(main())
