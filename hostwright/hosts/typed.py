"""An environment's settings as infra/ types and checks them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

import yaml

from hostwright import paths
from hostwright.application import Application
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


def check_apart(environment: Environment, application: Application) -> None:
    """Raise BadInput unless the hosts' addresses are apart from Docker's and the application's on each.

    What the inventory has in place of either counts, if it is written out there. A cluster has neither.
    """
    if environment.clustered:
        return
    from infra import config

    told = environment.variables
    docker = yaml.safe_load((paths.toolkit() / "roles/docker/vars/main.yml").read_text())["__docker_daemon"]
    if isinstance(told.get("docker_daemon"), dict):
        docker |= told["docker_daemon"]
    pools = docker["default-address-pools"] if isinstance(docker["default-address-pools"], list) else []
    own, own6 = application.networks
    found: dict[str, list[Any]] = {
        "app_compose_network": [told.get("app_compose_network") or own],
        "app_compose_network6": [told.get("app_compose_network6") or own6],
        "docker_daemon.default-address-pools": [pool.get("base") for pool in pools if isinstance(pool, dict)],
    }
    inner: dict[IPv4Network | IPv6Network, str] = {}
    for name, networks in found.items():
        for network in networks:
            with suppress(ValueError):  # a template, or what the role itself says is none
                inner[ip_network(network)] = (
                    f"{name} in inventories/{environment.name}/group_vars/all/main.yml"
                )
    config.check_apart(settings(environment), inner)


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
