"""What fails while a shop is at work; and how a container does, made by hand on its host."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from hostwright.application import Application
from tests.faults.conftest import until
from tests.faults.load import Attempt, Shop
from tests.faults.needs import containers, needs


class Fault:
    """Of `name` in a shop; `begin` it, `hold` it (seconds), `end` it. As it stands here, of a container."""

    kind = ""
    hold = 0.0
    rate = 5.0  # orders a second
    patience = 30.0  # seconds that it may take to be back, with everything that follows from an order

    def __init__(self, shop: Shop, name: str) -> None:
        self.shop = shop
        self.node = shop.node
        self.application = shop.application
        self.name = name

    @property
    def container(self) -> str:
        return self.node.service(self.name)

    @contextmanager
    def staged(self) -> Iterator[None]:
        """What must be there before anything begins, and must go when all is over."""
        yield

    def begin(self) -> None:
        """It fails."""

    def end(self) -> None:
        """It can come back from here on; if nothing must be done for that, it could from the beginning."""

    def healthy(self) -> bool:
        """Whether it is back."""
        return self.node.healthy(self.name)

    def excuses(self, attempt: Attempt) -> bool:
        """Whether a request that failed may have failed for this: it had to touch the container."""
        return self.name in needs(self.application, attempt.path)

    @property
    def mails_once(self) -> bool:
        """Whether no mail may leave twice.

        SMTP lets one where who sends it dies, or where that is noted, or who takes it.
        """
        mail = self.application.services["mail"]
        store = [mail.database.store] if mail.database else []
        return self.name not in {mail.name, str(mail.settings["smtp_host"]), *store}

    def complaints(self) -> list[str]:
        """When all is over: what is not as it should be, beyond what became of the orders."""
        return []


class Kill(Fault):
    """Its main process is gone; the restart policy brings it back."""

    kind = "kill"

    def begin(self) -> None:
        self.node.run("kill", "-9", self.node.inspect(self.container, "{{.State.Pid}}"))


class Stop(Fault):
    """Stopped in order, started again."""

    kind = "stop"
    hold = 3.0

    def begin(self) -> None:
        self.node.run("docker", "stop", "--time", "30", self.container)

    def end(self) -> None:
        self.node.run("docker", "start", self.container)


class Pause(Fault):
    """It hangs: connections stay, and nobody answers."""

    kind = "pause"
    hold = 5.0

    def begin(self) -> None:
        self.node.run("docker", "pause", self.container)

    def end(self) -> None:
        self.node.run("docker", "unpause", self.container)


class Poison(Fault):
    """Messages that nobody can read, in every queue that the service consumes."""

    kind = "poison"
    bodies = ("{", "[]", '{"order_id": "seven"}', "")

    def begin(self) -> None:
        self.dead = self._letters([])
        self._letters(self.bodies)

    def complaints(self) -> list[str]:
        wanted = {queue: number + len(self.bodies) for queue, number in self.dead.items()}
        found = self._letters([])
        return [] if found == wanted else [f"dead letters: {found} and not {wanted}"]

    def _letters(self, bodies: Sequence[str]) -> dict[str, int]:
        """Sends the bodies to each queue; how many dead letters it has."""
        queues = self.application.services[self.name].file.consumes
        said = self.node.beside(self.name, LETTERS, json.dumps(queues), json.dumps(bodies))
        found: dict[str, int] = json.loads(said.splitlines()[-1])
        return found


# Runs beside a service with a broker.
LETTERS = """
import asyncio, json, os, sys, uuid
import aio_pika

async def main(queues, bodies):
    with open("/run/secrets/broker_password") as file:
        password = file.read()
    host, port, login = (os.environ[f"BROKER_{name}"] for name in ("HOST", "PORT", "USER"))
    connection = await aio_pika.connect(host=host, port=int(port), login=login, password=password)
    dead = {}
    async with connection:
        channel = await connection.channel()
        for queue in queues:
            for body in bodies:
                message = aio_pika.Message(body.encode(), message_id=str(uuid.uuid4()))
                await channel.default_exchange.publish(message, queue)
            declared = await channel.declare_queue(f"{queue}.dead", durable=True)
            dead[queue] = declared.declaration_result.message_count
    print(json.dumps(dead))

asyncio.run(main(*map(json.loads, sys.argv[1:])))
"""


class FullDisk(Fault):
    """No room on the volume of a PostgreSQL, until what fills it is removed."""

    kind = "full disk"
    hold = 8.0
    room = 32  # MiB that are free on the small disk before it is filled
    data = "/var/lib/postgresql/data"

    @contextmanager
    def staged(self) -> Iterator[None]:
        """The volume is a file system of its own meanwhile, a little larger than what is in it."""
        self.volume = self.node.inspect(
            self.container, f'{{{{range .Mounts}}}}{{{{if eq .Destination "{self.data}"}}}}{{{{.Source}}}}'
            "{{end}}{{end}}",
        )  # fmt: skip
        self._moved(SHRINK, str(self.room))
        try:
            yield
        finally:
            self._moved(GROW)

    def begin(self) -> None:
        self.since = time.time()
        self.node.run("dd", "if=/dev/zero", f"of={self.volume}/ballast", "bs=64k", check=False)
        free = self.node.run("df", "--output=avail", "-k", self.volume).split()[-1]
        assert free == "0", f"{free} KiB are free"

    def end(self) -> None:
        self.node.run("rm", f"{self.volume}/ballast")

    def complaints(self) -> list[str]:
        """Its services have said what was the matter, and every page and index of it is in order."""
        found = []
        since = f"{self.since:.0f}"
        users = [each for each in self.application.services.values() if each.database]
        logs = {
            each.name: self.node.run("docker", "logs", "--since", since, self.node.service(each.name))
            for each in users
            if each.database and each.database.store == self.name
        }
        if not any("No space left on device" in log for log in logs.values()):
            found.append(f"none of {', '.join(logs)} has logged that there is no room")
        databases = self.application.stores[self.name].databases
        said = self.node.run(
            "docker", "exec", self.container, "sh", "-c", CHECK, "sh", *databases, check=False
        )
        return found + said.splitlines()[:20]

    def _moved(self, program: str, *arguments: str) -> None:
        self.node.run("docker", "stop", "--time", "60", self.container)
        try:
            self.node.run("sh", "-euc", program, "sh", self.volume, *arguments)
        finally:
            self.node.run("docker", "start", self.container)
        until(lambda: self.node.healthy(self.name), 120, f"{self.name} is healthy")


# sh DATABASE...: silent when all is in order, and nothing stays behind.
CHECK = """
export PGUSER=postgres PGHOST=/run/postgresql
for each in "$@"; do
  pg_amcheck --install-missing --heapallindexed "$each"
  psql --quiet --dbname "$each" --command 'DROP EXTENSION amcheck'
done 2>&1
"""
# sh VOLUME [ROOM]: the volume's content to a file system in memory that takes its place, and back.
SHRINK = """
used=$(du -sm "$1" | cut -f 1)
mkdir -p /run/small
mount -t tmpfs -o "size=$((used + $2))m,mode=0700" small /run/small
cp -a "$1/." /run/small/
mount --bind /run/small "$1"
"""
GROW = """
umount "$1"
find "$1" -mindepth 1 -delete
cp -a /run/small/. "$1/"
umount /run/small
"""


FAULTS = {each.kind: each for each in (Kill, Stop, Pause, Poison, FullDisk)}


def ways(shop: Shop, only: Collection[str] = (), kinds: Collection[str] = FAULTS) -> list[Fault]:
    """Every container, or only some, in every way of these kinds that is possible."""
    return [
        FAULTS[kind](shop, name)
        for name in only or containers(shop.application)
        for kind in possible(shop.application, name)
        if kind in kinds
    ]


def possible(application: Application, name: str) -> list[str]:
    """What can happen to a container."""
    impossible = set()
    if name not in application.services or not application.services[name].file.consumes:
        impossible.add("poison")
    if name not in application.stores or application.stores[name].kind != "postgres":
        impossible.add("full disk")
    return [each for each in FAULTS if each not in impossible]
