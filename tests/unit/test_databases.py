"""Databases copied and compared for real: two servers of PostgreSQL, with what migrations make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from testing.postgres import Postgres, programs
from testing.service import migrate

from hostwright.databases import REVISION, SIZE, WAITING, Database, copy, differences
from hostwright.errors import Failure

ORDERS = 10_000
FILL = """
    INSERT INTO orders (owner_id, customer_name, customer_email, source, status, total_amount)
    SELECT mod(n, 97), 'Zażółć ' || n, n || '@example.com', 'website', 'new', (n * 0.01)::numeric(12, 2)
    FROM generate_series(1, %s) AS n
"""
FILES = """
    INSERT INTO reports (type, period_start, period_end, interval, total_orders, total_amount, sources, cells,
        created_at)
    VALUES ('sales', now(), now(), 'day', 1, 0.1, '{"website": 0.10}', '[]', now());
    INSERT INTO report_files (report_id, format, language, content, size, sha256)
    VALUES (1, 'pdf', 'pl', decode('00ff7c0a', 'hex'), 4, 'x');
"""


def reached(server: Postgres, name: str, *first: str) -> Database:
    """A database of a server, as if this machine were its container. `first`: what a program is given to."""
    variables = {
        "PGHOST": server.host,
        "PGPORT": server.port,
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
    }
    told = ["env", *(f"{key}={value}" for key, value in variables.items())]

    def reach(words: Sequence[str]) -> list[str]:
        return [*told, *first, str(programs() / words[0]), *words[1:]]

    return Database("orders-db", name, reach)


def run(database: Database, statement: str, *values: object) -> None:
    server: Any = dict(each.split("=", 1) for each in database.reach(["psql"]) if "=" in each)
    dsn = "postgresql://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/".format(**server) + database.name
    with psycopg.connect(dsn) as connection:
        connection.execute(statement, values or None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Postgres, Postgres]]:
    """Of the environment that is left, and of the one that is gone to."""
    with Postgres.running() as old, Postgres.running() as new:
        yield old, new


@pytest.fixture(scope="module")
def common() -> Mapping[str, object]:
    return {"application": "warehouse", "contract": "warehouse", "environment": "test"}


Pair = Callable[[str], tuple[Database, Database]]


@pytest.fixture(scope="module")
def pair(servers: tuple[Postgres, Postgres], common: Mapping[str, object]) -> Pair:
    """A database of the service on both servers, as its migrations leave it, and of the test alone."""
    templates: dict[tuple[Postgres, str], str] = {}

    def migrated(server: Postgres, service: str) -> Database:
        if (server, service) not in templates:
            templates[server, service] = server.create()
            migrate(service, common | server.settings(templates[server, service]))
        return reached(server, server.create(templates[server, service]))

    return lambda service: (migrated(servers[0], service), migrated(servers[1], service))


def test_ten_thousand_orders_arrive_whole(pair: Pair) -> None:
    old, new = pair("orders")
    run(old, FILL, ORDERS)
    run(new, FILL, 3)  # what was there before is overwritten
    assert old.ask(REVISION) == new.ask(REVISION) != []
    copy(old, new)
    fingerprint = old.fingerprint()
    assert fingerprint["table public.orders"][0] == str(ORDERS)
    assert fingerprint["sequence public.orders_id_seq"] == [str(ORDERS), "t"]
    assert {"table public.outbox", "table public.alembic_version"} < set(fingerprint)
    assert differences(fingerprint, new.fingerprint()) == []
    run(new, FILL, 1)
    assert new.number("SELECT max(id) FROM orders") == ORDERS + 1, "the sequence goes on"


def test_a_second_time_is_the_same(pair: Pair) -> None:
    """As after a copy that was killed before it was compared; with triggers, bytes and JSON."""
    old, new = pair("analytics")
    run(old, FILES)
    for _ in range(2):
        copy(old, new)
        assert differences(old.fingerprint(), new.fingerprint()) == []
    assert new.number("SELECT octet_length(content) FROM report_files") == 4


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("DELETE FROM orders WHERE id = 7", ["table public.orders: 20 rows here, 19 there"]),
        ("UPDATE orders SET total_amount = 0 WHERE id = 7", ["table public.orders: other contents"]),
        ("SELECT setval('orders_id_seq', 5)", ["sequence public.orders_id_seq: 20 here, 5 there"]),
        ("CREATE TABLE more (n int)", ["table public.more is only there"]),
        ("DROP TABLE idempotency_keys", ["table public.idempotency_keys is only here"]),
        (
            "UPDATE orders SET total_amount = 0.15 - total_amount WHERE id IN (7, 8)",
            ["table public.orders: other contents"],
        ),
    ],
)
def test_whatever_differs_is_named(pair: Pair, spoil: str, told: list[str]) -> None:
    old, new = pair("orders")
    run(old, FILL, 20)
    copy(old, new)
    run(new, spoil)
    assert differences(old.fingerprint(), new.fingerprint()) == told


def test_zones_of_servers_make_no_difference(pair: Pair) -> None:
    old, new = pair("orders")
    run(old, FILL, 20)
    copy(old, new)
    run(new, f"ALTER DATABASE \"{new.name}\" SET timezone = 'Asia/Tokyo'")
    run(new, f"ALTER DATABASE \"{new.name}\" SET datestyle = 'German'")
    assert differences(old.fingerprint(), new.fingerprint()) == []


def test_a_dump_that_breaks_off_leaves_what_was_there(pair: Pair, servers: tuple[Postgres, Postgres]) -> None:
    old, new = pair("orders")
    run(old, FILL, ORDERS)
    run(new, FILL, 3)
    before = new.fingerprint()
    broken = reached(servers[0], old.name, "sh", "-c", 'exec "$0" "$@" | head --bytes=20000')
    with pytest.raises(Failure) as caught:
        copy(broken, new)
    assert "could not read from input file: end of file" in str(caught.value)
    assert new.fingerprint() == before


@pytest.mark.parametrize("gone", ["source", "target"])
def test_a_database_that_is_not_there_is_told_of(
    pair: Pair, servers: tuple[Postgres, Postgres], gone: str
) -> None:
    old, new = pair("orders")
    missing = reached(servers[gone == "target"], "nowhere")
    with pytest.raises(Failure, match='database "nowhere" does not exist'):
        copy(*((missing, new) if gone == "source" else (old, missing)))


def test_questions(pair: Pair, servers: tuple[Postgres, Postgres]) -> None:
    old, _ = pair("orders")
    empty = reached(servers[0], servers[0].create())
    assert (old.number(WAITING), empty.number(WAITING), empty.ask(REVISION)) == (0, 0, [])
    assert old.number(SIZE) > 1_000_000
    with pytest.raises(Failure, match='relation "nothing" does not exist'):
        old.ask("SELECT count(*) FROM nothing")
