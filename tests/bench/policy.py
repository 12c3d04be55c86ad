"""What the policy gateway takes for a request: `python -m tests.bench --only policy`.

Bare nginx, HAProxy as it is rendered with everything on, and plain.py, which a developer would write, before
the same backend and in turn, so that whatever else the machine does meets all three. CPU is that of each
one's own processes: what wrk and the backend take does not mix with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from operator import truediv
from pathlib import Path
from typing import Any

import httpx2
import jwt

sys.path.insert(0, str(Path(__file__).parents[2] / "services"))  # where testing is imported from

from testing.process import Process, free_port, listens, own_directory
from testing.service import granian

from tests.bench.load import Case, Load, wrk
from tests.bench.services import cpu
from tests.policy.gateway import PLACES, SECRET, Gateway, claims, desk, token

NGINX, OURS, PLAIN = "nginx, bare", "ours, everything on", "plain Python"
TO_NGINX, TO_PLAIN = "ours to nginx", "plain Python to ours"
MOST, LEAST = 2.2, 7.0  # that these may, and must, be
ROUNDS = 5
USERS = 1000  # who ask in turn
LIMIT = 10_000  # requests of each in 60 seconds, more than wrk can send
CASE = Case("orders list", "orders", "GET", "/v1/orders")  # whose answers are kept for when orders is away
PACED = replace(CASE, connections=128)  # at half load: most of them wait for their time
FEED, ENDED = "/internal/revoked", "s-0"  # a session
LOOPBACK = "127.0.0.1"
FOLDER = str(Path(__file__).parent)
SERVER = """
daemon off;
worker_processes auto;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {rest}
}}
"""
BACKEND = """
    default_type application/json;
    server {{
        listen {auth}:8080;
        listen {orders}:8080;
        location / {{
            return 200 '{{"success":true,"data":{{"user":"$http_x_user_id","orders":["first","second"]}}}}';
        }}
        location {feed} {{ default_type text/plain; return 200 "1\\n{ended} {ends}\\n"; }}
    }}
"""
PROXY = """
    upstream orders {{ server {orders}:8080; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://orders; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
"""


@dataclass(frozen=True)
class Variant:
    """A gateway that runs, and tokens that it must refuse."""

    name: str
    url: str
    process: Process
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Round:
    """CPU microseconds a request, `full` load, and `half` as many requests a second as that."""

    cpu_us: float
    full: Load
    half: Load


@dataclass(frozen=True)
class Figures:
    """Of a gateway: medians of its rounds, and all errors."""

    name: str
    rounds: Sequence[Round]

    @property
    def cpu_us(self) -> float:
        return statistics.median(each.cpu_us for each in self.rounds)

    @property
    def requests_per_second(self) -> float:
        return statistics.median(each.full.requests_per_second for each in self.rounds)

    @property
    def half_per_second(self) -> float:
        return statistics.median(each.half.requests_per_second for each in self.rounds)

    @property
    def half_p99_ms(self) -> float:
        return statistics.median(each.half.p99_ms for each in self.rounds)

    @property
    def errors(self) -> int:
        return sum(each.full.errors + each.half.errors for each in self.rounds)


def measure(seconds: float) -> list[Figures]:
    """Of bare nginx, ours and the plain one, after ROUNDS times `seconds` of full load and of half."""
    ends = int(time.time()) + 24 * 60 * 60
    tokens = [token(user_id=f"user-{number}", exp=ends) for number in range(USERS)]
    with _variants(ends) as variants:
        for each in variants:
            _check(each, tokens[0])
            wrk(CASE, each.url, tokens, 1)  # connections, caches
        rounds = [[_round(each, tokens, seconds) for each in variants] for _ in range(ROUNDS)]
    return [
        Figures(variant.name, of) for variant, of in zip(variants, zip(*rounds, strict=True), strict=True)
    ]


def ratios(found: Sequence[Figures]) -> dict[str, float]:
    """Of the CPU of one to another's: medians of the rounds, so that what slows a round slows both."""
    nginx, ours, plain = ([each.cpu_us for each in of.rounds] for of in found)
    return {
        TO_NGINX: statistics.median(map(truediv, ours, nginx)),
        TO_PLAIN: statistics.median(map(truediv, plain, ours)),
    }


def table(found: Sequence[Figures]) -> str:
    """A line a gateway, and the ratios with their targets."""
    head = ("CPU us", "requests/s", "at half", "p99 ms then", "errors")
    lines = [f"{'':28}" + "".join(f"{each:>12}" for each in head)]
    lines += [
        f"{each.name:28}{each.cpu_us:12.1f}{each.requests_per_second:12.0f}"
        f"{each.half_per_second:12.0f}{each.half_p99_ms:12.1f}{each.errors:12}"
        for each in found
    ]
    of = ratios(found)
    lines.append(f"{'CPU, ' + TO_NGINX:28}{of[TO_NGINX]:12.2f} (at most {MOST:g})")
    lines.append(f"{'CPU, ' + TO_PLAIN:28}{of[TO_PLAIN]:12.2f} (at least {LEAST:g})")
    return "\n".join(lines)


def missing(found: Sequence[Figures]) -> Iterator[str]:
    """The targets that were not met."""
    for each in found:
        if each.errors:
            yield f"policy, {each.name}: {each.errors} errors"
    of = ratios(found)
    if of[TO_NGINX] > MOST:
        yield f"policy, CPU of {TO_NGINX}: {of[TO_NGINX]:.2f}, at most {MOST:g}"
    if of[TO_PLAIN] < LEAST:
        yield f"policy, CPU of {TO_PLAIN}: {of[TO_PLAIN]:.2f}, at least {LEAST:g}"


def _check(variant: Variant, good: str) -> None:
    """Raises SystemExit unless it answers whom it should, with the user told to the service, and no other."""
    with httpx2.Client(base_url=variant.url, trust_env=False) as http:
        answers = [
            http.get(CASE.path, headers={"Authorization": f"Bearer {each}"})
            for each in (good, *variant.refused)
        ]
    right = [each.status_code for each in answers] == [200] + [401] * len(variant.refused)
    if not right or (variant.refused and '"user-0"' not in answers[0].text):
        raise SystemExit("\n".join([variant.name, *(f"{e.status_code} {e.text}" for e in answers)]))


def _round(variant: Variant, tokens: Sequence[str], seconds: float) -> Round:
    before = cpu(variant.process.pid)
    full = wrk(CASE, variant.url, tokens, seconds)
    spent = cpu(variant.process.pid) - before
    half = wrk(PACED, variant.url, tokens, seconds, full.requests_per_second / 2)
    os.truncate(variant.process.log, 0)  # of a line a request
    return Round(spent / max(full.requests, 1) * 1e6, full, half)


@contextmanager
def _variants(ends: int) -> Iterator[list[Variant]]:
    """The three of them, before a backend that takes as little as there is."""
    document = desk()
    policy: dict[str, Any] = document["gateway"]["policy"]
    policy["tokens"]["revoked"] = FEED
    policy["limits"]["default"]["requests"] = LIMIT
    with ExitStack() as stack:
        ours = Gateway(document)
        stack.callback(ours.stop)
        auth, orders = (str(ours.network[PLACES[name]]) for name in ("auth", "orders"))
        backend = BACKEND.format(auth=auth, orders=orders, feed=FEED, ended=ENDED, ends=ends)
        stack.enter_context(_nginx(backend, auth, 8080))
        ours.run()
        assert ours.process
        ports = free_port(), free_port()
        bare = stack.enter_context(_nginx(PROXY.format(orders=orders, port=ports[0]), LOOPBACK, ports[0]))
        told = {
            "JWT_SECRET": SECRET,
            "AUDIENCE": str(document["name"]),
            "AUTH_URL": f"http://{auth}:8080",
            "ORDERS_URL": f"http://{orders}:8080",
            "RATE_LIMIT": str(LIMIT),
        }
        command = [*granian(), "--port", str(ports[1]), "--working-dir", FOLDER, "plain:app"]
        plain = stack.enter_context(_process(own_directory("plain"), command, LOOPBACK, ports[1], **told))
        forged, ended = jwt.encode(claims(), SECRET[::-1]), token(sid=ENDED)
        yield [
            Variant(NGINX, f"http://{LOOPBACK}:{ports[0]}", bare),
            Variant(OURS, f"http://{ours.address}:8080", ours.process, (forged, ended)),
            Variant(PLAIN, f"http://{LOOPBACK}:{ports[1]}", plain, (forged,)),
        ]


@contextmanager
def _nginx(rest: str, address: str, port: int) -> Iterator[Process]:
    folder = own_directory("nginx")
    config = folder / "nginx.conf"
    config.write_text(SERVER.format(folder=folder, rest=rest))
    with _process(folder, ["nginx", "-e", "stderr", "-p", folder, "-c", config], address, port) as process:
        yield process


@contextmanager
def _process(
    folder: Path, command: Sequence[str | Path], address: str, port: int, **environment: str
) -> Iterator[Process]:
    """Until it listens at the address, then as long as one wants; its folder goes with it."""
    try:
        process = Process(
            command, log=folder / "log", environment=os.environ | environment, orphaned=signal.SIGTERM
        )
        try:
            process.wait_for(lambda: listens(port, address))
            yield process
        finally:
            process.end()
    finally:
        shutil.rmtree(folder)
