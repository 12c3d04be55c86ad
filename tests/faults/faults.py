"""What fails while a shop is at work; and how a container does, made by hand on its host."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import PurePosixPath

from testing.clock import PRELOADED, faked, library

from hostwright.application import Application
from tests.faults.load import Attempt, Shop
from tests.faults.needs import containers, needs
from tests.host import until


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


class Slow(Fault):
    """Whatever it is asked, it does nothing for half a second, and then goes on for a moment.

    By the engine's freezer: to delay its packets takes a part of the kernel (sch_netem) that many lack.
    """

    kind = "slow"
    times = 15

    def begin(self) -> None:
        """As long as it lasts; nothing is left to be ended."""
        self.node.run("sh", "-euc", RHYTHM, "sh", self.container, str(self.times), "0.5", "0.1")

    def excuses(self, attempt: Attempt) -> bool:
        """It may be told to come later, but not be left waiting."""
        return attempt.answered and super().excuses(attempt)


# sh CONTAINER TIMES STILL GOING, the last two in seconds.
RHYTHM = """
for _ in $(seq "$2"); do
  docker pause "$1"
  sleep "$3"
  docker unpause "$1"
  sleep "$4"
done
"""


class Clock(Fault):
    """Its clock jumps an hour ahead, as with a wrong time server, and back again."""

    kind = "clock jump"
    hold = 8.0
    ahead = 3600  # seconds
    folder = PurePosixPath("/opt/clock")  # on the host, and in the container

    @contextmanager
    def staged(self) -> Iterator[None]:
        """It is made anew with a library before its clock, which is true for now."""
        files = {PRELOADED: library().read_bytes(), OVERRIDE: json.dumps(self.override()).encode()}
        try:
            self.node.run("mkdir", "-p", str(self.folder))
            self.node.container.put_archive(str(self.folder), packed(files))
            self._jump(0)
            self._made_anew(str(self.folder / OVERRIDE))
            yield
        finally:
            self._made_anew()
            self.node.run("rm", "-r", str(self.folder))

    def begin(self) -> None:
        self._jump(self.ahead)

    def end(self) -> None:
        self._jump(0)

    def excuses(self, attempt: Attempt) -> bool:  # noqa: ARG002
        return False  # an hour is less than a token's life, and nothing is waited for by this clock

    def complaints(self) -> list[str]:
        """It has said what it said meanwhile at the wrong time."""
        latest = max(moments(self.node.run("docker", "logs", self.container)), default=0.0)
        early = latest < time.time() + self.ahead / 2
        return [f"{self.name} has logged nothing from an hour ahead"] if early else []

    def override(self) -> dict[str, object]:
        """What the Compose project says of it beyond what it says already."""
        environment = faked(self.folder / PRELOADED, self.folder / "offset")
        own = {"environment": environment, "volumes": [f"{self.folder}:{self.folder}:ro,z"]}
        return {"services": {self.name: own}}

    def _jump(self, seconds: int) -> None:
        self.node.run("sh", "-euc", JUMP, "sh", str(self.folder / "offset"), f"{seconds:+d}")

    def _made_anew(self, *more: str) -> None:
        """By its project, with what these files say beyond it."""
        project = f"/etc/hostwright/{self.application.name}"
        files = [word for file in (f"{project}/compose.yaml", *more) for word in ("--file", file)]
        words = ("--project-directory", project, *files, "up", "--detach", "--no-deps", self.name)
        self.node.run("docker", "compose", *words)
        until(lambda: self.node.healthy(self.name), 120, f"{self.name} is healthy")


OVERRIDE = "clock.yaml"
# sh FILE TEXT: in one step, as it is read all the time.
JUMP = 'echo "$2" > "$1.new"; mv "$1.new" "$1"'


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar archive of files by their names, which all may read."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writing:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            writing.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def moments(log: str) -> Iterator[float]:
    """When (seconds since the epoch) each line says that it was written, of those that say it in JSON."""
    for line in log.splitlines():
        try:
            yield datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
        except (ValueError, LookupError, TypeError):
            continue


FAULTS = {each.kind: each for each in (Kill, Stop, Pause, Slow, Poison, FullDisk, Clock)}


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
    authentication = application.gateway.authentication
    if name not in {*application.stores, authentication and authentication.service}:
        impossible.add("slow")
    if name not in application.services or not application.services[name].file.consumes:
        impossible.add("poison")
    if name not in application.stores or application.stores[name].kind != "postgres":
        impossible.add("full disk")
    if name != "orders":  # tokens are checked by its clock, events stamped and webhooks signed
        impossible.add("clock jump")
    return [each for each in FAULTS if each not in impossible]
