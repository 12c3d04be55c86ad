"""Kubernetes: a namespace with everything the application is made of, in the order in which it is applied.

The gateway is here what it is on a host, a proxy with the same configuration, and not rules of an Ingress.
Who is let in, how often, which headers are dropped and added, what is compressed, how errors read and the
listeners of single services are the published contract, and no controller's annotations say all of that. So
an Ingress ends TLS and hands everything to the gateway, whichever controller it belongs to.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from hostwright import secrets
from hostwright.application import Application, Component, Service
from hostwright.application.gateway import OWN, PROBE, STATUS
from hostwright.errors import BadInput
from hostwright.render import network
from hostwright.render.environment import OVERLAYS, Environment
from hostwright.render.manifests import Body, Manifest, Place, texts
from hostwright.render.model import (
    component_facts,
    component_files,
    gateway_files,
    reads_secrets,
    service_facts,
    store_facts,
    variables,
)
from hostwright.render.network import MIGRATE
from hostwright.render.templates import digest, fill, fill_all

DRAIN = 5  # seconds from "asked for nothing new" to the signal to stop: by then every node has heard of it
GRACE = 45  # seconds until a kill, DRAIN among them
STORE_GRACE = 60
AWAY = 30  # seconds without a node until its pods are made elsewhere; Kubernetes waits for 300
JOB_TIME = 900  # seconds for a migration, its tries together
CONNECTIONS = 60  # that a PostgreSQL takes at least
POOL = 12  # of an instance, with those beside its pool
CONNECTION = 3  # MiB
TEMPORARY = "32Mi"
NOTES = "1Gi"
READER = 10024  # who reads, as one of root's group, what on a host root alone may
HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def files(application: Application, environment: Environment) -> dict[str, str]:
    """Path -> manifest: a folder for each of PHASES, a file for each object.

    What is configured by files or variables has their digest in a name, so that a change of them rolls out by
    itself and the way back finds what was. Secrets are named likewise and not among these: `secret_files`.
    """
    place = Place(application, environment)
    _check(place)
    return texts(place, _manifests(place))


def secret_files(
    application: Application, environment: Environment, values: Mapping[str, str]
) -> dict[str, str]:
    """Path -> manifest of every Secret that `files` names, with the values: for no log and no disk.

    `values`: every secret by name, as `secrets.ensure` gives them. `environment.digests` must be those of the
    values (`secrets.digests`), in `files` too: names have them. Raises BadInput where they are not.
    """
    if environment.digests != secrets.digests(application, values):
        raise BadInput(
            "the digests are not those of the secrets",
            where=environment.name,
            fix="digests=secrets.digests()",
        )
    place = Place(application, environment)
    owners = secrets.files_of(application, values)
    found = [
        _secret(place, owner, place.secret(owner), owner, "Opaque", own)
        for owner, own in owners.items()
        if owner != "gateway" or _gateway_reads_secrets(place)
    ]
    key = application.gateway.key_file
    if network.behind_ingress(place) and key in owners.get("gateway", {}):
        own = {"tls.crt": owners["gateway"]["certificate"], "tls.key": owners["gateway"][key]}
        name = place.secret("gateway", "-tls")
        found.append(_secret(place, "gateway", name, "gateway-tls", "kubernetes.io/tls", own))
    return texts(place, found)


@dataclass(frozen=True)
class Volume:
    """A folder of a node that must be there before its owner can start, for this user alone."""

    owner: str
    """A store or a component."""
    node: str
    path: str
    uid: int


def volumes(application: Application, environment: Environment) -> list[Volume]:
    """The folder of each store and component. Raises BadInput for one that is pinned to no node."""
    place = Place(application, environment)
    cluster = environment.cluster
    found = []
    for name, user in _keepers(application).items():
        if name not in cluster.pins:
            fix = "name the node that keeps it: pins={STORE: NODE}"
            raise BadInput(f"no node for the data of {name}", where=environment.name, fix=fix)
        path = f"{cluster.folder}/{place.namespace}/{name}"
        found.append(Volume(name, cluster.pins[name], path, user))
    return found


def _keepers(application: Application) -> dict[str, int]:
    """What keeps its data on one node -> whom it runs as, stores first."""
    found = {name: store.traits.uid for name, store in application.stores.items()}
    for name, component in application.components.items():
        if component.file.data and not component.seen:
            found[name] = uid(component)
    return found


def uid(component: Component) -> int:
    """Whom a component runs as on a cluster, where nobody is root."""
    return component.file.uid or READER


def pinned(
    application: Application, nodes: Sequence[str], held: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Store or component -> node: those that have one stay, others go where there are fewest, nodes in the
    order given.

    Raises BadInput when such a node is not among them: the data is nowhere else.
    """
    keepers = _keepers(application)
    found = {store: node for store, node in (held or {}).items() if store in keepers}
    for store, node in found.items():
        if node not in nodes:
            fix = "bring the node back, or move the data first"
            raise BadInput(f"the data of {store} is on {node} alone", where=node, fix=fix)
    if not nodes:
        raise BadInput("no node to keep data on", where=application.name, fix="name one")
    for store in keepers:
        if store not in found:
            found[store] = min(nodes, key=lambda node: list(found.values()).count(node))
    return found


def _check(place: Place) -> None:
    application, environment = place.application, place.environment
    cluster = environment.cluster

    def bad(what: str, fix: str) -> BadInput:
        return BadInput(what, where=environment.name, fix=fix)

    if cluster.overlay not in OVERLAYS:
        raise bad(f"unknown overlay {cluster.overlay!r}", f"one of: {', '.join(OVERLAYS)}")
    for component in application.watchers(OWN):
        file = component.file
        if file.data or component.seen or reads_secrets(application, component.name):
            raise bad(
                f"{component.name} is in the gateway's pods here, and can have no data and no secrets",
                "take data, sees and secrets out of its service.yml, or it out of hostwright:components",
            )
    keepers = _keepers(application)
    for name in cluster.pins:
        if name not in keepers:
            raise bad(f"a node for unknown store {name!r}", f"one of: {', '.join(keepers)}")
    for name in environment.names:
        if ":" not in name and not HOST.fullmatch(name):
            raise bad(
                f"no Ingress can have the name {name!r}", "lower-case letters, digits, hyphens and dots"
            )
    for name in application.images():
        reference = place.images[name]
        tag = reference.rpartition("/")[2]
        if "@" not in tag and tag.partition(":")[2] in ("", "latest"):
            raise bad(f"{reference} may be another {name} tomorrow", "give it a tag, or better a digest")


# --- What there is ---


def _manifests(place: Place) -> Iterator[Manifest]:
    enforced = {f"pod-security.kubernetes.io/{each}": "restricted" for each in ("audit", "enforce", "warn")}
    yield Manifest(
        "0-namespace", "Namespace", place.namespace, place.application.name, "namespace", {}, labels=enforced
    )
    yield from network.services(place)
    yield from network.policies(place)
    yield from network.ingress(place)
    yield from _gateway(place)
    for service in place.application.services.values():
        yield from _service(place, service)
    for volume in volumes(place.application, place.environment):
        if volume.owner in place.application.stores:
            yield from _store(place, volume)
        else:
            yield from _data(place, volume)
    model = _model(place)
    for component in place.application.components.values():
        if component.home == component.name:
            yield from _component(place, component, model)


def _gateway(place: Place) -> Iterator[Manifest]:
    gateway = place.application.gateway

    # Twice the same Service: to the second what the first refused is sent again, and reaches another pod.
    def twice(name: str, port: int) -> list[dict[str, str]]:
        address = f"{name}:{port}"
        return [
            {"name": each, "address": address, "options": "max_fails=0"} for each in (name, f"{name}-again")
        ]

    pools = {
        name: [{"name": name, "aside": "", "servers": twice(name, service.file.port)}]
        for name, service in place.application.services.items()
    }
    behind = network.behind_ingress(place)
    # Without an Ingress nobody stands before it: its ports admit any pod, which is a client as others are.
    proxies = [*place.environment.trusted_proxies, *(place.environment.cluster.pods if behind else ())]
    config = _config(
        place, "gateway", gateway_files(place.application, place.environment, pools, proxies, behind)
    )
    yield config
    pod = _Pod(place, "gateway", place.images[gateway.image_name], gateway.uid, gateway.memory)
    pod.files(config.name)
    if _gateway_reads_secrets(place):
        pod.secrets(place.secret("gateway"))
    pod.container["command"] = COMMANDS[gateway.kind]
    pod.nodes = network.public_nodes(place, "gateway")
    up = _http("/", PROBE)
    pod.probes(up, up)
    for component in place.application.watchers(OWN):
        pod.beside(_facts(place, component), component)
    yield from _rolling(pod, *instances(place, "gateway"))


EACH = 2  # gateways on each node at whose own address they are reached
COMMANDS = {
    "nginx": ["nginx", "-e", "/dev/stderr", "-c", "/etc/hostwright/nginx.conf", "-g", "daemon off;"],
    "haproxy": ["haproxy", "-W", "-db", "-f", "/etc/hostwright/haproxy.cfg"],
}


def _gateway_reads_secrets(place: Place) -> bool:
    """Whether it checks tokens, or has a listener of its own for https, beside the one behind the Ingress."""
    behind = network.behind_ingress(place)
    return place.application.gateway.tokens is not None or any(
        each.protocol == "https" and each != behind for each in place.application.gateway.listeners
    )


def _service(place: Place, service: Service) -> Iterator[Manifest]:
    file = service.file
    told = variables(place.application, place.environment, service, place.environment.cluster.pods)
    config = _config(place, service.name, told)
    yield config

    def pod(name: str, arguments: Sequence[str] | None) -> _Pod:
        found = _Pod(place, name, place.images[service.image], file.uid, file.memory)
        found.container["envFrom"] = [{"configMapRef": {"name": config.name}}]
        if reads_secrets(place.application, service.name):
            found.secrets(place.secret(service.name))
        if arguments:
            found.container["args"] = list(arguments)
        return found

    if file.migrate:
        yield from _job(pod(f"{service.name}{MIGRATE}", file.migrate))
    serving = pod(service.name, file.command)
    serving.probes(_http(file.health.live, file.port), _http(file.health.ready, file.port))
    yield from _rolling(serving, *instances(place, service.name))


def instances(place: Place, part: str) -> tuple[int, int]:
    """How many of the gateway or of a service there are at least and at most."""
    if part == "gateway":
        if nodes := network.public_nodes(place, part):
            # At the address of a node nobody else answers: where one is lost another goes on.
            return EACH * len(nodes), EACH * len(nodes)
        # It is everybody's way in, in every overlay.
        least = max(2, place.overlay.replicas)
        return least, max(least, place.overlay.most)
    service = place.application.services[part]
    wanted = max(service.replicas, place.overlay.replicas)
    least = min(service.most, place.environment.replicas.get(service.name, wanted))
    return least, min(service.most, max(least, place.overlay.most))


def _store(place: Place, volume: Volume) -> Iterator[Manifest]:
    name = volume.owner
    kind = place.application.stores[name].kind
    most = _connections(place, name)
    facts = store_facts(place.application, name, place.images, most)
    facts["memory"] += CONNECTION * (most - CONNECTIONS)
    own = fill_all(f"stores/{kind}/files", store=facts)
    shared: Body = {}
    for part in ("command", "environment", "probe"):
        shared |= yaml.safe_load(fill(f"stores/{kind}/{part}.yaml.j2", store=facts))
    told = shared["environment"] | MOVED[kind]
    config = _config(place, name, own)
    yield config
    pod = _Pod(place, name, facts["image"], volume.uid, facts["memory"], cores=2, grace=STORE_GRACE)
    pod.files(config.name)
    pod.secrets(place.secret(name))
    pod.container |= {
        "command": ["bash", "/etc/hostwright/start.sh"],
        "args": shared["command"],
        "env": _env(told),
    }
    for path in WRITABLE[kind]:
        pod.temporary(path)
    pod.volume("data", HOMES[kind], {"persistentVolumeClaim": {"claimName": f"{name}-data"}})
    port = place.application.stores[name].traits.port
    alive = {"tcpSocket": {"port": port}}
    pod.probes(alive, {"exec": {"command": _command(shared["test"])}})
    yield from _data(place, volume)
    yield pod.account()
    yield _lasting(pod, "2-stores")


# Exactly where the image declares a volume: were this a folder above it, the engine would lay a volume of its
# own over the data, which goes with the container.
HOMES = {"postgres": "/var/lib/postgresql/data", "rabbitmq": "/var/lib/rabbitmq"}
# The kubelet gives a volume's own folder to the group. PostgreSQL wants one that is its user's alone.
MOVED = {"postgres": {"PGDATA": "/var/lib/postgresql/data/pgdata"}, "rabbitmq": {}}
WRITABLE = {"postgres": ("/run/postgresql",), "rabbitmq": ()}


def _connections(place: Place, store: str) -> int:
    """For all instances that there may be of who uses it, and one more of each while they roll."""
    users = [
        instances(place, service.name)[1] + 1
        for service in place.application.services.values()
        if service.database and service.database.store == store
    ]
    return max(CONNECTIONS, 20 + POOL * sum(users))


def _command(test: Sequence[str]) -> list[str]:
    """A health check as Compose spells it, as a command."""
    return ["sh", "-c", test[1]] if test[0] == "CMD-SHELL" else list(test[1:])


def _data(place: Place, volume: Volume) -> Iterator[Manifest]:
    """The volume of what keeps its data on a node."""
    source: Body = {"local": {"path": volume.path}, "nodeAffinity": {"required": _one_of([volume.node])}}
    yield from _volume(place, volume.owner, "", "ReadWriteOnce", source)


def _volume(place: Place, owner: str, what: str, mode: str, source: Body) -> Iterator[Manifest]:
    """A volume for one claim and a claim for one volume: a name that is free is taken by nobody else.

    `what`: it is more than the owner's data.
    """
    claim, name = f"{owner}-{what or 'data'}", f"{place.namespace}-{owner}" + (f"-{what}" if what else "")
    component, key = network.component(place, owner), f"{owner}-{what}" if what else owner
    size = {"storage": f"{place.overlay.storage}Gi"}
    common = {"accessModes": [mode], "storageClassName": "", "volumeMode": "Filesystem"}
    body = {
        **common,
        "capacity": size,
        "claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim, "namespace": place.namespace,
        },
        "persistentVolumeReclaimPolicy": "Retain",
        **source,
    }  # fmt: skip
    yield Manifest("1-base", "PersistentVolume", name, owner, component, {"spec": body}, key=key)
    body = {**common, "resources": {"requests": size}, "volumeName": name}
    yield Manifest("1-base", "PersistentVolumeClaim", claim, owner, component, {"spec": body})


def _model(place: Place) -> Body:
    """What the templates of those who watch see: each service as one, whichever of its pods answers."""
    application = place.application
    return {
        "application": application,
        "environment": place.environment,
        "cluster": True,
        "namespace": place.namespace,
        "front": network.front(place),
        "services": [
            service_facts(each) | {"instances": [{"name": each.name, "address": each.name}]}
            for each in application.services.values()
        ],
        "stores": [store_facts(application, name, place.images, CONNECTIONS) for name in application.stores],
        "components": [_facts(place, each) for each in application.components.values()],
        "gateway": {"status": STATUS},
    }


def _facts(place: Place, component: Component) -> Body:
    return component_facts(place.application, place.environment, place.images, component)


def _component(place: Place, component: Component, model: Body) -> Iterator[Manifest]:
    """One for the application, or where it sees what is a node's one on each.

    The profile `restricted` lets no pod name a folder of its node. A volume may be one, and volumes are made
    by who runs the cluster: so it is given that folder, to read, and no other.
    """
    file, name, facts = component.file, component.name, _facts(place, component)
    pod = _Pod(
        place, name, facts["image"], uid(component), file.memory, grace=STORE_GRACE if file.data else GRACE,
        group=None if file.uid else 0, scratch=file.data != "/tmp",  # noqa: S108  (of the container)
    )  # fmt: skip
    _tell(pod.container, facts)
    if own := component_files(facts, model):
        config = _config(place, name, {_key(path): text for path, text in own.items()})
        yield config
        pod.files(config.name, own)
    if facts["secrets"]:
        pod.secrets(place.secret(name))
    if file.data:
        claim = {"persistentVolumeClaim": {"claimName": f"{name}-data"}}
        # What there is one of on each node keeps for as long as its pod is there: how far it has read.
        pod.volume("data", file.data, {"emptyDir": {"sizeLimit": NOTES}} if component.seen else claim)
    for number, (there, here) in enumerate(component.seen.items(), 1):
        what = f"sees-{number}"
        yield from _volume(place, name, what, "ReadOnlyMany", {"hostPath": {"path": there}})
        seen: Body = {"claimName": f"{name}-{what}", "readOnly": True}
        pod.volume(what, here, {"persistentVolumeClaim": seen}, read_only=True)
    pod.probes(_http(file.health.live, file.port), _http(file.health.ready, file.port))
    if component.seen:
        pod.container.setdefault("env", []).append(NODE)
        spec = {"selector": {"matchLabels": place.selector(name)}, "template": pod.template()}
        yield pod.account()
        yield Manifest("4-workloads", "DaemonSet", name, name, pod.component, {"spec": spec})
    elif file.data:
        yield pod.account()
        yield _lasting(pod, "4-workloads")
    else:
        pod.nodes = network.public_nodes(place, name)
        yield from _rolling(pod, *[max(1, len(pod.nodes))] * 2)


NODE = {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}


def _key(path: str) -> str:
    """A path below a component's folder as a ConfigMap can name it."""
    return path.replace("/", "_")


def _lasting(pod: _Pod, phase: str) -> Manifest:
    """The only one, which keeps its data."""
    spec = {
        "replicas": 1,
        "serviceName": pod.owner,
        "selector": {"matchLabels": pod.place.selector(pod.owner)},
        "template": pod.template(),
    }
    return Manifest(phase, "StatefulSet", pod.owner, pod.owner, pod.component, {"spec": spec})


def _env(told: Mapping[str, str]) -> list[Body]:
    return [{"name": each, "value": text} for each, text in sorted(told.items())]


def _one_of(nodes: Sequence[str]) -> Body:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}
    return {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}


def _rolling(pod: _Pod, least: int, most: int) -> Iterator[Manifest]:
    """A Deployment that always has as many as it had, and what keeps up how many there are."""
    place, owner = pod.place, pod.owner
    component = network.component(place, owner)
    pod.container["lifecycle"] = {"preStop": {"sleep": {"seconds": DRAIN}}}
    spec: Body = {
        "minReadySeconds": 2,
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": place.selector(owner)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": pod.template(moves=True),
    }
    if most == 1:
        spec["replicas"] = 1  # else it is the autoscaler's to say, and each apply would say otherwise
    yield pod.account()
    yield Manifest("4-workloads", "Deployment", owner, owner, component, {"spec": spec})
    if least > 1:
        # Who is not ready anyway does not keep a node from being drained, nor who has no other place to be.
        budget: Body = {
            "maxUnavailable": least // len(pod.nodes) if pod.nodes else 1,
            "selector": {"matchLabels": place.selector(owner)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
        yield Manifest("4-workloads", "PodDisruptionBudget", owner, owner, component, {"spec": budget})
    if most > 1:
        # Of as many at most as at least too: who would take `replicas` out of a Deployment sets it to 1.
        target = {"type": "Utilization", "averageUtilization": place.overlay.busy}
        scaler: Body = {
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": owner},
        }
        yield Manifest("4-workloads", "HorizontalPodAutoscaler", owner, owner, component, {"spec": scaler})


def _job(pod: _Pod) -> Iterator[Manifest]:
    """A migration. A job never changes: one of another content is another job, one of the same is done."""
    template = pod.template(restart="Never")
    spec = {"activeDeadlineSeconds": JOB_TIME, "backoffLimit": 3, "template": template}
    name = f"{pod.owner}-{digest(json.dumps(spec, sort_keys=True))}"
    yield pod.account()
    yield Manifest("3-jobs", "Job", name, pod.owner, "migration", {"spec": spec}, key=pod.owner)


def _config(place: Place, owner: str, data: Mapping[str, str]) -> Manifest:
    """Named by content, and so never changed: a pod that is made again finds what it began with."""
    name = f"{owner}-{digest(json.dumps(data, sort_keys=True))}"
    body: Body = {"data": dict(data), "immutable": True}
    return Manifest("1-base", "ConfigMap", name, owner, network.component(place, owner), body, key=owner)


def _secret(place: Place, owner: str, name: str, key: str, type_: str, own: Mapping[str, str]) -> Manifest:
    data = {file: base64.b64encode(text.encode()).decode() for file, text in own.items()}
    body: Body = {"data": data, "immutable": True, "type": type_}
    return Manifest("1-base", "Secret", name, owner, network.component(place, owner), body, key=key)


# --- Pods ---


class _Pod:
    """One container, confined as the profile `restricted` asks and beyond: its root is read-only."""

    def __init__(
        self,
        place: Place,
        owner: str,
        image: str,
        uid: int,
        memory: int,
        cores: int = 1,
        grace: int = GRACE,
        group: int | None = None,
        scratch: bool = True,
    ) -> None:
        self.place, self.owner, self.uid, self.grace = place, owner, uid, grace
        self.group = uid if group is None else group
        self.component = network.component(place, owner)
        self.container = _container(place, owner, image, memory, place.overlay.cpu * cores)
        self._beside: list[Body] = []
        self.nodes: Sequence[str] = ()
        """Where one of them is to be on each, and none elsewhere."""
        self._volumes: list[Body] = []
        if scratch:
            self.temporary("/tmp")  # noqa: S108  (of the container)

    def beside(self, facts: Body, component: Component) -> None:
        """One more container, which watches the first.

        Nobody asks whether it is ready: the pod would be left out for it. It asks for next to no CPU, as the
        autoscaler goes by what a pod asks for.
        """
        container = _container(self.place, component.name, facts["image"], component.file.memory, 1)
        container["securityContext"] |= {"runAsUser": uid(component), "runAsGroup": uid(component)}
        _tell(container, facts)
        container["livenessProbe"] = _alive(_http(component.file.health.live, component.file.port))
        self._beside.append(container)

    def volume(self, name: str, path: str, source: Body, read_only: bool = False) -> None:
        mount: Body = {"name": name, "mountPath": path} | ({"readOnly": True} if read_only else {})
        self.container.setdefault("volumeMounts", []).append(mount)
        self._volumes.append({"name": name, **source})

    def temporary(self, path: str) -> None:
        """A folder in memory: full, it refuses a write, where one on disk would have the pod evicted."""
        source = {"emptyDir": {"medium": "Memory", "sizeLimit": TEMPORARY}}
        self.volume(path.strip("/").replace("/", "-"), path, source)

    def files(self, config: str, paths: Iterable[str] = ()) -> None:
        """`paths`: below the folder, where they are not the names in the ConfigMap."""
        source: Body = {"name": config}
        if any("/" in path for path in paths):
            source["items"] = [{"key": _key(path), "path": path} for path in sorted(paths)]
        self.volume("files", "/etc/hostwright", {"configMap": source}, read_only=True)

    def secrets(self, name: str) -> None:
        # Of root and the pod's own group, which alone may read.
        source = {"secret": {"secretName": name, "defaultMode": 0o440}}
        self.volume("secrets", "/run/secrets", source, read_only=True)

    def probes(self, alive: Body, ready: Body) -> None:
        """`alive` asks the process alone: who restarts it because a database is away makes matters worse."""
        self.container["startupProbe"] = alive | {
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": 150,
        }
        self.container["livenessProbe"] = _alive(alive)
        self.container["readinessProbe"] = ready | {
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        }

    def account(self) -> Manifest:
        """Who it is to the API, where it has nothing to do: it gets no token."""
        body: Body = {"automountServiceAccountToken": False}
        return Manifest("1-base", "ServiceAccount", self.owner, self.owner, self.component, body)

    def template(self, moves: bool = False, restart: str = "Always") -> Body:
        """`moves`: whether any node will do."""
        spec: Body = {
            "automountServiceAccountToken": False,
            "containers": [self.container, *self._beside],
            "enableServiceLinks": False,  # variables like MAIL_PORT would be taken for settings
            "restartPolicy": restart,
            "securityContext": {
                "fsGroup": self.uid,
                "fsGroupChangePolicy": "OnRootMismatch",
                "runAsGroup": self.group,
                "runAsNonRoot": True,
                "runAsUser": self.uid,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "serviceAccountName": self.owner,
            "terminationGracePeriodSeconds": self.grace,
            "volumes": self._volumes,
        }
        if moves:
            spec["tolerations"] = [
                {
                    "key": f"node.kubernetes.io/{what}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": AWAY,
                }
                for what in ("not-ready", "unreachable")
            ]
            spec["topologySpreadConstraints"] = [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    # Rather all on one node than one that waits, unless each node is to have as many.
                    "whenUnsatisfiable": "DoNotSchedule" if self.nodes else "ScheduleAnyway",
                    "labelSelector": {"matchLabels": self.place.selector(self.owner)},
                    "matchLabelKeys": ["pod-template-hash"],
                }
            ]
        if self.nodes:
            required = {"requiredDuringSchedulingIgnoredDuringExecution": _one_of(self.nodes)}
            spec["affinity"] = {"nodeAffinity": required}
        return {"metadata": {"labels": self.place.labels(self.owner, self.component)}, "spec": spec}


def _container(place: Place, name: str, image: str, memory: int, cpu: int) -> Body:
    """`memory`: MiB, its limit; `cpu`: thousandths of a core that it asks for."""
    asked = max(16, memory * place.overlay.memory // 100)
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "requests": {"cpu": f"{cpu}m", "memory": f"{asked}Mi"},
            "limits": {"memory": f"{memory}Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def _tell(container: Body, facts: Body) -> None:
    """What a component is told on its command line and in its environment."""
    if facts["command"]:
        container["args"] = facts["command"]
    if facts["environment"]:
        container["env"] = _env(facts["environment"])


def _alive(probe: Body) -> Body:
    return probe | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6}


def _http(path: str, port: int) -> Body:
    return {"httpGet": {"path": path, "port": port}}
