"""The releases that a host keeps, and the way back to one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hostwright import application, playbook, reached, remote
from hostwright.environments import Environment
from hostwright.errors import BadInput
from hostwright.hosts.record import HostRecord

ROLLBACK, RESTART = "rollback", "restart"


def known(environment: Environment, host: HostRecord) -> list[dict[str, Any]]:
    """The host's releases, the last deployed first: number, when, digest, images, databases, whether current.

    What was tried and did not run well comes before them, with number None. Raises Failure.
    """
    name = application.load(environment.application, environment.project).name
    path = f"/var/lib/hostwright/{name}/releases.json"
    told = remote.run(environment, host, f"sudo cat {path} 2>/dev/null || sudo test ! -e {path}")
    return rows(json.loads(told)) if told else []


def rows(index: dict[str, Any]) -> list[dict[str, Any]]:
    """An index of releases, as the host keeps it, in the order and form in which it is shown."""
    tried = index["attempt"]
    found = [
        {
            "release": each["release"],
            "deployed": each["deployed"],
            "state": ("current" if not tried else "ran last") if each["release"] == index["current"] else "",
            "digest": each["digest"],
            "images": {name: image["reference"] for name, image in each["images"].items()},
            "databases": each["databases"],
        }
        for each in sorted(index["releases"], key=lambda each: str(each["deployed"]), reverse=True)
    ]
    if tried:
        unwell = {"release": tried["release"], "deployed": tried["at"], "state": "not well"}
        found.insert(0, unwell | {"digest": tried["digest"], "images": {}, "databases": {}})
    return found


def changed(found: list[dict[str, Any]], row: dict[str, Any]) -> list[str]:
    """Containers that have another image than in the release with the number before, as far as it is kept."""
    earlier = [each for each in found if row["images"] and (each["release"] or 0) < (row["release"] or 0)]
    if not earlier:
        return []
    before = max(earlier, key=lambda each: each["release"] or 0)["images"]
    now = row["images"]
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def number(text: str) -> int | None:
    """A release as it is written on the command line. Raises BadInput."""
    if not text:
        return None
    if not text.isdecimal():
        raise BadInput(f"{text!r} is no release", fix="hostwright releases says which there are")
    return int(text)


def rollback(environment: Environment, hosts: list[HostRecord], asked: int | None, force: bool) -> None:
    """Return to the release, by default the last that ran well, by the play of that name.

    Raises BadInput for one that a host has not, before anything is touched.
    """
    for host in hosts:
        numbers = [each["release"] for each in known(environment, host) if each["state"] != "not well"]
        if not numbers:
            raise BadInput("no release is kept yet", where=host.name, fix="hostwright up makes the first")
        if asked is not None and asked not in numbers:
            fix = f"one of: {', '.join(map(str, sorted(numbers)))}"
            raise BadInput(f"unknown release {asked}", where=host.name, fix=fix)
    variables: dict[str, Any] = {"app_compose_rollback_force": force}
    if asked is not None:
        variables["app_compose_release"] = asked
    playbook.play(environment, ROLLBACK, variables)


def restart(environment: Environment, hosts: Sequence[HostRecord], names: list[str]) -> None:
    """Restart services, instance after instance where there is somebody else to ask."""
    if environment.clustered:
        told = {"app_kubernetes_restart": names, **reached.cluster(environment, hosts).told}
    else:
        told = {"app_compose_restart": names}
    playbook.play(environment, RESTART, told)


def require_kept(environment: Environment) -> None:
    """Raise BadInput for a cluster, where nothing is kept of what ran before.

    ConfigMaps and Secrets are named by their content, and pruned when what is new is well: a ReplicaSet of
    before lacks those that it began with.
    """
    if environment.clustered:
        raise BadInput(
            f"{environment.name} is a cluster, which keeps no releases",
            where=f"infra/Pulumi.{environment.name}.yaml: hostwright:topology",
            fix=f"put the former images or settings back into inventories/{environment.name}, then "
            f"hostwright up -e {environment.name}; an update that does not become well is undone by itself",
        )
