"""The application model: services/apps/NAME.yml and every service.yml it names, checked and resolved.

What runs, what is opened, what is asked of the secret store and what is proved are all read from here.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from hostwright import __version__, paths
from hostwright.application import brought, watching
from hostwright.application.base import Protocol, Scope, Setting, image_name
from hostwright.application.checks import containers, problems
from hostwright.application.file import (
    MOST_REPLICAS,
    WATCHER,
    ApplicationFile,
    Document,
    ServiceFile,
    Store,
    read,
)
from hostwright.application.gateway import OWN, STATUS, Gateway, Listener, Route
from hostwright.errors import BadInput

__all__ = [
    "Application",
    "Component",
    "Edge",
    "Gateway",
    "Listener",
    "Port",
    "Route",
    "Secret",
    "Service",
    "Setting",
    "Store",
    "load",
]

SecretKind = Literal[
    "password", "email", "rsa-private-key", "rsa-public-key",
    "ca-certificate", "ca-private-key", "certificate", "private-key",
]  # fmt: skip
ANYWHERE = ("0.0.0.0/0", "::/0")


def load(
    name_or_path: str | Path, project: Path | None = None, components: Collection[str] | str = ()
) -> Application:
    """The application of that name (the project's own before the toolkit's), or the one in that file.

    A relative path is of the project (default: the one here), where there is one, and not of infra/.
    `components`: which of the declared ones it has here, by name, or "all". Raises BadInput with file, line
    and key of the first thing that is wrong.
    """
    document = read(ApplicationFile, _find(str(name_or_path), project))
    file = document.model
    services = {
        name: _under(_service(document, "services", name, project), use.contract)
        for name, use in file.services.items()
    }
    declared = {name: _service(document, "components", name, project) for name in file.components}
    whole = brought.complete(file, services)
    for problem in problems(whole, services, declared):
        written, keys = brought.origin(document, services, problem.keys)
        raise written.bad(keys, problem.what, problem.fix)
    return _resolve(
        dataclasses.replace(document, model=whole),
        services,
        declared,
        _chosen(document, declared, components),
    )


def _under(service: Document[ServiceFile], contract: str | None) -> Document[ServiceFile]:
    return dataclasses.replace(service, model=service.model.under(contract))


def _chosen(
    document: Document[ApplicationFile],
    declared: Mapping[str, Document[ServiceFile]],
    components: Collection[str] | str,
) -> Collection[str]:
    if components in ("all", ["all"]):
        return declared
    chosen = [components] if isinstance(components, str) else components
    for name in chosen:
        if name not in declared:
            raise BadInput(
                f"{document.model.name} has no component {name!r}",
                where="hostwright:components",
                fix=f"give a list of: {', '.join(declared)}; or: all" if declared else "take it out",
            )
        if lacking := [each for each in declared[name].model.calls if each not in chosen]:
            raise BadInput(
                f"component {name} hands on to {', '.join(lacking)}, which is not there",
                where="hostwright:components",
                fix=f"add {', '.join(lacking)}, or take {name} out",
            )
    return chosen


def located(name_or_path: str) -> str:
    """What a command line says, for anywhere: a path is of the current folder there; a name stays."""
    return str(paths.expanded(name_or_path).resolve()) if _is_path(name_or_path) else name_or_path


def names(project: Path | None = None) -> list[str]:
    """Applications known here, sorted."""
    return sorted({path.stem for root in _roots(project) for path in (root / "apps").glob("*.yml")})


@dataclass(frozen=True)
class Port:
    """A port somebody answers on: `number` as others dial it within the scope, `container_port` behind it."""

    number: int
    protocol: Protocol
    scope: Scope
    sources: tuple[str, ...]
    owner: str
    container_port: int
    service: str | None = None
    """The service that a listener of the gateway belongs to."""


@dataclass(frozen=True)
class Edge:
    """Who speaks to whom in the application, at which port of the container there."""

    source: str
    target: str | None
    """Service, store or component; None is outside of the application."""
    port: int
    kind: Literal["serves", "asks", "calls", "tells", "keeps", "watches"]
    """The gateway serves services and asks one who somebody is; services call, tell and keep.

    Components watch: what they ask of others and what others tell them, to do that.
    """


@dataclass(frozen=True)
class Reader:
    """Who finds a secret as /run/secrets/FILE."""

    owner: str
    file: str
    uid: int


@dataclass(frozen=True)
class Secret:
    """A secret that the application needs: how its value is made, and who finds it as a file.

    `name` is that of the environment's store, where an operator's own value is `secret-NAME`.
    """

    name: str
    kind: SecretKind
    readers: tuple[Reader, ...]


@dataclass(frozen=True)
class Database:
    store: str
    name: str
    role: str

    @property
    def secret(self) -> str:
        return f"{self.role}_database_password"


@dataclass(frozen=True)
class Service:
    """A service as this application uses it."""

    name: str
    file: ServiceFile
    contract: str | None
    replicas: int
    database: Database | None
    broker: str | None
    settings: dict[str, Setting]
    folder: Path
    """Where its service.yml is, and the code of ours."""
    place: int
    """Its place among the services, from 0: fixed addresses follow from it."""

    @property
    def image(self) -> str:
        """Name of its image, as in `Application.images()`."""
        return image_name(self.file.image) if self.file.image else self.name

    @property
    def most(self) -> int:
        """How many instances of it there may be."""
        return 1 if self.file.alone else MOST_REPLICAS

    @property
    def internals(self) -> tuple[str, ...]:
        """Paths that no gateway serves."""
        found = (self.file.health.live, self.file.health.ready, self.file.metrics)
        return tuple(path for path in found if path)


@dataclass(frozen=True)
class Component:
    """One container of what watches the application: the only one of its kind, or the one for a store."""

    name: str
    kind: str
    """What it is declared as; its configuration is in templates/monitoring/KIND."""
    file: ServiceFile
    port: int | None
    """On the host."""
    scope: Scope
    sources: tuple[str, ...]
    settings: dict[str, Setting]
    watched: str | None
    """The store it is for, or the gateway."""

    @property
    def image(self) -> str:
        """Name of its image, as in `Application.images()`."""
        return image_name(self.file.image or "")

    @property
    def seen(self) -> dict[str, str]:
        """Path of a cluster's node -> where its container can read it."""
        return self.file.nodes or self.file.sees

    @property
    def home(self) -> str:
        """On a cluster, the part whose pods its container is in: there are several gateways to watch."""
        return OWN if self.watched == OWN else self.name

    @property
    def several(self) -> bool:
        """Whether there is one for each node of a cluster, or for each gateway."""
        return bool(self.seen) or self.home != self.name


@dataclass(frozen=True)
class Application:
    """An application with everything it names found and checked."""

    name: str
    title: str
    source: Path
    gateway: Gateway
    stores: dict[str, Store]
    services: dict[str, Service]
    components: dict[str, Component] = dataclasses.field(default_factory=dict)
    """Those that were chosen, by the names of their containers."""
    declared: tuple[str, ...] = ()
    """All kinds of components that could be."""

    @property
    def networks(self) -> tuple[IPv4Network, IPv6Network]:
        """Its own on a single host, a /24 and a /64, unless its environment says others: by its name."""
        own = zlib.crc32(self.name.encode()) % 256
        return IPv4Network(f"10.89.{own}.0/24"), IPv6Network(f"fd00:89:{own:x}::/64")

    def held(self, images: Mapping[str, object]) -> Application:
        """The same without components whose image is not among these, by name, or that call one of those."""
        held = {name: each for name, each in self.components.items() if each.image in images}
        kinds = {each.kind for each in held.values()}
        held = {name: each for name, each in held.items() if kinds.issuperset(each.file.calls)}
        return dataclasses.replace(self, components=held)

    @property
    def parts(self) -> dict[str, Service | Component]:
        """Everything that has a service.yml, by name."""
        return {**self.services, **self.components}

    @property
    def scraped(self) -> bool:
        """Whether somebody collects the metrics of services and stores."""
        return any(each.kind == "prometheus" for each in self.components.values())

    @property
    def gateway_counts(self) -> bool:
        """Whether somebody asks the gateway what it counts: a component of its own, or Prometheus."""
        return bool(self.watchers("gateway")) or (self.gateway.kind == "haproxy" and self.scraped)

    def watchers(self, watched: str) -> list[Component]:
        """Components that are there for a store, or for the gateway."""
        return [each for each in self.components.values() if each.watched == watched]

    def ports(self) -> list[Port]:
        """Every port: the published ones in the order of the file, then those of the internal network."""
        gateway = self.gateway
        found = [
            Port(
                listener.port,
                listener.protocol,
                listener.scope,
                _sources(listener.scope, listener.sources),
                "gateway",
                gateway.container_port(listener),
                listener.service,
            )
            for listener in gateway.listeners
        ]
        for name, store in self.stores.items():
            if store.port is not None:
                sources = _sources(store.scope, store.sources)
                found.append(
                    Port(store.port, store.traits.protocol, store.scope, sources, name, store.traits.port)
                )
        for name, component in self.components.items():
            if component.port is not None:
                scope, sources = component.scope, _sources(component.scope, component.sources)
                found.append(Port(component.port, "http", scope, sources, name, component.file.port))

        def internal(owner: str, port: int, protocol: Protocol, service: str | None = None) -> None:
            found.append(Port(port, protocol, "internal", (), owner, port, service))

        for name, each in self.parts.items():
            service = name if name in self.services else None
            internal(name, each.file.port, "http", service)
            for door in each.file.also:
                internal(name, door.port, door.protocol, service)
        for name, store in self.stores.items():
            internal(name, store.traits.port, store.traits.protocol)
            if store.traits.metrics and self.scraped:
                internal(name, store.traits.metrics, "http")
        if self.gateway_counts:
            internal("gateway", STATUS, "http")
        return found

    def behind_gateway(self, name: str) -> bool:
        """Whether the gateway directs anybody to this service."""
        return any(edge.source == "gateway" and edge.target == name for edge in self.edges())

    def edges(self, settings: Mapping[str, Mapping[str, Setting]] | None = None) -> list[Edge]:
        """Who speaks to whom among gateway, services, stores and components, each once; nobody else has to.

        `settings`: service or kind of component -> setting -> value, over the application's own. A pair of
        settings X_host and X_port is an edge: to the part of that name, else to outside. So is a component's
        setting that is an address of the Web.
        """
        gateway, found = self.gateway, []
        found += [Edge("gateway", name, self.services[name].file.port, "serves") for name in gateway.served]
        if gateway.asked:
            found.append(Edge("gateway", gateway.asked, self.services[gateway.asked].file.port, "asks"))
        for name, service in self.services.items():
            for called in service.file.calls:
                found.append(Edge(name, called, self.services[called].file.port, "calls"))
            for store in (service.database.store if service.database else None, service.broker):
                if store:
                    found.append(Edge(name, store, self.stores[store].traits.port, "keeps"))
            told = {**service.settings, **(settings or {}).get(name, {})}
            for target, port in watching.places(told, self.parts):
                found.append(Edge(name, target, port, "watches" if target in self.components else "tells"))
        found += [Edge(*each, "watches") for each in watching.edges(self, settings or {})]
        return list(dict.fromkeys(found))

    def images(self) -> dict[str, str]:
        """Image name -> the reference that is taken where the environment names none."""
        found = {image_name(self.gateway.image): self.gateway.image}
        found |= {image_name(store.image): store.image for store in self.stores.values()}
        for service in self.services.values():
            found[service.image] = service.file.image or f"hostwright/{service.name}:{__version__}"
        return found | {each.image: each.file.image or "" for each in self.components.values()}

    def secrets(self) -> list[Secret]:
        """What the environment's secret store must hold for it, and who reads what; sorted by name."""
        kinds: dict[str, SecretKind] = {}
        readers: dict[str, list[Reader]] = {}

        def add(name: str, kind: SecretKind, *who: Reader) -> None:
            kinds[name] = kind
            readers.setdefault(name, []).extend(who)

        def certified(owner: str, uid: int, key: str = "private_key") -> None:
            add(f"{owner}_certificate", "certificate", Reader(owner, "certificate", uid))
            add(f"{owner}_private_key", "private-key", Reader(owner, key, uid))

        for name, store in self.stores.items():
            uid = store.traits.uid
            add(f"{name}_password", "password", Reader(name, "password", uid))
            for database, role in store.databases.items():
                secret = Database(name, database, role).secret
                if Reader(name, f"{role}_password", uid) not in readers.get(secret, []):
                    add(secret, "password", Reader(name, f"{role}_password", uid))
            if self.watchers(name) and store.traits.need == "database":
                add(f"{name}_{WATCHER}_password", "password", Reader(name, f"{WATCHER}_password", uid))
        for name, service in self.services.items():
            uid = service.file.uid
            if service.database:
                add(service.database.secret, "password", Reader(name, "database_password", uid))
            if service.broker:
                add(f"{service.broker}_password", "password", Reader(name, "broker_password", uid))
        for name, component in self.components.items():
            if component.watched in self.stores:
                secret = f"{component.watched}_{WATCHER}_password"
                add(secret, "password", Reader(name, "database_password", component.file.uid))
        for name, each in self.parts.items():
            uid = each.file.uid
            for secret in each.file.secrets:
                if secret == "certificate":  # noqa: S105
                    certified(name, uid)
                else:
                    add(secret, SERVICE_SECRETS[secret], Reader(name, secret, uid))
        if tokens := self.gateway.tokens:
            secret = TOKEN_SECRETS[tokens.algorithm]
            add(secret, SERVICE_SECRETS[secret], Reader(OWN, secret, self.gateway.uid))
        if "token_public_key" in kinds or "token_private_key" in kinds:
            add("token_private_key", "rsa-private-key")
            add("token_public_key", "rsa-public-key")
        if any(listener.protocol == "https" for listener in self.gateway.listeners):
            certified(OWN, self.gateway.uid, self.gateway.key_file)
        if {"ca-certificate", "certificate"} & {*kinds.values()}:
            add("ca_certificate", "ca-certificate")
            add("ca_private_key", "ca-private-key")
        return [Secret(name, kinds[name], tuple(readers[name])) for name in sorted(kinds)]

    @cached_property
    def https(self) -> Listener | None:
        """The listener that others are redirected to."""
        return next((each for each in self.gateway.listeners if each.protocol == "https"), None)

    @cached_property
    def entrance(self) -> Listener | None:
        """Where people come in: https, else the first listener for everybody."""
        public = (each for each in self.gateway.listeners if each.scope == "public")
        return self.https or next(public, None)

    def describe(self) -> dict[str, Any]:
        """The whole of it as plain data, for programs that are not ours."""
        return {
            "name": self.name,
            "title": self.title,
            "source": str(self.source),
            "ports": [_plain(port) for port in self.ports()],
            "images": self.images(),
            "secrets": [_plain(secret) for secret in self.secrets()],
            "gateway": self.gateway.model_dump(mode="json"),
            "stores": {name: store.model_dump(mode="json") for name, store in self.stores.items()},
            "services": _described(self.services),
            "components": _described(self.components),
        }


SERVICE_SECRETS: dict[str, SecretKind] = {
    "token_private_key": "rsa-private-key",
    "token_public_key": "rsa-public-key",
    "jwt_secret": "password",
    "admin_email": "email",
    "admin_password": "password",
    "service_key": "password",
    "webhook_key": "password",
    "smtp_password": "password",
    "grafana_password": "password",
    "ca_certificate": "ca-certificate",
}


# What tokens of an algorithm are checked with.
TOKEN_SECRETS = {"HS256": "jwt_secret", "RS256": "token_public_key"}


def _resolve(
    document: Document[ApplicationFile],
    found: Mapping[str, Document[ServiceFile]],
    declared: Mapping[str, Document[ServiceFile]],
    chosen: Collection[str],
) -> Application:
    file = document.model
    services = {}
    for place, (name, use) in enumerate(file.services.items()):
        database = None
        if use.database:
            store, _, database_name = use.database.partition("/")
            database = Database(store, database_name, file.stores[store].databases[database_name])
        services[name] = Service(
            name=name,
            file=found[name].model,
            contract=use.contract,
            replicas=use.replicas,
            database=database,
            broker=use.broker,
            settings={**found[name].model.settings, **use.settings},
            folder=found[name].path.parent,
            place=place,
        )
    components = {
        each.name: each
        for kind, definition in declared.items()
        if kind in chosen
        for each in _components(file, kind, definition.model)
    }
    return Application(
        file.name,
        file.title,
        document.path,
        file.gateway,
        dict(file.stores),
        services,
        components,
        tuple(file.components),
    )


def _components(file: ApplicationFile, kind: str, definition: ServiceFile) -> list[Component]:
    """The containers of one declaration."""
    use = file.components[kind]
    scope: Scope = use.scope if use.port is not None else "internal"
    settings = {**definition.settings, **use.settings}
    return [
        Component(name, kind, definition, use.port, scope, use.sources, settings, watched)
        for name, watched in containers(file, kind, definition).items()
    ]


def _sources(scope: Scope, sources: tuple[str, ...]) -> tuple[str, ...]:
    return (sources or ANYWHERE) if scope == "public" else ()


def _described(parts: Mapping[str, Service | Component]) -> dict[str, Any]:
    return {
        name: _plain(dataclasses.replace(each, file=None))  # type: ignore[arg-type]
        | {"file": each.file.model_dump(mode="json", by_alias=True)}
        for name, each in parts.items()
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(value), default=str))


def _service(
    application: Document[ApplicationFile], section: str, name: str, project: Path | None
) -> Document[ServiceFile]:
    """The service.yml of a service or a component: the one beside the application comes first."""
    beside = application.path.parent
    roots = [beside.parent if beside.name == "apps" else beside / "services", *_roots(project)]
    for root in roots:
        if (root / name / "service.yml").is_file():
            found = read(ServiceFile, root / name / "service.yml")
            if found.model.name != name:
                what = f"the service in folder {name} calls itself {found.model.name!r}"
                raise found.bad(("name",), what, "folder and name are the same word")
            return found
    word = section.removesuffix("s")
    fix = f"make services/{name}/service.yml, or take the {word} out"
    raise application.bad((section, name), f"unknown {word} {name!r}", fix)


def _roots(project: Path | None) -> list[Path]:
    """Folders `services` to look in: the project's own before the toolkit's."""
    own = _project(project)
    return list(dict.fromkeys(root / "services" for root in (own, paths.toolkit()) if root))


def _project(project: Path | None) -> Path | None:
    """The one given, else the one here; none where the toolkit's applications are looked at from anywhere."""
    try:
        return project or paths.project()
    except BadInput:
        return None


def _is_path(name_or_path: str) -> bool:
    return name_or_path.endswith((".yml", ".yaml")) or "/" in name_or_path


def _find(name_or_path: str, project: Path | None) -> Path:
    if _is_path(name_or_path):
        path = ((_project(project) or Path()) / paths.expanded(name_or_path)).resolve()
        if not path.is_file():
            raise BadInput(
                "no such application file", where=str(path), fix="give the path of a file that exists"
            )
        return path
    for root in _roots(project):
        path = root / "apps" / f"{name_or_path}.yml"
        if path.is_file():
            return path
    raise BadInput(
        f"unknown application {name_or_path!r}",
        where=" and ".join(str(root / "apps") for root in _roots(project)),
        fix=f"give one of: {', '.join(names(project))}, or the path of an application file",
    )
