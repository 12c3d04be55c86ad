"""Compose: one project for one host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostwright.application import Application, Service
from hostwright.application.file import DOCKERFILES, MOST_REPLICAS
from hostwright.application.gateway import PROBE, STATUS
from hostwright.render.environment import Environment
from hostwright.render.model import (
    component_facts,
    component_files,
    gateway_files,
    reads_secrets,
    service_facts,
    store_facts,
    variables,
)
from hostwright.render.templates import digest, fill, fill_all

PUBLISH = {"public": ("0.0.0.0", "[::]"), "host": ("127.0.0.1", "[::1]")}  # noqa: S104  (what public means)
CONNECTIONS = 60  # of a PostgreSQL


def files(application: Application, environment: Environment) -> dict[str, str]:
    """compose.yaml, and for each container that is configured by files a folder of its own name."""
    model = _model(application, environment)
    found: dict[str, str] = {}
    for store in model["stores"]:
        own = fill_all(f"stores/{store['kind']}/files", **model, store=store)
        store["digest"] = digest(*own.values(), environment.digests.get(store["name"], ""))
        found |= {f"{store['name']}/{name}": text for name, text in own.items()}
    for component in model["components"]:
        own = component_files(component, model)
        component["configured"] = bool(own)
        component["digest"] = digest(*own.values(), environment.digests.get(component["name"], ""))
        found |= {f"{component['name']}/{name}": text for name, text in own.items()}
    pools = {each["name"]: each["pools"] for each in model["services"]}
    gateway = gateway_files(application, environment, pools, environment.trusted_proxies)
    found |= {f"gateway/{name}": text for name, text in gateway.items()}
    volumes = [each["name"] for each in (*model["stores"], *model["components"]) if each.get("data", True)]
    return {"compose.yaml": fill("compose/compose.yaml.j2", **model, volumes=volumes), **found}


def _model(application: Application, environment: Environment) -> dict[str, Any]:
    """What templates see: the application with the environment laid over it, everything worked out."""
    images = {**application.images(), **environment.images}
    network = _network(application, environment)
    gateway, door = application.gateway, application.entrance
    return {
        "application": application,
        "environment": environment,
        "cluster": False,
        "front": f"{door.protocol}://gateway:{gateway.container_port(door)}" if door else "",
        "network": network,
        "services": [
            _service(application, environment, images, network, each)
            for each in application.services.values()
        ],
        "stores": [
            store_facts(application, name, images, CONNECTIONS)
            | {"ports": _published(environment, store.scope, store.port, store.traits.port)}
            for name, store in application.stores.items()
        ],
        "components": [
            component_facts(application, environment, images, each)
            | {"ports": _published(environment, each.scope, each.port, each.file.port)}
            for each in application.components.values()
        ],
        "gateway": {
            "image": images[gateway.image_name],
            "uid": gateway.uid,
            "memory": gateway.memory,
            "secrets": reads_secrets(application, "gateway"),
            "address": network["gateway"],
            "probe": PROBE,
            "status": STATUS,
            "ports": [
                port
                for each in gateway.listeners
                for port in _published(environment, each.scope, each.port, gateway.container_port(each))
            ],
        },
    }


def _service(
    application: Application,
    environment: Environment,
    images: Mapping[str, str],
    network: Mapping[str, Any],
    service: Service,
) -> dict[str, Any]:
    balanced = application.behind_gateway(service.name)
    instances, spares = _instances(environment, network, service, balanced)
    return service_facts(service) | {
        "image": images[service.image],
        "source": environment.sources.get(service.name),
        "uid": service.file.uid,
        "memory": service.file.memory,
        "background": service.file.background,
        "command": service.file.command,
        "migrate": service.file.migrate,
        "dockerfile": DOCKERFILES.get(service.file.build or ""),
        "probe": _probe(service),
        "database": service.database.store if service.database else None,
        "broker": service.broker,
        "secrets": reads_secrets(application, service.name),
        "digest": digest(environment.digests.get(service.name, "")),
        "environment": variables(application, environment, service, [f"{network['gateway']}/32"]),
        "instances": instances,
        "spares": spares,
        "balanced": balanced,
        "pools": _pools(service, instances, spares if balanced else None),
    }


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


def _pools(service: Service, instances: Instances, spares: Instances | None) -> list[dict[str, Any]]:
    """Whom the gateway may ask: all; and for each instance, while it is set aside, it after all others."""

    def pool(name: str, members: Instances, aside: str = "") -> dict[str, Any]:
        # Who is alone is asked whatever happened to the request before.
        passive = "max_fails=2 fail_timeout=5s" if len(instances) > 1 else "max_fails=0"
        servers = [
            {
                "name": each["name"],
                "address": f"{each['address']}:{service.file.port}",
                "options": "backup" if each["name"] == aside else passive,
            }
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


def _published(environment: Environment, scope: str, port: int | None, container_port: int) -> list[str]:
    """`127.0.0.1:5432:5432` and its IPv6 twin: exactly where the scope allows."""
    addresses = PUBLISH.get(scope, ())[: 2 if environment.ipv6 else 1]
    return [f"{address}:{port}:{container_port}" for address in addresses] if port else []


def _network(application: Application, environment: Environment) -> dict[str, Any]:
    """Addresses of the application's network: router .1, gateway .2, services from .16, others from .192.

    The n-th instance of every service comes after the (n-1)-th of all, so that scaling moves nobody.
    """
    own, own6 = application.networks
    cidr = environment.network or own
    return {
        "cidr": str(cidr),
        "range": str(list(cidr.subnets(new_prefix=26))[3]),
        "cidr6": str(environment.network6 or own6),
        "router": str(cidr[1]),
        "gateway": str(cidr[2]),
        "service": lambda place, number: str(cidr[16 + number * 22 + place]),
    }
