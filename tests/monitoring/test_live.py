"""An environment with everything that watches it: asked, judged, told, and drawn from real figures."""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from hostwright import application
from hostwright.render import Environment, render
from tests import environment
from tests.faults.conftest import Node, until
from tests.live import Live, make, purge

pytestmark = pytest.mark.slow

NAME = "test-observed"
NETWORK = {"mode": "nat", "cidr": "10.88.0.0/24", "cidr6": "fd00:88::/64"}
# Looks often, so that a test need not wait; tells by mail, to the lab's own sink.
SETTINGS = {"prometheus": {"scrape_interval": "5s"}, "alertmanager": {"email": "ops@example.com"}}
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
TAKEN = """
sum(alertmanager_notifications_total{integration="email"})
  - sum(alertmanager_notifications_failed_total{integration="email"}) > 0
"""
INTERVAL = "1m"  # what Grafana would put for the rates of a dashboard

# Run on the host: the answers of the addresses that it is given, as JSON.
ASK = """
import base64, json, sys, urllib.error, urllib.request, zlib
def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return {"error": error.read().decode()}
urls = json.loads(zlib.decompress(base64.b64decode(sys.argv[1])))
print(json.dumps([ask(url) for url in urls]))
"""


class Observed:
    """The environment, its host, and what Prometheus there answers."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.node = Node(live.hosts()[0]["name"])

    def ask(self, *urls: str) -> list[Any]:
        """Answers in the order of the addresses, in one round trip."""
        packed = base64.b64encode(zlib.compress(json.dumps(urls).encode())).decode()
        found: list[Any] = json.loads(self.node.run("python3", "-c", ASK, packed))
        return found

    def query(self, *expressions: str) -> list[Any]:
        """What each expression has now: a list of series, or text that says what is wrong with it."""
        answers = self.ask(*(f"{PROMETHEUS}/query?{urlencode({'query': each})}" for each in expressions))
        return [each["data"]["result"] if "data" in each else str(each) for each in answers]

    def firing(self) -> set[tuple[str, str]]:
        """As the operator is told: alert, and what it is about."""
        told = json.loads(self.live.hostwright("status", "--json", check=False).stdout)
        return {(each["alert"], each["what"]) for each in told["alerts"]}


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Up, proven, and with an order placed."""
    folder = tmp_path_factory.mktemp("observed")
    live = make(folder, NAME, NETWORK, components=True)
    variables = live.project / f"inventories/{NAME}/group_vars/all/main.yml"
    held = yaml.safe_load(variables.read_text())
    variables.write_text(yaml.safe_dump(held | {"app_compose_settings": SETTINGS}))
    try:
        live.hostwright("up")
        place_order(live)
        yield Observed(live)
    finally:
        live.hostwright("down", "--data", "--yes", check=False)
        purge(NAME)
        shutil.rmtree(folder, ignore_errors=True)


def place_order(live: Live) -> None:
    with environment.client(environment.gateway(live)) as http:
        customer = environment.register(http)
        names = {"customer_name": "Jan", "customer_email": customer.email, "source": "website"}
        answer = customer.ask("POST", "/api/orders", json=names | {"total_amount": 19.9})
        assert answer.status_code == 201, answer.text


def test_the_proof_tells_what_is_declared_and_not_deployed(observed: Observed) -> None:
    """And `up` has ended with 0: every other component runs, answers, and is as confined as a service."""
    rows = json.loads((environment_state(observed) / "proof/proof.json").read_text())["rows"]
    absent = [(row["what"], row["detail"]) for row in rows if row["result"] == "not deployed"]
    assert [what for what, _ in absent] == ["grafana is deployed"]
    assert "grafana/grafana" in absent[0][1]
    asked = {row["port"]["owner"] for row in rows if row["port"] and row["result"] == "holds"}
    assert {"prometheus", "alertmanager", "node-exporter", "postgres-exporter-auth-db"} <= asked


def environment_state(observed: Observed) -> Path:
    return Path(observed.live.env["XDG_STATE_HOME"]) / "hostwright" / NAME


def test_everybody_who_is_asked_answers(observed: Observed) -> None:
    def down() -> list[str]:
        (answer,) = observed.ask(f"{PROMETHEUS}/targets?state=active")
        found = answer["data"]["activeTargets"]
        assert len(found) > 20
        return [f"{each['scrapeUrl']}: {each['lastError']}" for each in found if each["health"] != "up"]

    until(lambda: not down(), 60, "every target is up")
    (probes,) = observed.query("probe_success == 0")
    assert probes == []


def test_every_panel_has_data(observed: Observed) -> None:
    """Grafana is not to be had here: what it would ask is asked of the same Prometheus."""
    files = render(application.load("warehouse", components="all"), Environment())
    dashboards = [json.loads(text) for path, text in files.items() if path.startswith("grafana/dashboards/")]
    queries: dict[str, str] = {}
    for dashboard in dashboards:
        for panel in dashboard["panels"]:
            if panel["datasource"]["uid"] == "prometheus":
                for target in panel["targets"]:
                    name = f"{dashboard['title']}, {panel['title']}, {target['legendFormat']}"
                    queries[name] = target["expr"].replace("$__rate_interval", INTERVAL)
    assert len(queries) > 60

    def without() -> list[str]:
        answers = zip(queries, observed.query(*queries.values()), strict=True)
        return [
            f"{name}: {answer or 'nothing'}"
            for name, answer in answers
            if not isinstance(answer, list) or not answer
        ]

    until(lambda: not without(), 90, f"every panel has data: {without()}")


def test_an_alert_fires_and_is_told_and_ends(observed: Observed) -> None:
    down = ("ServiceDown", "mail does not answer")
    stopped = observed.node.service("mail")
    observed.node.run("docker", "stop", stopped)
    try:
        until(lambda: down in observed.firing(), 180, "the alert fires")
        done = observed.live.hostwright("status", check=False)
        assert done.returncode == 1
        assert "alert ServiceDown" in done.stderr, done.stderr
        assert "hostwright logs --service mail" in done.stdout
        # Taken by the lab's own sink, over TLS and with the password of the environment's secrets.
        until(lambda: observed.query(TAKEN)[0], 120, "somebody is told by mail")
    finally:
        observed.node.run("docker", "start", stopped)
    until(lambda: down not in observed.firing(), 120, "the alert ends")
