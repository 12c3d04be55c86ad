"""Day two of an environment: what changes about its hosts while they serve."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from hostwright import deploy, environments, members, paths, playbook, reached
from hostwright.environments import Environment
from hostwright.errors import BadInput
from hostwright.hosts import engine, stack, typed
from hostwright.hosts.record import HostRecord
from hostwright.progress import Phases

WORKERS = "cluster.workers"
CHANNEL = re.compile(r"1\.(2[89]|[3-9][0-9])/(stable|candidate|beta|edge)")  # as in roles/microk8s


def require_cluster(environment: Environment, fix: str) -> None:
    """Raise BadInput for one of a single host, which does not have what is asked for."""
    if not environment.clustered:
        raise BadInput(
            f"{environment.name} is one host, and no cluster",
            where=f"infra/Pulumi.{environment.name}.yaml: hostwright:topology",
            fix=fix,
        )


def leaving(environment: Environment, workers: int) -> list[str]:
    """Names of the hosts that go when there are so many workers. Touches nothing.

    Raises BadInput when there cannot be so many, or where the number is not the settings' to say.
    """
    require_cluster(environment, "instances of a service are scaled by app_compose_replicas, see its README")
    if environment.driver == "static":
        raise BadInput(
            "machines that exist are counted where they are listed",
            where=f"infra/Pulumi.{environment.name}.yaml: hostwright:static.hosts",
            fix="add one there, and hostwright up; before one is taken out there: "
            f"{members.leave(environment, ['NAME'])}",
        )
    wanted = [host.name for host in typed.hosts(_with(environment, workers))]
    return going(engine.outputs(environment), wanted)


def going(known: Sequence[HostRecord], wanted: Collection[str]) -> list[str]:
    """Those of the known hosts that are not wanted, all of them workers. Raises BadInput."""
    require_hosts(known)
    gone = [host for host in known if host.name not in wanted]
    members.check_servers(gone, "hostwright:cluster.servers")
    return [host.name for host in gone]


def scale(environment: Environment, workers: int, names: Sequence[str]) -> None:
    """Bring the cluster to so many workers: `names`, as `leaving` found them, leave it before they go.

    Killed, the same command goes on. Raises BadInput when nothing was touched, else Failure.
    """
    phases = Phases()
    if names:
        with phases.phase("leave", "Leave") as note:
            server = reached.cluster(environment, engine.outputs(environment)).told
            playbook.play(environment, "leave", {"microk8s_leaving": [*names], **server}, note)
            note.result = f"{', '.join(names)} left the cluster"
    before = typed.settings(environment).counts["workers"]
    if workers != before:
        stack.configure(environment, WORKERS, str(workers))
    try:
        deploy.up(environments.load(environment.name, environment.project), phases=phases)
    except BadInput:
        if workers > before:
            stack.configure(environment, WORKERS, str(before))
        raise


def upgrade(environment: Environment, channel: str = "") -> None:
    """Bring the cluster to the inventory's channel, node by node, and prove it.

    `channel`: the one that is meant, which must be the inventory's. Killed, the same command goes on.
    Raises BadInput, or Failure before anything is touched where a host cannot be brought there.
    """
    require_cluster(environment, "hostwright patch brings one host its system's updates, Docker's among them")
    if channel and not CHANNEL.fullmatch(channel):
        raise BadInput(
            f"{channel!r} is no channel", where="--channel", fix="--channel 1.36/stable, for instance"
        )
    hosts = engine.outputs(environment)
    require_hosts(hosts)
    if channel:
        require_channel(environment, reached.cluster(environment, hosts).variables, channel)
    _play_and_prove(environment, "upgrade")


def require_channel(environment: Environment, variables: Mapping[str, Any], channel: str) -> None:
    """Raise BadInput unless these variables of a host, or else the role's own, ask for that channel."""
    defaults = yaml.safe_load((paths.toolkit() / "roles/microk8s/defaults/main.yml").read_text())
    asked = {**defaults, **variables}["microk8s_channel"]
    if channel != asked:
        raise BadInput(
            f"the inventory asks for {asked}, and the next `hostwright up` would again",
            where=f"inventories/{environment.name}/group_vars/all/main.yml",
            fix=f"write microk8s_channel: {channel} there, and run again",
        )


def patch(environment: Environment) -> None:
    """Bring every host its operating system's updates, one after another, and prove it.

    Killed, the same command goes on. Raises BadInput before the first `up`, else Failure.
    """
    require_hosts(engine.outputs(environment))
    _play_and_prove(environment, "patch")


def require_hosts(known: Sequence[HostRecord]) -> None:
    """Raise BadInput before the first `up`."""
    if not known:
        raise BadInput("the environment has no hosts yet", fix="hostwright up makes as many as it says")


def _play_and_prove(environment: Environment, name: str) -> None:
    """The play of a verb as its phase, and the proof after it."""
    phases = Phases()
    with phases.phase(name, name.capitalize()) as note:
        recap = playbook.play(environment, name, {}, note)
        note.result = f"{recap.changed} changes"
    deploy.prove(environment, phases)


def _with(environment: Environment, workers: int) -> Environment:
    cluster = {**(environment.settings.get("cluster") or {}), "workers": workers}
    return replace(environment, settings={**environment.settings, "cluster": cluster})
