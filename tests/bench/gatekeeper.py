"""The gatekeeper's services behind its gateway: `python -m tests.bench --only gatekeeper`.

auth and orders as their containers run them, and plain_services.py under gunicorn with sync workers, each
before a PostgreSQL and behind the gateway as it is rendered, but for limits that nothing here reaches. They
are asked in turn, so that whatever else the machine does meets both. CPU is that of the processes: what wrk
takes does not mix with it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "services"))  # where testing is imported from

from testing.keys import Keys
from testing.postgres import Postgres
from testing.process import Process, listens, own_directory
from testing.service import LOOPBACK, Service, migrate

from hostwright import paths
from tests.bench.load import NUMBER, Case, Load, wrk
from tests.bench.services import ADMIN, cpu
from tests.policy.gateway import PLACES, Gateway

OURS, PLAIN = "ours", "Flask"
ROUNDS = 3
LIMIT = 100_000  # requests of each in 60 seconds: the most that there may be
ACCOUNTS, ORDERS = 10, 50  # who ask in turn, and of each before anything is measured
WORKERS = 2 * (os.cpu_count() or 1) + 1  # as gunicorn's documentation has it
PASSWORD = "zielony-rower7"
LOGIN = {"email": "reader-0@example.com", "password": PASSWORD}
JAN = {"email": f"{NUMBER}@example.com", "password": PASSWORD, "name": "Jan"}
ORDER = {"items": [{"product": "Laptop", "quantity": 1, "price": 75000.00}]}
REGISTER, ENTER, PROFILE, ORDERED = "/v1/users/register", "/v1/users/login", "/v1/users/profile", "/v1/orders"
CASES = (
    Case("register, argon2id", "auth", "POST", REGISTER, JAN, connections=2),
    Case("login, argon2id", "auth", "POST", ENTER, LOGIN, connections=2),
    Case("profile", "auth", "GET", PROFILE),
    Case("orders list, 10 of 50", "orders", "GET", ORDERED),
    Case("orders create", "orders", "POST", ORDERED, ORDER),
)


@dataclass(frozen=True)
class Variant:
    """Services behind a gateway, pids of what computes, and tokens of who asks: `readers` place no orders."""

    name: str
    url: str
    pids: Mapping[str, Sequence[int]]
    readers: Sequence[str]
    writers: Sequence[str]

    def tokens(self, case: Case) -> Sequence[str]:
        if case.path in (REGISTER, ENTER):
            return ()
        return self.writers if case.method == "POST" else self.readers


@dataclass(frozen=True)
class Round:
    """CPU microseconds a request of services, database and gateway."""

    load: Load
    cpu_us: Mapping[str, float]


@dataclass(frozen=True)
class Figures:
    """Of a request and a variant: medians of its rounds, and all errors."""

    case: str
    variant: str
    rounds: Sequence[Round]

    @property
    def requests_per_second(self) -> float:
        return statistics.median(each.load.requests_per_second for each in self.rounds)

    @property
    def p99_ms(self) -> float:
        return statistics.median(each.load.p99_ms for each in self.rounds)

    @property
    def errors(self) -> int:
        return sum(each.load.errors for each in self.rounds)

    def cpu_us(self, what: str) -> float:
        return statistics.median(each.cpu_us[what] for each in self.rounds)


def measure(seconds: float) -> list[Figures]:
    """Of each request ours, then the plain one's, after ROUNDS times `seconds` of load."""
    found = []
    with _variants() as variants:
        for case in CASES:
            for each in variants:
                wrk(case, each.url, each.tokens(case), 1)  # connections, caches
            rounds = [[_round(case, each, seconds) for each in variants] for _ in range(ROUNDS)]
            found += [
                Figures(case.name, variant.name, of)
                for variant, of in zip(variants, zip(*rounds, strict=True), strict=True)
            ]
    return found


def ratios(found: Sequence[Figures]) -> dict[str, dict[str, float]]:
    """Request -> how much faster ours are, and how much less CPU they take: above 1 ours are better."""
    of = {(each.case, each.variant): each for each in found}
    return {
        case: {
            "faster": of[case, OURS].requests_per_second / of[case, PLAIN].requests_per_second,
            "less CPU": of[case, PLAIN].cpu_us("services") / of[case, OURS].cpu_us("services"),
        }
        for case in dict.fromkeys(each.case for each in found)
    }


def table(found: Sequence[Figures]) -> str:
    """A line a request and variant, and with ours the ratios."""
    head = ("requests/s", "p99 ms", "CPU us", "database us", "gateway us", "errors", "faster", "less CPU")
    lines = [f"{'':32}" + "".join(f"{each:>12}" for each in head)]
    of = ratios(found)
    for each in found:
        ratio = "".join(f"{value:12.2f}" for value in of[each.case].values()) if each.variant == OURS else ""
        lines.append(
            f"{each.case:24}{each.variant:8}{each.requests_per_second:12.1f}{each.p99_ms:12.1f}"
            f"{each.cpu_us('services'):12.0f}{each.cpu_us('database'):12.0f}{each.cpu_us('gateway'):12.0f}"
            f"{each.errors:12}{ratio}"
        )
    return "\n".join(lines)


def missing(found: Sequence[Figures]) -> Iterator[str]:
    """Which requests failed."""
    for each in found:
        if each.errors:
            yield f"gatekeeper, {each.case}, {each.variant}: {each.errors} errors"


def _round(case: Case, variant: Variant, seconds: float) -> Round:
    before = _spent(variant)
    load = wrk(case, variant.url, variant.tokens(case), seconds)
    spent = _spent(variant)
    each = {what: (spent[what] - before[what]) / max(load.requests, 1) * 1e6 for what in spent}
    return Round(load, each)


def _spent(variant: Variant) -> dict[str, float]:
    return {what: sum(map(cpu, pids)) for what, pids in variant.pids.items()}


# --- what is measured ---


@contextmanager
def _variants() -> Iterator[list[Variant]]:
    """Ours and the plain one, with accounts and orders. Raises SystemExit unless both answer alike."""
    keys = Keys.generate()
    with Postgres.running() as postgres, ExitStack() as stack:
        found, shapes = [], []
        for name, services in ((OURS, _ours), (PLAIN, _plain)):
            gateway = Gateway(_document(sessions=name == OURS))
            stack.callback(gateway.stop)
            gateway.secrets = {"token_public_key": keys.public}
            pids = stack.enter_context(services(gateway, postgres, keys))
            gateway.run()
            assert gateway.process
            taken = {"services": pids, "database": [postgres.pid], "gateway": [gateway.process.pid]}
            url = f"http://{gateway.address}:8080"
            people, shape = _people(url)
            found.append(Variant(name, url, taken, people["reader"], people["writer"]))
            shapes.append(shape)
        if shapes[0] != shapes[1]:
            raise SystemExit(f"the variants answer differently:\n{shapes[0]}\n{shapes[1]}")
        yield found


def _document(sessions: bool) -> dict[str, Any]:
    """The application file, with limits beyond reach; without `sessions` nobody tells which ended."""
    document: dict[str, Any] = yaml.safe_load((paths.toolkit() / "services/apps/gatekeeper.yml").read_text())
    policy = document["gateway"]["policy"]
    policy["limits"] = {name: {"requests": LIMIT} for name in policy["limits"]}
    if not sessions:
        del policy["tokens"]["revoked"]
    return document


@contextmanager
def _ours(gateway: Gateway, postgres: Postgres, keys: Keys) -> Iterator[list[int]]:
    common = {
        "application": "gatekeeper",
        "contract": "gatekeeper",
        "token_private_key": keys.private,
        "token_public_key": keys.public,
        "admin_email": ADMIN["email"],
        "admin_password": ADMIN["password"],
        "trusted_proxies": f"{LOOPBACK}/32",
        "client_registrations": 1_000_000,
    }
    with ExitStack() as stack:
        pids = []
        for name in ("auth", "orders"):
            settings = common | postgres.settings(postgres.create())
            migrate(name, settings)
            address = str(gateway.network[PLACES[name]])
            pids.append(stack.enter_context(Service.running(name, settings, 8080, address=address)).pid)
        yield pids


@contextmanager
def _plain(gateway: Gateway, postgres: Postgres, keys: Keys) -> Iterator[list[int]]:
    here = Path(__file__).parent
    with ExitStack() as stack:
        pids = []
        for name in ("auth", "orders"):
            url = postgres.dsn(postgres.create()).replace("postgresql://", "postgresql+psycopg://")
            told = os.environ | {
                "DATABASE_URL": url,
                "PRIVATE_KEY": keys.private,
                "PUBLIC_KEY": keys.public,
                "AUDIENCE": "gatekeeper",
            }
            subprocess.run([sys.executable, here / "plain_services.py"], env=told, check=True)
            address = str(gateway.network[PLACES[name]])
            folder = own_directory("flask")
            stack.callback(shutil.rmtree, folder)
            command = [
                *(sys.executable, "-m", "gunicorn", "--worker-class", "sync", "--workers", str(WORKERS)),
                *("--bind", f"{address}:8080", "--chdir", str(here), "plain_services:app"),
            ]
            process = Process(command, log=folder / "log", environment=told, orphaned=signal.SIGTERM)
            stack.callback(process.end)
            process.wait_for(partial(listens, 8080, address))
            pids.append(process.pid)
        yield pids


def _people(url: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Tokens of new readers, who have ORDERS orders each, and of writers; and what answers are made of."""
    tokens: dict[str, list[str]] = {"reader": [], "writer": []}
    with httpx2.Client(base_url=url, trust_env=False, timeout=60) as http:

        def ask(method: str, path: str, json: object = None, token: str = "") -> Any:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = http.request(method, path, json=json, headers=headers)
            if answer.is_error:
                raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text}")
            return answer.json()

        for kind, number in ((kind, number) for kind in tokens for number in range(ACCOUNTS)):
            account = {"email": f"{kind}-{number}@example.com", "password": PASSWORD}
            registered = ask("POST", REGISTER, account | {"name": "Jan"})
            entered = ask("POST", ENTER, account)
            tokens[kind].append(entered["data"]["token"])
            for _ in range(ORDERS if kind == "reader" else 0):
                placed = ask("POST", ORDERED, ORDER, tokens[kind][-1])
        reader = tokens["reader"][0]
        shown, listed = ask("GET", PROFILE, token=reader), ask("GET", ORDERED, token=reader)
        forged = http.get(PROFILE, headers={"Authorization": f"Bearer {reader[:-4]}{secrets.token_hex(2)}"})
    if forged.status_code != 401 or shown["data"]["email"] != LOGIN["email"]:
        raise SystemExit(f"{forged.status_code} for a forged token, {shown} for a reader")
    if (listed["pagination"]["total"], len(listed["data"])) != (ORDERS, 10):
        raise SystemExit(f"{len(listed['data'])} orders, {listed['pagination']} for a reader")
    answers = {"registered": registered["data"]["user"], "entered": entered["data"], "placed": placed["data"]}
    answers |= {"shown": shown["data"], "listed": listed["data"][0]}
    return tokens, {name: sorted(answer) for name, answer in answers.items()}
