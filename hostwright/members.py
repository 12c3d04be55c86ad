"""Hosts of a cluster that the settings ask for no more: what is refused before Pulumi removes them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hostwright import reached
from hostwright.environments import Environment
from hostwright.errors import BadInput, HostwrightError
from hostwright.hosts import typed
from hostwright.hosts.record import HostRecord

ANEW = "where nothing of the cluster is needed any more: hostwright down, and up"


def check(environment: Environment, known: Sequence[HostRecord]) -> None:
    """Raise BadInput where one of the known hosts would go that is a member of the cluster.

    A cluster is asked for that only where somebody goes. It does not go to fewer servers.
    """
    if not environment.clustered:
        return
    settings = typed.settings(environment)
    listed = settings.static.hosts if settings.static else typed.hosts(environment)
    wanted = {host.name for host in listed}
    gone = [host for host in known if "cluster" in host.groups and host.name not in wanted]
    where = f"infra/Pulumi.{environment.name}.yaml: hostwright:"
    fewer = sum("servers" in host.groups for host in known) > settings.counts["servers"]
    if fewer or not settings.static:  # machines may take the place of others
        check_servers(gone, f"{where}{'static.hosts' if settings.static else 'cluster.servers'}")
    members = _members(environment, known, gone)
    if not members:
        return
    workers = [host.name for host in members if "workers" in host.groups]
    if not settings.static:
        raise BadInput(
            f"{', '.join(workers)} would be removed, and is a node of the cluster still",
            where=f"{where}cluster.workers",
            fix=f"hostwright scale --workers {settings.counts['workers']}, which has it leave first",
        )
    lost = [host.name for host in members if host.name not in workers]
    ways = [leave(environment, workers)] if workers else []
    ways += [
        f"where it is off for good, on another server: microk8s remove-node {name} --force" for name in lost
    ]
    raise BadInput(
        f"{', '.join(host.name for host in members)} is listed no more, and is a node of the cluster still",
        where=f"{where}static.hosts",
        fix="; ".join(ways),
    )


def check_servers(gone: Sequence[HostRecord], where: str) -> None:
    """Raise BadInput where a server is among those that go."""
    if servers := [host.name for host in gone if "servers" in host.groups]:
        raise BadInput(
            f"{', '.join(servers)} would go too, and a server holds the cluster's database",
            where=where,
            fix=f"set it to what it was, for only workers can be taken away; or, {ANEW}",
        )


def leave(environment: Environment, workers: Sequence[str]) -> str:
    """The command that has workers leave the cluster, whoever made them."""
    told = json.dumps({"microk8s_leaving": [*workers]})
    return f"ansible-playbook -i inventories/{environment.name} hostwright.hostwright.leave -e '{told}'"


def _members(
    environment: Environment, known: Sequence[HostRecord], gone: Sequence[HostRecord]
) -> list[HostRecord]:
    """Those of them that are nodes still. Raises BadInput where the cluster cannot be asked."""
    if not gone:
        return []
    try:
        nodes = reached.cluster(environment, known).get("nodes")
    except HostwrightError as error:
        names = ", ".join(host.name for host in gone)
        raise BadInput(
            f"{names} would go, and nobody says whether the cluster has it still: {error.what}",
            where=error.where,
            fix=f"have a server answer, or let the settings name the same hosts as before; or, {ANEW}",
        ) from None
    listed = {node["metadata"]["name"] for node in nodes}
    return [host for host in gone if host.name in listed]
