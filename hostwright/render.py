"""What runs, as text: one pure function from an application and an environment to files."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

import jinja2

from hostwright import paths, secrets
from hostwright.application import Application, Component, Listener, Route, Service, Setting
from hostwright.application.file import DOCKERFILES, MOST_REPLICAS, PLACEHOLDER, PROBE, STATUS
from hostwright.errors import BadInput

PUBLISH = {"public": ("0.0.0.0", "[::]"), "host": ("127.0.0.1", "[::1]")}  # noqa: S104  (what public means)
EACH = "{service}"  # in the name of a component's file: there is one for each


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
class Environment:
    """What rendering is told beyond the application. The default is a developer's machine."""

    name: str = "development"
    topology: Literal["single"] = "single"
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


def render(application: Application, environment: Environment) -> dict[str, str]:
    """Path -> text of every file that runs the application there; none of them holds a secret.

    Raises BadInput when the environment names what the application has not.
    """
    _check(application, environment)
    return {"single": _compose}[environment.topology](application, environment)


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


def write(folder: Path, application: Application, images: Mapping[str, str] | None = None) -> list[Path]:
    """A developer's environment, which `docker compose up` runs: secrets and TLS are made on the spot.

    Secrets that are there stay. Images of ours that are not given are built. Returns the files.
    """
    held = {path.name: path.read_text() for path in (folder / "secrets" / ".store").glob("*")}
    values = secrets.complete(application, held, Environment.name, Environment.names)
    environment = Environment(
        images=images or {},
        sources={
            service.name: str(service.folder.parent)
            for service in application.services.values()
            if service.file.build and service.image not in (images or {})
        },
        digests=secrets.digests(application, values),
    )
    written = []
    for name, text in render(application, environment).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written + secrets.write(folder / "secrets", application, values)


# --- Compose ---


def _compose(application: Application, environment: Environment) -> dict[str, str]:
    """compose.yaml, and for each container that is configured by files a folder of its own name."""
    model = _model(application, environment)
    files: dict[str, str] = {}
    for store in model["stores"]:
        own = _fill_all(f"compose/{store['kind']}", **model, store=store)
        store["digest"] = _digest(*own.values(), environment.digests.get(store["name"], ""))
        files |= {f"{store['name']}/{name}": text for name, text in own.items()}
    for component in model["components"]:
        own = _configuration(component, model)
        component["configured"] = bool(own)
        component["digest"] = _digest(*own.values(), environment.digests.get(component["name"], ""))
        files |= {f"{component['name']}/{name}": text for name, text in own.items()}
    folder = f"gateway/{application.gateway.kind}"
    unmarked = _fill_all(folder, **model, digest="")
    digest = _digest(*unmarked.values(), environment.digests.get("gateway", ""))
    files |= {f"gateway/{name}": text for name, text in _fill_all(folder, **model, digest=digest).items()}
    volumes = [each["name"] for each in (*model["stores"], *model["components"]) if each.get("data", True)]
    return {"compose.yaml": _fill("compose/compose.yaml.j2", **model, volumes=volumes), **files}


def _model(application: Application, environment: Environment) -> dict[str, Any]:
    """What templates see: the application with the environment laid over it, everything worked out."""
    images = {**application.images(), **environment.images}
    network = _network(application, environment)
    services = [
        _service(application, environment, images, network, each) for each in application.services.values()
    ]
    stores = [
        {
            "name": name,
            "kind": store.kind,
            "image": images[store.image_name],
            "uid": store.traits.uid,
            "memory": store.memory or store.traits.memory,
            "databases": store.databases,
            "user": application.name,
            "ports": _published(environment, store.scope, store.port, store.traits.port),
            "metrics": store.traits.metrics if application.scraped else None,
        }
        for name, store in application.stores.items()
    ]
    gateway = application.gateway
    listeners = [_listener(application, each) for each in gateway.listeners]
    protected = any(each.authentication == "required" for each in gateway.routes)
    identity = gateway.authentication.headers if gateway.authentication else ()
    return {
        "application": application,
        "environment": environment,
        "network": network,
        "options": environment.gateway,
        "services": services,
        "pools": {each["name"]: each["pools"] for each in services},
        "tokens": gateway.authentication.service if gateway.authentication else None,
        "stores": stores,
        "components": [
            _component(application, environment, images, each) for each in application.components.values()
        ],
        "listeners": listeners,
        "gateway": {
            "image": images[gateway.image_name],
            "uid": gateway.uid,
            "memory": gateway.memory,
            "address": network["gateway"],
            "probe": PROBE,
            "status": STATUS if application.watchers("gateway") else None,
            "ports": [
                port
                for each in gateway.listeners
                for port in _published(environment, each.scope, each.port, gateway.container_port(each))
            ],
        },
        "identity": {name: f"$identity_{_variable(name)}" if protected else "" for name in identity},
        "internals": sorted({path for each in application.services.values() for path in each.internals}),
        "errors": ERRORS,
    }


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


def _service(
    application: Application,
    environment: Environment,
    images: Mapping[str, str],
    network: Mapping[str, Any],
    service: Service,
) -> dict[str, Any]:
    balanced = _balanced(application, service)
    instances, spares = _instances(environment, network, service, balanced)
    return {
        "name": service.name,
        "title": service.file.title,
        "image": images[service.image],
        "source": environment.sources.get(service.name),
        "uid": service.file.uid,
        "port": service.file.port,
        "health": service.file.health,
        "metrics": service.file.metrics,
        "publishes": service.file.publishes,
        "consumes": service.file.consumes,
        "memory": service.file.memory,
        "command": service.file.command,
        "migrate": service.file.migrate,
        "dockerfile": DOCKERFILES.get(service.file.build or ""),
        "probe": _probe(service),
        "database": service.database.store if service.database else None,
        "broker": service.broker,
        "secrets": _reads_secrets(application, service.name),
        "digest": _digest(environment.digests.get(service.name, "")),
        "environment": _environment(application, environment, network, service),
        "instances": instances,
        "spares": spares,
        "balanced": balanced,
        "pools": _pools(service, instances, spares if balanced else None),
    }


def _component(
    application: Application, environment: Environment, images: Mapping[str, str], component: Component
) -> dict[str, Any]:
    file = component.file
    settings = {**component.settings, **environment.settings.get(component.kind, {})}
    words = {name: _text(value) for name, value in settings.items()} | {"watched": component.watched or ""}

    def filled(text: str) -> str:
        return PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)

    return {
        "name": component.name,
        "kind": component.kind,
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
        "ports": _published(environment, component.scope, component.port, file.port),
        "data": file.data,
        "sees": file.sees,
        "watched": component.watched,
        "secrets": _reads_secrets(application, component.name),
    }


def _reads_secrets(application: Application, owner: str) -> bool:
    return any(each.owner == owner for secret in application.secrets() for each in secret.readers)


def _configuration(component: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, str]:
    """Path -> text of a component's files, of which one with {service} in its name is there for each."""
    folder = f"monitoring/{component['kind']}"
    if not (paths.toolkit() / "templates" / folder).is_dir():
        return {}
    found: dict[str, str] = {}
    for name in _names(folder):
        each = model["services"] if EACH in name else [None]
        for service in each:
            path = name.replace(EACH, service["name"]) if service else name
            text = _fill(f"{folder}/{name}", **model, component=component, service=service)
            found[path.removesuffix(".j2")] = text
    return found


Instances = list[dict[str, str]]


def _instances(
    environment: Environment, network: Mapping[str, Any], service: Service, balanced: bool
) -> tuple[Instances, Instances]:
    """Those that run all the time, and what takes the place of the only one while that is made anew."""
    replicas = environment.replicas.get(service.name, service.replicas)
    instances = [
        {
            "name": service.name if number == 0 else f"{service.name}-{number + 1}",
            "address": network["service"](service.place, number),
        }
        for number in range(replicas)
    ]
    if replicas > 1 or not balanced:
        return instances, []
    # Where the last instance of all would be: who has one only has not that one.
    address = network["service"](service.place, MOST_REPLICAS - 1)
    return instances, [{"name": f"{service.name}-spare", "address": address}]


def _balanced(application: Application, service: Service) -> bool:
    """Whether anybody is directed to it by the gateway."""
    gateway = application.gateway
    named = {each.service for each in gateway.routes} | {each.service for each in gateway.listeners}
    authentication = gateway.authentication
    return service.name in named or bool(authentication and authentication.service == service.name)


def _pools(service: Service, instances: Instances, spares: Instances | None) -> list[dict[str, Any]]:
    """Whom the gateway may ask: all; and for each instance, while it is set aside, it after all others."""

    def pool(name: str, members: Instances, aside: str = "") -> dict[str, Any]:
        # Who is alone is asked whatever happened to the request before.
        passive = "max_fails=2 fail_timeout=5s" if len(instances) > 1 else "max_fails=0"
        servers = [
            (f"{each['address']}:{service.file.port}", "backup" if each["name"] == aside else passive)
            for each in members
        ]
        return {"name": name, "aside": aside, "servers": servers}

    found = [pool(service.name, instances)]
    if spares is not None:
        found += [pool(f"{each['name']}.aside", [*instances, *spares], each["name"]) for each in instances]
    return found


def _probe(service: Service) -> list[str]:
    """Command by which the container asks itself whether it is ready."""
    file = service.file
    if file.health.command:
        return ["CMD", *file.health.command]
    if file.build == "python":
        url = f"http://127.0.0.1:{file.port}{file.health.ready}"
        return ["CMD", "python", "-m", "kit.health", url]
    ask = (
        f"exec 3<>/dev/tcp/127.0.0.1/{file.port} && printf 'GET {file.health.ready} HTTP/1.0\\r\\n\\r\\n' >&3"
    )
    return ["CMD", "bash", "-c", f"{ask} && grep -q '^HTTP/1.. 200 ' <&3"]


def _environment(
    application: Application, environment: Environment, network: Mapping[str, Any], service: Service
) -> dict[str, str]:
    """Environment variables of a service's containers."""
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
    found["CORS_ORIGINS"] = origins = (
        [_origin(application.https, name) for name in environment.names] if application.https else []
    )
    if origins:
        found["PUBLIC_URL"] = origins[0]
    found["TRUSTED_PROXIES"] = [f"{network['gateway']}/32"]
    for component in application.components.values():
        if service.file.build == "python":
            found |= component.file.tells
    found |= service.settings | dict(environment.settings.get(service.name, {}))
    return {name: _text(value) for name, value in found.items()}


def _origin(https: Listener, name: str) -> str:
    host = f"[{name}]" if ":" in name else name
    return f"https://{host}" + ("" if https.port == 443 else f":{https.port}")


def _listener(application: Application, listener: Listener) -> dict[str, Any]:
    """A listener with the routes it serves: all, or those of the service it belongs to."""
    routes: tuple[Route, ...] = application.gateway.routes
    if listener.service:
        # Everything goes to the service; these need more than that.
        routes = tuple(
            each
            for each in routes
            if each.service == listener.service and (each.authentication == "required" or each.websocket)
        )
    return {
        **listener.model_dump(),
        "container_port": application.gateway.container_port(listener),
        "routes": routes,
    }


def _published(environment: Environment, scope: str, port: int | None, container_port: int) -> list[str]:
    """`127.0.0.1:5432:5432` and its IPv6 twin: exactly where the scope allows."""
    addresses = PUBLISH.get(scope, ())[: 2 if environment.ipv6 else 1]
    return [f"{address}:{port}:{container_port}" for address in addresses] if port else []


def _network(application: Application, environment: Environment) -> dict[str, Any]:
    """Addresses of the application's network: router .1, gateway .2, services from .16, others from .192.

    The n-th instance of every service comes after the (n-1)-th of all, so that scaling moves nobody.
    """
    own = zlib.crc32(application.name.encode()) % 256
    cidr = environment.network or IPv4Network(f"10.89.{own}.0/24")
    return {
        "cidr": str(cidr),
        "range": str(list(cidr.subnets(new_prefix=26))[3]),
        "cidr6": str(environment.network6 or IPv6Network(f"fd00:89:{own:x}::/64")),
        "router": str(cidr[1]),
        "gateway": str(cidr[2]),
        "service": lambda place, number: str(cidr[16 + number * 22 + place]),
    }


def _check(application: Application, environment: Environment) -> None:
    configured = [*application.services, *application.declared]
    for what, given, known in (
        ("replicas", environment.replicas, list(application.services)),
        ("settings", environment.settings, configured),
    ):
        for name in given:
            if name not in known:
                fix = f"one of: {', '.join(known)}"
                raise BadInput(f"{what} of unknown service {name!r}", where=environment.name, fix=fix)
    for name, number in environment.replicas.items():
        if not 1 <= number <= 8:
            raise BadInput(f"{number} replicas of {name}", where=environment.name, fix="1 to 8")
    if not 1 <= environment.gateway.timeout <= 600:
        what = f"a gateway that waits {environment.gateway.timeout} s for answers"
        raise BadInput(what, where=environment.name, fix="timeout: 1 to 600")
    if environment.gateway.hsts < 0:
        raise BadInput(f"hsts of {environment.gateway.hsts} s", where=environment.name, fix="0 or more")
    if environment.network and environment.network.prefixlen != 24:
        raise BadInput(f"network {environment.network}", where=environment.name, fix="give a /24")


# --- Templates ---


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(  # noqa: S701  (not HTML)
        loader=jinja2.FileSystemLoader(paths.toolkit() / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["value"] = _yaml
    found.filters["variable"] = _variable
    return found


def _fill_all(folder: str, **model: Any) -> dict[str, str]:
    """File name -> text of every template in a folder; what is no template is taken as it is."""
    found = {name.removesuffix(".j2"): _fill(f"{folder}/{name}", **model) for name in _names(folder)}
    return {name: text for name, text in found.items() if text}  # an empty one is not wanted here


def _names(folder: str) -> list[str]:
    root = paths.toolkit() / "templates" / folder
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def _fill(name: str, **model: Any) -> str:
    if not name.endswith(".j2"):
        return (paths.toolkit() / "templates" / name).read_text()
    return _templates().get_template(name).render(**model)


def _yaml(value: Any) -> str:
    """A YAML value on one line that Compose does not interpolate; JSON is YAML."""
    return json.dumps(value, ensure_ascii=False).replace("$", "$$")


def _variable(header: str) -> str:
    """A header's name as nginx spells it in its variables."""
    return header.lower().replace("-", "_")


def _text(value: Setting) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _digest(*texts: str) -> str:
    """12 characters that change when one of the texts does."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
