"""The application that an environment ran before it was given another one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from hostwright import application, paths, reached, remote
from hostwright.environments import Environment
from hostwright.errors import HostwrightError
from hostwright.hosts.record import HostRecord

LOOK = "plugins/module_utils/former.py"


def look(environment: Environment, hosts: Sequence[HostRecord]) -> list[str]:
    """Names of other applications of ours on the environment's hosts, sorted; none where nobody answers.

    The roles look too, and refuse what is not named to them: this is for who can be asked beforehand.
    """
    kubectl: tuple[str, ...] = ()
    if not hosts:
        return []
    host = hosts[0]
    try:
        if environment.clustered:
            there = reached.cluster(environment, hosts)
            host, own, kubectl = there.host, there.namespace, there.client
        else:
            own = application.load(environment.application, environment.project).name
        program = (paths.toolkit() / LOOK).read_text()
        words = ["sudo", "-n", "python3", "-c", program, own, *kubectl]
        found = json.loads(remote.run(environment, host, shlex.join(words)))
    except HostwrightError:  # hosts that are not there or well are for `up` to make, and to tell of
        return []
    return sorted({*found.values()})


def variables(environment: Environment, names: Sequence[str]) -> dict[str, list[str]]:
    """What tells the environment's role that these are replaced."""
    role = "app_kubernetes" if environment.clustered else "app_compose"
    return {f"{role}_replaces": [*names]} if names else {}
