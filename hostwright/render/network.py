"""Who reaches whom on a cluster: Services, Ingress and policies, from the application's ports and edges."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from hostwright.application import ANYWHERE, Edge, Listener, Port
from hostwright.application.gateway import INGRESS, OWN, STATUS
from hostwright.errors import BadInput
from hostwright.render.manifests import Body, Manifest, Place

NODES = "hostwright/nodes"  # on a Service of type LoadBalancer: whose addresses are its own
# What a node answers at by itself, beside sshd: a Service at its address would take the port away from it.
NODES_OWN = {10250: "the kubelet", 16443: "the API", 19001: "the database", 25000: "the agent"}
MIGRATE = "-migrate"  # of a service: its job, which reaches the database and nobody else
MONITORING = "monitoring"  # the label of all that watches
DNS = 53


def behind_ingress(place: Place) -> Listener | None:
    """The gateway's listener that an Ingress sends everything to: https, else http.

    An Ingress has one place to send to for both of its ports. Raises BadInput where the application has two.
    """
    found = [each for each in place.application.gateway.listeners if each.ingress]
    https = next((each for each in found if each.protocol == "https"), None)
    serving = [each for each in found if not each.redirect]
    if len(serving) > 1 or (https and https.port != INGRESS[1]):
        raise BadInput(
            "an Ingress serves the same on 80 and 443, over TLS on 443",
            where=place.application.name,
            fix="let 80 redirect to https on 443, or give one of them another port",
        )
    return https or next(iter(serving), None)


def front(place: Place) -> str:
    """Where one asks for the gateway's entrance inside of the cluster: plain, where the Ingress ends TLS."""
    door = place.application.entrance
    if door is None:
        return ""
    if door == behind_ingress(place):
        return f"http://{OWN}:{INGRESS[0]}"
    service = f"{OWN}-{door.port}" if door.scope == "public" else OWN
    return f"{door.protocol}://{service}:{door.port}"


def services(place: Place) -> Iterator[Manifest]:
    """For each owner one of type ClusterIP with all of its ports but those that others serve for it.

    A port of scope `host` has its number here too: `kubectl port-forward` is what loopback is on a host.
    Public ports are an Ingress, or a load balancer for each, as sources are given for each. Raises BadInput
    for one that a node's own address cannot have.
    """
    behind = behind_ingress(place)
    owners: dict[str, dict[str, Body]] = {}
    for port in place.application.ports():
        if of_ingress(port):
            continue
        entry = {"port": port.number, "targetPort": port.container_port, "protocol": "TCP"}
        name = f"{port.protocol}-{port.number}"
        if port.scope == "public":
            yield _balancer(place, port, {**entry, "name": name})
        else:
            owners.setdefault(port.owner, {})[name] = {**entry, "name": name}
    if behind:
        # Plain HTTP, and called neither https nor 443, from which controllers conclude that it is not.
        target = place.application.gateway.container_port(behind)
        entry = {"name": "ingress", "port": INGRESS[0], "targetPort": target, "protocol": "TCP"}
        owners.setdefault("gateway", {})["ingress"] = entry
    for owner, entries in owners.items():
        spec: Body = {
            "type": "ClusterIP",
            "selector": place.selector(place.home(owner)),
            "ports": [entries[name] for name in sorted(entries)],
            **_affinity(place, owner),
        }
        yield Manifest("1-base", "Service", owner, owner, component(place, owner), {"spec": spec})
    yield from _discovery(place)


def _discovery(place: Place) -> Iterator[Manifest]:
    """For Prometheus, which asks each instance: names of all pods of who counts, ready or not."""
    application = place.application
    if not application.scraped:
        return
    found = {(each.name, each.file.port) for each in application.services.values() if each.file.metrics}
    found |= {
        (each.home, each.file.port)
        for each in application.components.values()
        if each.several and each.file.metrics
    }
    if application.gateway.kind == "haproxy":
        found.add((OWN, STATUS))
    for owner in sorted({owner for owner, _ in found}):
        spec: Body = {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": place.selector(owner),
            "ports": [
                {"name": f"http-{port}", "port": port, "targetPort": port, "protocol": "TCP"}
                for whose, port in sorted(found)
                if whose == owner
            ],
        }
        name = f"{owner}-pods"
        yield Manifest("1-base", "Service", name, owner, component(place, owner), {"spec": spec})


def of_ingress(port: Port) -> bool:
    """Whether an Ingress has the port."""
    return port.scope == "public" and port.owner == "gateway" and port.number in INGRESS


def _affinity(place: Place, owner: str) -> Body:
    """A client stays with one gateway where each of them counts for itself."""
    counts = owner == "gateway" and place.application.gateway.kind == "haproxy"
    return {"sessionAffinity": "ClientIP"} if counts else {}


def public_nodes(place: Place, owner: str) -> tuple[str, ...]:
    """Nodes at whose own addresses the owner is reached; none where it has no such port, or a balancer's."""
    named = place.environment.cluster.public_nodes
    ports = [each for each in place.application.ports() if each.owner == owner]
    if not named or not any(each.scope == "public" and not of_ingress(each) for each in ports):
        return ()
    pins = place.environment.cluster.pins
    return (pins[owner],) if owner in pins else named


def _balancer(place: Place, port: Port, entry: Body) -> Manifest:
    name, nodes = f"{port.owner}-{port.number}", public_nodes(place, port.owner)
    taken = NODES_OWN | dict.fromkeys(place.environment.cluster.ssh_ports, "sshd")
    if nodes and port.number in taken:
        raise BadInput(
            f"port {port.number} is {taken[port.number]}'s on each node",
            where=place.application.name,
            fix="give the listener another port, or have a balancer: app_kubernetes_public_nodes: []",
        )
    spec: Body = {
        "type": "LoadBalancer",
        "selector": place.selector(place.home(port.owner)),
        "ports": [entry],
        # Who asks stays known: sources are looked at, by the policy too. And no second port on each node.
        "externalTrafficPolicy": "Local",
        "allocateLoadBalancerNodePorts": False,
        **_affinity(place, port.owner),
    }
    if port.sources != ANYWHERE:
        spec["loadBalancerSourceRanges"] = list(port.sources)
    told = {NODES: ",".join(nodes)} if nodes else None
    owners = component(place, port.owner)
    return Manifest("1-base", "Service", name, port.owner, owners, {"spec": spec}, annotations=told)


def ingress(place: Place) -> Iterator[Manifest]:
    """Every path to the gateway, which knows routes and rules: the same is published by any controller.

    A rule for each name. Who comes by an address names no host: where the environment has an address, there
    is a rule without one, which a cluster can have once.
    """
    behind = behind_ingress(place)
    if behind is None:
        return
    names = [name for name in place.environment.names if not is_address(name)]
    hosts: list[Body] = [{"host": name} for name in names]
    if len(names) < len(place.environment.names) or not names:
        hosts.append({})
    backend = {"service": {"name": "gateway", "port": {"name": "ingress"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec: Body = {
        "ingressClassName": place.environment.cluster.ingress_class,
        "rules": [{**host, "http": {"paths": [path]}} for host in hosts],
    }
    if behind.protocol == "https":
        spec["tls"] = [{**({"hosts": names} if names else {}), "secretName": place.secret("gateway", "-tls")}]
    annotations = place.environment.cluster.ingress_annotations
    yield Manifest(
        "4-workloads", "Ingress", "gateway", "gateway", "gateway", {"spec": spec}, annotations=annotations
    )


def is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


# --- Policies ---


def edges(place: Place) -> list[Edge]:
    """The application's from pod to pod, and those of its jobs, which need their service's database."""
    found = []
    for each in place.application.edges(place.environment.settings):
        source, target = place.home(each.source), each.target and place.home(each.target)
        if source != target:
            found.append(dataclasses.replace(each, source=source, target=target))
    for name, service in place.application.services.items():
        if service.file.migrate and service.database:
            store = service.database.store
            port = place.application.stores[store].traits.port
            found.append(Edge(f"{name}{MIGRATE}", store, port, "keeps"))
    return list(dict.fromkeys(found))


def policies(place: Place) -> Iterator[Manifest]:
    """Nothing to nobody; then for each owner exactly its edges, at both of their ends.

    The kubelet's probes and `kubectl port-forward` come from the node, which no policy stops.
    """
    every: Body = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    yield Manifest("1-base", "NetworkPolicy", "default-deny", "default-deny", "network", {"spec": every})
    known = edges(place)
    owners = {OWN, *place.application.services, *place.application.stores}
    owners |= {each.home for each in place.application.components.values()}
    owners |= {edge.source for edge in known}
    for owner in sorted(owners):
        into = [_rule("from", _pods(place, edge.source), edge.port) for edge in known if edge.target == owner]
        out = [
            _rule("to", _pods(place, edge.target) if edge.target else ANYBODY, edge.port)
            for edge in known
            if edge.source == owner
        ]
        spec: Body = {
            "podSelector": {"matchLabels": place.selector(owner)},
            "policyTypes": ["Ingress", "Egress"],
        }
        rules: dict[str, list[Body]] = {
            "ingress": [*into, *_from_outside(place, owner)],
            "egress": [*out, *([RESOLVE] if out else [])],
        }
        # Kubernetes keeps no empty list, and would find a difference each time.
        spec |= {direction: each for direction, each in rules.items() if each}
        yield Manifest("1-base", "NetworkPolicy", owner, owner, component(place, owner), {"spec": spec})


def _from_outside(place: Place, owner: str) -> Iterator[Body]:
    """The Ingress controller to the gateway, and whoever may reach its other public ports."""
    behind = behind_ingress(place)
    if owner == "gateway" and behind:
        name = {"kubernetes.io/metadata.name": place.environment.cluster.ingress_namespace}
        port = place.application.gateway.container_port(behind)
        yield _rule("from", [{"namespaceSelector": {"matchLabels": name}}], port)
    for port_ in place.application.ports():
        if place.home(port_.owner) == owner and port_.scope == "public" and not of_ingress(port_):
            sources = [{"ipBlock": {"cidr": source}} for source in port_.sources]
            yield _rule("from", sources, port_.container_port)


def _pods(place: Place, owner: str) -> list[Body]:
    return [{"podSelector": {"matchLabels": place.selector(owner)}}]


def _rule(direction: str, peers: list[Body], port: int) -> Body:
    return {direction: peers, "ports": [{"port": port, "protocol": "TCP"}]}


ANYBODY: list[Body] = [{"ipBlock": {"cidr": each}} for each in ANYWHERE]
RESOLVE: dict[str, Any] = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"port": DNS, "protocol": "TCP"}, {"port": DNS, "protocol": "UDP"}],
}


def component(place: Place, owner: str) -> str:
    """What the owner is, as a label."""
    if owner in place.application.stores:
        return "store"
    if owner in place.application.services:
        return "service"
    if owner in place.application.components:
        return MONITORING
    return "gateway" if owner == "gateway" else "migration"
