"""What an application on a cluster waits for, what is beyond hope, and where its data is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application
from hostwright.render import Cluster, Environment, pinned, render

sys.path.append(str(Path(__file__).parents[2] / ".collections"))
from ansible_collections.hostwright.hostwright.plugins.module_utils.kubectl import (
    NAME,
    NODES,
    TRIED,
    addressed,
    changed,
    crowded,
    pins,
    ready,
    states,
)
from ansible_collections.hostwright.hostwright.plugins.modules.kubernetes import waiting

Item = dict[str, Any]
WELL = {"observedGeneration": 2, "updatedReplicas": 3, "availableReplicas": 3, "replicas": 3}
STUCK = {
    "type": "Progressing",
    "status": "False",
    "message": 'ReplicaSet "orders-5d" has timed out progressing.',
}


def item(kind: str, status: Item, **spec: Any) -> Item:
    return {"kind": kind, "metadata": {"name": "orders", "generation": 2}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("what", "state", "final"),
    [
        (item("Deployment", WELL, replicas=3), "", False),
        (item("Deployment", {}, replicas=3), "has not been looked at yet", False),
        (
            item("Deployment", WELL | {"observedGeneration": 1}),
            "has not been looked at yet",
            False,
        ),
        (item("Deployment", WELL | {"availableReplicas": 2}, replicas=3), "2 of 3 available", False),
        (item("Deployment", WELL | {"updatedReplicas": 1}, replicas=3), "1 of 3 available", False),
        (item("Deployment", WELL | {"replicas": 4}, replicas=3), "1 of before still there", False),
        (item("Deployment", WELL | {"conditions": [STUCK]}, replicas=3), STUCK["message"], True),
        (item("StatefulSet", {"observedGeneration": 2, "readyReplicas": 1}, replicas=1), "", False),
        (item("StatefulSet", {"observedGeneration": 2}, replicas=1), "0 of 1 ready", False),
        (
            item(
                "StatefulSet",
                {
                    "observedGeneration": 2,
                    "readyReplicas": 1,
                    "currentRevision": "orders-1",
                    "updateRevision": "orders-2",
                },
                replicas=1,
            ),
            "is being made anew",
            False,
        ),
        (
            item("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 3, "numberAvailable": 3}),
            "on 0 of 3 nodes",
            False,
        ),
        (
            item(
                "DaemonSet",
                {
                    "observedGeneration": 2,
                    "desiredNumberScheduled": 3,
                    "numberAvailable": 3,
                    "updatedNumberScheduled": 3,
                },
            ),
            "",
            False,
        ),
        (item("DaemonSet", {"observedGeneration": 1}), "has not been looked at yet", False),
        (item("Job", {}), "runs", False),
        (item("Job", {"conditions": [{"type": "Complete", "status": "True"}]}), "", False),
        (
            item("Job", {"conditions": [{"type": "Failed", "status": "True", "message": "too often"}]}),
            "it failed: too often",
            True,
        ),
    ],
)
def test_a_state(what: Item, state: str, final: bool) -> None:
    found = states([what])
    assert found == ({f"{what['kind'].lower()}/orders": state} if state else {})
    assert [each.final for each in found.values()] == ([final] if state else [])


def scaler(least: int, most: int) -> Item:
    target = {"kind": "Deployment", "name": "orders"}
    status = {"observedGeneration": 2}
    return item("HorizontalPodAutoscaler", status, minReplicas=least, maxReplicas=most, scaleTargetRef=target)


@pytest.mark.parametrize(
    ("least", "state"), [(2, ""), (3, ""), (4, "3 of 4 asked for"), (6, "3 of 6 asked for")]
)
def test_an_autoscaler_that_has_not_acted_yet_is_waited_for(least: int, state: str) -> None:
    """A Deployment that is made has one, which is no sooner well for being ready."""
    found = states([scaler(least, 6), item("Deployment", WELL, replicas=3)])
    assert found == ({"deployment/orders": state} if state else {})
    stuck = item("Deployment", WELL | {"conditions": [STUCK]}, replicas=3)
    assert states([stuck, scaler(least, 6)]) == {"deployment/orders": STUCK["message"]}


def test_data_is_where_its_volume_says() -> None:
    app = application.load("warehouse")
    wanted = pinned(app, ["a", "b"])
    files = render(app, Environment(topology="cluster", cluster=Cluster(pins=wanted)))
    volumes = [yaml.safe_load(text) for path, text in files.items() if "/persistentvolume-" in path]
    assert pins(volumes) == wanted == {"orders-db": "a", "auth-db": "b", "rabbitmq": "a"}


def test_what_is_a_folder_of_every_node_is_pinned_to_none() -> None:
    app = application.load("warehouse", components=["otel-collector", "loki", "jaeger"])
    wanted = pinned(app, ["a", "b"])
    files = render(app, Environment(topology="cluster", cluster=Cluster(pins=wanted)))
    volumes = [yaml.safe_load(text) for path, text in files.items() if "/persistentvolume-" in path]
    assert len(volumes) > len(wanted)
    assert pins(volumes) == wanted
    assert {"loki", "jaeger"} <= set(wanted)


@pytest.mark.parametrize(
    ("status", "spec", "takes"),
    [
        ("True", {}, True),
        ("False", {}, False),
        ("Unknown", {}, False),
        ("True", {"unschedulable": True}, False),
    ],
)
def test_a_node_that_takes_pods(status: str, spec: Item, takes: bool) -> None:
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": status}]
    assert ready({"spec": spec, "status": {"conditions": conditions}}) is takes


def test_what_a_diff_is_about() -> None:
    def of(name: str) -> str:
        return (
            f"diff -u -N /tmp/LIVE-123/{name} /tmp/MERGED-456/{name}\n"
            f"--- /tmp/LIVE-123/{name}\t2026-01-01\n+++ /tmp/MERGED-456/{name}\t2026-01-01\n"
            "@@ -1 +1 @@\n-  a: b\n+  a: c\n+++ /not/a/file.v1.name\n"
        )

    names = [
        "apps.v1.Deployment.warehouse-prod.orders",
        "v1.PersistentVolume..warehouse-prod-orders-db",
        "networking.k8s.io.v1.Ingress.warehouse-prod.gateway",
        "v1.ConfigMap.warehouse-prod.orders-1c4e0ae20a63",
        "autoscaling.v2.HorizontalPodAutoscaler.warehouse-prod.orders",
    ]
    assert changed("".join(map(of, names))) == [
        "deployment/orders",
        "persistentvolume/warehouse-prod-orders-db",
        "ingress/gateway",
        "configmap/orders-1c4e0ae20a63",
        "horizontalpodautoscaler/orders",
    ]


PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "again later"}}
READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    ("status", "what"),
    [
        ({"phase": "Running", "conditions": [READY]}, None),
        ({"phase": "Succeeded"}, None),
        (
            {"phase": "Pending", "containerStatuses": [{"state": PULL}]},
            "ImagePullBackOff again later",
        ),
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "Error"}}}]}, "Error"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node has room"}]},
            "no node has room",
        ),
        (
            {"conditions": [{"type": "Ready", "status": "False", "message": "orders is not ready"}]},
            "orders is not ready",
        ),
        ({}, "not there yet"),
    ],
)
def test_what_a_pod_waits_for(status: Item, what: str | None) -> None:
    assert waiting({"status": status}) == what


# Of kubectl what a rollout asks: objects are a file, those that `apply` brings another beside it, those of
# the folder a third where they are others. What is restarted becomes well, but for `bad`; its pods
# are dealt out over the nodes, unless it is pinned to one. What has a `then` is that when it was looked at.
KUBECTL = """
import json, sys
from pathlib import Path
store, *words = map(str, sys.argv[1:])
objects = json.loads(Path(store).read_text())
named = [each for each in objects if f"{each['kind'].lower()}/{each['metadata']['name']}" in words]
if words[0] == "patch":
    (named,), status = named, json.loads(words[-1].partition("=")[2])
    named |= status
    with open(f"{store}.log", "a") as log:
        print(*words[:2], *words[4:6], json.dumps(status), file=log)
    Path(store).write_text(json.dumps(objects))
elif words[0] == "annotate":
    key, _, value = words[-1].partition("=")
    for each in named:
        each["metadata"]["annotations"] = {key: value}
    Path(store).write_text(json.dumps(objects))
elif words[:2] == ["get", "--namespace"]:
    sys.exit("You must specify the type of resource to get.")
elif words[0] == "diff":
    applied = Path(f"{store}.applied")
    for each in json.loads(applied.read_text()) if applied.exists() else []:
        if each not in objects:
            print(f"+++ /tmp/MERGED-1/v1.{each['kind']}.space.{each['metadata']['name']}")
elif words[0] == "apply":
    Path(store).write_text(Path(f"{store}.applied").read_text())
elif words[:2] == ["get", "-R"] and Path(f"{store}.folder").exists():
    print(json.dumps({"kind": "List", "items": json.loads(Path(f"{store}.folder").read_text())}))
elif words[0] == "get":
    kinds = words[1].split(",")
    every = kinds == ["namespace"] or words[1].startswith("-")
    chosen = [each for each in objects if every or f"{each['kind'].lower()}s" in kinds]
    print(json.dumps({"kind": "List", "items": named or chosen}))
    Path(store).write_text(json.dumps([each.get("then", each) for each in objects]))
else:
    with open(f"{store}.log", "a") as log:
        print(*words[:words.index("--namespace")], file=log)
    nodes = [each["metadata"]["name"] for each in objects if each["kind"] == "Node"]
    for each in named:
        labels = {"app.kubernetes.io/name": each["metadata"]["name"]}
        pods = [pod for pod in objects if pod["kind"] == "Pod" and pod["metadata"].get("labels") == labels]
        for at, pod in enumerate(pods):
            pod["metadata"].pop("annotations", None)
            pod["spec"]["nodeName"] = each["spec"].get("pinned") or nodes[at % len(nodes)]
        each["spec"]["template"] = {"made": each["metadata"]["generation"]}
        each["metadata"]["generation"] += 1
        each["status"]["observedGeneration"] += 1
        if each["metadata"]["name"] == "bad":
            each["status"]["conditions"] = [{"type": "Progressing", "status": "False", "message": "no way"}]
    Path(store).write_text(json.dumps(objects))
"""


def part(kind: str, name: str, **status: Any) -> Item:
    found = item(kind, {"observedGeneration": 2, **status}, replicas=1, template={})
    return found | {"metadata": {"name": name, "generation": 2}}


def restart(folder: Path, *names: str, check: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The module's answer, and what it had kubectl do, for an application of three parts."""
    one = {"updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}
    parts = [part("Deployment", "orders", **one), part("StatefulSet", "orders-db", readyReplicas=1)]
    (folder / "objects").write_text(json.dumps([*parts, part("Deployment", "bad", **one)]))
    return run(folder, restart=names, timeout=5, _ansible_check_mode=check)


def run(folder: Path, **given: Any) -> tuple[dict[str, Any], list[str]]:
    store = folder / "objects"
    arguments = {
        "directory": str(folder),
        "namespace": "warehouse-prod",
        "kubectl": [sys.executable, "-c", KUBECTL, str(store)],
        **given,
    }
    done = subprocess.run(
        [sys.executable, "-m", "ansible_collections.hostwright.hostwright.plugins.modules.kubernetes"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    log = folder / "objects.log"
    return json.loads(done.stdout), log.read_text().splitlines() if log.exists() else []


def test_a_sentence_and_success_are_no_answer(tmp_path: Path) -> None:
    said = "This MicroK8s deployment is acting as a node in a cluster."
    answer, _ = run(tmp_path, kubectl=[sys.executable, "-c", f"print({said!r})"])
    assert (answer["failed"], answer["msg"]) == (True, f"there is no API of Kubernetes here: {said}")


def test_stores_are_restarted_before_who_asks_them(tmp_path: Path) -> None:
    answer, did = restart(tmp_path, "orders", "orders-db")
    assert did == ["rollout restart statefulset/orders-db", "rollout restart deployment/orders"]
    assert (answer["changed"], sorted(answer["reasons"])) == (
        True,
        ["deployment/orders", "statefulset/orders-db"],
    )


def test_a_restart_that_does_not_end_well_is_undone_and_the_rest_stays(tmp_path: Path) -> None:
    answer, did = restart(tmp_path, "bad", "orders")
    assert did == ["rollout restart deployment/bad", "rollout undo deployment/bad"]
    assert (answer["failed"], answer["undone"]) == (True, ["deployment/bad"])
    assert "deployment/bad: no way" in answer["msg"]


def test_a_first_rollout_that_does_not_end_well_says_why(tmp_path: Path) -> None:
    """There is nothing to return to."""
    (tmp_path / "4-workloads").mkdir()
    (tmp_path / "objects").write_text("[]")
    stuck = part("Deployment", "orders", conditions=[STUCK])
    (tmp_path / "objects.applied").write_text(json.dumps([stuck]))
    answer, _ = run(tmp_path, timeout=5)
    assert (answer["failed"], answer.get("undone")) == (True, []), answer["msg"]
    assert STUCK["message"] in answer["msg"]


def test_a_first_rollout_waits_for_as_many_as_there_are_to_be(tmp_path: Path) -> None:
    (tmp_path / "4-workloads").mkdir()
    one = {"updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}
    (tmp_path / "objects").write_text("[]")
    (tmp_path / "objects.applied").write_text(json.dumps([part("Deployment", "orders", **one), scaler(2, 2)]))
    answer, _ = run(tmp_path, timeout=1)
    assert "deployment/orders: 1 of 2 asked for" in answer["msg"]


def test_an_autoscaler_that_nobody_wants_goes_before_what_it_would_set_back(tmp_path: Path) -> None:
    """Anything else goes last, and not at all where the rollout does not end well."""
    (tmp_path / "4-workloads").mkdir()
    stuck = part("Deployment", "orders", conditions=[STUCK])
    (tmp_path / "objects").write_text(json.dumps([stuck, scaler(4, 4), part("StatefulSet", "old")]))
    (tmp_path / "objects.folder").write_text(json.dumps([stuck]))
    (tmp_path / "objects.applied").write_text(json.dumps([stuck]))
    answer, did = run(tmp_path, timeout=5)
    assert STUCK["message"] in answer["msg"]
    assert [each for each in did if each.startswith("delete")] == ["delete horizontalpodautoscaler/orders"]


def test_a_store_that_does_not_become_well_is_undone_too(tmp_path: Path) -> None:
    """With the pod that it would be waited for in vain, and no other."""
    (tmp_path / "2-stores").mkdir()
    stores = [part("StatefulSet", "orders-db"), part("StatefulSet", "auth-db", readyReplicas=1)]
    pods = []
    for name, state in {"orders-db-0": "False", "auth-db-0": "True"}.items():
        status = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": state}]}
        metadata = {"name": name, "generation": 1}
        pods.append({"kind": "Pod", "metadata": metadata, "spec": {}, "status": status})
    (tmp_path / "objects").write_text(json.dumps([*stores, *pods]))
    stores[0]["spec"]["template"] = {"image": "another"}
    (tmp_path / "objects.applied").write_text(json.dumps([*stores, *pods]))
    answer, did = run(tmp_path, timeout=2)
    assert (answer["failed"], answer["undone"]) == (True, ["statefulset/orders-db"])
    assert "statefulset/orders-db: 0 of 1 ready" in answer["msg"]
    assert did == ["logs orders-db-0", "rollout undo statefulset/orders-db", "delete pod/orders-db-0"]


def test_daemons_that_do_not_become_well_are_undone_too(tmp_path: Path) -> None:
    (tmp_path / "4-workloads").mkdir()
    there = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}
    daemons = [part("DaemonSet", name, **there) for name in ("node-exporter", "otel-collector")]
    (tmp_path / "objects").write_text(json.dumps(daemons))
    daemons[0]["spec"]["template"] = {"image": "another"}
    daemons[0]["status"] |= {"updatedNumberScheduled": 1, "numberAvailable": 2}
    (tmp_path / "objects.applied").write_text(json.dumps(daemons))
    (tmp_path / "objects.folder").write_text(json.dumps(daemons))
    answer, did = run(tmp_path, timeout=1)
    assert (answer["failed"], answer["undone"]) == (True, ["daemonset/node-exporter"])
    assert "daemonset/node-exporter: on 1 of 3 nodes" in answer["msg"]
    assert did == ["rollout undo daemonset/node-exporter"]


def test_what_an_autoscaler_alone_has_changed_is_not_undone(tmp_path: Path) -> None:
    """There would be the release before the one that serves well."""
    (tmp_path / "4-workloads").mkdir()
    one = {"updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}
    parts = [part("Deployment", "orders", **one), part("Deployment", "auth", **one)]
    (tmp_path / "objects").write_text(json.dumps(parts))
    for each in parts:
        each["metadata"]["generation"] = each["status"]["observedGeneration"] = 3
    parts[0]["spec"]["replicas"] = 2
    parts[1]["spec"]["template"] = {"image": "another"}
    parts[1]["status"]["availableReplicas"] = 0
    (tmp_path / "objects.applied").write_text(json.dumps(parts))
    (tmp_path / "objects.folder").write_text(json.dumps(parts))
    answer, did = run(tmp_path, timeout=1)
    assert "deployment/orders: 1 of 2 available" in answer["msg"]
    assert (answer["undone"], did) == (["deployment/auth"], ["rollout undo deployment/auth"])


def test_a_store_that_never_became_well_goes_on_once_it_is_mended(tmp_path: Path) -> None:
    """Without the pod of before; one that is being made of what is right now stays, and one that leaves."""
    (tmp_path / "2-stores").mkdir()
    revisions = {"currentRevision": "orders-db-1", "updateRevision": "orders-db-2"}
    pods = [
        {
            "kind": "Pod",
            "metadata": {
                "name": f"orders-db-{number}",
                "generation": 1,
                "labels": {"controller-revision-hash": revision},
                **more,
            },
            "spec": {},
            "status": {"observedGeneration": 1},
        }
        for number, (revision, more) in enumerate(
            [("orders-db-1", {}), ("orders-db-2", {}), ("orders-db-1", {"deletionTimestamp": "now"})]
        )
    ]
    objects = json.dumps([part("StatefulSet", "orders-db", **revisions), *pods])
    (tmp_path / "objects").write_text("[]")
    (tmp_path / "objects.applied").write_text(objects)
    _, did = run(tmp_path, timeout=1)
    assert {each for each in did if each.startswith("delete")} == {"delete pod/orders-db-0"}


def node(name: str, *addresses: str) -> Item:
    told = [{"type": "Hostname", "address": name}]
    told += [{"type": "InternalIP", "address": each} for each in addresses]
    return {"kind": "Node", "metadata": {"name": name}, "spec": {}, "status": {"addresses": told}}


def published(nodes: str, *addresses: str) -> Item:
    metadata = {"name": "gateway-8080", "annotations": {NODES: nodes}}
    given = {"ingress": [{"ip": each} for each in addresses]} if addresses else {}
    return {"kind": "Service", "metadata": metadata, "spec": {}, "status": {"loadBalancer": given}}


@pytest.mark.parametrize(
    ("service", "found"),
    [
        (published("b,a"), ["192.0.2.2", "192.0.2.1"]),
        (published("a", "192.0.2.9"), ["192.0.2.1"]),
        (published("a,gone"), ["192.0.2.1"]),
        (published("a,b", "192.0.2.1", "192.0.2.2"), None),
    ],
)
def test_the_addresses_of_a_services_nodes(service: Item, found: list[str] | None) -> None:
    nodes = [node("a", "192.0.2.1", "2001:db8::1"), node("b", "192.0.2.2")]
    assert addressed([service], nodes) == ({"service/gateway-8080": found} if found else {})


def test_a_rollout_gives_services_the_addresses_of_their_nodes(tmp_path: Path) -> None:
    """Those that the manifests name; a check only says so, and a second run has nothing to do."""
    app = application.load("gatekeeper")
    cluster = Cluster(pins=pinned(app, ["a", "b"]), public_nodes=("a", "b"))
    text = render(app, Environment(topology="cluster", cluster=cluster))["1-base/service-gateway-8080.yaml"]
    service = yaml.safe_load(text) | {"status": {"loadBalancer": {}}}
    objects = [service, node("a", "192.0.2.1"), node("b", "192.0.2.2")]
    for each in objects:
        each["metadata"]["generation"] = 1
    (tmp_path / "0-namespace").mkdir()
    (tmp_path / "objects").write_text(json.dumps(objects))
    answers = [run(tmp_path, _ansible_check_mode=check) for check in (True, False, False)]
    wrong = {"service/gateway-8080": "not at its nodes' addresses"}
    assert [each["reasons"] for each, _ in answers] == [wrong, wrong, {}]
    assert [each["changed"] for each, _ in answers] == [True, True, False]
    assert next(did for _, did in answers) == []
    addresses = [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]
    status = json.dumps({"status": {"loadBalancer": {"ingress": addresses}}})
    assert answers[-1][1] == [f"patch service/gateway-8080 --subresource=status --type=merge {status}"]


def pod(part: str, number: int, node: str, ready: str = "True", **metadata: Any) -> Item:
    status = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": ready}]}
    named = {"name": f"{part}-{number}", "generation": 1, "labels": {NAME: part}} | metadata
    return {"kind": "Pod", "metadata": named, "spec": {"nodeName": node}, "status": status}


def taking(name: str, status: str = "True", **spec: Any) -> Item:
    found = node(name)
    found["status"]["conditions"] = [{"type": "Ready", "status": status}]
    return found | {"metadata": {"name": name, "generation": 1}, "spec": spec}


A, B, C = taking("a"), taking("b"), taking("c")
TOGETHER = [pod("orders", number, "a") for number in (1, 2)]


def confined(pod: Item, *names: str) -> Item:
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": names}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return pod | {"spec": pod["spec"] | {"affinity": {"nodeAffinity": required}}}


@pytest.mark.parametrize(
    ("pods", "nodes", "found"),
    [
        (TOGETHER, [A, B], True),
        (TOGETHER, [A], False),
        (TOGETHER, [A, taking("b", "Unknown")], False),
        (TOGETHER, [A, taking("b", unschedulable=True)], False),
        (TOGETHER, [taking("a", unschedulable=True), B, C], True),
        (TOGETHER[:1], [A, B], False),
        ([TOGETHER[0], pod("orders", 2, "b")], [A, B], False),
        ([*TOGETHER, pod("orders", 3, "b", "False")], [A, B], True),
        ([*TOGETHER, pod("orders", 3, "b", deletionTimestamp="now")], [A, B], True),
        ([TOGETHER[0], pod("auth", 2, "a")], [A, B], False),
        ([TOGETHER[0], pod("orders", 2, "a", annotations={TRIED: "a,b"})], [A, B], False),
        ([TOGETHER[0], pod("orders", 2, "a", annotations={TRIED: "a,b"})], [A, B, C], True),
        ([TOGETHER[0], pod("orders", 2, "a", annotations={TRIED: "a,b,c"})], [A, B], False),
        ([confined(each, "a") for each in TOGETHER], [A, B], False),
        ([confined(each, "a", "b") for each in TOGETHER], [A, B], True),
        ([confined(each, "a", "b") for each in TOGETHER], [A, C], False),
    ],
)
def test_pods_that_are_all_on_one_node(pods: list[Item], nodes: list[Item], found: bool) -> None:
    names = {"deployment/orders": ["orders-1", "orders-2"]}
    assert crowded([part("Deployment", "orders"), *pods], nodes) == (names if found else {})


@pytest.mark.parametrize("pinned", ["", "a"])
def test_a_node_more_has_pods_too_where_they_can_be_there(tmp_path: Path, pinned: str) -> None:
    """Once for a set of nodes: a second run changes nothing, whether it was of use or not."""
    well = {"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}
    orders = part("Deployment", "orders", **well)
    orders["spec"] |= {"replicas": 2, "pinned": pinned}
    (tmp_path / "0-namespace").mkdir()
    (tmp_path / "objects").write_text(json.dumps([orders, *TOGETHER, A, B]))
    answers = [run(tmp_path, timeout=5, _ansible_check_mode=check) for check in (True, False, False)]
    why = {"deployment/orders": "all of it is on one node"}
    assert [each["reasons"] for each, _ in answers] == [why, why, {}]
    assert [each["changed"] for each, _ in answers] == [True, True, False]
    once = ["rollout restart deployment/orders"]
    assert [did for _, did in answers] == [[], once, once]
    found = json.loads((tmp_path / "objects").read_text())
    assert [each["spec"]["nodeName"] for each in found[1:3]] == ["a", pinned or "b"]
    (tmp_path / "objects").write_text(json.dumps([*found, C]))
    _, did = run(tmp_path, timeout=5)
    assert did == (once * 2 if pinned else once)


def test_nothing_else_is_looked_at_where_the_nodes_are_filled_again(tmp_path: Path) -> None:
    """What was brought and does not become well is another verb's."""
    well = {"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}
    orders = part("Deployment", "orders", **well)
    orders["spec"]["replicas"] = 2
    stuck = part("Deployment", "auth", conditions=[STUCK])
    (tmp_path / "objects").write_text(json.dumps([orders, stuck, *TOGETHER, A, B]))
    answers = [run(tmp_path, spread=True, timeout=5) for _ in range(2)]
    assert [each["changed"] for each, _ in answers] == [True, False]
    assert answers[-1][1] == ["rollout restart deployment/orders"]


def test_pods_of_an_emptied_node_are_waited_for(tmp_path: Path) -> None:
    well = {"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}
    soon, orders = (part("Deployment", "orders", **well | more) for more in ({"availableReplicas": 1}, {}))
    soon["spec"]["replicas"] = orders["spec"]["replicas"] = 2
    unready = pod("orders", 2, "a", "False")
    objects = [soon | {"then": orders}, TOGETHER[0], unready | {"then": TOGETHER[1]}, A, B]
    (tmp_path / "objects").write_text(json.dumps(objects))
    answer, did = run(tmp_path, spread=True)
    assert (answer["changed"], did) == (True, ["rollout restart deployment/orders"])


def test_what_is_not_there_is_named_before_anything_is_restarted(tmp_path: Path) -> None:
    answer, did = restart(tmp_path, "orders", "billing")
    assert (answer["msg"], did) == ("nothing of that name can be restarted: billing", [])


def test_a_check_restarts_nothing(tmp_path: Path) -> None:
    answer, did = restart(tmp_path, "orders", check=True)
    assert (answer["changed"], did) == (True, [])
