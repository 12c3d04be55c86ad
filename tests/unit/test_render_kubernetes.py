"""Manifests: the golden folder, their schema, and what must hold whatever they look like."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from hostwright import application, secrets
from hostwright.application import Application
from hostwright.application.gateway import Listener
from hostwright.errors import BadInput
from hostwright.render import Cluster, Environment, kubernetes, render, write_manifests
from hostwright.render.environment import OVERLAYS
from hostwright.render.manifests import PHASES, dump
from hostwright.render.network import NODES as NODES_OF

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"  # UPDATE_GOLDEN=1 pytest tests/unit/test_render_kubernetes.py
NODES = ("node-1", "node-2", "node-3")
# The lab's mirror has no Grafana, and so it is here.
OBSERVED = sorted({*application.load("warehouse").declared} - {"grafana"})
VERSIONS = ("1.34", "1.35", "1.36")  # nginx was the Ingress up to the first, Traefik is since
APPLICATIONS = application.names()

Manifest = dict[str, Any]
Case = tuple[Application, dict[str, Manifest]]


@functools.cache
def loaded(name: str = "warehouse", components: str = "") -> Application:
    found = application.load(name, components=components.split())
    # The golden files are the same wherever the checkout is.
    return dataclasses.replace(found, source=Path(f"services/apps/{name}.yml"))


def environment(app: Application, overlay: str = "prod", **more: Any) -> Environment:
    given: dict[str, Any] = {"name": "shop", "names": ("shop.example.com", "192.0.2.10"), **more}
    cluster = given.pop("cluster", Cluster(overlay=overlay, pins=kubernetes.pinned(app, NODES)))
    return Environment(topology="cluster", cluster=cluster, **given)


def read(texts: dict[str, str]) -> dict[str, Manifest]:
    """Path -> object."""
    return {path: yaml.load(text, yaml.CSafeLoader) for path, text in texts.items()}


def rendered(app: Application | None = None, overlay: str = "prod", **more: Any) -> dict[str, Manifest]:
    app = app or loaded()
    return read(render(app, environment(app, overlay, **more)))


@functools.cache
def known(name: str, overlay: str, components: str) -> dict[str, Manifest]:
    """For who changes nothing in it."""
    return rendered(loaded(name, components), overlay)


CASES = [(name, overlay, "") for name in APPLICATIONS for overlay in OVERLAYS]
CASES += [("warehouse", "prod", "all"), ("starter", "dev", "all")]


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    name, overlay, components = request.param
    return loaded(name, components), known(name, overlay, components)


def of(found: dict[str, Manifest], kind: str) -> dict[str, Manifest]:
    """Name -> object of one kind."""
    return {each["metadata"]["name"]: each for each in found.values() if each["kind"] == kind}


def pods(found: dict[str, Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Owner and template of everything that runs."""
    for each in found.values():
        if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield each["metadata"]["labels"]["app.kubernetes.io/name"], each["spec"]["template"]


def owner(labels: dict[str, str]) -> str:
    return labels["app.kubernetes.io/name"]


# --- Golden files ---


def test_golden() -> None:
    """`prod` in full; of the other overlays what differs, whose digests follow from the rest.

    And `prod` with what watches it: that in full, and of the others what differs.
    """
    app, observed = loaded(), loaded("warehouse", " ".join(OBSERVED))
    prod = render(app, environment(app))
    wanted = {f"cluster/{path}": text for path, text in prod.items()}
    watching = render(observed, environment(observed))
    wanted |= {f"cluster-observed/{path}": text for path, text in watching.items() if path not in prod}
    wanted["cluster-observed.diff"] = differing(
        prod, {path: text for path, text in watching.items() if path in prod}
    )
    for overlay in set(OVERLAYS) - {"prod"}:
        other = {
            path.replace(overlay, "prod"): text.replace(f"warehouse-{overlay}", "warehouse-prod")
            for path, text in render(app, environment(app, overlay)).items()
        }
        wanted[f"cluster-{overlay}.diff"] = differing(prod, other)
    folder = GOLDEN / "warehouse"
    held_now = [*folder.glob("cluster*/**/*.yaml"), *folder.glob("cluster-*.diff")]
    if UPDATE:
        for path_ in held_now:
            path_.unlink()
        for path, text in wanted.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        held_now = [folder / path for path in wanted]
    held = {str(path_.relative_to(folder)): path_.read_text() for path_ in held_now}
    assert wanted == held, "if that is meant: UPDATE_GOLDEN=1 pytest tests/unit/test_render_kubernetes.py"


def differing(prod: dict[str, str], other: dict[str, str]) -> str:
    lines: list[str] = []
    for path in sorted({*prod, *other}):
        before, after = (each.get(path, "").splitlines(keepends=True) for each in (prod, other))
        if not after:
            lines.append(f"no {path}\n")
        else:
            lines += difflib.unified_diff(before, after, path, path, n=2)
    return "".join(lines)


@pytest.mark.parametrize("components", ["", "all"])
def test_the_same_twice(components: str) -> None:
    app, again = loaded("warehouse", components), application.load("warehouse", components=components or ())
    assert render(app, environment(app)) == render(again, environment(again))
    assert list(render(app, environment(app))) == sorted(render(app, environment(app)))


# --- What the API server would say ---


@functools.cache
def schema(version: str, name: str) -> Any:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return json.loads((folder / f"{name}.json").read_text())


@functools.cache
def validator(version: str, kind: str, api: str) -> Any:
    """Refuses unknown fields at every depth."""
    group, _, number = api.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    own = Resource.from_contents(schema(version, name))
    registry: Any = [own, Resource.from_contents(schema(version, "_definitions"))] @ Registry()
    return jsonschema.Draft202012Validator(own.contents, registry=registry)


def complaints(manifest: Manifest, version: str) -> list[str]:
    check = validator(version, manifest["kind"], manifest["apiVersion"])
    return [f"{error.json_path}: {error.message}" for error in check.iter_errors(manifest)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_of_the_schema(case: Case, version: str) -> None:
    app, found = case
    values = secrets.complete(app, {}, "trial")
    told = environment(app, digests=secrets.digests(app, values))
    secret = {path: yaml.safe_load(text) for path, text in kubernetes.secret_files(app, told, values).items()}
    for path, manifest in (found | secret).items():
        assert complaints(manifest, version) == [], path


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("spec", "replicas"), "two"),
        (("spec", "replica"), 2),
        (("spec", "template", "spec", "hostNetworks"), True),
        (("spec", "template", "spec", "containers", 0, "livenessProbe", "httpGet", "pathh"), "/"),
        (("spec", "template", "spec", "containers", 0, "lifecycle", "preStop", "sleep", "minutes"), 1),
    ],
)
def test_the_schema_refuses_what_is_unknown(keys: tuple[Any, ...], value: Any) -> None:
    inner = manifest = rendered()["4-workloads/deployment-orders.yaml"]
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    assert complaints(manifest, "1.35")


LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def test_names_are_those_of_hosts(case: Case) -> None:
    for path, each in case[1].items():
        assert LABEL.fullmatch(each["metadata"]["name"]), path
        for text in each["metadata"]["labels"].values():
            assert LABEL.fullmatch(text), path
        for port in each["spec"].get("ports", []) if each["kind"] == "Service" else []:
            assert re.fullmatch(r"[a-z0-9-]{1,15}", port["name"]), path


def test_everything_is_the_applications_and_in_its_namespace(
    case: Case,
) -> None:
    app, found = case
    (namespace,) = of(found, "Namespace")
    assert of(found, "Namespace")[namespace]["metadata"]["labels"].items() >= {
        ("pod-security.kubernetes.io/enforce", "restricted")
    }
    for path, each in found.items():
        assert path.partition("/")[0] in PHASES
        assert path.startswith("0-") == (each["kind"] == "Namespace")
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == app.name, path
        assert labels["app.kubernetes.io/instance"] == namespace, path
        assert labels["app.kubernetes.io/managed-by"] == "hostwright", path
        inside = each["kind"] not in ("Namespace", "PersistentVolume")
        assert each["metadata"].get("namespace") == (namespace if inside else None), path
        assert inside or each["metadata"]["name"].startswith(namespace), path


# --- Pods ---


def violations(spec: Manifest) -> list[str]:
    """What the Pod Security profile `restricted` has against a pod, and what we have beyond it.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    found = []
    pod = spec.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        if spec.get(name):
            found.append(name)
    known = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    found += [f"volume {each['name']}" for each in spec.get("volumes", []) if not known & {*each}]
    if pod.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("seccomp")
    if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
        found.append("root")
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        if own.get("privileged") or own.get("runAsUser") == 0 or own.get("runAsNonRoot") is False:
            found.append("privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append("escalation")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append("capabilities")
        if own.get("readOnlyRootFilesystem") is not True:
            found.append("root is writable")
        if any("hostPort" in port for port in container.get("ports", [])):
            found.append("hostPort")
    return found


def test_every_pod_is_restricted(case: Case) -> None:
    app, found = case
    uids = {name: each.file.uid for name, each in app.services.items()}
    uids |= {name: each.traits.uid for name, each in app.stores.items()} | {"gateway": app.gateway.uid}
    uids |= {name: each.file.uid or kubernetes.READER for name, each in app.components.items()}
    homes = {name for name, each in app.components.items() if each.watched != "gateway"}
    for name, template in pods(found):
        spec = template["spec"]
        assert violations(spec) == [], name
        context, uid = spec["securityContext"], uids[name.removesuffix("-migrate")]
        # What reads the node's files of its pods does so as one of root's group.
        group = 0 if name == "otel-collector" else uid
        assert [context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")] == [uid, group, uid]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        account = of(found, "ServiceAccount")[spec["serviceAccountName"]]
        assert account["automountServiceAccountToken"] is False
        first, *beside = spec["containers"]
        for container in spec["containers"]:
            assert {*container["resources"]} == {"requests", "limits"}
        assert "/tmp" in [mount["mountPath"] for mount in first["volumeMounts"]]  # noqa: S108
        assert {mount["name"] for mount in first["volumeMounts"]} == {v["name"] for v in spec["volumes"]}
        for container in beside:
            assert name == app.components[container["name"]].watched == "gateway"
            assert container["securityContext"]["runAsUser"] == uids[container["name"]]
            assert "volumeMounts" not in container
        for volume in spec["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]
    assert {name for name, _ in pods(found)} >= {"gateway", *app.services, *app.stores, *homes}


@pytest.mark.parametrize(
    ("keys", "value", "what"),
    [
        (("hostNetwork",), True, "hostNetwork"),
        (("volumes", 0), {"name": "x", "hostPath": {"path": "/"}}, "volume x"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "seccomp"),
        (("securityContext", "runAsUser"), 0, "root"),
        (("containers", 0, "securityContext", "privileged"), True, "privileged"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "escalation"),
        (
            ("containers", 0, "securityContext", "capabilities"),
            {"drop": ["ALL"], "add": ["CHOWN"]},
            "capabilities",
        ),
        (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False, "root is writable"),
        (("containers", 0, "ports"), [{"containerPort": 80, "hostPort": 80}], "hostPort"),
    ],
)
def test_what_is_not_restricted_is_seen(keys: tuple[Any, ...], value: Any, what: str) -> None:
    inner = spec = rendered()["4-workloads/deployment-orders.yaml"]["spec"]["template"]["spec"]
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    assert violations(spec) == [what]


def test_liveness_touches_no_dependency_and_readiness_does(
    case: Case,
) -> None:
    app, found = case
    for name, template in pods(found):
        container, *beside = template["spec"]["containers"]
        # Whoever watches is not asked whether it is ready: the gateway would be left out for it.
        assert not [each for each in beside if "readinessProbe" in each or "livenessProbe" not in each]
        if name.endswith("-migrate"):
            assert not [key for key in container if key.endswith("Probe")]
            continue
        asked = {
            kind: container[f"{kind}Probe"].get("httpGet", {}).get("path")
            for kind in ("startup", "liveness", "readiness")
        }
        if name in app.parts:
            health = app.parts[name].file.health
            assert asked == {"startup": health.live, "liveness": health.live, "readiness": health.ready}
        elif name in app.stores:
            assert container["livenessProbe"]["tcpSocket"] == {"port": app.stores[name].traits.port}
            assert container["readinessProbe"]["exec"]["command"]
        startup = container["startupProbe"]
        assert (
            startup["periodSeconds"] * startup["failureThreshold"] >= 300
        )  # an emulated guest takes minutes


def test_images_are_those_given_and_none_is_the_latest(case: Case) -> None:
    app, found = case
    used = {container["image"] for _, template in pods(found) for container in template["spec"]["containers"]}
    assert used == {*app.images().values()}
    given = "registry.example.com/orders@sha256:" + "a" * 64
    other = rendered(images={"orders": given, "of another application": "untagged"})
    images = {name: template["spec"]["containers"][0]["image"] for name, template in pods(other)}
    assert (images["orders"], images["orders-migrate"]) == (given, given)


def test_pods_are_told_what_compose_tells(case: Case) -> None:
    """But for whom they believe: there an address, here the pods' network, of which policies let few in."""
    app, found = case
    told = environment(app)
    compose = yaml.safe_load(render(app, Environment(name=told.name, names=told.names))["compose.yaml"])[
        "services"
    ]
    for name in app.services:
        (config,) = [each for path, each in found.items() if path == f"1-base/configmap-{name}.yaml"]
        mine, theirs = dict(config["data"]), dict(compose[name]["environment"])
        assert mine.pop("TRUSTED_PROXIES") == '["10.1.0.0/16"]'
        theirs.pop("TRUSTED_PROXIES")
        assert mine == {key: text.replace("$$", "$") for key, text in theirs.items()}
        for other in (name, f"{name}-migrate"):
            for owner_, template in pods(found):
                if owner_ == other:
                    source = template["spec"]["containers"][0]["envFrom"]
                    assert source == [{"configMapRef": {"name": config["metadata"]["name"]}}]


# --- How many, and where ---


def test_an_overlay_says_how_many(case: Case) -> None:
    app, found = case
    overlay = OVERLAYS[owner_overlay(found)]
    scalers, budgets, deployments = (
        of(found, kind) for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment")
    )
    exporters = {*deployments} - {"gateway", *app.services}
    stay = {name for name, each in app.components.items() if each.file.data or each.seen}
    assert exporters == {*app.components} - stay - {"nginx-exporter"}
    for name, deployment in deployments.items():
        alone = name in exporters or (name in app.services and app.services[name].file.alone)
        least = 1
        if not alone:
            least = 2 if name == "gateway" else max(overlay.replicas, app.services[name].replicas)
        most = 1 if alone else max(least, overlay.most)
        assert (name in budgets) == (least > 1)
        assert (name in scalers) == (most > 1)
        if name in scalers:
            spec = scalers[name]["spec"]
            assert (spec["minReplicas"], spec["maxReplicas"]) == (least, most)
            assert spec["scaleTargetRef"]["name"] == name
            assert "replicas" not in deployment["spec"]  # each apply would undo what the autoscaler did
        else:
            assert deployment["spec"]["replicas"] == 1
        chosen = deployment["spec"]["selector"]["matchLabels"]
        assert chosen.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        if name in budgets:
            assert budgets[name]["spec"]["selector"]["matchLabels"] == chosen
        (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert spread["topologyKey"] == "kubernetes.io/hostname"
        assert spread["labelSelector"]["matchLabels"] == chosen
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def owner_overlay(found: dict[str, Manifest]) -> str:
    (namespace,) = of(found, "Namespace")
    return namespace.rpartition("-")[2]


def test_who_stops_has_been_left_out_before_and_finishes_what_it_has(case: Case) -> None:
    _, found = case
    for name, template in pods(found):
        spec = template["spec"]
        container = spec["containers"][0]
        if name in of(found, "Deployment"):
            drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            # What the gateway waits for an answer, after it is asked for nothing new.
            assert spec["terminationGracePeriodSeconds"] - drain >= 30
            waits = {each["key"]: each["tolerationSeconds"] for each in spec["tolerations"]}
            assert waits == {"node.kubernetes.io/not-ready": 30, "node.kubernetes.io/unreachable": 30}
        else:
            assert "tolerations" not in spec  # pinned, or a job: nothing is won by moving it
        temporary = {each["name"]: each["emptyDir"] for each in spec["volumes"] if "emptyDir" in each}
        if name == "otel-collector":
            assert "medium" not in temporary.pop("data")  # what it has to remember need not fit into memory
        assert {each["medium"] for each in temporary.values()} <= {"Memory"}


def test_replicas_of_the_environment_win() -> None:
    for overlay, number, most in (("dev", 3, 3), ("prod", 6, 6), ("prod", 1, 4)):
        found = rendered(overlay=overlay, replicas={"orders": number})
        scaler = of(found, "HorizontalPodAutoscaler")["orders"]["spec"]
        assert (scaler["minReplicas"], scaler["maxReplicas"]) == (number, most)
        # Were it there, whoever took the environment's number back would set it to 1.
        assert "replicas" not in of(found, "Deployment")["orders"]["spec"]
    assert of(rendered(overlay="dev"), "Deployment")["orders"]["spec"]["replicas"] == 1


def test_a_database_takes_all_instances_there_may_be(case: Case) -> None:
    app, found = case
    overlay = OVERLAYS[owner_overlay(found)]
    for name, store in app.stores.items():
        if store.traits.need != "database":
            continue
        (container,) = of(found, "StatefulSet")[name]["spec"]["template"]["spec"]["containers"]
        (most,) = [int(word.split("=")[1]) for word in container["args"] if "max_connections" in word]
        users = sum(
            each.database is not None and each.database.store == name for each in app.services.values()
        )
        assert most >= users * (overlay.most + 1) * 10
        limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
        assert limit >= (store.memory or store.traits.memory) + 3 * (most - 60)


def test_data_is_on_a_named_node_and_stays(case: Case) -> None:
    app, found = case
    told = environment(app, owner_overlay(found))
    every = kubernetes.volumes(app, told)
    kept_of = [name for name, each in app.components.items() if each.file.data and not each.seen]
    assert {each.owner for each in every} == {*app.stores, *kept_of}
    assert [each.owner for each in every][: len(app.stores)] == list(app.stores)
    for volume in every:
        kept = found[f"1-base/persistentvolume-{volume.owner}.yaml"]
        spec = kept["spec"]
        assert spec["local"] == {"path": volume.path}
        assert spec["persistentVolumeReclaimPolicy"] == "Retain"
        (term,) = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert [(each["key"], each["values"]) for each in term["matchExpressions"]] == [
            ("kubernetes.io/hostname", [volume.node])
        ]
        claim = of(found, "PersistentVolumeClaim")[spec["claimRef"]["name"]]
        assert claim["spec"]["volumeName"] == kept["metadata"]["name"]
        assert claim["metadata"]["namespace"] == spec["claimRef"]["namespace"]
        pod = of(found, "StatefulSet")[volume.owner]["spec"]["template"]["spec"]
        claims = [
            each["persistentVolumeClaim"]["claimName"]
            for each in pod["volumes"]
            if "persistentVolumeClaim" in each
        ]
        assert claims == [claim["metadata"]["name"]]
        assert pod["securityContext"]["runAsUser"] == volume.uid


def test_postgres_keeps_its_data_in_the_volume() -> None:
    (container,) = of(rendered(), "StatefulSet")["orders-db"]["spec"]["template"]["spec"]["containers"]
    (data,) = [each["value"] for each in container["env"] if each["name"] == "PGDATA"]
    (place,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data"]
    assert data.startswith(f"{place}/")
    assert place == "/var/lib/postgresql/data"  # what the image declares, and nothing above it


def test_who_has_a_node_stays_there() -> None:
    app = loaded()
    first = kubernetes.pinned(app, NODES)
    assert sorted(first.values()) == sorted(NODES)
    more = kubernetes.pinned(loaded("warehouse", "all"), NODES)
    assert {name: node for name, node in more.items() if name in first} == first
    assert {*more} - {*first} == {"prometheus", "alertmanager", "grafana", "loki", "jaeger"}
    assert kubernetes.pinned(app, ["new", *NODES], first) == first
    assert set(kubernetes.pinned(app, ["one"]).values()) == {"one"}
    with pytest.raises(BadInput, match=r"the data of \S+ is on node-3 alone"):
        kubernetes.pinned(app, NODES[:2], first)
    with pytest.raises(BadInput, match="no node"):
        kubernetes.pinned(app, [])


def test_the_docs_name_the_folders_of_data_that_there_are() -> None:
    root = GOLDEN.parents[1]
    ours = yaml.safe_load((root / "roles/app_kubernetes/defaults/main.yml").read_text())
    text = (root / "docs/cluster.md").read_text()
    for folder in (ours["app_kubernetes_volumes"], Cluster().folder):
        assert f"`{folder}/NAMESPACE/STORE`" in text


# --- Who reaches whom ---


def test_every_port_has_exactly_its_service_or_ingress(case: Case) -> None:
    app, found = case
    declared = {(port.scope, port.owner, port.number, port.container_port) for port in app.ports()}
    services = of(found, "Service")
    served = set()
    for service in services.values():
        spec = service["spec"]
        name = owner(service["metadata"]["labels"])
        assert owner(spec["selector"]) == home(app, name)
        if spec.get("clusterIP") == "None":
            continue  # of each pod: it is no other port
        scopes = {"ClusterIP": ("host", "internal"), "LoadBalancer": ("public",)}[spec["type"]]
        for port in spec["ports"]:
            if port["name"] == "ingress":
                continue
            known = {(scope, name, port["port"], port["targetPort"]) for scope in scopes} & declared
            assert known, (name, port)
            served |= known
    left = declared - served
    assert {(scope, who, number) for scope, who, number, _ in left} == {
        ("public", "gateway", each.port) for each in app.gateway.listeners if each.ingress
    }
    assert bool(left) == bool(of(found, "Ingress"))
    # An Ingress where a listener stands at one of its ports.
    for ingress in of(found, "Ingress").values():
        for rule in ingress["spec"]["rules"]:
            (path,) = rule["http"]["paths"]
            assert path["path"] == "/"
            assert path["backend"] == {"service": {"name": "gateway", "port": {"name": "ingress"}}}
        (target,) = [
            port["targetPort"] for port in services["gateway"]["spec"]["ports"] if port["name"] == "ingress"
        ]
        assert target in {container for scope, _, _, container in left if scope == "public"}


def test_an_ingress_has_a_rule_for_each_name_and_one_for_addresses() -> None:
    def rules(*names: str) -> tuple[list[str | None], Any]:
        (ingress,) = of(rendered(names=names), "Ingress").values()
        return [rule.get("host") for rule in ingress["spec"]["rules"]], ingress["spec"]["tls"]

    assert rules("a.example.com", "192.0.2.10", "b.example.com", "2001:db8::1") == (
        ["a.example.com", "b.example.com", None],
        [{"hosts": ["a.example.com", "b.example.com"], "secretName": "gateway-tls"}],
    )
    assert rules("a.example.com")[0] == ["a.example.com"]
    assert rules("192.0.2.10") == ([None], [{"secretName": "gateway-tls"}])


def test_an_ingress_says_what_the_environment_says_of_controllers() -> None:
    cluster = Cluster(
        pins=kubernetes.pinned(loaded(), NODES),
        ingress_class="nginx",
        ingress_namespace="edge",
        ingress_annotations={"nginx.ingress.kubernetes.io/proxy-body-size": "0"},
    )
    found, usual = rendered(cluster=cluster), rendered()
    (ingress,) = of(found, "Ingress").values()
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/proxy-body-size": "0"}
    differing = {path for path in usual if found[path] != usual[path]}
    assert differing == {"4-workloads/ingress-gateway.yaml", "1-base/networkpolicy-gateway.yaml"}


def public(**more: Any) -> Application:
    """A warehouse with one more public port, which no Ingress has."""
    app = loaded()
    listener = Listener(port=8443, protocol="https", scope="public", **more)
    gateway = app.gateway.model_copy(update={"listeners": (*app.gateway.listeners, listener)})
    return dataclasses.replace(app, gateway=gateway)


def test_another_public_port_is_a_load_balancer_that_knows_its_sources() -> None:
    app = public(sources=("192.0.2.0/24",))
    found = rendered(app)
    spec = of(found, "Service")["gateway-8443"]["spec"]
    assert (spec["type"], spec["loadBalancerSourceRanges"]) == ("LoadBalancer", ["192.0.2.0/24"])
    assert spec["ports"] == [{"name": "https-8443", "port": 8443, "protocol": "TCP", "targetPort": 8443}]
    assert spec["allocateLoadBalancerNodePorts"] is False
    policy = of(found, "NetworkPolicy")["gateway"]["spec"].get("ingress", [])
    assert {
        "from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "ports": [{"port": 8443, "protocol": "TCP"}],
    } in policy
    assert "loadBalancerSourceRanges" not in of(rendered(public()), "Service")["gateway-8443"]["spec"]
    assert not [each for path in found for each in complaints(found[path], "1.35")]
    # And here the gateway ends TLS itself.
    mounts = dict(pods(found))["gateway"]["spec"]["volumes"]
    assert [each["secret"]["secretName"] for each in mounts if "secret" in each] == ["gateway"]
    config = found["1-base/configmap-gateway.yaml"]["data"]["nginx.conf"]
    assert re.findall(r"listen (\d+) ssl;", config) == ["8443"]


def test_where_no_balancer_is_nodes_give_their_addresses() -> None:
    """And the gateway is on each of them, where it hears who asks; of two there one may be lost."""
    app = public()
    nodes = ("node-1", "node-2", "node-3")
    cluster = Cluster(pins=kubernetes.pinned(app, nodes), public_nodes=nodes)
    found, balanced = rendered(app, cluster=cluster), rendered(app)
    assert not [each for path in found for each in complaints(found[path], "1.35")]
    changed = {path for path in found if found[path] != balanced[path]}
    names = ("deployment", "horizontalpodautoscaler", "poddisruptionbudget")
    workloads = {f"4-workloads/{name}-gateway.yaml" for name in names}
    assert changed == {"1-base/service-gateway-8443.yaml", *workloads}
    service = of(found, "Service")["gateway-8443"]
    assert service["metadata"]["annotations"] == {NODES_OF: "node-1,node-2,node-3"}
    assert (service["spec"]["type"], service["spec"]["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert of(found, "HorizontalPodAutoscaler")["gateway"]["spec"]["minReplicas"] == 6
    assert of(found, "PodDisruptionBudget")["gateway"]["spec"]["maxUnavailable"] == 2
    spec = of(found, "Deployment")["gateway"]["spec"]["template"]["spec"]
    (spread,) = spec["topologySpreadConstraints"]
    assert (spread["maxSkew"], spread["whenUnsatisfiable"]) == (1, "DoNotSchedule")
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == [*nodes]


def test_the_only_node_of_the_gateway_can_be_emptied() -> None:
    """Both gateways at once: who is moved has nowhere else to become ready."""
    app = public()
    cluster = Cluster(pins=kubernetes.pinned(app, NODES), public_nodes=NODES[:1])
    found = rendered(app, cluster=cluster)
    assert of(found, "HorizontalPodAutoscaler")["gateway"]["spec"]["maxReplicas"] == 2
    assert of(found, "PodDisruptionBudget")["gateway"]["spec"]["maxUnavailable"] == 2
    assert of(found, "PodDisruptionBudget")["orders"]["spec"]["maxUnavailable"] == 1


def test_a_stores_address_is_that_of_the_node_with_its_data() -> None:
    app = loaded()
    store = app.stores["auth-db"].model_copy(update={"scope": "public"})
    app = dataclasses.replace(app, stores={**app.stores, "auth-db": store})
    cluster = Cluster(pins=kubernetes.pinned(app, NODES), public_nodes=NODES)
    found = rendered(app, cluster=cluster)
    service = of(found, "Service")[f"auth-db-{store.port}"]
    assert service["metadata"]["annotations"] == {NODES_OF: cluster.pins["auth-db"]}
    assert found["4-workloads/deployment-gateway.yaml"] == rendered()["4-workloads/deployment-gateway.yaml"]


@pytest.mark.parametrize("number", [22, 2222, 16443])
def test_a_node_keeps_its_own_ports(number: int) -> None:
    app = public()
    last = app.gateway.listeners[-1].model_copy(update={"port": number})
    gateway = app.gateway.model_copy(update={"listeners": (*app.gateway.listeners[:-1], last)})
    app = dataclasses.replace(app, gateway=gateway)
    rendered(app)  # a balancer's address is nobody else's
    cluster = Cluster(pins=kubernetes.pinned(app, NODES), public_nodes=NODES, ssh_ports=(22, 2222))
    with pytest.raises(BadInput, match=f"port {number} is .* on each node"):
        rendered(app, cluster=cluster)


def home(app: Application, name: str) -> str:
    """Whose pods it is in."""
    return app.components[name].home if name in app.components else name


def flows(found: dict[str, Manifest], direction: str) -> set[tuple[str, str, int]]:
    """(from, to, port) as the policies of one side let them; "outside" is nobody of the application."""
    side = {"ingress": "from", "egress": "to"}[direction]
    result = set()
    for name, policy in of(found, "NetworkPolicy").items():
        if name == "default-deny":
            continue
        here = owner(policy["spec"]["podSelector"]["matchLabels"])
        for rule in policy["spec"].get(direction, []):
            for peer in rule[side]:
                inside = "podSelector" in peer and "namespaceSelector" not in peer
                there = owner(peer["podSelector"]["matchLabels"]) if inside else "outside"
                for port in rule["ports"]:
                    pair = (there, here) if direction == "ingress" else (here, there)
                    result.add((*pair, port["port"]))
    return result


def test_policies_are_exactly_the_edges(case: Case) -> None:
    app, found = case
    known = {(home(app, edge.source), home(app, edge.target or "outside"), edge.port) for edge in app.edges()}
    known -= {(who, who, port) for who, _, port in known}
    jobs = {
        (f"{name}-migrate", each.database.store, app.stores[each.database.store].traits.port)
        for name, each in app.services.items()
        if each.file.migrate and each.database
    }
    behind = {
        ("outside", "gateway", app.gateway.container_port(each))
        for each in app.gateway.listeners
        if each.scope == "public" and (each.protocol == "https" or not each.ingress)
    }
    assert flows(found, "ingress") - behind == known | jobs
    speaking = {source for source, _, _ in known | jobs}
    assert flows(found, "egress") == known | jobs | {(source, "outside", 53) for source in speaking}
    deny = of(found, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    # Everybody has one, so that nobody is left with what another's lets through.
    assert {name for name, _ in pods(found)} == {*of(found, "NetworkPolicy")} - {"default-deny"}


def test_a_setting_that_names_a_place_is_an_edge() -> None:
    usual = flows(rendered(), "egress")
    assert ("mail", "mailsink", 2525) in usual
    found = rendered(settings={"mail": {"smtp_host": "smtp.example.com", "SMTP_PORT": 587}})
    assert flows(found, "egress") - usual == {("mail", "outside", 587)}
    assert usual - flows(found, "egress") == {("mail", "mailsink", 2525)}
    assert ("mail", "mailsink", 2525) not in flows(found, "ingress")


@pytest.mark.parametrize("name", APPLICATIONS)
def test_pods_are_believed_about_clients_only_where_an_ingress_is_among_them(name: str) -> None:
    app = loaded(name)

    def believed(**more: Any) -> set[str]:
        (config,) = [
            each["data"] for path, each in rendered(app, **more).items() if "configmap-gateway" in path
        ]
        said = re.findall(r"set_real_ip_from (.*);|set-src .* if { src (.*) }", "\n".join(config.values()))
        return {network for words in said for network in " ".join(words).split()}

    pods_ = {*environment(app).cluster.pods} if of(known(name, "prod", ""), "Ingress") else set()
    assert believed() == pods_
    assert believed(trusted_proxies=("198.51.100.0/24",)) == {"198.51.100.0/24", *pods_}


# --- Content and its names ---


def test_a_change_of_content_is_another_name() -> None:
    def names(**more: Any) -> dict[str, str]:
        return {
            path: each["metadata"]["name"]
            for path, each in rendered(**more).items()
            if each["kind"] in ("ConfigMap", "Job")
        }

    usual = names()

    def differing(**more: Any) -> set[str]:
        return {path for path, name in names(**more).items() if name != usual[path]}

    assert differing(settings={"orders": {"LOG_LEVEL": "warning"}}) == {
        "1-base/configmap-orders.yaml",
        "3-jobs/job-orders-migrate.yaml",
    }
    assert differing(images={"orders": "registry.example.com/orders:2"}) == {"3-jobs/job-orders-migrate.yaml"}
    assert differing(digests={"orders": "1" * 64}) == {"3-jobs/job-orders-migrate.yaml"}
    assert differing(trusted_proxies=("198.51.100.0/24",)) == {"1-base/configmap-gateway.yaml"}


def test_every_name_that_a_pod_looks_up_is_there(case: Case) -> None:
    app, found = case
    values = secrets.complete(app, {}, "trial")
    told = environment(app, owner_overlay(found), digests=secrets.digests(app, values))
    every = read(render(app, told) | kubernetes.secret_files(app, told, values))
    held, named = of(every, "Secret"), set()
    for name, template in pods(every):
        for volume in template["spec"]["volumes"]:
            if "configMap" in volume:
                config = of(every, "ConfigMap")[volume["configMap"]["name"]]
                assert config["immutable"] is True
                keys = {each["key"] for each in volume["configMap"].get("items", [])}
                assert keys in (set(), {*config["data"]})
            if "secret" in volume:
                secret = held[volume["secret"]["secretName"]]
                named.add(secret["metadata"]["name"])
                assert secret["immutable"] is True
                readers = [each for s in app.secrets() for each in s.readers]
                assert {*secret["data"]} == {
                    each.file for each in readers if each.owner == name.removesuffix("-migrate")
                }
    for ingress in of(every, "Ingress").values():
        named.add(ingress["spec"]["tls"][0]["secretName"])
        assert held[ingress["spec"]["tls"][0]["secretName"]]["type"] == "kubernetes.io/tls"
    assert named == {*held}


def test_no_secret_is_rendered_and_a_new_one_is_another_name() -> None:
    app = loaded()
    values = secrets.complete(app, {}, "trial")

    def told(values: dict[str, str]) -> Environment:
        return environment(app, digests=secrets.digests(app, values))

    texts = render(app, told(values))
    held = read(kubernetes.secret_files(app, told(values), values)).values()
    encoded = [data for each in held for data in each["data"].values()]
    for path, text in texts.items():
        assert not [each for each in (*values.values(), *encoded) if each.strip() in text], path
    again = values | {"orders_database_password": "another"}
    before, after = texts, render(app, told(again))
    assert {path for path in before if before[path] != after[path]} == {
        "2-stores/statefulset-orders-db.yaml",
        "3-jobs/job-orders-migrate.yaml",
        "4-workloads/deployment-orders.yaml",
    }
    with pytest.raises(BadInput, match="the digests are not those of the secrets"):
        kubernetes.secret_files(app, told(values), again)


def test_a_migration_runs_between_store_and_service() -> None:
    found = rendered()
    phases = {path.partition("/")[0]: path for path in found if "orders" in path.rpartition("/")[2]}
    assert list(PHASES) == ["0-namespace", "1-base", "2-stores", "3-jobs", "4-workloads"]
    assert {
        phase: found[path]["kind"] for phase, path in phases.items() if phase in ("2-stores", "3-jobs")
    } == {
        "2-stores": "StatefulSet",
        "3-jobs": "Job",
    }
    job = found["3-jobs/job-orders-migrate.yaml"]["spec"]
    assert job["activeDeadlineSeconds"] > 0
    assert "ttlSecondsAfterFinished" not in job  # one that is gone would be run again by the next apply
    assert job["template"]["spec"]["containers"][0]["args"] == ["python", "-m", "kit.migrate", "orders"]


@pytest.mark.parametrize(
    "text", ["1e3", "true", "null", "1_0", "0o7", "on", "y", "~", "", "=", "a: b", "10.1.0.0/16", "1:30", "é"]
)
def test_text_stays_text_for_every_reader(text: str) -> None:
    written = dump({"key": text})
    assert yaml.safe_load(written) == {"key": text}
    assert re.fullmatch("""key: (".*"|'.*')\n""", written)


def test_a_written_folder_is_complete_and_forgets_what_is_gone(tmp_path: Path) -> None:
    app = loaded()
    written = write_manifests(tmp_path, app, environment(app))
    paths = {str(path.relative_to(tmp_path)) for path in written}
    assert paths >= {"0-namespace/namespace-warehouse-prod.yaml", "secrets/secret-orders.yaml"}
    before = {path: path.read_text() for path in written}
    values = [path.read_text().strip() for path in (tmp_path / "secrets/.store").iterdir()]
    assert len(values) == len(app.secrets())
    for path, text in before.items():
        if "secrets" in path.parts:
            assert path.stat().st_mode & 0o777 == 0o600
        else:
            assert not [value for value in values if value in text], path
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    mounted = {path.stem.removeprefix("secret-") for path in tmp_path.glob("secrets/secret-*.yaml")}
    assert mounted == {"gateway-tls", *(r.owner for s in app.secrets() for r in s.readers)} - {"gateway"}
    write_manifests(tmp_path, app, environment(app))
    assert {path: path.read_text() for path in written} == before
    (gone,) = tmp_path.glob("1-base/configmap-panel.yaml")
    services = {name: each for name, each in app.services.items() if name != "panel"}
    routes = tuple(each for each in app.gateway.routes if each.service != "panel")
    less = dataclasses.replace(
        app, services=services, gateway=app.gateway.model_copy(update={"routes": routes})
    )
    write_manifests(tmp_path, less, environment(less))
    assert not gone.exists()
    assert (tmp_path / "1-base/configmap-orders.yaml").exists()


# --- What cannot be ---


def listeners(*given: Listener) -> Application:
    app = loaded()
    return dataclasses.replace(app, gateway=app.gateway.model_copy(update={"listeners": given}))


@pytest.mark.parametrize(
    ("app", "more", "what"),
    [
        (None, {"images": {"orders": "registry.example.com:5000/orders"}}, "may be another orders tomorrow"),
        (None, {"images": {"orders": "orders:latest"}}, "may be another orders tomorrow"),
        (None, {"cluster": Cluster()}, "no node for the data of orders-db"),
        (None, {"cluster": Cluster(overlay="test")}, "unknown overlay 'test'"),
        (None, {"cluster": Cluster(pins={"fax": "a"})}, "a node for unknown store 'fax'"),
        (None, {"names": ("Shop_1",)}, "no Ingress can have the name 'Shop_1'"),
        (None, {"replicas": {"mailsink": 2}}, "2 replicas of mailsink"),
        (
            listeners(
                Listener(port=443, protocol="https", scope="public"),
                Listener(port=80, protocol="http", scope="public"),
            ),
            {},
            "an Ingress serves the same on 80 and 443",
        ),
        (listeners(Listener(port=80, protocol="https", scope="public")), {}, "an Ingress serves the same"),
    ],
)
def test_what_a_cluster_cannot_have_is_refused(
    app: Application | None, more: dict[str, Any], what: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(what)):
        rendered(app, **more)


def watcher(**more: Any) -> Application:
    """A warehouse whose gateway is watched by something that needs more than the gateway has."""
    app = loaded("warehouse", "nginx-exporter")
    each = app.components["nginx-exporter"]
    file = each.file.model_copy(update=more)
    return dataclasses.replace(app, components={each.name: dataclasses.replace(each, file=file)})


@pytest.mark.parametrize(
    "more", [{"data": "/data"}, {"sees": {"/a": "/b"}}, {"secrets": ("ca_certificate",)}]
)
def test_what_is_in_the_gateways_pods_has_nothing_of_its_own(more: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="nginx-exporter is in the gateway's pods here"):
        rendered(watcher(**more))


# --- Who watches ---


@functools.cache
def observed(name: str = "warehouse") -> dict[str, Manifest]:
    return rendered(loaded(name, "all"))


def claimed(found: dict[str, Manifest], name: str) -> dict[str, tuple[str, Manifest]]:
    """Path in the container -> mode of its mount and volume, of a part's claims."""
    (spec,) = [template["spec"] for owner_, template in pods(found) if owner_ == name]
    mounts = {each["name"]: each for each in spec["containers"][0]["volumeMounts"]}
    result = {}
    for each in spec["volumes"]:
        if "persistentVolumeClaim" in each:
            claim = of(found, "PersistentVolumeClaim")[each["persistentVolumeClaim"]["claimName"]]
            reads = each["persistentVolumeClaim"].get("readOnly", False)
            assert mounts[each["name"]].get("readOnly", False) == reads
            volume = of(found, "PersistentVolume")[claim["spec"]["volumeName"]]["spec"]
            assert volume["accessModes"] == claim["spec"]["accessModes"]
            result[mounts[each["name"]]["mountPath"]] = ("reads" if reads else "writes", volume)
    return result


def test_of_its_node_a_pod_sees_what_is_declared_and_only_reads_it() -> None:
    """A pod of the profile `restricted` cannot name a folder of its node: it has a volume that is one."""
    found = observed()
    assert {*of(found, "DaemonSet")} == {"otel-collector", "node-exporter"}
    ((here, (mode, volume)),) = claimed(found, "otel-collector").items()
    assert (here, mode, volume["hostPath"]["path"]) == ("/var/log/pods", "reads", "/var/log/pods")
    assert volume["accessModes"] == ["ReadOnlyMany"]
    exporter = claimed(found, "node-exporter")
    assert {here: mode for here, (mode, _) in exporter.items()} == {"/host/system": "reads"}
    hosts = [each["spec"] for each in of(found, "PersistentVolume").values() if "hostPath" in each["spec"]]
    assert len(hosts) == 2
    assert all(each["persistentVolumeReclaimPolicy"] == "Retain" for each in hosts)


def scraped(found: dict[str, Manifest]) -> dict[str, Any]:
    (config,) = [each for path, each in found.items() if path == "1-base/configmap-prometheus.yaml"]
    return {
        each["job_name"]: each for each in yaml.safe_load(config["data"]["prometheus.yml"])["scrape_configs"]
    }


@pytest.mark.parametrize("name", ["warehouse", "starter"])
def test_prometheus_asks_each_pod_by_a_name_that_leads_to_all(name: str) -> None:
    """Whatever it asks there is a Service for, and an edge."""
    app, found = loaded(name, "all"), observed(name)
    services, flowing = of(found, "Service"), flows(found, "egress")
    asked = set()
    for job in scraped(found).values():
        for each in job.get("dns_sd_configs", []):
            (pods_,) = each["names"]
            spec = services[pods_]["spec"]
            assert (spec["clusterIP"], spec["publishNotReadyAddresses"], each["type"]) == ("None", True, "A")
            assert each["port"] in {port["targetPort"] for port in spec["ports"]}
            assert ("prometheus", owner(spec["selector"]), each["port"]) in flowing
            asked.add((owner(spec["selector"]), each["port"]))
    assert {pods_ for pods_ in services if services[pods_]["spec"].get("clusterIP") == "None"} == {
        f"{who}-pods" for who, _ in asked
    }
    counting = {(each.name, each.file.port) for each in app.services.values() if each.file.metrics}
    several = {"warehouse": ("gateway", 9113), "starter": ("gateway", 10001)}
    assert asked == counting | {several[name], ("node-exporter", 9100), ("otel-collector", 8888)}


def test_who_there_is_one_of_is_asked_by_its_name() -> None:
    app, found = loaded("warehouse", "all"), observed()
    targets = [
        (target, group["labels"])
        for job in ("stores", "components")
        for group in scraped(found)[job]["static_configs"]
        for target in group["targets"]
    ]
    services, flowing = of(found, "Service"), flows(found, "egress")
    for target, labels in targets:
        host, _, port = target.partition(":")
        if labels["instance"] == "prometheus":
            assert host == "127.0.0.1"  # its own Service leads out and, where policies are enforced, not back
            continue
        assert host == labels["instance"]
        assert int(port) in {each["targetPort"] for each in services[host]["spec"]["ports"]}
        assert ("prometheus", host, int(port)) in flowing
    told = {name for name, each in app.components.items() if each.file.metrics and not each.several}
    assert {labels["instance"] for _, labels in targets} == {*told, "rabbitmq"}


def test_readiness_is_asked_of_services_so_that_one_without_any_pod_is_missed() -> None:
    app, found = loaded("warehouse", "all"), observed()
    groups = scraped(found)["probes"]["static_configs"]
    asked = {target: group["labels"] for group in groups for target in group["targets"]}
    assert {each["service"] for each in asked.values() if each["probe"] == "ready"} == {*app.services}
    for target, labels in asked.items():
        if labels["probe"] == "ready":
            assert target.startswith(f"http://{labels['service']}:8080/")
    # As the Ingress, which ends TLS.
    assert asked["http://gateway:80/"]["instance"] == "shop.example.com"
    module = yaml.safe_load(found["1-base/configmap-blackbox-exporter.yaml"]["data"]["blackbox.yml"])
    headers = module["modules"]["public"]["http"]["headers"]
    assert headers == {"Accept": "text/html", "Host": "shop.example.com", "X-Forwarded-Proto": "https"}


def test_https_of_the_gateways_own_is_asked_with_its_certificate() -> None:
    listener = Listener(port=8443, protocol="https", scope="public")
    app = loaded("warehouse", "prometheus blackbox-exporter")
    app = dataclasses.replace(app, gateway=app.gateway.model_copy(update={"listeners": (listener,)}))
    found = rendered(app)
    groups = scraped(found)["probes"]["static_configs"]
    assert ["https://gateway-8443:8443/"] in [group["targets"] for group in groups]
    assert "gateway-8443" in of(found, "Service")
    assert ("blackbox-exporter", "gateway", 8443) in flows(found, "egress")
    module = yaml.safe_load(found["1-base/configmap-blackbox-exporter.yaml"]["data"]["blackbox.yml"])
    assert module["modules"]["public"]["http"]["fail_if_not_ssl"] is True


def test_the_gateway_is_watched_from_within_its_pods() -> None:
    template = dict(pods(observed()))["gateway"]
    assert [each["name"] for each in template["spec"]["containers"]] == ["gateway", "nginx-exporter"]
    assert template["spec"]["containers"][1]["args"] == ["--nginx.scrape-uri=http://127.0.0.1:10001/status"]
    assert "nginx-exporter" not in dict(pods(observed()))
    assert ("outside", "gateway", 10001) not in flows(observed(), "ingress")
    config = observed()["1-base/configmap-gateway.yaml"]["data"]["nginx.conf"]
    assert "stub_status" in config


def test_alerts_are_told_where_settings_say() -> None:
    def out(**settings: Any) -> set[tuple[str, str, int]]:
        found = flows(
            rendered(loaded("warehouse", "alertmanager"), settings={"alertmanager": settings}), "egress"
        )
        return {each for each in found if each[0] == "alertmanager"}

    resolve = ("alertmanager", "outside", 53)
    assert out() == set()
    assert out(email="ops@example.com") == {("alertmanager", "mailsink", 2525), resolve}
    assert out(webhook="https://alerts.example.com/hook") == {("alertmanager", "outside", 443), resolve}
    assert out(webhook="http://alerts.example.com:8080/") == {("alertmanager", "outside", 8080), resolve}
    with pytest.raises(BadInput, match="https://alerts:port/"):
        out(webhook="https://alerts:port/")


def test_lines_are_of_this_namespace_and_say_their_node() -> None:
    text = observed()["1-base/configmap-otel-collector.yaml"]["data"]["collector.yaml"]
    receiver = yaml.safe_load(text)["receivers"]["filelog"]
    assert receiver["include"] == ["/var/log/pods/warehouse-prod_*/*/*.log*"]
    assert "/var/log/pods/*/otel-collector/*" in receiver["exclude"]
    (container,) = dict(pods(observed()))["otel-collector"]["spec"]["containers"]
    assert "${env:NODE}" in text
    (node,) = [each for each in container["env"] if each["name"] == "NODE"]
    assert node["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"


def test_dashboards_are_in_their_folders() -> None:
    (template,) = [template for name, template in pods(observed()) if name == "grafana"]
    (items,) = [each["configMap"]["items"] for each in template["spec"]["volumes"] if "configMap" in each]
    assert {"dashboards/application.json", "provisioning/datasources/hostwright.yml"} <= {
        each["path"] for each in items
    }


def test_what_watches_changes_nothing_else_but_who_is_watched_or_told() -> None:
    plain, watched = rendered(), rendered(loaded("warehouse", "prometheus node-exporter"))
    differing_ = {path for path in plain if plain[path] != watched[path]}
    policies = {f"1-base/networkpolicy-{name}.yaml" for name in loaded().services} - {
        f"1-base/networkpolicy-{name}.yaml" for name in ("panel", "storefront")
    }
    broker = {"1-base/configmap-rabbitmq.yaml", "1-base/networkpolicy-rabbitmq.yaml"}
    broker |= {"1-base/service-rabbitmq.yaml", "2-stores/statefulset-rabbitmq.yaml"}
    assert differing_ == policies | broker


def test_an_application_without_tls_or_without_public_ports() -> None:
    plain = rendered(listeners(Listener(port=80, protocol="http", scope="public")))
    (ingress,) = of(plain, "Ingress").values()
    assert "tls" not in ingress["spec"]
    config = plain["1-base/configmap-gateway.yaml"]["data"]["nginx.conf"]
    assert "listen 10080;" in config
    assert "$http_x_forwarded_proto" not in config
    hidden = rendered(listeners(Listener(port=8080, protocol="http", scope="host", service="orders")))
    assert of(hidden, "Ingress") == {}
    assert [port["port"] for port in of(hidden, "Service")["gateway"]["spec"]["ports"]] == [8080]
    assert ("outside", "gateway", 8080) not in flows(hidden, "ingress")
