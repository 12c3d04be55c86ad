"""Speed of the application as its users meet it, through its gateway on a live host, and what it takes.

`python -m tests.bench.gateway --environment NAME`, in the project of an environment that is up. CPU is that
of the containers, by the engine's own count: what wrk and the clients here take does not mix with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests import environment
from tests.bench.load import NEW_ORDER, Case, Load, wrk
from tests.environment import Account, Gateway
from tests.faults.conftest import Node, until
from tests.live import Live, existing

IDLE_MIB, FEED_MS = 1638, 250  # at most: 1.6 GiB; at `FEED_RATE` orders a second, of 99 in 100
FEED_RATE = 50.0
COMMAND = "python -m tests.bench.gateway"

# Creating comes last, as its events keep the others busy for a while.
CASES = (
    Case("validate", "auth", "GET", "/api/v1/validate"),
    Case("orders list, 20", "orders", "GET", "/api/orders?limit=20"),
    Case("orders list, 100", "orders", "GET", "/api/orders"),
    Case("orders create", "orders", "POST", "/api/orders", NEW_ORDER),
)
# On a host, a line for each container: its service, and its figures as JSON or the size of its image.
EACH = """docker ps --format '{{.Label "com.docker.compose.service"}} {{.ID}}' | while read -r name id; do
  echo "$name $(%s)"
done"""
STATS = EACH % (
    'curl --silent --unix-socket /var/run/docker.sock "http://engine/containers/$id/stats?stream=0&one-shot=1"'
)
SIZES = EACH % "docker image inspect --format '{{.Size}}' \"$(docker inspect --format '{{.Image}}' $id)\""


@dataclass(frozen=True)
class Figures:
    """Of one request; `cpu_us` is what each container took for it, if more than a hundredth of the whole."""

    name: str
    load: Load
    cpu_us: dict[str, float]


@dataclass(frozen=True)
class Feed:
    """From an order's acceptance, the arrival of its 201, to its notification at a desktop; milliseconds.

    `orders` were accepted and `refused` not, of these `heard` at the desktop.
    """

    rate: float
    orders: int
    refused: int
    heard: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Found:
    """All of it; `idle_mib` of each container before anything is asked, `image_mib` of each one's image."""

    idle_mib: dict[str, float]
    image_mib: dict[str, float]
    feed: Feed
    requests: list[Figures]
    load_average: float
    command: str = COMMAND

    @property
    def good(self) -> bool:
        fast = self.feed.refused == 0 and self.feed.heard == self.feed.orders and self.feed.p99_ms <= FEED_MS
        return (
            fast and sum(self.idle_mib.values()) <= IDLE_MIB and not any(e.load.errors for e in self.requests)
        )


def measure(live: Live, seconds: float) -> Found:
    """After `seconds` of load on each request."""
    node, gateway = Node(live.hosts()[0]["name"]), environment.gateway(live)
    with environment.client(gateway) as http:
        boss = environment.login(http, gateway.admin_email, gateway.admin_password)
        idle = {name: _memory(each["memory_stats"]) for name, each in stats(node).items()}
        images = lines(node, SIZES)
        heard = asyncio.run(feed(gateway, boss, FEED_RATE, 2 * seconds))
        until(lambda: not boss.ask("GET", "/api/mail?status=queued").json(), 120, "the last mails are sent")
        requests = [figures(node, case, gateway.url, boss.token, seconds) for case in CASES]
    return Found(
        idle_mib=idle,
        image_mib={name: int(size) / 2**20 for name, size in images.items()},
        feed=heard,
        requests=requests,
        load_average=os.getloadavg()[0],
    )


def stats(node: Node) -> dict[str, Any]:
    """The engine's figures of each container."""
    return {name: json.loads(text) for name, text in lines(node, STATS).items()}


def lines(node: Node, program: str) -> dict[str, str]:
    """Name -> the rest of each line, sorted."""
    said = node.run("sh", "-c", program).splitlines()
    return dict(sorted(line.split(" ", 1) for line in said if line))


def figures(node: Node, case: Case, url: str, token: str, seconds: float) -> Figures:
    wrk(case, url, [token], min(1.0, seconds))  # connections, caches
    before = _cpu(node)
    load = wrk(case, url, [token], seconds)
    used = {name: (ns - before[name]) / 1000 / max(load.requests, 1) for name, ns in _cpu(node).items()}
    return Figures(case.name, load, {name: us for name, us in used.items() if us > sum(used.values()) / 100})


async def feed(gateway: Gateway, boss: Account, rate: float, seconds: float) -> Feed:
    """Orders through the gateway, and one desktop that hears of them."""
    heard: dict[int, float] = {}
    address = f"wss://{gateway.host}/ws/notifications"
    async with (
        connect(address, ssl=gateway.tls, additional_headers=boss.bearer) as socket,
        httpx2.AsyncClient(base_url=gateway.url, verify=gateway.tls, timeout=10) as http,
    ):
        listening = asyncio.create_task(_listen(socket, heard))
        begun = time.monotonic()
        placing = []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(begun + number / rate - time.monotonic(), 0))
            placing.append(asyncio.create_task(_place(http, boss)))
        answers = await asyncio.gather(*placing)
        placed = [each for each in answers if each]
        deadline = time.monotonic() + 10
        while len(heard) < len(placed) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        listening.cancel()
    late = sorted(max(heard[order] - accepted, 0) * 1000 for order, accepted in placed if order in heard)
    refused = len(answers) - len(placed)
    return Feed(rate, len(placed), refused, len(late), _percentile(late, 50), _percentile(late, 99))


async def _listen(socket: ClientConnection, heard: dict[int, float]) -> None:
    with suppress(ConnectionClosed):  # then there is no more to hear
        async for line in socket:
            told = json.loads(line)
            if told["type"] == "notification" and told["payload"]["status"] == "new":
                heard.setdefault(told["payload"]["order_id"], time.monotonic())


async def _place(http: httpx2.AsyncClient, boss: Account) -> tuple[int, float] | None:
    """The order, and when it was accepted (monotonic seconds), if it was."""
    try:
        answer = await http.post("/api/orders", json=NEW_ORDER, headers=boss.bearer)
    except httpx2.TransportError:
        return None
    accepted = time.monotonic()
    return (int(answer.json()["id"]), accepted) if answer.status_code == 201 else None


def table(found: Found) -> str:
    idle = sum(found.idle_mib.values())
    lines = [
        f"through the gateway: {found.command}, load average {found.load_average:.1f} at its end",
        f"{'application, idle':<28}{idle:>8.0f} MiB (at most {IDLE_MIB})",
        f"{'order to desktop, p99':<28}{found.feed.p99_ms:>8.0f} ms (at most {FEED_MS}; p50 "
        f"{found.feed.p50_ms:.0f} ms; {found.feed.heard} of {found.feed.orders} heard, "
        f"{found.feed.refused} refused, "
        f"{found.feed.rate:.0f} a second)",
        "",
        f"{'':28}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'errors':>8}  CPU us a request",
    ]
    for each in found.requests:
        cpu = ", ".join(f"{name} {us:.0f}" for name, us in sorted(each.cpu_us.items(), key=lambda e: -e[1]))
        load = each.load
        lines.append(
            f"{each.name:28}{load.requests_per_second:12.1f}{load.p50_ms:10.1f}{load.p99_ms:10.1f}"
            f"{load.errors:8}  {cpu}"
        )
    sizes = ", ".join(f"{name} {size:.0f}" for name, size in found.image_mib.items())
    return "\n".join([*lines, "", f"images, MiB (layers they share counted in each): {sizes}"])


def _memory(stats: dict[str, Any]) -> float:
    """MiB as `docker stats` counts them: without files that were read and could be forgotten."""
    detail = stats["stats"]
    forgettable: int = detail.get("total_inactive_file", detail.get("inactive_file", 0))  # cgroup 1, 2
    return (int(stats["usage"]) - forgettable) / 2**20


def _cpu(node: Node) -> dict[str, int]:
    """Nanoseconds that each container has computed."""
    return {name: each["cpu_stats"]["cpu_usage"]["total_usage"] for name, each in stats(node).items()}


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--environment", required=True, help="one that is up, of the project here")
    parser.add_argument("--seconds", type=float, default=5, help="of load for each request (%(default)s)")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    given = parser.parse_args()
    found = measure(existing(given.environment), given.seconds)
    print(json.dumps(asdict(found), indent=1) if given.json else table(found))
    return 0 if found.good else 1


if __name__ == "__main__":
    raise SystemExit(main())
