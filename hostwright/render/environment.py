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
class Cluster:
    pass


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
    gateway: GatewayOptions = GatewayOptions()


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
