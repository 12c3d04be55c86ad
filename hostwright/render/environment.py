"""What rendering is told beyond the application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

from hostwright.application import Setting


@dataclass(frozen=True)
class GatewayOptions:
    """What an operator may want otherwise of the gateway."""

    timeout: int = 30
    """Seconds within which a service must answer; then another instance is asked, where that is safe."""
    compression: bool = True
    """Whether data is compressed, that of the service which hands out tokens never being it."""
    hsts: int = 31536000
    """Seconds for which browsers that were here insist on https; 0 tells them nothing."""


@dataclass(frozen=True)
class Overlay:
    """How much of everything a namespace gets, by what it is for."""

    replicas: int
    """Instances of a service at least, where the application does not want more."""
    most: int
    """At most; where that is more, how many there are follows the use of CPU."""
    cpu: int
    """Thousandths of a core that a container asks for; a store asks for twice that. Nobody is held to it."""
    busy: int
    """Use of CPU, as percent of what was asked for, above which there come to be more instances."""
    memory: int
    """What a container asks for, as percent of its limit."""
    storage: int
    """Size of a store's volume in GiB; a folder of a node is as large as its disk, whatever this says."""


OVERLAYS: Mapping[str, Overlay] = {
    "dev": Overlay(replicas=1, most=1, cpu=10, busy=100, memory=25, storage=2),
    "staging": Overlay(replicas=2, most=3, cpu=25, busy=200, memory=50, storage=8),
    "prod": Overlay(replicas=2, most=4, cpu=50, busy=300, memory=100, storage=20),
}


@dataclass(frozen=True)
class Cluster:
    """What a Kubernetes is like, and which part of it is the application's."""

    overlay: str = "prod"
    """One of OVERLAYS; the namespace is APPLICATION-OVERLAY."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """Store -> name of the node that has its data."""
    folder: str = "/var/lib/hostwright/volumes"
    """Of these nodes; beneath it each store has NAMESPACE/STORE."""
    ingress_class: str = "public"
    ingress_namespace: str = "ingress"
    """Where the pods of the Ingress controller are, which nobody else may be taken for."""
    ingress_annotations: Mapping[str, str] = field(default_factory=dict)
    """What one kind of controller has to be told and another overlooks, as the largest body it passes on."""
    public_nodes: tuple[str, ...] = ()
    """Nodes whose own addresses have the public ports that no Ingress has; none where there is a balancer."""
    ssh_ports: tuple[int, ...] = (22,)
    """At which one logs in to its nodes."""
    pods: tuple[str, ...] = ("10.1.0.0/16",)
    """Networks of the pods: from there come the controller's requests, and the gateway's."""


@dataclass(frozen=True)
class Environment:
    """What rendering is told beyond the application. The default is a developer's machine."""

    name: str = "development"
    topology: Literal["single", "cluster"] = "single"
    images: Mapping[str, str] = field(default_factory=dict)
    """Image name -> reference, in place of `Application.images()`."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Service -> folder with Dockerfile and code: Compose builds the image where it is not there yet."""
    names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    """Names and addresses by which others reach the gateway."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    """Service or component -> setting -> value, over the application's own."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Owner -> digest of its secret files: a container is made anew, or reloaded, when it changes."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the proxies before the gateway that are believed about clients' addresses."""
    network: IPv4Network | None = None
    """Of the application, a /24; by default 10.89.X.0 with an X of the application's name."""
    network6: IPv6Network | None = None
    ipv6: bool = True
    patience: int = 1
    """How many times as long as on a usual host a container may take to be asked how it is, and to answer."""
    gateway: GatewayOptions = GatewayOptions()
    cluster: Cluster = Cluster()
    """For the topology of that name."""


def gateway_options(given: Mapping[str, Any]) -> GatewayOptions:
    """The options as an inventory writes them. Raises ValueError for one unknown or of another type."""
    known: dict[str, Any] = {each.name: type(each.default) for each in fields(GatewayOptions)}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"the gateway has no option {name!r}; it has {', '.join(known)}")
        # Ansible's numbers are of a type made from int, and so is bool.
        if not isinstance(value, known[name]) or isinstance(value, bool) != (known[name] is bool):
            raise ValueError(f"{name} of the gateway is {value!r} and not of type {known[name].__name__}")
    return GatewayOptions(**{name: known[name](value) for name, value in given.items()})
