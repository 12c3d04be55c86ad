"""A cluster with everything that watches its application: who is asked, one request, and an alert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from hostwright.forwarded import ASK
from tests import environment
from tests.faults.cluster import AN_HOUR
from tests.host import Node, until
from tests.live import Live, make, temporary
from tests.monitoring.conftest import SETTINGS, place_order

NAME, NAMESPACE = "test-observed-cluster", "warehouse-dev"
NETWORK = {"mode": "nat", "cidr": "10.78.0.0/24", "cidr6": "fd00:78::/64"}
KUBECTL = ("/snap/bin/microk8s", "kubectl", f"--namespace={NAMESPACE}")
ORDER = {"customer_name": "Jan Kowalski", "source": "website", "total_amount": 12.5}

pytestmark = pytest.mark.slow  # a cluster of its own


class Watched:
    """The cluster, its server, and what is asked there."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.node = Node(live.hosts()[0]["name"])

    def ask(self, service: str, port: int, path: str) -> Any:
        """What a Service answers to an operator."""
        way = ("port-forward", "--address=127.0.0.1", f"service/{service}", f":{port}")
        return json.loads(self.node.run("python3", "-c", ASK, path, *KUBECTL, *way))

    def streams(self, query: str) -> list[dict[str, Any]]:
        """What Loki has for it of the last hour."""
        answer = self.ask("loki", 3100, f"/loki/api/v1/query_range?{urlencode({'query': query})}")
        return list(answer["data"]["result"])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Up, proven, and with an order placed."""
    folder = tmp_path_factory.mktemp("observed")
    with temporary(make(folder, NAME, NETWORK, components=True, servers=1)) as live:
        live.configure(app_kubernetes_overlay="dev", app_kubernetes_settings=SETTINGS)
        live.hostwright("up", timeout=AN_HOUR)
        place_order(live)
        yield Watched(live)


def test_every_component_is_proved_or_not_deployed(watched: Watched) -> None:
    state = Path(watched.live.env["XDG_STATE_HOME"], "hostwright", NAME)
    rows = json.loads((state / "proof/proof.json").read_text())["rows"]
    absent = [row["what"] for row in rows if row["result"] == "not deployed"]
    assert absent == ["grafana is deployed"]
    held = {row["what"] for row in rows if row["result"] == "holds"}
    assert {f"{name} is available, every instance of it" for name in ("loki", "otel-collector")} <= held


def test_everybody_who_is_asked_answers(watched: Watched) -> None:
    def down() -> list[str]:
        found = watched.ask("prometheus", 9090, "/api/v1/targets?state=active")["data"]["activeTargets"]
        jobs = {each["labels"]["job"] for each in found}
        assert jobs == {"services", "stores", "components", "probes"}
        assert len({each["labels"]["instance"] for each in found}) > 20
        return [f"{each['scrapeUrl']}: {each['lastError']}" for each in found if each["health"] != "up"]

    until(lambda: not down(), 180, "every target is up")
    probes = watched.ask("prometheus", 9090, f"/api/v1/query?{urlencode({'query': 'probe_success == 0'})}")
    assert probes["data"]["result"] == []


def test_a_request_is_in_loki_and_in_jaeger(watched: Watched) -> None:
    with environment.client(environment.gateway(watched.live)) as http:
        customer = environment.register(http)
        answer = customer.ask("POST", "/api/orders", json=ORDER | {"customer_email": customer.email})
    assert answer.status_code == 201, answer.text
    request = str(answer.headers["x-request-id"])
    found: dict[str, dict[str, Any]] = {}

    def told() -> bool:
        every = watched.streams(f'{{service_namespace="warehouse"}} | request_id="{request}"')
        found.update({each["stream"]["service_name"]: each["stream"] for each in every})
        return {"gateway", "mail"} <= found.keys()

    until(told, 180, "lines of the gateway and of the mail's sender")
    assert {each["k8s_node_name"] for each in found.values()} == {watched.node.name}
    shown = json.loads(watched.live.hostwright("logs", "--request", request, "--json").stdout)
    assert {line["service"] for line in shown} >= {"gateway", "mail"}
    assert {line["host"] for line in shown} == {watched.node.name}

    def traced() -> set[str]:
        (trace,) = watched.ask("jaeger", 16686, f"/api/traces/{request}")["data"]
        return {process["serviceName"] for process in trace["processes"].values()}

    until(lambda: traced() >= {"orders", "mail", "analytics"}, 180, "spans of those who took part")


def test_stores_are_heard_and_the_collector_is_not(watched: Watched) -> None:
    def heard() -> set[str]:
        return set(watched.ask("loki", 3100, "/loki/api/v1/label/service_name/values")["data"])

    until(lambda: heard() >= {"gateway", "orders", "orders-db", "rabbitmq"}, 180, "services and stores")
    assert "otel-collector" not in heard()


def test_an_alert_is_told_of_and_ends(watched: Watched) -> None:
    """Of a service that has no pod at all."""

    def told() -> set[tuple[str, str]]:
        done = watched.live.hostwright("status", "--json", check=False)
        return {(each["alert"], each["what"].partition(" ")[0]) for each in json.loads(done.stdout)["alerts"]}

    down = ("NotReady", "mail")
    watched.node.run(*KUBECTL, "scale", "deployment/mail", "--replicas=0")
    try:
        until(lambda: down in told(), 300, "the alert fires")
        done = watched.live.hostwright("status", check=False)
        assert done.returncode == 1
        assert "alert NotReady" in done.stderr, done.stderr
    finally:
        watched.node.run(*KUBECTL, "scale", "deployment/mail", "--replicas=1")
    until(lambda: down not in told(), 300, "the alert ends")
