"""What the API tells: nodes, and the workloads that follow from addons; and asking it from the node."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import tls
from .database import Document
from .node import API, KUBELET, Node

LISTS = ("nodes", "deployments", "daemonsets", "persistentvolumes", "namespaces")
SPACES = ("default", "kube-node-lease", "kube-public", "kube-system")  # of volumes there are none
ADDONS = {
    "dns": ("CoreDNS", "1.13.1"),
    "rbac": ("Role-Based Access Control for authorisation", ""),
    "ingress": ("Ingress controller for external access", ""),
    "metrics-server": ("K8s Metrics Server for API access to service metrics", "0.8.0"),
    "hostpath-storage": ("Storage class; allocates storage from host directory", "1.6.0"),
    "metallb": ("Loadbalancer for your Kubernetes cluster", "0.15.2"),
    "cert-manager": ("Cloud native certificate management", "1.19.1"),
    "helm": ("Helm - the package manager for Kubernetes", ""),
    "helm3": ("Helm 3 - the package manager for Kubernetes", ""),
    "ha-cluster": ("Configure high availability on the current node", ""),
}
ALWAYS = ("ha-cluster", "helm", "helm3")
TRAEFIK = 35  # the first minor whose ingress it is
WORKLOADS = {
    "dns": ("deployments", "kube-system", "coredns"),
    "metrics-server": ("deployments", "kube-system", "metrics-server"),
    "hostpath-storage": ("deployments", "kube-system", "hostpath-provisioner"),
}


def request(node: Node, method: str, path: str, body: Any = None) -> Any:
    """Ask the API as this node does: on a worker its own loopback has it too."""
    authority = node.data / "certs/ca.crt"
    return tls.ask(
        method, f"{node.here}:{API}", path, body, token=node.admin_token, authority=authority, timeout=10
    )


def listed(kind: str, document: Document) -> dict[str, Any]:
    """A list as the API gives it."""
    if kind == "nodes":
        nodes = document["nodes"]
        with ThreadPoolExecutor(16) as pool:
            items = list(pool.map(node, nodes, nodes.values()))
    elif kind == "namespaces":
        spaces = sorted({*SPACES, *(space for _, space, _ in _workloads(document))})
        items = [
            {"metadata": {"name": each, "labels": {"kubernetes.io/metadata.name": each}}} for each in spaces
        ]
    else:
        items = [_workload(name, space, document) for of, space, name in _workloads(document) if of == kind]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def node(name: str, known: dict[str, Any]) -> dict[str, Any]:
    """One node; it is Ready while its kubelet answers."""
    kind = "worker" if known["worker"] else "controlplane"
    ready = "True" if _answers(known["address"], name) else "Unknown"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                f"node.kubernetes.io/microk8s-{kind}": f"microk8s-{kind}",
            },
        },
        "spec": {"unschedulable": True} if known["unschedulable"] else {},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": known["address"]},
                {"type": "Hostname", "address": name},
            ],
            "conditions": [{"type": "Ready", "status": ready}],
            "nodeInfo": {"kubeletVersion": known["version"]},
        },
    }


def failure(message: str, code: int) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def _answers(address: str, name: str) -> bool:
    try:
        return bool(tls.ask("GET", f"{address}:{KUBELET}", "/healthz", timeout=1)["name"] == name)
    except (OSError, tls.Refused):
        return False


def _workloads(document: Document) -> list[tuple[str, str, str]]:
    """Kind, namespace and name of each."""
    found = [("daemonsets", "kube-system", "calico-node")]
    found += [("deployments", "kube-system", "calico-kube-controllers")]
    for addon, minor in document["addons"].items():
        if addon == "ingress":
            name = "traefik" if minor >= TRAEFIK else "nginx-ingress-microk8s-controller"
            found.append(("daemonsets", "ingress", name))
        elif addon in WORKLOADS:
            found.append(WORKLOADS[addon])
    return found


def patch(namespace: str, name: str, spec: dict[str, Any], document: Document) -> None:
    """Change what a Deployment says, map by map. Raises KeyError where there is none."""
    if ("deployments", namespace, name) not in _workloads(document):
        raise KeyError(name)
    patched = document.setdefault("patched", {})
    patched[name] = _merged(patched.get(name, {}), spec)


def _merged(held: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merged(held[key], value)
        for key, value in more.items()
        if isinstance(value, dict) and isinstance(held.get(key), dict)
    }
    return {**held, **more, **nested}


def _workload(name: str, namespace: str, document: Document) -> dict[str, Any]:
    count = len(document["nodes"])
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"k8s-app": name}},
        "template": {"spec": {}},
    } | document.get("patched", {}).get(name, {})
    return {
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": spec,
        "status": {
            "observedGeneration": 1,
            "desiredNumberScheduled": count,
            "updatedNumberScheduled": count,
            "numberAvailable": count,
            "replicas": spec["replicas"],
            "updatedReplicas": spec["replicas"],
            "availableReplicas": spec["replicas"],
        },
    }
