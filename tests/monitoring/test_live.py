"""An environment with everything that watches it: asked, judged, told, and drawn from real figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostwright import application
from hostwright.render import Environment, render
from tests.host import until
from tests.monitoring.conftest import INTERVAL, NAME, PROMETHEUS, Observed

pytestmark = pytest.mark.slow

TAKEN = """
sum(alertmanager_notifications_total{integration="email"})
  - sum(alertmanager_notifications_failed_total{integration="email"}) > 0
"""


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

    def probed() -> bool:
        """What the exporter asks for others; one that had no time to answer is asked again."""
        (probes,) = observed.query("probe_success == 0")
        assert probes == []
        return True

    until(lambda: not down(), 120, "every target is up")
    until(probed, 120, "every probe succeeds")


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
