"""What the verb `status` makes of what hosts, Compose and Prometheus answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from hostwright import application, secrets, status
from hostwright.errors import Failure
from hostwright.status import Status

HOST = {
    "host": "prod-1",
    "address": "192.0.2.10",
    "up": 93600,
    "load": 0.5,
    "cpus": 2,
    "memory": 4096,
    "memory_available": 1024,
    "disk": 20480,
    "disk_available": 5120,
}


def row(service: str, state: str = "running", health: str = "healthy", exit: int = 0) -> dict[str, Any]:
    found = {"service": service, "state": state, "health": health, "exit": exit, "restarts": 0}
    return {"host": "prod-1", "container": f"warehouse-{service}-1", "image": "x", **found}


def alert(name: str, state: str, severity: str, since: str) -> dict[str, Any]:
    """As /api/v1/alerts of Prometheus has it."""
    return {
        "labels": {"alertname": name, "severity": severity, "service": "orders"},
        "annotations": {"summary": f"{name} of orders", "action": "look"},
        "state": state,
        "activeAt": f"{since}.123456789Z",
        "value": "0e+00",
    }


@pytest.mark.parametrize(
    ("of", "is_well"),
    [
        (row("orders"), True),
        (row("nginx-exporter", health=""), True),
        (row("orders", health="unhealthy"), False),
        (row("orders", health="starting"), False),
        (row("orders", state="restarting", health=""), False),
        (row("orders-migrate", state="exited", health="", exit=0), True),
        (row("orders-migrate", state="exited", health="", exit=1), False),
        (row("orders", state="exited", health="", exit=0), False),
    ],
)
def test_who_is_well(of: dict[str, Any], is_well: bool) -> None:
    assert status.well(of) == is_well


def test_only_what_fires_is_told_and_the_worst_first() -> None:
    found = status.firing(
        [
            alert("DeadLetters", "firing", "warning", "2026-01-01T00:00:00"),
            alert("NotReady", "firing", "critical", "2026-01-01T02:00:00"),
            alert("ServiceDown", "firing", "critical", "2026-01-01T01:00:00"),
            alert("Slow", "pending", "warning", "2026-01-01T00:00:00"),
        ],
        "prod-1",
    )
    assert [each["alert"] for each in found] == ["ServiceDown", "NotReady", "DeadLetters"]
    assert found[0] == {
        "host": "prod-1",
        "alert": "ServiceDown",
        "severity": "critical",
        "since": "2026-01-01T01:00:00Z",
        "what": "ServiceDown of orders",
        "action": "look",
    }


def test_prometheus_is_asked_where_it_was_deployed() -> None:
    observed, plain = (application.load("warehouse", components=chosen) for chosen in ("all", ()))
    found = status.deployed(observed, "prometheus", [row("prometheus")])
    assert found
    assert found.port == 9090
    assert status.deployed(observed, "prometheus", [row("orders")]) is None  # its image was not to be had
    assert status.deployed(plain, "prometheus", [row("prometheus")]) is None


def test_tables_are_those_that_have_rows() -> None:
    hosts, services = Status([HOST], [row("orders")], [], []).tables()
    assert hosts[1] == [
        ("prod-1", "192.0.2.10", "1 d 2 h", "0.50 of 2", "1024 of 4096 MiB", "5.0 of 20.0 GiB")
    ]
    assert services[1] == [("prod-1", "orders", "running", "healthy", "0", "x")]


def test_what_is_not_well_is_named() -> None:
    Status([HOST], [row("orders")], [], []).require_well()
    with pytest.raises(Failure, match="not well: orders, alert ServiceDown") as caught:
        Status([HOST], [row("orders")], [], ["orders", "alert ServiceDown"]).require_well()
    assert "hostwright logs" in caught.value.fix
    with pytest.raises(Failure, match="nothing runs") as caught:
        Status([HOST], [], [], ["nothing runs"]).require_well()
    assert caught.value.fix == "hostwright up"


def server(ready: str, version: str = "v1.35.8", **spec: bool) -> dict[str, Any]:
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]
    return {
        "spec": spec,
        "status": {"conditions": conditions, "nodeInfo": {"kubeletVersion": version}},
    }


@pytest.mark.parametrize(
    ("item", "state"),
    [
        (server("True"), "ready"),
        (server("Unknown"), "not ready"),
        (server("True", unschedulable=True), "cordoned"),
        (server("False", unschedulable=True), "not ready"),
    ],
)
def test_a_node(item: dict[str, Any], state: str) -> None:
    assert status.node(item) == {"node": state, "version": "v1.35.8"}


def of(kind: str, part: str, state: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """An object of the application, as kubectl has it."""
    containers = {"spec": {"containers": [{"image": f"{part}:1"}]}}
    inner = containers["spec"] | {"nodeName": "k1"} if kind == "Pod" else {"template": containers}
    metadata = {"name": f"{part}-x", "labels": {"app.kubernetes.io/name": part}}
    return {"kind": kind, "metadata": metadata, "spec": inner | spec, "status": state}


def serving(part: str, restarts: int = 0, node: str = "k1", ready: str = "True") -> dict[str, Any]:
    containers = [{"restartCount": restarts, "state": {"running": {}}}]
    conditions = [{"type": "Ready", "status": ready}]
    state = {"phase": "Running", "containerStatuses": containers, "conditions": conditions}
    return of("Pod", part, state, nodeName=node)


ENDED = {
    "phase": "Failed",
    "containerStatuses": [{"restartCount": 0, "state": {"terminated": {"exitCode": 3}}}],
}
ITEMS = [
    of("Deployment", "orders", {"readyReplicas": 1}, replicas=2),
    of("StatefulSet", "orders-db", {"readyReplicas": 1}, replicas=1),
    of("DaemonSet", "otel-collector", {"numberReady": 3, "desiredNumberScheduled": 3}),
    of("Job", "orders-migrate", {"succeeded": 1}),
    serving("orders", 2, "k2"),
    serving("orders", 1, "k1", ready="False"),
    serving("orders-db"),
    of("Pod", "orders-migrate", ENDED),
    of("Pod", "orders-migrate", {"phase": "Succeeded"}),
]


def test_a_pod_is_told_of_as_a_container() -> None:
    found = [status.pod(each) for each in ITEMS if each["kind"] == "Pod"]
    told = [(each["service"], each["state"], each["health"], each["exit"]) for each in found]
    assert told == [
        ("orders", "running", "healthy", 0),
        ("orders", "running", "unhealthy", 0),
        ("orders-db", "running", "healthy", 0),
        ("orders-migrate", "exited", "", 3),
        ("orders-migrate", "exited", "", 0),
    ]
    assert row("orders").keys() == found[0].keys()
    waits = status.pod(of("Pod", "mail", {"phase": "Pending"}))
    assert (waits["state"], waits["health"], waits["restarts"]) == ("pending", "", 0)


def clustered(node: str = "ready", items: list[dict[str, Any]] = ITEMS) -> Status:
    host = HOST | {"node": node, "version": "v1.35.8"}
    return Status([host], [], [], [], workloads=status.workloads(items))


def test_what_pods_belong_to() -> None:
    hosts, workloads = clustered().tables()
    assert hosts[0][-2:] == ("node", "version")
    assert hosts[1][0][-2:] == ("ready", "v1.35.8")
    assert workloads[1] == [
        ("orders", "1 of 2", "3", "k1, k2", "orders:1"),
        ("orders-db", "1 of 1", "0", "k1", "orders-db:1"),
        ("orders-migrate", "1 of 1", "0", "k1", "orders-migrate:1"),
        ("otel-collector", "3 of 3", "0", "", "otel-collector:1"),
    ]


def test_what_a_cluster_lacks() -> None:
    assert status.missing(clustered()) == ["orders (1 of 2)"], (
        "a job that failed once and then did not is well"
    )
    assert status.missing(clustered("not ready", [])) == ["node prod-1: not ready", "nothing runs"]


def test_a_host_that_does_not_answer_has_a_row() -> None:
    host = HOST | dict.fromkeys(status.SEEN) | {"node": "not ready", "version": "v1.35.8"}
    ((_, (told,)),) = Status([host], [], [], []).tables()
    assert told == ("prod-1", "192.0.2.10", "-", "-", "-", "-", "not ready", "v1.35.8")


def test_the_certificate_that_ends_first_is_told_of() -> None:
    values = secrets.complete(application.load("warehouse"), {}, "prod")
    names = ("ca_certificate", "gateway_certificate")
    (found,) = status.ends("k1", {name: values[name] for name in names} | {"empty.crt": ""})
    assert (found["host"], found["certificate"]) == ("k1", "gateway_certificate")
    end = datetime.fromisoformat(found["ends"])
    assert status.ending([found], end - timedelta(days=15)) == []
    assert status.ending([found], end - timedelta(days=13)) == [
        f"certificate gateway_certificate of k1 ends {end:%Y-%m-%d}"
    ]
    assert status.ends("k1", {}) == []
