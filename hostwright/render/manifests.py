"""Kubernetes objects as text: names, labels and phases, and YAML that readers and machines agree on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from hostwright.application import Application
from hostwright.render.environment import OVERLAYS, Environment, Overlay

Body = dict[str, Any]
COMPONENT = "app.kubernetes.io/component"

# In this order: each is applied when the one before is there, jobs when stores answer.
PHASES = ("0-namespace", "1-base", "2-stores", "3-jobs", "4-workloads")

APIS = {
    "DaemonSet": "apps/v1",
    "Deployment": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Ingress": "networking.k8s.io/v1",
    "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "StatefulSet": "apps/v1",
}
CLUSTERS_OWN = ("Namespace", "PersistentVolume")  # in no namespace


@dataclass(frozen=True)
class Place:
    """Where on a cluster an application is, and what it is given there."""

    application: Application
    environment: Environment

    @property
    def namespace(self) -> str:
        return f"{self.application.name}-{self.environment.cluster.overlay}"

    @property
    def overlay(self) -> Overlay:
        return OVERLAYS[self.environment.cluster.overlay]

    @cached_property
    def images(self) -> Mapping[str, str]:
        return {**self.application.images(), **self.environment.images}

    def home(self, owner: str) -> str:
        """The owner whose pods it is in, which is another's for what stands beside that."""
        component = self.application.components.get(owner)
        return component.home if component else owner

    def labels(self, owner: str, component: str) -> dict[str, str]:
        """What an object of the owner is found by."""
        return {
            **self.selector(owner),
            COMPONENT: component,
            "app.kubernetes.io/managed-by": "hostwright",
            "app.kubernetes.io/part-of": self.application.name,
        }

    def selector(self, owner: str) -> dict[str, str]:
        """What the owner's pods are chosen by, for as long as they live."""
        return {"app.kubernetes.io/instance": self.namespace, "app.kubernetes.io/name": owner}

    def secret(self, owner: str, suffix: str = "") -> str:
        """Name of the Secret with the owner's files, which is another when they are."""
        mark = self.environment.digests.get(owner, "")[:12]
        return f"{owner}{suffix}-{mark}" if mark else f"{owner}{suffix}"


@dataclass(frozen=True)
class Manifest:
    """One object: `key` tells it from others of its kind, where its name has a digest of its content."""

    phase: str
    kind: str
    name: str
    owner: str
    component: str
    body: Body
    """Everything but kind and metadata."""
    key: str = ""
    labels: Mapping[str, str] | None = None
    """Beyond those that all objects have."""
    annotations: Mapping[str, str] | None = None

    @property
    def path(self) -> str:
        return f"{self.phase}/{self.kind.lower()}-{self.key or self.name}.yaml"


def texts(place: Place, manifests: Iterable[Manifest]) -> dict[str, str]:
    """Path -> YAML, by path. The same manifests give the same text."""
    application = place.application
    source = application.source.name
    title = f"# {application.title}. Rendered by hostwright from {source}: change that, not this.\n"
    found: dict[str, str] = {}
    for each in manifests:
        metadata: Body = {
            "name": each.name,
            "labels": {**place.labels(each.owner, each.component), **(each.labels or {})},
        }
        if each.kind not in CLUSTERS_OWN:
            metadata["namespace"] = place.namespace
        if each.annotations:
            metadata["annotations"] = dict(each.annotations)
        document = {"apiVersion": APIS.get(each.kind, "v1"), "kind": each.kind, "metadata": metadata}
        assert each.path not in found, each.path  # noqa: S101  (ours to tell apart)
        found[each.path] = title + dump(document | each.body)
    return dict(sorted(found.items()))


def dump(document: Body) -> str:
    """YAML with sorted keys, texts of several lines as they are, and quotes around what is no plain word."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=True, width=10**6, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


PLAIN = re.compile(r"[A-Za-z/][\w./@-]+")  # Go's YAML reads 1e3 as a number, Python's does not


def _string(dumper: _Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None if PLAIN.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)
