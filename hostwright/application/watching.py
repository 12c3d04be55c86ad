"""Who has to reach whom for an application to be watched: as components' templates and settings say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hostwright.application.base import Setting
from hostwright.application.gateway import OWN, STATUS
from hostwright.errors import BadInput

if TYPE_CHECKING:
    from hostwright.application import Application

Place = tuple[str | None, int]  # a part of the application, or None for outside, and a port there
DEFAULTS = {"http": 80, "https": 443}
SOURCES = ("prometheus", "loki", "jaeger")  # what Grafana shows


def edges(
    application: Application, settings: Mapping[str, Mapping[str, Setting]]
) -> Iterator[tuple[str, str | None, int]]:
    """Source, target (None: outside) and port of the target's container; some twice.

    `settings`: kind of component -> setting -> value, over the application's own. Raises BadInput for one
    that begins as an address of the Web and is none.
    """
    for name, each in application.components.items():
        told = {**each.settings, **settings.get(each.kind, {})}
        if each.kind == "alertmanager" and not told.get("email"):
            told = {key: value for key, value in told.items() if not key.startswith("smtp_")}
        found = [*_asked(application, each.kind), *places(told, application.parts)]
        found += _addresses(told, application.parts)
        if each.watched:
            store = application.stores.get(each.watched)
            found.append((each.watched, store.traits.port if store else STATUS))
        for other in application.components.values():
            if other.kind in each.file.calls:
                # What is handed on goes to a door beside, where there is one.
                doors = [door.port for door in other.file.also] or [other.file.port]
                found += [(other.name, port) for port in doors]
        yield from ((name, target, port) for target, port in found if target != name)
        for service in application.services.values():
            if service.file.build == "python":
                for place in _addresses(each.file.tells, application.parts):
                    yield service.name, *place


def places(settings: Mapping[str, Setting], parts: Collection[str]) -> Iterator[Place]:
    """What each pair X_host and X_port names."""
    told = {name.lower(): value for name, value in settings.items()}
    for name, host in told.items():
        port = told.get(name.removesuffix("_host") + "_port")
        if name.endswith("_host") and isinstance(port, int | str) and str(port).isdecimal():
            yield (host if isinstance(host, str) and host in parts else None), int(port)


def _addresses(settings: Mapping[str, Setting], parts: Collection[str]) -> Iterator[Place]:
    """What each setting names that is an address of the Web."""
    for name, value in settings.items():
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            try:
                address = urlsplit(value)
                port = address.port or DEFAULTS[address.scheme]
            except ValueError as error:
                raise BadInput(f"{value!r}: {error}", where=name, fix="https://HOST:PORT/PATH") from None
            yield (address.hostname if address.hostname in parts else None), port


def _asked(application: Application, kind: str) -> Iterator[Place]:
    """What the configuration of a kind of component names, see templates/monitoring."""
    services, components = application.services.values(), application.components.values()
    if kind == "prometheus":
        yield from ((each.name, each.file.port) for each in services if each.file.metrics)
        for name, store in application.stores.items():
            if store.traits.metrics:
                yield name, store.traits.metrics
        if application.gateway.kind == "haproxy":
            yield OWN, STATUS
        told = ("alertmanager", "blackbox-exporter")
        yield from (
            (each.name, each.file.port) for each in components if each.file.metrics or each.kind in told
        )
    elif kind == "blackbox-exporter":
        yield from ((each.name, each.file.port) for each in services)
        if application.entrance:
            yield OWN, application.gateway.container_port(application.entrance)
    elif kind == "grafana":
        yield from ((each.name, each.file.port) for each in components if each.kind in SOURCES)
