"""One request, as who watches the application tells of it: lines in Loki, a trace in Jaeger."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from hostwright import application
from hostwright.render import Environment, render
from tests import environment
from tests.environment import Gateway
from tests.host import until
from tests.monitoring.conftest import Observed

pytestmark = pytest.mark.slow

LOKI, JAEGER = "http://127.0.0.1:3100/loki/api/v1", "http://127.0.0.1:16686/api"
TOUCHED = {"gateway", "orders", "notification", "analytics", "mail"}
ORDER = {"customer_name": "Jan Kowalski", "source": "website", "total_amount": 12.5}


def streams(observed: Observed, query: str) -> list[dict[str, Any]]:
    """What Loki has for it of the last hour."""
    (answer,) = observed.ask(f"{LOKI}/query_range?{urlencode({'query': query})}")
    assert "data" in answer, answer
    return list(answer["data"]["result"])


@pytest.fixture(scope="module")
def shop(observed: Observed) -> Gateway:
    return environment.gateway(observed.live)


@pytest.fixture(scope="module")
def request_id(shop: Gateway) -> str:
    """Of an order that was placed."""
    with environment.client(shop) as http:
        customer = environment.register(http)
        answer = customer.ask("POST", "/api/orders", json=ORDER | {"customer_email": customer.email})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["x-request-id"])


def test_its_lines_are_in_loki(observed: Observed, request_id: str) -> None:
    found: dict[str, dict[str, Any]] = {}

    def told() -> bool:
        every = streams(observed, f'{{service_namespace="warehouse"}} | request_id="{request_id}"')
        found.update({each["stream"]["service_name"]: each for each in every})
        return found.keys() >= TOUCHED

    until(told, 120, "lines of the gateway and of all who took part")
    for each in found.values():
        assert (each["stream"]["detected_level"], each["stream"]["trace_id"]) == ("info", request_id)
        assert {json.loads(line)["request_id"] for _, line, *_ in each["values"]} == {request_id}
    (labels,) = observed.ask(f"{LOKI}/labels")
    assert set(labels["data"]) == {"deployment_environment_name", "service_name", "service_namespace"}
    shown = json.loads(observed.live.hostwright("logs", "--request", request_id, "--json").stdout)
    assert {line["service"] for line in shown} >= TOUCHED
    assert [line["time"] for line in shown] == sorted(line["time"] for line in shown)


def test_stores_and_all_services_are_heard(observed: Observed, request_id: str) -> None:
    wanted = {"gateway", "orders", "auth", "notification", "analytics", "mail", "orders-db", "rabbitmq"}

    def heard() -> set[str]:
        (answer,) = observed.ask(f"{LOKI}/label/service_name/values")
        return set(answer["data"])

    until(lambda: heard() >= wanted, 120, "every service and store")
    assert "otel-collector" not in heard()


def test_every_panel_of_logs_has_data(observed: Observed, request_id: str) -> None:
    """Grafana is not to be had here: what it would ask is asked of the same Loki."""
    files = render(application.load("warehouse", components="all"), Environment())
    panels = json.loads(files["grafana/dashboards/logs.json"])["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) > 6
    assert {panel["datasource"]["uid"] for panel in panels} == {"loki"}

    def without() -> list[str]:
        return [each for each in queries if not streams(observed, each)]

    until(lambda: not without(), 120, "every panel has data")


def test_its_trace_is_in_jaeger_through_the_broker_to_the_databases(
    observed: Observed, request_id: str
) -> None:
    wanted = {
        ("auth", "GET /api/v1/validate"),
        ("orders", "POST /api/orders"),
        ("orders", "INSERT orders_db"),
        ("orders", "send mail.send"),
        ("mail", "process mail.send"),
        ("mail", "INSERT mail_db"),
        ("analytics", "process order_analytics"),
        ("notification", "POST /webhooks/orders"),
    }
    spans: list[dict[str, Any]] = []

    def traced() -> set[tuple[str, str]]:
        (answer,) = observed.ask(f"{JAEGER}/traces/{request_id}")
        (trace,) = answer["data"]  # or it is not there yet: see until
        spans[:] = trace["spans"]
        names = {name: process["serviceName"] for name, process in trace["processes"].items()}
        return {(names[span["processID"]], span["operationName"]) for span in spans}

    until(lambda: traced() >= wanted, 120, "spans of all who took part")
    assert {span["traceID"] for span in spans} == {request_id}
    texts = [tag["value"] for span in spans for tag in span["tags"] if tag["key"] == "db.query.text"]
    assert texts
    assert not [text for text in texts if re.search(r"Kowalski|@example\.com", text)]


def test_nothing_is_lost_while_loki_and_the_collector_are_away(observed: Observed, shop: Gateway) -> None:
    """What is written meanwhile is there when they are back, and once."""
    names = {}
    with environment.client(shop) as http:
        for away in ("loki", "otel-collector"):
            observed.node.run("docker", "stop", observed.node.service(away))
            names[away] = http.get("/api/v1/validate").headers["x-request-id"]
            observed.node.run("docker", "start", observed.node.service(away))
    for away, name in names.items():

        def lines(name: str = name) -> int:
            found = streams(observed, f'{{service_name="gateway"}} | request_id="{name}"')
            return sum(len(each["values"]) for each in found)

        until(lambda lines=lines: lines() == 1, 90, f"the line of while {away} was away")
