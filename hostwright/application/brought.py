"""What a service brings along from its own folder: routes, a limit, a database; one line is all it takes."""

from __future__ import annotations

from collections.abc import Mapping

from hostwright.application.file import ApplicationFile, Document, ServiceFile
from hostwright.application.gateway import Route

Keys = tuple[str | int, ...]


def complete(file: ApplicationFile, services: Mapping[str, Document[ServiceFile]]) -> ApplicationFile:
    """The application file with what services bring written out, after all that it says itself.

    Where it has a route to a service, that service's own are not taken; a limit or a database of its that
    is there already stays as it is.
    """
    gateway, stores, uses = file.gateway, dict(file.stores), dict(file.services)
    limits = dict(gateway.policy.limits) if gateway.policy else {}
    routes = [*gateway.routes, *(route for route, _ in _routes(file, services))]
    for name, use in file.services.items():
        own = name.replace("-", "_")
        limit = services[name].model.limit
        if limit:
            limits.setdefault(own, limit)
        if use.database and "/" not in use.database:
            uses[name] = use.model_copy(update={"database": f"{use.database}/{own}"})
            store = stores.get(use.database)
            if store and store.traits.need == "database":
                stores[use.database] = store.model_copy(
                    update={"databases": {**store.databases, own: store.databases.get(own, own)}}
                )
    policy = gateway.policy and gateway.policy.model_copy(update={"limits": limits})
    gateway = gateway.model_copy(update={"routes": tuple(routes), "policy": policy})
    return file.model_copy(update={"gateway": gateway, "stores": stores, "services": uses})


def origin(
    document: Document[ApplicationFile], services: Mapping[str, Document[ServiceFile]], keys: Keys
) -> tuple[Document[ApplicationFile] | Document[ServiceFile], Keys]:
    """Where a key of the completed file was written: in which file, and at which key there."""
    written = document.model.gateway.routes
    if keys[:2] == ("gateway", "routes") and isinstance(keys[2], int) and keys[2] >= len(written):
        route, index = _routes(document.model, services)[keys[2] - len(written)]
        return services[route.service], ("routes", index, *keys[3:])
    return document, keys


def _routes(file: ApplicationFile, services: Mapping[str, Document[ServiceFile]]) -> list[tuple[Route, int]]:
    """The routes that services bring, each with its place in the service's file."""
    routed = {route.service for route in file.gateway.routes}
    found = []
    for name in file.services:
        own = services[name].model
        limit = name.replace("-", "_") if own.limit else None
        for index, way in enumerate(() if name in routed else own.routes):
            told = {"limit": limit, **way.model_dump(exclude_none=True), "service": name}
            found.append((Route.model_validate(told), index))
    return found
