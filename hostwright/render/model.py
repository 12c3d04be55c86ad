"""What a service is told and how the gateway is configured, wherever the two run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hostwright import paths
from hostwright.application import Application, Component, Listener, Route, Service, Setting
from hostwright.application.file import PLACEHOLDER
from hostwright.application.gateway import FEED, OWN, PROBE, STATUS
from hostwright.render import policy
from hostwright.render.environment import Environment
from hostwright.render.templates import digest, fill, fill_all, names, variable, worded

EACH = "{service}"  # in the name of a component's file: there is one for each
# Answers of the gateway's own, in the form of the services' errors.
ERRORS = {
    400: "Bad request",
    401: "Authentication required",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Request body too large",
    414: "URI too long",
    494: "Request header too large",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}


def gateway_files(
    application: Application,
    environment: Environment,
    pools: Mapping[str, Sequence[Mapping[str, Any]]],
    proxies: Sequence[str],
    behind: Listener | None = None,
) -> dict[str, str]:
    """File name -> text of the gateway's configuration.

    `pools`: service -> pools of instances, each with name, whom it sets aside, and servers,
    each with name, address and how nginx takes it.
    `proxies`: networks that are believed about clients' addresses. `behind`: on a cluster, the listener that
    stands behind the Ingress, which ends TLS in its place.
    """
    gateway = application.gateway
    protected = any(each.authentication == "required" for each in gateway.routes)
    listeners = [
        _listener(application, each, each == behind)
        for each in gateway.listeners
        if behind is None or each == behind or not each.ingress
    ]
    model: dict[str, Any] = {
        "application": application,
        "environment": environment,
        "options": environment.gateway,
        "pools": pools,
        "proxies": proxies,
        "cluster": environment.topology == "cluster",
        "scheme": "$public_scheme" if any(each["ended"] for each in listeners) else "$scheme",
        "issuer": gateway.issuer,
        "listeners": listeners,
        "probe": PROBE,
        "status": STATUS if application.gateway_counts else None,
        "feed": FEED,
        "identity": {name: f"$identity_{variable(name)}" if protected else "" for name in gateway.identity},
        "internals": _internals(application),
        "shown": [each.path for each in gateway.routes if each.service == OWN],
        "errors": ERRORS,
        **policy.facts(application, environment, _origins(application, environment)),
    }
    folder = f"gateway/{gateway.kind}"
    unmarked = fill_all(folder, **model, digest="")
    mark = digest(*unmarked.values(), environment.digests.get("gateway", ""))
    return fill_all(folder, **model, digest=mark)


def _internals(application: Application) -> list[str]:
    """Paths of services that nobody reaches through the gateway."""
    gateway = application.gateway
    found = {path for each in application.services.values() for path in each.internals}
    if gateway.tokens and gateway.tokens.revoked:
        found.add(gateway.tokens.revoked)
    # Many a router takes a path with a slash at its end for the one without.
    return sorted({form for path in found for form in (path.rstrip("/") or "/", path.rstrip("/") + "/")})


def _listener(application: Application, listener: Listener, behind: bool) -> dict[str, Any]:
    """A listener with the routes it serves: all, or those of the service it belongs to."""
    routes: tuple[Route, ...] = application.gateway.routes
    if listener.service:
        # Everything goes to the service; these need more than that.
        routes = tuple(
            each
            for each in routes
            if each.service == listener.service and (each.authentication == "required" or each.websocket)
        )
    https = listener.protocol == "https"
    return {
        **listener.model_dump(),
        "container_port": application.gateway.container_port(listener),
        "routes": routes,
        "tls": https and not behind,
        "ended": https and behind,
    }


def variables(
    application: Application, environment: Environment, service: Service, proxies: Sequence[str]
) -> dict[str, str]:
    """Environment variables of a service's containers; `proxies` are the networks of the gateway."""
    found: dict[str, Setting] = {
        "SERVICE_NAME": service.name,
        "APPLICATION": application.name,
        "ENVIRONMENT": environment.name,
        "PORT": service.file.port,
        "LOG_LEVEL": "info",
    }
    if service.contract:
        found["CONTRACT"] = service.contract
    if service.database:
        found |= {
            "DATABASE_HOST": service.database.store,
            "DATABASE_PORT": application.stores[service.database.store].traits.port,
            "DATABASE_NAME": service.database.name,
            "DATABASE_USER": service.database.role,
        }
    if service.broker:
        found |= {
            "BROKER_HOST": service.broker,
            "BROKER_PORT": application.stores[service.broker].traits.port,
            "BROKER_USER": application.name,
            "BROKER_VHOST": "/",
        }
    for name in service.file.calls:
        found[f"{name.upper().replace('-', '_')}_URL"] = (
            f"http://{name}:{application.services[name].file.port}"
        )
    found["CORS_ORIGINS"] = origins = _origins(application, environment)
    if origins:
        found["PUBLIC_URL"] = origins[0]
    found["TRUSTED_PROXIES"] = list(proxies)
    if service.file.build == "python":
        # A service gives up before the gateway does: whoever asked hears why, and from whom.
        found["ANSWER_TIMEOUT"] = environment.gateway.timeout * 5 // 6 or 1
    for component in application.components.values():
        if service.file.build == "python":
            found |= component.file.tells
    found |= service.settings | dict(environment.settings.get(service.name, {}))
    return {name: worded(value) for name, value in found.items()}


def _origins(application: Application, environment: Environment) -> list[str]:
    """Origins of the gateway's own pages."""
    https = application.https
    return [_origin(https, name) for name in environment.names] if https else []


def _origin(https: Listener, name: str) -> str:
    host = f"[{name}]" if ":" in name else name
    return f"https://{host}" + ("" if https.port == 443 else f":{https.port}")


def reads_secrets(application: Application, owner: str) -> bool:
    """Whether the owner finds anything in /run/secrets."""
    return any(each.owner == owner for secret in application.secrets() for each in secret.readers)


def store_facts(
    application: Application, name: str, images: Mapping[str, str], connections: int
) -> dict[str, Any]:
    """A store as templates see it; `connections` is the most that a PostgreSQL takes at once."""
    store = application.stores[name]
    return {
        "name": name,
        "kind": store.kind,
        "image": images[store.image_name],
        "uid": store.traits.uid,
        "memory": store.memory or store.traits.memory,
        "connections": connections,
        "databases": store.databases,
        "user": application.name,
        "metrics": store.traits.metrics if application.scraped else None,
    }


def service_facts(service: Service) -> dict[str, Any]:
    """A service as the templates of those who watch it see it, wherever it runs."""
    return {
        "name": service.name,
        "title": service.file.title,
        "port": service.file.port,
        "health": service.file.health,
        "metrics": service.file.metrics,
        "publishes": service.file.publishes,
        "consumes": service.file.consumes,
    }


def component_facts(
    application: Application, environment: Environment, images: Mapping[str, str], component: Component
) -> dict[str, Any]:
    """A component as templates see it, with the environment's settings in its command and its variables."""
    file = component.file
    clustered = environment.topology == "cluster"
    settings = {**component.settings, **environment.settings.get(component.kind, {})}
    beside = clustered and component.home != component.name
    watched = "127.0.0.1" if beside else component.watched or ""
    words = {name: worded(value) for name, value in settings.items()} | {"watched": watched}

    def filled(text: str) -> str:
        return PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)

    return {
        "name": component.name,
        "kind": component.kind,
        "home": component.home,
        "several": clustered and component.several,
        "title": file.title,
        "image": images[component.image],
        "uid": file.uid,
        "port": file.port,
        "metrics": file.metrics,
        "memory": file.memory,
        "command": [filled(word) for word in file.command] if file.command else None,
        "settings": settings,
        "environment": {name: filled(text) for name, text in words.items() if name.isupper()},
        "probe": ["CMD", *file.health.command] if file.health.command else None,
        "data": file.data,
        "sees": file.sees,
        "watched": component.watched,
        "secrets": reads_secrets(application, component.name),
    }


def component_files(component: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, str]:
    """Path -> text of a component's files, of which one with {service} in its name is there for each."""
    folder = f"monitoring/{component['kind']}"
    if not (paths.toolkit() / "templates" / folder).is_dir():
        return {}
    found: dict[str, str] = {}
    for name in names(folder):
        for service in model["services"] if EACH in name else [None]:
            path = name.replace(EACH, service["name"]) if service else name
            text = fill(f"{folder}/{name}", **model, component=component, service=service)
            found[path.removesuffix(".j2")] = text
    return found
