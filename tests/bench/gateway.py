"""Speed of the application as its users meet it, through its gateway on a live host, and what it takes.

`python -m tests.bench.gateway --environment NAME`, in the project of an environment that is up. CPU is that
of the containers, by the engine's own count: what wrk and the clients here take does not mix with it. With
`--plain` the services are made anew on uvicorn afterwards, measured again, and made anew as they were.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
import yaml
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hostwright import application, environments
from hostwright.application import Application
from tests import environment
from tests.bench.load import NEW_ORDER, Case, Load, wrk
from tests.environment import Account, Gateway
from tests.host import Node, until
from tests.live import Live, existing

IDLE_MIB, OBSERVED_MIB = 1638, 2662  # at most: 1.6 GiB, and 2.6 with components
FEED_MS, FEED_RATE = 250, 50.0  # at most, of 99 in 100; orders a second
COMMAND = "python -m tests.bench.gateway"
# Where uvicorn is, which images lack: on the host, and in containers.
PLAIN, INSIDE = "/var/lib/hostwright-bench", "/plain"

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
class Idle:
    """MiB of each container before anything is asked, and `most`, which they may come to."""

    mib: dict[str, float]
    most: int

    @property
    def total(self) -> float:
        return sum(self.mib.values())


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
    """All of it; `image_mib` of each container's image, `plain` of the same requests on uvicorn."""

    idle: Idle
    image_mib: dict[str, float]
    feed: Feed
    requests: list[Figures]
    plain: list[Figures]
    load_average: float
    command: str = COMMAND


def measure(live: Live, seconds: float, plain: bool = False) -> Found:
    """After `seconds` of load on each request; with `plain` once more on uvicorn."""
    node, gateway = Node(live.hosts()[0]["name"]), environment.gateway(live)
    before = idle(live)

    def requests() -> list[Figures]:
        until(lambda: _settled(node), 600, "what was ordered is dealt with")
        return [figures(node, case, gateway.url, boss.token, seconds) for case in CASES]

    with environment.client(gateway) as http:
        boss = environment.login(http, gateway.admin_email, gateway.admin_password)
        images = lines(node, SIZES)
        heard = asyncio.run(feed(gateway, boss, FEED_RATE, 2 * seconds))
        ours, others = requests(), list[Figures]()
        if plain:
            with _on_uvicorn(node, _application(live), before.mib):
                others = requests()
    return Found(
        idle=before,
        image_mib={name: int(size) / 2**20 for name, size in images.items()},
        feed=heard,
        requests=ours,
        plain=others,
        load_average=os.getloadavg()[0],
    )


def idle(live: Live) -> Idle:
    """Of the host's containers at this moment."""
    found = stats(Node(live.hosts()[0]["name"]))
    mib = {name: _memory(each["memory_stats"]) for name, each in found.items()}
    return Idle(mib, OBSERVED_MIB if _application(live).components else IDLE_MIB)


def missing(found: Found) -> Iterator[str]:
    """The targets that were not met."""
    yield from excess(found.idle)
    if found.feed.refused or found.feed.heard < found.feed.orders:
        lost = found.feed.orders - found.feed.heard
        yield f"gateway, order to desktop: {found.feed.refused} orders refused, {lost} not heard"
    if not found.feed.p99_ms <= FEED_MS:
        yield f"gateway, order to desktop: {found.feed.p99_ms:.0f} ms, at most {FEED_MS}"
    for what, requests in (("", found.requests), (" on uvicorn", found.plain)):
        for each in requests:
            if each.load.errors:
                yield f"gateway, {each.name}{what}: {each.load.errors} errors"


def excess(idle: Idle) -> Iterator[str]:
    """What the containers take too much."""
    if idle.total > idle.most:
        yield f"{len(idle.mib)} containers, idle: {idle.total:.0f} MiB, at most {idle.most}"


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
    """With the ratios to uvicorn, where that was measured: how much faster, how much less CPU in all."""
    lines = [
        f"through the gateway: {found.command}, load average {found.load_average:.1f} at its end",
        total(found.idle),
        f"{'order to desktop, p99':<28}{found.feed.p99_ms:>8.0f} ms (at most {FEED_MS}; p50 "
        f"{found.feed.p50_ms:.0f} ms; {found.feed.heard} of {found.feed.orders} heard, "
        f"{found.feed.refused} refused, "
        f"{found.feed.rate:.0f} a second)",
        "",
        f"{'':28}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'errors':>8}{'faster':>10}{'less CPU':>10}"
        "  CPU us a request",
    ]
    of = ratios(found)
    for each in found.requests:
        cpu = ", ".join(f"{name} {us:.0f}" for name, us in sorted(each.cpu_us.items(), key=lambda e: -e[1]))
        load = each.load
        ratio = "".join(f"{value:10.2f}" for value in of.get(each.name, {}).values())
        lines.append(
            f"{each.name:28}{load.requests_per_second:12.1f}{load.p50_ms:10.1f}{load.p99_ms:10.1f}"
            f"{load.errors:8}{ratio:20}  {cpu}"
        )
    sizes = ", ".join(f"{name} {size:.0f}" for name, size in found.image_mib.items())
    return "\n".join([*lines, "", f"images, MiB (layers they share counted in each): {sizes}"])


def total(idle: Idle) -> str:
    """A line of the table."""
    return f"{'containers, idle':<28}{idle.total:>8.0f} MiB (at most {idle.most}; {len(idle.mib)} of them)"


def ratios(found: Found) -> dict[str, dict[str, float]]:
    """Request -> how much faster ours is than on uvicorn, and how much less CPU all containers take."""
    plain = {each.name: each for each in found.plain}
    return {
        each.name: {
            "faster": each.load.requests_per_second / other.load.requests_per_second,
            "less CPU": sum(other.cpu_us.values()) / sum(each.cpu_us.values()),
        }
        for each in found.requests
        if (other := plain.get(each.name))
    }


def override(names: Sequence[str]) -> str:
    """What Compose lays over the application, for these services to be served by uvicorn as it comes."""
    command = 'exec python -m uvicorn --host 0.0.0.0 --port "$$PORT" "$$SERVICE.app:app"'
    service = {
        "command": ["sh", "-c", command],
        "environment": {"PYTHONPATH": f"/app:{INSIDE}"},
        "volumes": [f"{PLAIN}:{INSIDE}:ro"],
    }
    return yaml.safe_dump({"services": dict.fromkeys(names, service)})


@contextmanager
def _on_uvicorn(node: Node, app: Application, containers: Iterable[str]) -> Iterator[None]:
    """With our services' containers made anew on uvicorn; afterwards once more, as they were."""
    ours = {name for name, service in app.services.items() if service.file.build == "python"}
    names = [each for each in containers if re.sub(r"-\d+$", "", each) in ours]
    home = f"/etc/hostwright/{app.name}"
    compose = ("docker", "compose", "--project-directory", home, "--file", f"{home}/compose.yaml")
    up = ("up", "--detach", "--no-deps", "--wait", "--wait-timeout", "300", *names)
    node.container.put_archive(str(Path(PLAIN).parent), _archive(override(names)))
    try:
        node.run(*compose, "--file", f"{PLAIN}/compose.yaml", *up)
        yield
    finally:
        node.run(*compose, *up)
        node.run("rm", "--recursive", PLAIN)


def _archive(override: str) -> bytes:
    """A tar of PLAIN: the package as it is here, which is Python alone, and the override."""

    def readable(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid, entry.gid, entry.mode = 0, 0, 0o755 if entry.isdir() else 0o644
        return None if entry.name.endswith("__pycache__") else entry

    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=content, mode="w") as archive:
        Path(folder, "compose.yaml").write_text(override)
        for path, name in ((folder, ""), (Path(uvicorn.__file__).parent, "/uvicorn")):
            archive.add(path, Path(PLAIN).name + name, filter=readable)
    return content.getvalue()


def _application(live: Live) -> Application:
    chosen = environments.load(live.name, live.project)
    return application.load(chosen.application, chosen.project, chosen.components)


def _settled(node: Node) -> bool:
    """Whether the containers take less than half a core: events of orders keep them busy for a while."""
    started, before = time.monotonic(), sum(_cpu(node).values())
    time.sleep(2)
    spent = (sum(_cpu(node).values()) - before) / 1e9
    return spent < (time.monotonic() - started) / 2


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
    parser.add_argument("--plain", action="store_true", help="on uvicorn too: services are made anew, twice")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    given = parser.parse_args()
    found = measure(existing(given.environment), given.seconds, given.plain)
    print(json.dumps(asdict(found), indent=1) if given.json else table(found))
    return 1 if list(missing(found)) else 0


if __name__ == "__main__":
    raise SystemExit(main())
