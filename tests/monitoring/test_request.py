"""One request, as who watches the application tells of it: lines in Loki, a trace in Jaeger."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import docker
import pytest

from tests import environment
from tests.environment import Gateway
from tests.live import Live

pytestmark = pytest.mark.slow

Found = TypeVar("Found")
ORDER = {"customer_name": "Jan Kowalski", "source": "website", "total_amount": 12.5}


def asked(live: Live, url: str) -> Any:
    """What answers on the loopback of the host, as JSON."""
    node = docker.from_env().containers.get(live.hosts()[0]["name"])
    code, output = node.exec_run(["curl", "--silent", "--show-error", "--fail", url])
    assert code == 0, output.decode()
    return json.loads(output)


def eventually(ask: Callable[[], Found], enough: Callable[[Found], Any], seconds: float = 60) -> Found:
    deadline = time.monotonic() + seconds
    while not enough(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def request_id(observed: Live, shop: Gateway) -> str:
    """Of an order that was placed."""
    with environment.client(shop) as http:
        customer = environment.register(http)
        answer = customer.ask("POST", "/api/orders", json=ORDER | {"customer_email": customer.email})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["x-request-id"])


def test_its_lines_are_in_loki(observed: Live, request_id: str) -> None:
    query = f'{{service_namespace="warehouse"}} | request_id="{request_id}"'
    url = f"http://127.0.0.1:3100/loki/api/v1/query_range?query={quote(query)}"

    def streams() -> list[dict[str, Any]]:
        return list(asked(observed, url)["data"]["result"])

    found = eventually(
        streams, lambda streams: {"gateway", "mail"} <= {each["stream"]["service_name"] for each in streams}
    )
    for each in found:
        assert each["stream"]["detected_level"] == "info"
        assert each["stream"]["trace_id"] == request_id
        for _, line, *_ in each["values"]:
            assert json.loads(line)["request_id"] == request_id
    labels = asked(observed, "http://127.0.0.1:3100/loki/api/v1/labels")["data"]
    assert set(labels) == {"deployment_environment_name", "service_name", "service_namespace"}
    shown = json.loads(observed.hostwright("logs", "--request", request_id, "--json").stdout)
    assert {line["service"] for line in shown} >= {"gateway", "mail"}
    assert [line["time"] for line in shown] == sorted(line["time"] for line in shown)


def test_stores_and_all_services_are_heard(observed: Live, request_id: str) -> None:
    url = "http://127.0.0.1:3100/loki/api/v1/label/service_name/values"
    services = {"gateway", "orders", "auth", "notification", "analytics", "mail", "orders-db", "rabbitmq"}
    eventually(lambda: set(asked(observed, url)["data"]), lambda found: found >= services)
    assert "otel-collector" not in asked(observed, url)["data"]


def test_its_trace_is_in_jaeger_through_the_broker_to_the_databases(observed: Live, request_id: str) -> None:
    def spans() -> list[dict[str, Any]]:
        (trace,) = asked(observed, f"http://127.0.0.1:16686/api/traces/{request_id}")["data"]
        return [
            span | {"service": trace["processes"][span["processID"]]["serviceName"]}
            for span in trace["spans"]
        ]

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

    def names(found: list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(span["service"], span["operationName"]) for span in found}

    found = eventually(spans, lambda found: names(found) >= wanted)
    assert {span["traceID"] for span in found} == {request_id}
    texts = [tag["value"] for span in found for tag in span["tags"] if tag["key"] == "db.query.text"]
    assert texts
    assert not [text for text in texts if re.search(r"Kowalski|@example\.com", text)]


def test_nothing_is_lost_while_loki_and_the_collector_are_away(observed: Live, shop: Gateway) -> None:
    """What is written meanwhile is there when they are back."""
    node = docker.from_env().containers.get(observed.hosts()[0]["name"])

    def do(*command: str) -> None:
        code, output = node.exec_run(["docker", *command])
        assert code == 0, output.decode()

    with environment.client(shop) as http:
        ids = []
        for away in ("warehouse-loki-1", "warehouse-otel-collector-1"):
            do("stop", away)
            ids.append(http.get("/api/v1/validate").headers["x-request-id"])
            if away.endswith("collector-1"):
                do("start", "warehouse-loki-1")
            time.sleep(1)
        do("start", "warehouse-otel-collector-1")
    for each in ids:
        query = quote(f'{{service_name="gateway"}} | request_id="{each}"')
        url = f"http://127.0.0.1:3100/loki/api/v1/query_range?query={query}"

        def lines(url: str = url) -> int:
            try:
                return sum(len(stream["values"]) for stream in asked(observed, url)["data"]["result"])
            except AssertionError:  # Loki takes some seconds to be ready
                return 0

        assert eventually(lines, bool) == 1, "once, and not lost"
