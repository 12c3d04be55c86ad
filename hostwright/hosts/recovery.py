"""Taking up what a killed run left: its lock, its orphans, what it was making when it died."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulumi import automation

from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts import containers, typed
from hostwright.hosts import stack as stacks

if TYPE_CHECKING:
    from infra.config import Settings

# Seconds after which nobody writes on at a lock that is not whole.
UNFINISHED = 5.0

Say = Callable[[str], None]
Thing = tuple[str, str]
Drop = frozenset[str]

# The package of the types that each driver's resources have in the state.
PACKAGES = {"container": "pulumi-python:dynamic/container", "libvirt": "libvirt"}


def take_up(environment: Environment, stack: automation.Stack, say: Say, drop: Drop = frozenset()) -> None:
    """Make the environment's state and what is really there fit for the next operation.

    `drop`: what goes although a next `up` would take it over: `hosts`, `data`. `say` is told what was done.
    """
    exported = stack.export_stack()
    state = dict(exported.deployment or {})
    before = json.dumps(state)
    pending = state.get("pending_operations") or []
    for orphan in _sweep(environment, state, drop):
        say(f"removed what a killed run left: {orphan}")
    if pending:
        say(f"taking up {len(pending)} interrupted operations")
        state["pending_operations"] = []
    if not drop:
        for name in _leave_data(environment.driver, data_volumes(environment), state):
            say(f"left as it is, for it holds data and no host needs it any more: {name}")
    if json.dumps(state) != before:
        stack.import_stack(automation.Deployment(exported.version, state))


def sweep_data(environment: Environment, say: Say) -> None:
    """Remove data volumes that the state does not name, as of a former driver; once no host is left."""
    with _engine_optional(environment):
        for volume in containers.sweep_data(environment.name):
            say(f"removed what no host uses any more: {volume}")


def unlock(environment: Environment, say: Say, patience: float = 120) -> None:
    """Wait for a run that holds the environment's lock, `patience` seconds; clear the lock of a dead one.

    A killed command leaves Pulumi at work for a moment: its end is what the wait is for. Raises Failure.
    """
    deadline = time.monotonic() + patience
    waiting = False
    while held := [lock for lock in map(_lock, _lock_files(environment)) if lock]:
        path, owner, alive = held[0]
        if not alive:
            path.unlink(missing_ok=True)
            say(f"removed the lock of {owner}, which is dead")
        elif time.monotonic() > deadline:
            raise Failure(
                f"another run holds the lock of {environment.name}: {owner}",
                where=str(path),
                fix=f"wait for it; if it is dead, in infra/: pulumi cancel --yes --stack {environment.name}",
            )
        else:
            if not waiting:
                say(f"waiting for {owner}, which holds the lock of {environment.name}")
            waiting = True
            time.sleep(0.5)


def _lock(path: Path) -> tuple[Path, str, bool] | None:
    """A lock, who holds it, and whether that may be alive; None when it is gone by now."""
    try:
        text, age = path.read_text(), time.time() - path.stat().st_mtime
    except OSError:
        return None
    try:
        lock = json.loads(text)
    except ValueError:
        # Killed while it wrote this: a living one is done within milliseconds.
        return path, f"one that was writing {path.name}", age < UNFINISHED
    owner = f"process {lock['pid']} of {lock['username']}@{lock['hostname']}, since {lock['timestamp']}"
    # Of another machine's processes nothing is known here.
    return path, owner, lock["hostname"] != socket.gethostname() or _alive(int(lock["pid"]))


def data_volumes(environment: Environment) -> set[str]:
    """Names of the data volumes that the environment's hosts use; machines that exist use none of ours.

    Raises BadInput.
    """
    if environment.driver == "static":
        return set()
    settings = typed.settings(environment)
    from infra import hypervisor, topology
    from infra.drivers import container

    name = container.volume_name if settings.driver == "container" else hypervisor.volume_name
    return {name(host) for host in topology.hosts(settings)}


def _sweep(environment: Environment, state: Mapping[str, Any], drop: Drop) -> list[str]:
    """Remove what carries the environment's mark and is not known to the state; what went.

    Raises BadInput where data is in the way that the state does not know and a host would need the name of.
    """
    removed: list[str] = []
    if drop:
        # A next `up` adopts its own containers; only what no `up` follows must go.
        with _engine_optional(environment):
            removed += containers.sweep(environment.name, {name for _, name in _things(state)[0]})
    if environment.driver == "libvirt":
        # What is there can go whatever the settings say by now, and whichever hypervisor is away.
        tolerable = [BadInput] if drop else []
        with suppress(*tolerable):
            settings = typed.settings(environment)
            from infra import hypervisor

            assert settings.libvirt  # noqa: S101  (config.parse saw to it)
            if not drop:
                _check_moves(settings, state)
            for uri in settings.libvirt.uris:
                known, begun = _things(state, uri)
                with suppress(*tolerable):
                    hypervisor.open_pool(settings, uri)
                    if not drop:
                        hypervisor.check_data(settings, uri, known | begun)
                    removed += hypervisor.sweep(settings, uri, known, begun, "data" in drop)
    return removed


def _check_moves(settings: Settings, state: Mapping[str, Any]) -> None:
    """Raise BadInput for a host that is to be on another hypervisor: it would be made anew there, without its
    data."""
    from infra import config, hypervisor, topology

    assert settings.libvirt  # noqa: S101  (config.parse saw to it)
    places = {host.name: hypervisor.place(settings.libvirt, host) for host in topology.hosts(settings)}
    providers = _providers(state)
    for resource in state.get("resources") or []:
        kind, name = _thing(resource, "outputs")
        uri = providers.get(resource.get("provider", ""), "")
        if kind == "domain" and name in places and config.machine(uri) != config.machine(places[name]):
            raise BadInput(
                f"{name} is on {uri}, and by the settings it belongs on {places[name]}",
                where=f"infra/Pulumi.{settings.environment}.yaml: hostwright:libvirt.uri",
                fix="name the hypervisors as before: how many there are, and their order, place the hosts",
            )


def _providers(state: Mapping[str, Any]) -> dict[str, str]:
    """The URI of each of the state's libvirt providers, by what resources refer to it with."""
    return {
        f"{resource['urn']}::{resource['id']}": resource["inputs"]["uri"]
        for resource in state.get("resources") or []
        if resource["type"] == "pulumi:providers:libvirt"
    }


def _engine_optional(environment: Environment) -> suppress:
    """One of another driver may have been of containers before; it needs no engine for that."""
    return suppress(*([] if environment.driver == "container" else [Failure]))


def _things(state: Mapping[str, Any], uri: str = "") -> tuple[set[Thing], set[Thing]]:
    """What the state has, and what the last run had begun and not ended; with `uri`, not what is on another
    hypervisor, where the same names occur."""
    elsewhere = {reference for reference, its in _providers(state).items() if uri not in ("", its)}
    resources = state.get("resources") or []
    known = {_thing(each, "outputs") for each in resources if each.get("provider") not in elsewhere}
    begun = [operation["resource"] for operation in state.get("pending_operations") or []]
    return known, {_thing(each, "inputs") for each in begun if each.get("provider") not in elsewhere} - known


def _leave_data(driver: str, wanted: Collection[str], state: dict[str, Any]) -> list[str]:
    """Take protected volumes out of the state that are a former driver's or none of the `wanted`: it would
    else refuse to let them go with their hosts.

    They stay where they are and keep their mark: a container that has their name again takes them again. With
    a libvirt volume of a former driver its pool stays. Returns their names.
    """
    former = [
        resource
        for resource in state.get("resources", [])
        if any(
            resource["type"].startswith(package + ":") for name, package in PACKAGES.items() if name != driver
        )
    ]
    data = [
        resource
        for resource in state.get("resources", [])
        if resource.get("protect") and (resource in former or _thing(resource, "outputs")[1] not in wanted)
    ]
    pools = [r for r in former if r["type"].startswith("libvirt:index/pool:")] if data else []
    leaving = {resource["urn"] for resource in data + pools}
    state["resources"] = [
        _without(resource, leaving)
        for resource in state.get("resources", [])
        if resource["urn"] not in leaving
    ]
    return [_thing(resource, "outputs")[1] for resource in data]


def _without(resource: dict[str, Any], urns: set[str]) -> dict[str, Any]:
    """The resource, depending on none of these."""
    if not urns:
        return resource
    needs = {
        name: [urn for urn in each or [] if urn not in urns]
        for name, each in (resource.get("propertyDependencies") or {}).items()
    }
    changed = {"dependencies": [urn for urn in resource.get("dependencies") or [] if urn not in urns]}
    return resource | changed | ({"propertyDependencies": needs} if needs else {})


def _thing(resource: dict[str, Any], side: str) -> Thing:
    """Kind and name of a resource in the state, as hypervisor or engine know it."""
    kind = str(resource["type"]).rpartition(":")[2].lower()
    return kind, str((resource.get(side) or {}).get("name", ""))


def _lock_files(environment: Environment) -> list[Path]:
    folder = stacks.backend(environment)
    if folder is None:
        return []
    locks = folder / ".pulumi/locks/organization/hostwright" / environment.name
    # Pulumi writes a lock beside its place, and takes what it finds unfinished there for another's lock.
    return sorted([*locks.glob("*.json"), *locks.glob("*.json.*.tmp")])


def _alive(pid: int) -> bool:
    """Whether the process is a running Pulumi: another program may have got a dead one's number."""
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except (OSError, ValueError):
        return False
    return status["Name"].startswith("pulumi") and not status["State"].startswith("Z")
