"""What no single key of an application file shows: ports taken twice, routes to nobody, needs unmet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from hostwright.application.base import image_name
from hostwright.application.file import (
    PLACEHOLDER,
    WATCHER,
    ApplicationFile,
    ComponentUse,
    Document,
    ServiceFile,
    Store,
    Use,
)
from hostwright.application.gateway import (
    DEFAULT,
    DOCUMENT,
    FEED,
    OWN,
    PART,
    PROBE,
    STATUS,
    Gateway,
    Listener,
    Route,
)

Keys = tuple[str | int, ...]
OWN_PATHS = ("/health", "/metrics", DOCUMENT)  # what a gateway can answer itself
Services = Mapping[str, Document[ServiceFile]]


@dataclass(frozen=True)
class Problem:
    """A mistake at a key of the application file."""

    keys: Keys
    what: str
    fix: str


def containers(file: ApplicationFile, kind: str, definition: ServiceFile) -> dict[str, str | None]:
    """The containers of a declared component, by name, with what each is there for."""
    if definition.watches is None or definition.watches == "gateway":
        return {kind: definition.watches}
    return {f"{kind}-{name}": name for name, store in file.stores.items() if store.kind == definition.watches}


def problems(file: ApplicationFile, services: Services, components: Services) -> Iterator[Problem]:
    """Every mistake, in the order in which they are best mended."""
    yield from _ports(file)
    yield from _listeners(file)
    yield from _policy(file.gateway)
    yield from _routes(file)
    yield from _stores(file)
    for name, use in file.services.items():
        yield from _service(file, services, name, use)
        yield from _needs(file, services[name].model, name, use)
    for name, use_ in file.components.items():
        yield from _component(file, services, components, name, use_)
    yield from _images(file, services, components)


def _ports(file: ApplicationFile) -> Iterator[Problem]:
    taken: dict[int, str] = {}
    for keys, owner, each in _publishers(file):
        store = isinstance(each, Store)
        if each.port is None and each.scope != "internal":
            what = f"{owner} is of scope {each.scope} but has no port on the host"
            yield Problem((*keys, "scope"), what, "give it a port, or scope internal")
        if each.port is not None and each.scope == "internal" and store:
            what = f"{owner} has a port on the host, but its scope is internal"
            yield Problem((*keys, "port"), what, "give it scope host or public, or take the port out")
        if each.port is not None:
            if each.port in taken:
                what = f"port {each.port} is taken twice: by {taken[each.port]} and by {owner}"
                yield Problem((*keys, "port"), what, "give one of them another port")
            taken[each.port] = owner
        if each.sources and each.scope != "public":
            what = f"sources mean nothing for scope {each.scope}"
            yield Problem((*keys, "sources"), what, "take them out")
        for index, source in enumerate(each.sources):
            if not _is_network(source):
                fix = "write 192.0.2.0/24 or 2001:db8::/32"
                yield Problem((*keys, "sources", index), f"{source!r} is not a network", fix)


def _publishers(file: ApplicationFile) -> Iterator[tuple[Keys, str, Listener | Store | ComponentUse]]:
    for index, listener in enumerate(file.gateway.listeners):
        yield ("gateway", "listeners", index), "the gateway", listener
    for name, store in file.stores.items():
        yield ("stores", name), f"store {name}", store
    for name, component in file.components.items():
        if component.port is not None:
            yield ("components", name), f"component {name}", component


def _listeners(file: ApplicationFile) -> Iterator[Problem]:
    gateway: Gateway = file.gateway
    inside = {PROBE: "its health check", STATUS: "its status"}
    if gateway.kind == "haproxy":
        inside[FEED] = "its feed of ended sessions"
    for index, listener in enumerate(gateway.listeners):
        keys: Keys = ("gateway", "listeners", index)
        if listener.service is not None and not _known(file, listener.service):
            what = f"a listener of unknown service {listener.service!r}"
            yield Problem((*keys, "service"), what, _one_of(file.services))
        if listener.redirect and listener.service is not None:
            what = "a listener either redirects or belongs to a service"
            yield Problem((*keys, "redirect"), what, "take one of the two out")
        https = any(each.protocol == "https" for each in gateway.listeners)
        if listener.redirect and (listener.protocol != "http" or not https):
            what = (
                "there is no https listener to redirect to"
                if not https
                else "https has nowhere to redirect to"
            )
            yield Problem((*keys, "redirect"), what, "add an https listener, or take redirect out")
        port = gateway.container_port(listener)
        if port in inside:
            what = f"port {port} of the gateway's container is taken twice: by {inside[port]} too"
            yield Problem((*keys, "port"), what, "give one of them another port")
        inside[port] = str(listener.port)


def _routes(file: ApplicationFile) -> Iterator[Problem]:
    gateway = file.gateway
    where = ("policy", "tokens") if gateway.kind == "haproxy" else ("authentication",)
    if gateway.issuer and gateway.issuer not in file.services:
        what = f"unknown service {gateway.issuer!r} authenticates"
        yield Problem(("gateway", *where, "service"), what, _one_of(file.services))
    seen: dict[tuple[str, str], int] = {}
    for index, route in enumerate(gateway.routes):
        keys: Keys = ("gateway", "routes", index)
        if not _known(file, route.service):
            what = f"a route to unknown service {route.service!r}"
            yield Problem((*keys, "service"), what, _one_of(file.services))
        if route.authentication == "required" and gateway.issuer is None:
            what = "the route needs authentication, and nobody authenticates"
            yield Problem((*keys, "authentication"), what, f"add gateway.{'.'.join(where)}")
        path = PART.sub("{}", route.path.rstrip("/"))
        for method in route.methods or ("",):
            if seen.setdefault((path, method), index) != index:
                said = f"path {route.path}" + (f" and method {method}" if method else "")
                yield Problem((*keys, "path"), f"two routes of {said}", "keep one")
        yield from _route(gateway, keys, route)


def _route(gateway: Gateway, keys: Keys, route: Route) -> Iterator[Problem]:
    """What HAProxy alone can, and what makes sense there."""
    if gateway.kind != "haproxy":
        if "{" in route.path:
            yield Problem((*keys, "path"), "nginx knows no {parts} in a path", "take gateway.kind haproxy")
        for name in ("methods", "roles", "limit", "cache"):
            if getattr(route, name):
                what = f"nginx does not know {name} of a route"
                yield Problem((*keys, name), what, "take it out, or gateway.kind haproxy")
        return
    if route.roles and route.authentication != "required":
        yield Problem(
            (*keys, "roles"), "roles of whom? the route asks nobody", "add authentication: required"
        )
    if route.limit and gateway.policy and route.limit not in gateway.policy.limits:
        yield Problem((*keys, "limit"), f"unknown limit {route.limit!r}", _one_of(gateway.policy.limits))
    if route.cache and route.methods and "GET" not in route.methods:
        yield Problem((*keys, "cache"), "what is kept is answers to GET alone", "take it out")
    if route.service == OWN and route.path not in OWN_PATHS:
        what = f"the gateway has no {route.path} of its own"
        yield Problem((*keys, "path"), what, f"one of: {', '.join(OWN_PATHS)}")


def _policy(gateway: Gateway) -> Iterator[Problem]:
    """Each kind of gateway has its own way of knowing who asks."""
    haproxy = gateway.kind == "haproxy"
    if haproxy and gateway.policy is None:
        yield Problem(("gateway", "kind"), "haproxy without a policy", "add gateway.policy: {}")
    if haproxy and gateway.authentication:
        what = "haproxy checks tokens itself, and asks nobody about each request"
        yield Problem(("gateway", "authentication"), what, "describe them as gateway.policy.tokens")
    if not haproxy and gateway.policy:
        yield Problem(("gateway", "policy"), "nginx has no policy", "take it out, or gateway.kind haproxy")
    if gateway.policy and DEFAULT not in gateway.policy.limits:
        keys = ("gateway", "policy", "limits")
        yield Problem(keys, f"no limit is called {DEFAULT}", "add it: what holds where nothing else is said")


def _known(file: ApplicationFile, service: str) -> bool:
    return service in file.services or (service == OWN and file.gateway.kind == "haproxy")


def _stores(file: ApplicationFile) -> Iterator[Problem]:
    roles: dict[str, str] = {}
    for name, store in file.stores.items():
        keys: Keys = ("stores", name)
        if name in file.services or name == "gateway":
            yield Problem(keys, f"two things are called {name}", "give the store another name")
        if store.databases and store.traits.need != "database":
            what = f"a store of kind {store.kind} has no databases"
            yield Problem((*keys, "databases"), what, "take them out")
        for database, role in store.databases.items():
            if role in (taken := {"postgres": "the superuser", WATCHER: "who watches"}):
                what = f"{role} is {taken[role]}, and no service's role"
                yield Problem((*keys, "databases", database), what, "name another role")
            if roles.setdefault(role, name) != name:
                what = f"role {role} is declared in {roles[role]} and in {name}, and each has one password"
                yield Problem((*keys, "databases", database), what, "give one of them another name")


def _service(file: ApplicationFile, services: Services, name: str, use: Use) -> Iterator[Problem]:
    keys: Keys = ("services", name)
    definition, folder = services[name].model, services[name].path.parent
    if name == "gateway" or name.endswith("-migrate"):
        yield Problem(keys, f"a service cannot be called {name}", "give it another name")
    for other in list(file.services)[: list(file.services).index(name)]:
        if services[other].model.uid == definition.uid:
            what = f"{other} and {name} both run as uid {definition.uid}"
            yield Problem(keys, what, "give each a uid of its own, in its service.yml")
    if definition.image and not definition.health.command:
        what = f"{name} is somebody else's image and does not say how it is asked whether it is ready"
        yield Problem(keys, what, "add health.command to its service.yml")
    yield from _only(keys, name, definition, "component", ("watches", "data", "sees", "nodes", "tells"))
    contracts = sorted(each.stem for each in folder.glob("contracts/[!_]*.py"))
    if contracts and use.contract not in contracts:
        what = f"{name} has no contract {use.contract!r}" if use.contract else f"{name} needs a contract"
        yield Problem((*keys, "contract"), what, _one_of(contracts))
    if use.contract and not contracts:
        yield Problem((*keys, "contract"), f"{name} has no contracts", "take it out")
    if definition.alone and use.replicas > 1:
        what = f"{name} is for one instance, and is given {use.replicas}"
        yield Problem((*keys, "replicas"), what, "take it out: what it knows is in its own memory")
    for called in definition.calls:
        if called not in file.services:
            what = f"{name} calls service {called!r}, which the application lacks"
            yield Problem(keys, what, f"add {called}")
    issuers = [each for each in services.values() if "token_private_key" in each.model.secrets]
    if "token_public_key" in definition.secrets and not issuers:
        what = f"{name} checks tokens, but no service issues any"
        yield Problem(keys, what, "add the service that does (auth)")


def _needs(file: ApplicationFile, definition: ServiceFile, name: str, use: Use) -> Iterator[Problem]:
    given = {"database": use.database, "broker": use.broker}
    needed = {str(need): kind for need, kind in definition.needs.items()}
    for need, value in given.items():
        keys: Keys = ("services", name, need)
        if value is None:
            if need in needed:
                what = f"{name} needs a {need} ({needed[need]}), and is given none"
                form = "STORE/DATABASE, or STORE for one of its own" if need == "database" else "STORE"
                yield Problem(keys[:-1], what, f"add {need}: {form}")
            continue
        if need not in needed:
            yield Problem(keys, f"{name} needs no {need}", "take it out")
            continue
        store_name, _, database = value.partition("/")
        store = file.stores.get(store_name)
        if store is None:
            what = f"{name} needs store {store_name!r}, which is not declared"
            yield Problem(keys, what, f"declare it under stores, or give {_one_of(file.stores)}")
        elif store.kind != needed[need]:
            what = f"{name} needs {needed[need]}, and {store_name} is {store.kind}"
            yield Problem(keys, what, f"give a store of kind {needed[need]}")
        elif database and database not in store.databases:
            what = f"store {store_name} has no database {database!r}"
            yield Problem(keys, what, f"declare it: stores.{store_name}.databases: {{{database}: ROLE}}")


def _component(
    file: ApplicationFile, services: Services, components: Services, name: str, use: ComponentUse
) -> Iterator[Problem]:
    keys: Keys = ("components", name)
    definition = components[name].model
    if definition.image is None:
        yield Problem(keys, f"component {name} has no image", "a component is somebody else's container")
    yield from _only(
        keys,
        name,
        definition,
        "service",
        ("migrate", "needs", "routes", "limit", "publishes", "consumes", "alone"),
    )
    for called in definition.calls:
        if called not in file.components:
            what = f"{name} hands on to component {called!r}, which the application does not declare"
            yield Problem(keys, what, f"declare {called} too")
    known = {"gateway", *file.services, *file.stores}
    for container in containers(file, name, definition):
        if container in known or container.endswith("-migrate"):
            yield Problem(keys, f"two things are called {container}", "give the component another name")
    if use.port is not None and definition.watches == "postgres":
        what = f"there is one {name} for each store, and one port {use.port}"
        yield Problem((*keys, "port"), what, "take it out")
    # Its uid is its image's where it keeps data: others may have the same, but for who else reads secrets.
    others = {**services, **{each: components[each] for each in file.components}}
    for other, found in others.items():
        if other != name and found.model.uid == definition.uid and found.model.secrets and definition.secrets:
            what = f"{other} and {name} both read secrets as uid {definition.uid}"
            yield Problem(keys, what, "give each a uid of its own, in its service.yml")
    for placeholder in sorted(_placeholders(definition) - {"watched", *definition.settings, *use.settings}):
        what = f"the command of {name} has {{{placeholder}}}, and no such setting"
        yield Problem(keys, what, "add it to settings, in its service.yml")


def _only(
    keys: Keys, name: str, definition: ServiceFile, whose: str, names: tuple[str, ...]
) -> Iterator[Problem]:
    """What means something for components alone, or for services alone."""
    for each in names:
        if getattr(definition, each):
            what = f"{name} says {each}, which only a {whose} has"
            yield Problem(keys, what, "take it out of its service.yml")


def _placeholders(definition: ServiceFile) -> set[str]:
    return set(PLACEHOLDER.findall(" ".join(definition.command or ())))


def _images(file: ApplicationFile, services: Services, components: Services) -> Iterator[Problem]:
    """An environment gives one reference a name, so that a name stands for one image."""
    seen = {name: "our own" for name, each in services.items() if each.model.image is None}
    named: list[tuple[Keys, str]] = [(("gateway", "image"), file.gateway.image)]
    named += [(("stores", name, "image"), store.image) for name, store in file.stores.items()]
    for section, parts in (("services", services), ("components", components)):
        named += [((section, name), each.model.image) for name, each in parts.items() if each.model.image]
    for keys, reference in named:
        known = seen.setdefault(image_name(reference), reference)
        if known != reference:
            what = f"two images of one name: {known} and {reference}"
            yield Problem(keys, what, "take the same one, or one of another name")


def _one_of(names: Mapping[str, object] | list[str]) -> str:
    return f"one of: {', '.join(names) or '(there are none)'}"


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
