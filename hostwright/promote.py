"""An application and its data move from a host to a cluster: looked at, frozen, copied, compared, switched.

Two marks say how far it is, each beside what it is about: a file on the host, which may not serve while it is
there, and an annotation of the cluster's namespace. Whoever runs it again, wherever, goes on from there.
"""

from __future__ import annotations

import fcntl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from hostwright import application, databases, playbook, proof, remote, secrets, status
from hostwright.databases import Database
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure, HostwrightError
from hostwright.hosts import engine
from hostwright.hosts.record import HostRecord
from hostwright.progress import Note, Phases
from hostwright.proof.namespace import owner, ready
from hostwright.reached import Cluster, Reached, answer
from hostwright.render.kubernetes import HOMES
from hostwright.render.manifests import COMPONENT
from hostwright.render.network import MONITORING

MARK = "hostwright/promote"  # of the namespace: a state and whose data it is, `copying prod`
# The host's mark is the name of who takes over, with CONFIRMED when that is over.
CONFIRMED = "confirmed"
FREEZING, COPYING, SERVING, ABORTED = "freezing", "copying", "serving", "aborted"
INTACT = ("", FREEZING)  # what the target has is its own yet, and people may go on writing there
PATIENCE = 300  # seconds: to empty queues in, and for containers to become healthy or pods to go
PAUSE = 3
# Where a program of PostgreSQL finds its server in a container of it.
LOCAL = ("env", "PGHOST=/run/postgresql", "PGUSER=postgres")
QUEUES = ("rabbitmqctl", "--quiet", "--formatter", "json", "list_queues", "name", "messages")
SPARE_ROOM = 512 << 20  # bytes beyond the data, for the write-ahead log and what indexes are sorted in


def promote(
    source: Environment, target: Environment, overwrite: bool = False, phases: Phases | None = None
) -> list[str]:
    """Move the application; returns what is left to do, in words.

    Raises BadInput before anything is touched; Failure with the source serving again, or, when the target has
    begun to serve, with the way on and the way back. Run again it goes on.
    """
    phases = phases or Phases()
    with _alone(source):
        with phases.phase("look", "Look") as note:
            old, new = _sides(source, target)
            state = progress(new.mark, old.mark, source, target, old.by_hand)
            if state != SERVING:
                pairs = _look(old, new, state, overwrite)
                note.result = f"{len(pairs)} databases"
            for remark in _remarks(old, new):
                phases.console.print(f"  {remark}", style="yellow")
        if state != SERVING:
            with phases.phase("secrets", "Secrets"):
                secrets.carry(source, target, new.application)
            with _frozen(old, new, state, phases):
                with phases.phase("copy", "Copy") as note:
                    _copy(new, pairs, note)
                with phases.phase("compare", "Compare") as note:
                    note.result = _compare(pairs, note)
                new.set_mark(SERVING, source.name)
        try:
            with phases.phase("switch", "Switch") as note:
                old.compose("stop")
                playbook.play(target, "deploy", {})
            with phases.phase("proof", "Proof") as note:
                result = proof.run(target)
                note.result = f"{result.holds} of {result.total} hold"
            phases.save(target.state / "promote.json")
            result.check()
        except HostwrightError as error:
            raise Failure(
                f"{target.name} has the data and does not serve well: {error.what}",
                where=error.where,
                fix=f"mend it and run the same command again; or back: {_verb(source, target, '--abort')}",
            ) from None
    return [
        f"{target.name} serves, and {source.name} is stopped with its data.",
        f"point DNS and clients from {_addresses([old.host])} to {_addresses(new.hosts)}",
        f"clients that trust the authority of {source.name} must trust the one in {target.state / 'ca.pem'}",
        f"when all is well: {_verb(source, target, '--confirm')}",
        f"to go back: {_verb(source, target, '--abort')}",
    ]


def confirm(source: Environment, target: Environment) -> list[str]:
    """The target is what there is now: its mark goes. The source's stays, as it must not serve again, and
    says so.
    """
    with _alone(source):
        old, new = _sides(source, target)
        if progress(new.mark, old.mark, source, target, old.by_hand) != SERVING:
            raise BadInput(
                f"{target.name} does not serve in the place of {source.name}",
                where=f"namespace {new.namespace}",
                fix=_verb(source, target),
            )
        old.set_mark(f"{target.name} {CONFIRMED}")
        new.forget_mark()
    return [f"{target.name} it is. To remove what is left: hostwright down -e {source.name} --data"]


def abort(source: Environment, target: Environment) -> list[str]:
    """Start the source again; a target that served is stopped before, and keeps what it has."""
    with _alone(source):
        check_pair(source, target)
        old = _old(source)
        new = _new(target, f"if it is gone for good: {old.by_hand}")
        try:
            state = state_of(new.mark, source, target)
            if not state:
                raise BadInput(
                    f"nothing of {source.name} is on its way to {target.name}",
                    where=f"namespace {new.namespace}",
                    fix=f"if {source.name} shall serve again nevertheless: {old.by_hand}",
                )
            if state in (SERVING, ABORTED):
                new.set_mark(ABORTED, source.name)
                new.stop()
        except Failure as error:
            raise Failure(
                f"{target.name} cannot be stopped, and two must not serve: {error.what}",
                where=error.where,
                fix=f"if it is gone for good: {old.by_hand}",
            ) from None
        old.start()
        if state == FREEZING:
            new.forget_mark()
    served = state in (SERVING, ABORTED)
    kept = f"; what was written on {target.name} since is there alone" if served else ""
    return [f"{source.name} serves again{kept}"]


# --- Decisions ---


def check_pair(source: Environment, target: Environment) -> None:
    """Raise BadInput unless one is a host and the other a cluster, of one application."""
    for environment, topology in ((source, "single"), (target, "cluster")):
        if environment.topology != topology:
            raise BadInput(
                f"{environment.name} is not of topology {topology}",
                where=f"infra/Pulumi.{environment.name}.yaml",
                fix="--from a single environment --to a cluster",
            )
    if source.application != target.application:
        raise BadInput(
            f"{source.name} has the application {source.application}, {target.name} {target.application}",
            where=f"infra/Pulumi.{target.name}.yaml",
            fix="promote moves one application",
        )


def state_of(mark: str, source: Environment, target: Environment) -> str:
    """FREEZING, COPYING, SERVING, ABORTED, or nothing where the target has no mark.

    Raises BadInput for another's.
    """
    state, _, whose = mark.partition(" ")
    if mark and whose != source.name:
        raise BadInput(
            f"{target.name} has data of {whose or mark}, not of {source.name}",
            where=f"{MARK} of its namespace",
            fix=f"hostwright promote --from {whose} --to {target.name}, with --confirm or --abort",
        )
    return state


def progress(mark: str, held: str, source: Environment, target: Environment, by_hand: str) -> str:
    """`state_of` the target's mark, if the source's, `held`, fits to it.

    `by_hand`: how the source serves again where the target knows nothing of it. Raises BadInput.
    """
    state = state_of(mark, source, target)
    whose, _, ended = held.partition(" ")
    if ended and not (state and whose == target.name):
        what = f"{source.name} has been promoted to {whose}"
        fix = f"hostwright down -e {source.name} --data removes what is left"
    elif whose not in ("", target.name):
        what, fix = f"{source.name} is on its way to {whose}", _verb(source, whose, "--abort")
    elif state == SERVING and not held:
        what, fix = f"{source.name} and {target.name} may both serve", _verb(source, target, "--abort")
    elif state == ABORTED and held:
        what, fix = f"{source.name} does not serve again yet", _verb(source, target, "--abort")
    elif not state and held:
        what = f"{target.name} has no mark of what it got from {source.name}: was it made anew?"
        fix = f"if {source.name} alone has the data: {by_hand}"
    else:
        return state
    raise BadInput(what, where=f"{source.name} and {target.name}", fix=fix)


def same_image(one: str, other: str) -> bool:
    """Whether two references are one image, whichever registries they are in: by digest if both have one."""
    (tag, _, digest), (tags, _, digests) = (each.rpartition("/")[2].partition("@") for each in (one, other))
    return digest == digests if digest and digests else tag == tags


def other_images(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What runs there as another image than here, in words; by part of the application."""
    return [
        f"{part} is {here[part]} here and {there[part]} there"
        for part in sorted({*here} & {*there})
        if not same_image(here[part], there[part])
    ]


def left_over(queues: Mapping[str, int]) -> str:
    """Queues that are not empty, in words."""
    return ", ".join(f"{name} ({number})" for name, number in sorted(queues.items()) if number)


def laid_aside(queues: Mapping[str, int]) -> dict[str, int]:
    """Queues of messages that failed, which no consumer empties soon."""
    return {name: number for name, number in queues.items() if ".retry." in name or name.endswith(".dead")}


def short(sizes: Mapping[str, int], free: Mapping[str, int], nodes: Mapping[str, str]) -> list[str]:
    """Nodes without room for the data (bytes) of the stores that they keep, in words."""
    found = []
    for node in sorted({*nodes.values()}):
        here = [store for store in sizes if nodes[store] == node]
        need = sum(sizes[store] * 3 // 2 + SPARE_ROOM for store in here)
        room = min((free[store] for store in here), default=need)
        if room < need:
            found.append(f"{node} has {room >> 20} MiB left, {', '.join(here)} need {need >> 20}")
    return found


# --- The two sides ---


class Side(Reached, ABC):
    """One of the two, with the databases and queues in its stores."""

    @abstractmethod
    def into(self, store: str) -> tuple[str, ...]:
        """What is said before a command that runs in a store's container."""

    def databases(self) -> list[Database]:
        def reached(store: str) -> Callable[[Sequence[str]], list[str]]:
            return lambda words: self.command(*self.into(store), *LOCAL, *words)

        return [
            Database(store, name, reached(store))
            for store, each in self.application.stores.items()
            for name in each.databases
        ]

    def queues(self) -> dict[str, int]:
        """Messages in each queue, those in somebody's hands among them."""
        return {
            each["name"]: each["messages"]
            for store in self.brokers
            for each in answer(self.run(*self.into(store), *QUEUES), self.host.name)
        }

    @property
    def brokers(self) -> list[str]:
        return [name for name, store in self.application.stores.items() if store.kind == "rabbitmq"]


class Old(Side):
    """The host."""

    @property
    def folder(self) -> str:
        return f"/etc/hostwright/{self.application.name}"

    @property
    def path(self) -> str:
        """The file that says who takes over; while it is there the role `app_compose` refuses."""
        return f"{self.folder}/promoted"

    @property
    def by_hand(self) -> str:
        """How it serves again where the other cannot say that it does not."""
        return f"remove {self.path} on {self.host.name}, then hostwright up -e {self.environment.name}"

    @property
    def mark(self) -> str:
        return self.run("sh", "-c", 'test ! -e "$0" || cat "$0"', self.path).strip()

    def set_mark(self, text: str) -> None:
        self.run("tee", self.path, text=f"{text}\n")

    def compose(self, *arguments: str) -> str:
        return self.run(*self._project, *arguments)

    def into(self, store: str) -> tuple[str, ...]:
        return (*self._project, "exec", "-T", store)

    @property
    def _project(self) -> tuple[str, ...]:
        return ("docker", "compose", "--project-directory", self.folder)

    def containers(self) -> list[dict[str, Any]]:
        """See remote.containers; without jobs, and what stands in while another is made anew."""
        rows = remote.containers(self.environment, self.host)
        return [row for row in rows if not row["service"].endswith(("-migrate", "-spare"))]

    def start(self) -> None:
        """Everything as it was, and the mark goes. Raises Failure for what does not become healthy."""
        # By the engine: Compose would run the jobs again.
        self.run("docker", "start", *(row["container"] for row in self.containers()))
        if unwell := _until(lambda: _names(row for row in self.containers() if not status.well(row))):
            raise Failure(f"{unwell} not well", where=self.host.name, fix="hostwright logs")
        self.run("rm", "-f", self.path)


class New(Side, Cluster):
    """The cluster."""

    def into(self, store: str) -> tuple[str, ...]:
        return self.kubectl("exec", "--stdin", f"pod/{store}-0", f"--container={store}", "--")

    def _space(self) -> dict[str, Any]:
        """The namespace; nothing where there is none."""
        words = self.kubectl("get", "namespace", self.namespace, "--ignore-not-found", "--output=json")
        told = self.run(*words)
        return dict(answer(told, self.host.name)) if told.strip() else {}

    @property
    def there(self) -> bool:
        return bool(self._space())

    @property
    def mark(self) -> str:
        return str(self._space().get("metadata", {}).get("annotations", {}).get(MARK, ""))

    def set_mark(self, state: str, source: str) -> None:
        """Raises Failure unless it is there afterwards."""
        words = ("annotate", "--overwrite", "namespace", self.namespace, f"{MARK}={state} {source}")
        self.run(*self.kubectl(*words))
        if self.mark != f"{state} {source}":
            raise Failure("the cluster does not keep its mark", where=self.host.name, fix="hostwright status")

    def forget_mark(self) -> None:
        self.run(*self.kubectl("annotate", "namespace", self.namespace, f"{MARK}-"))

    def images(self) -> dict[str, str]:
        return {
            each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["image"]
            for each in self.items("deployments,statefulsets")
        }

    def unready(self) -> list[str]:
        """Stores that nobody can ask."""
        asked = {owner(pod) for pod in self.items("pods") if ready(pod)}
        return [name for name in self.application.stores if name not in asked]

    def stop(self) -> None:
        """Everything but the stores and what watches; the role brings it back. Raises Failure for what does
        not go.
        """
        chosen = (f"{self.selector()},{COMPONENT}!={MONITORING}", "--ignore-not-found", "--wait=false")
        self.run(*self.kubectl("delete", "deployments", *chosen))
        if there := _until(self._running):
            raise Failure(f"{there} still there", where=self.namespace, fix="see its node")

    def _running(self) -> str:
        over = ("Succeeded", "Failed")  # jobs
        stores = self.application.stores
        return ", ".join(
            sorted(
                pod["metadata"]["name"]
                for pod in self.items("pods")
                if owner(pod) not in stores
                and pod["metadata"]["labels"].get(COMPONENT) != MONITORING
                and pod["status"].get("phase") not in over
            )
        )

    def purge(self) -> None:
        """Empty the queues: what waits there is about data that is overwritten."""
        for store in self.brokers:
            for name, number in self.queues().items():
                if number:
                    self.run(*self.into(store), "rabbitmqctl", "--quiet", "purge_queue", name)

    def rooms(self) -> tuple[dict[str, int], dict[str, str]]:
        """Store -> bytes that its volume has left, and -> its node."""
        free = {}
        for name, store in self.application.stores.items():
            if store.databases:
                last = self.run(*self.into(name), "df", "-Pk", HOMES[store.kind]).splitlines()[-1]
                free[name] = int(last.split()[3]) << 10
        return free, {owner(pod): str(pod["spec"]["nodeName"]) for pod in self.items("pods") if ready(pod)}


def _sides(source: Environment, target: Environment) -> tuple[Old, New]:
    """Raises BadInput for a pair that cannot be, and where hosts are missing."""
    check_pair(source, target)
    return _old(source), _new(target)


def _old(source: Environment) -> Old:
    return Old(source, application.load(source.application, source.project), _hosts(source))


def _new(target: Environment, fix: str = "") -> New:
    return New(target, application.load(target.application, target.project), _hosts(target, fix))


def _hosts(environment: Environment, fix: str = "") -> list[HostRecord]:
    """Raises BadInput, with this `fix`, where there are none."""
    if hosts := engine.outputs(environment):
        return hosts
    raise BadInput(f"{environment.name} has no hosts", fix=fix or f"hostwright up -e {environment.name}")


# --- Steps ---


Pairs = list[tuple[Database, Database]]


def _look(old: Old, new: New, state: str, overwrite: bool) -> Pairs:
    """What is to be copied. Raises BadInput for whatever stands in the way."""
    source, target = old.environment, new.environment
    rows = old.containers()
    here = {row["service"]: row["image"] for row in rows}
    unwell = [] if state else [row["service"] for row in rows if not status.well(row)]
    if unwell or not here:
        what = f"{', '.join(unwell)} not well" if unwell else "nothing runs"
        raise BadInput(f"{source.name}: {what}", where=old.host.name, fix=f"hostwright up -e {source.name}")
    again = f"hostwright up -e {target.name}"
    if not new.there:
        raise BadInput(f"{target.name} has no {new.application.name} yet", where=new.namespace, fix=again)
    if unready := new.unready():
        raise BadInput(f"{target.name}: {', '.join(unready)} not ready", where=new.namespace, fix=again)
    there = new.images()
    if state in INTACT and (lacking := sorted({"gateway", *new.application.services} - {*there})):
        raise BadInput(f"{target.name}: {', '.join(lacking)} not there", where=new.namespace, fix=again)
    pairs = list(zip(old.databases(), new.databases(), strict=True))
    unlike = other_images(here, there)
    for mine, theirs in pairs:
        revisions = [",".join(each[0] for each in side.ask(databases.REVISION)) for side in (mine, theirs)]
        if revisions[0] != revisions[1]:
            here_, there_ = (each or "none" for each in revisions)
            unlike.append(f"{mine} has schema {here_} here and {there_} there")
    if unlike:
        raise BadInput(
            f"{source.name} and {target.name} are not of one version: {'; '.join(unlike)}",
            fix=f"hostwright up -e {source.name}; hostwright up -e {target.name}",
        )
    if state != COPYING and not overwrite:
        _check_empty(new)
    if failed := left_over(laid_aside(old.queues())):
        raise BadInput(
            f"messages that failed would be left behind: {failed}",
            where=old.host.name,
            fix="send them again or purge the queues (docs/operations.md)",
        )
    sizes: dict[str, int] = {}
    for mine, _ in pairs:
        sizes[mine.store] = sizes.get(mine.store, 0) + mine.number(databases.SIZE)
    if lack := short(sizes, *new.rooms()):
        raise BadInput(f"no room on {target.name}: {'; '.join(lack)}", fix="give these nodes larger disks")
    secrets.carry(source, target, new.application, check=True)
    return pairs


def _check_empty(new: New) -> None:
    """Raise BadInput when the cluster has data that people made, as far as its services know."""
    by_name = {(each.store, each.name): each for each in new.databases()}
    held = [
        f"{service.name} ({number})"
        for service in new.application.services.values()
        if service.database and service.file.used
        if (number := by_name[service.database.store, service.database.name].number(service.file.used))
    ]
    if not any(service.file.used for service in new.application.services.values()):
        held = ["nobody can say, as no service.yml has `used`"] if by_name else []
    if held:
        raise BadInput(
            f"{new.environment.name} has data of its own: {', '.join(held)}",
            where=new.namespace,
            fix="if nobody needs it: the same with --overwrite",
        )


def _remarks(old: Old, new: New) -> Iterator[str]:
    """What does not go along and may have to."""
    mine = old.variables.get("app_compose_settings") or {}
    theirs = new.variables.get("app_kubernetes_settings") or {}
    if other := sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name)):
        yield f"settings are the target's own, and differ: {', '.join(other)}"


@contextmanager
def _frozen(old: Old, new: New, state: str, phases: Phases) -> Iterator[None]:
    """The host stopped with empty queues. Where it is left by an error, the host serves again."""
    try:
        with phases.phase("freeze", "Freeze") as note:
            _freeze(old, new, state, note)
        yield
    except BaseException as error:
        try:
            with phases.phase("thaw", "Thaw"):
                old.start()
        except HostwrightError as second:
            raise Failure(
                f"{error}\n    and {old.environment.name} does not serve again: {second.what}",
                where=second.where,
                fix=_verb(old.environment, new.environment, "--abort"),
            ) from None
        with suppress(HostwrightError):  # that it stays changes nothing of what a next run looks at
            if new.mark == f"{FREEZING} {old.environment.name}":
                new.forget_mark()
        raise


def _freeze(old: Old, new: New, state: str, note: Note) -> None:
    """Nobody gets in any more; what is under way ends; then all stop but the stores. Raises Failure.

    Only then is the target marked as one whose data is no longer its own.
    """
    source, target = old.environment.name, new.environment.name
    new.set_mark(FREEZING if state in INTACT else COPYING, source)
    old.set_mark(target)
    stores = old.application.stores
    names = [row["service"] for row in old.containers() if row["service"] not in stores]
    note("the gateway stops")
    old.compose("stop", "gateway")
    note("queues run empty")

    def pending() -> str:
        events = sum(each.number(databases.WAITING) for each in old.databases())
        return left_over({**old.queues(), "outbox": events})

    _until(pending)  # of what is left then, an outbox goes along, being a table
    old.compose("stop", *names)
    if left := left_over(old.queues()):
        raise Failure(
            f"queues did not run empty: {left}",
            where=old.host.name,
            fix="messages in them would be left behind: see why nobody takes them, and run it again",
        )
    new.set_mark(COPYING, source)


def _copy(new: New, pairs: Pairs, note: Note) -> None:
    note(f"{new.environment.name} stops")
    new.stop()
    new.purge()
    for mine, theirs in pairs:
        note(str(mine))
        databases.copy(mine, theirs)


def _compare(pairs: Pairs, note: Note) -> str:
    """How much is the same, in words. Raises Failure with everything that is not."""
    unlike, tables, rows = [], 0, 0
    for mine, theirs in pairs:
        note(str(mine))
        here = mine.fingerprint()
        unlike += [f"{mine}: {each}" for each in databases.differences(here, theirs.fingerprint())]
        counts = [int(told[0]) for name, told in here.items() if name.startswith("table ")]
        tables, rows = tables + len(counts), rows + sum(counts)
    if unlike:
        raise Failure("\n    ".join(("what arrived is not what was sent", *unlike)), fix="run it again")
    return f"{rows} rows of {tables} tables are the same"


# --- Small things ---


@contextmanager
def _alone(source: Environment) -> Iterator[None]:
    """One at a time. Raises BadInput."""
    source.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (source.state / "promote.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{source.name} is being promoted already", fix="wait until it ends") from None
        yield


def _until(trouble: Callable[[], str]) -> str:
    """What is still the trouble when there is none any more, or PATIENCE is over."""
    deadline = time.monotonic() + PATIENCE
    while (said := trouble()) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return said


def _names(rows: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(sorted(row["service"] for row in rows))


def _addresses(hosts: Sequence[HostRecord]) -> str:
    return ", ".join(each.address for each in hosts)


def _verb(source: Environment, target: Environment | str, option: str = "") -> str:
    name = target if isinstance(target, str) else target.name
    return f"hostwright promote --from {source.name} --to {name} {option}".strip()
