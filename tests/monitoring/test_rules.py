"""Rules of Prometheus: promtool tests each alert; what is rendered is what the programs take."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application
from hostwright.render import Environment, render

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "templates/monitoring/prometheus/rules.yml"
PEOPLE = {"webhook": "https://alerts.example.com/hook", "email": "ops@example.com"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_every_alert_is_made_when_it_should_be_and_not_before() -> None:
    done = subprocess.run(["promtool", "test", "rules", HERE / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_is_without_a_test() -> None:
    tests = yaml.safe_load((HERE / "rules.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    made = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert made == {rule["alert"] for rule in rules()}


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "action"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of all components, as two instances of orders and somebody to tell would have them."""
    folder = tmp_path_factory.mktemp("rendered")
    environment = Environment(
        names=("shop.example.com",), replicas={"orders": 2}, settings={"alertmanager": PEOPLE}
    )
    for name, text in render(application.load("warehouse", components="all"), environment).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("/etc/hostwright/rules.yml", "rules.yml"))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["promtool", "check", "config", "prometheus/prometheus.yml"],
        ["amtool", "check-config", "alertmanager/alertmanager.yml"],
    ],
)
def test_configurations_are_valid(rendered: Path, command: list[str]) -> None:
    done = subprocess.run(command, cwd=rendered, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def targets(rendered: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    document = yaml.safe_load((rendered / "prometheus/prometheus.yml").read_text())
    for job in document["scrape_configs"]:
        for group in job["static_configs"]:
            for target in group["targets"]:
                yield job["job_name"], target, group["labels"]


def test_everything_that_counts_is_asked(rendered: Path) -> None:
    """From the model: each instance of a service with metrics, each store and component that has some."""
    app = application.load("warehouse", components="all")
    found = [(job, labels["instance"]) for job, _, labels in targets(rendered)]
    assert len(found) == len(set(found))
    counting = [name for name, service in app.services.items() if service.file.metrics]
    assert {name for job, name in found if job == "services"} == {*counting, "orders-2"}
    assert {name for job, name in found if job == "stores"} == {"rabbitmq"}
    told = {name for name, component in app.components.items() if component.file.metrics}
    assert {name for job, name in found if job == "components"} == told
    assert {name for job, name in found if job == "probes"} == {*app.services, "orders-2", "shop.example.com"}


def test_names_and_addresses_are_those_of_the_application(rendered: Path) -> None:
    containers = yaml.safe_load((rendered / "compose.yaml").read_text())["services"]
    known = {*containers, *(_address(each) for each in containers.values())}
    for _, target, _ in targets(rendered):
        host = re.sub(r"^https?://", "", target).partition(":")[0]
        assert host in known


def _address(container: dict[str, Any]) -> str:
    networks = container["networks"]
    return str(networks["application"]["ipv4_address"]) if isinstance(networks, dict) else ""


@pytest.fixture(params=["gatekeeper", "starter"])
def gated(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The files of an application behind HAProxy, in plain, with all components."""
    app = application.load(request.param, components="all")
    for name, text in render(app, Environment(names=("shop.example.com",))).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("/etc/hostwright/rules.yml", "rules.yml"))
    return tmp_path


def test_a_gateway_in_plain_is_asked_as_people_ask(gated: Path) -> None:
    command = ["promtool", "check", "config", "prometheus/prometheus.yml"]
    done = subprocess.run(command, cwd=gated, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (asked,) = (target for _, target, labels in targets(gated) if labels.get("probe") == "public")
    assert asked == "http://gateway:8080/health"
    module = yaml.safe_load((gated / "blackbox-exporter/blackbox.yml").read_text())["modules"]["public"]
    assert module["http"].keys() == {"preferred_ip_protocol", "follow_redirects", "headers"}


def test_dashboards_ask_for_what_the_gateway_counts(gated: Path) -> None:
    """What it really tells is asked by tests/policy."""
    texts = [path.read_text() for path in (gated / "grafana/dashboards").iterdir()]
    assert not [text for text in texts if "nginx_" in text or "unwrap seconds" in text]
    (panels,) = (json.loads(text)["panels"] for text in texts if '"uid": "application"' in text)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len({*places}) == len(places)
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert [each for each in asked if "gateway_breaker" in each]


def test_nobody_is_told_unless_an_environment_says_whom(rendered: Path) -> None:
    quiet = render(application.load("warehouse", components=["alertmanager"]), Environment())
    assert yaml.safe_load(quiet["alertmanager/alertmanager.yml"])["receivers"] == [{"name": "nobody"}]
    loud = yaml.safe_load((rendered / "alertmanager/alertmanager.yml").read_text())
    assert loud["route"]["receiver"] == "people"
    people = loud["receivers"][1]
    assert people["webhook_configs"][0]["url"] == PEOPLE["webhook"]
    assert people["email_configs"][0]["to"] == PEOPLE["email"]


def test_dashboards_are_whole(rendered: Path) -> None:
    """One for the application, the hosts, and each service; no two of one uid, no two panels of one place."""
    found = {path.stem: json.loads(path.read_text()) for path in (rendered / "grafana/dashboards").iterdir()}
    services = {f"service-{name}" for name in application.load("warehouse").services}
    assert {"application", "hosts", *services} <= set(found)
    assert len({each["uid"] for each in found.values()}) == len(found)
    for each in found.values():
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in each["panels"]]
        assert len(set(places)) == len(places)
        assert all(target["expr"] for panel in each["panels"] for target in panel["targets"])


def test_what_is_not_there_is_not_asked() -> None:
    files = render(application.load("warehouse", components=["prometheus"]), Environment())
    document = yaml.safe_load(files["prometheus/prometheus.yml"])
    assert [job["job_name"] for job in document["scrape_configs"]] == ["services", "stores", "components"]
    assert "alerting" not in document
