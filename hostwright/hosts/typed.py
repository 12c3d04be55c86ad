"""An environment's settings as infra/ types and checks them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostwright import paths
from hostwright.environments import Environment
from hostwright.errors import BadInput

if TYPE_CHECKING:
    from infra.config import Settings
    from infra.topology import HostSpec

# infra/ is a part of the toolkit and not of this package: Pulumi runs it where it is.
if (_toolkit := str(paths.toolkit())) not in sys.path:
    sys.path.append(_toolkit)


def settings(environment: Environment) -> Settings:
    """The settings, checked by themselves; the machine is not looked at. Raises BadInput."""
    from infra import config

    return config.parse(environment.name, environment.settings, environment.project / "infra")


def hosts(environment: Environment) -> list[HostSpec]:
    """The hosts that the settings ask for, of a driver that makes them. Raises BadInput."""
    from infra import topology

    return topology.hosts(settings(environment))


def check_servers(servers: int, where: str) -> None:
    """Raise BadInput for a number of servers that a cluster cannot have, or should not."""
    from infra import config

    config.check_servers(servers, where)


def digest(text: str, where: str) -> str:
    """An image's SHA-256 digest as the settings have it. Raises BadInput for what is none."""
    from infra import config

    try:
        return config.digest(text)
    except ValueError as error:
        raise BadInput(
            f"{text!r} {error}",
            where=where,
            fix="the one that the image's publisher names, or: sha256sum FILE",
        ) from None


def check_machines(
    topology: str, groups: Sequence[str | None], names: Sequence[str], addresses: Sequence[str], where: str
) -> None:
    """Raise BadInput unless machines that exist differ and are those that the topology takes."""
    from infra import topology as layouts

    layouts.check_machines(topology, groups, names, addresses, where)
