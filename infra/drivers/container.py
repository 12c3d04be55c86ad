"""Hosts as node containers of the local Docker engine."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from hostwright.hosts.dynamic import NetworkProvider, NodeProvider, VolumeProvider
from hostwright.hosts.record import HostRecord
from infra import topology
from infra.config import Settings
from infra.drivers import ready

TIMEOUT = 90


class Network(Resource, module="container", name="Network"):
    """The environment's network."""


class Volume(Resource, module="container", name="Volume"):
    """A host's data volume."""


class Node(Resource, module="container", name="Node"):
    """A host."""


def build(settings: Settings) -> list[pulumi.Output[dict[str, Any]]]:
    """The environment's network, and a volume and a node a host. Raises BadInput, see topology.hosts."""
    assert settings.container  # noqa: S101  (config.parse saw to it)
    environment = settings.environment
    network_name = topology.common_name(environment)
    network = Network(
        NetworkProvider(),
        network_name,
        {
            "environment": environment,
            "name": network_name,
            "bridge": topology.bridge(environment, "container"),
            "cidr": str(settings.network.cidr),
            "cidr6": str(settings.network.cidr6) if settings.network.cidr6 else None,
        },
    )
    return [_host(settings, spec, network, network_name) for spec in topology.hosts(settings)]


def volume_name(spec: topology.HostSpec) -> str:
    """The name of a host's data volume."""
    return f"{spec.name}-{spec.layout.runtime}"


def _host(
    settings: Settings, spec: topology.HostSpec, network: Network, network_name: str
) -> pulumi.Output[dict[str, Any]]:
    assert settings.container  # noqa: S101
    volume = Volume(
        VolumeProvider(),
        volume_name(spec),
        {"environment": settings.environment, "name": volume_name(spec), "host": spec.name},
        pulumi.ResourceOptions(protect=settings.keep_data),
    )
    node = Node(
        NodeProvider(),
        spec.name,
        {
            "environment": settings.environment,
            "name": spec.name,
            "image": settings.container.image,
            "network": network_name,
            "address": str(spec.address),
            "address6": str(spec.address6) if spec.address6 else None,
            "mac": spec.mac,
            "volume": volume_name(spec),
            "mount": spec.layout.data,
            "memory": spec.memory,
            "cpus": spec.cpus,
            "user": settings.ssh.user,
            "publicKey": settings.ssh.public_key,
            "state": None,
        },
        pulumi.ResourceOptions(depends_on=[network, volume]),
    )
    host = HostRecord(
        name=spec.name,
        address=str(spec.address),
        address6=str(spec.address6) if spec.address6 else None,
        user=settings.ssh.user,
        groups=spec.groups,
        facts={"driver": "container", "image": settings.container.image, "container": spec.name},
    )
    return ready.record(settings, host, node.id, TIMEOUT)
