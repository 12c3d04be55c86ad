"""What dashboards and rules ask of the gateway is what it counts and writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from hostwright import paths
from hostwright.application.gateway import STATUS
from tests.policy.gateway import Gateway

FILE = paths.toolkit() / "services" / "apps" / "starter.yml"
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    found = Gateway(yaml.safe_load(FILE.read_text()))
    found.components = "all"
    try:
        found.start()
        yield found
    finally:
        found.stop()


def queries(gateway: Gateway, source: str) -> list[str]:
    """Of all panels that ask this source."""
    return [
        target["expr"]
        for path, text in gateway.files.items()
        if path.startswith("grafana/dashboards/") and path.endswith(".json")
        for panel in json.loads(text)["panels"]
        if panel["datasource"]["type"] == source
        for target in panel["targets"]
    ]


def test_figures_that_are_asked_for_are_counted(gateway: Gateway) -> None:
    gateway.ask("/nowhere")
    told = "".join(gateway.ask(path, port=STATUS).text for path in ("/metrics", "/policy"))
    counted = {*re.findall(r"^(\w+)", told, re.MULTILINE)}
    rules = yaml.safe_load(gateway.files["prometheus/rules.yml"])["groups"]
    asked = queries(gateway, "prometheus") + [rule["expr"] for group in rules for rule in group["rules"]]
    names = {
        name for each in asked for name in re.findall(r"\b(?:haproxy|gateway)_\w+", QUOTED.sub("", each))
    }
    assert {"gateway_breaker", "gateway_requests_total"} < names
    assert names <= counted


def test_fields_that_are_asked_for_are_written(gateway: Gateway) -> None:
    line = gateway.line(gateway.ask("/nowhere").headers["x-request-id"])
    asked = [each for each in queries(gateway, "loki") if 'service_name="gateway"' in each]
    fields = {name for each in asked for name in re.findall(r'json \w+="(\w+)"', each)}
    assert {"milliseconds", "status"} <= fields
    assert fields <= line.keys()
