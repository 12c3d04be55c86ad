"""The policy gateway before it runs: what its file may not say, and what it is rendered to."""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application, paths, secrets
from hostwright.application.gateway import Route
from hostwright.errors import BadInput
from hostwright.render import Cluster, Environment, render, secret_files
from hostwright.render.policy import ordered
from tests.policy.gateway import desk

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "desk"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
ROUTES = ("gateway", "routes")
POLICY = ("gateway", "policy")
TLS = [
    {"port": 443, "protocol": "https", "scope": "public"},
    {"port": 80, "protocol": "http", "scope": "public", "redirect": True},
]


def load(folder: Path, document: dict[str, Any]) -> application.Application:
    path = folder / "desk.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return application.load(path)


def edited(keys: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """desk.yml with one key set, or taken out where the value is None."""
    document = desk()
    inner: Any = document
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return document


@pytest.mark.parametrize(
    ("keys", "value", "what", "where"),
    [
        (POLICY, None, "haproxy without a policy", "gateway.kind"),
        (("gateway", "kind"), "nginx", "nginx has no policy", "gateway.policy"),
        (("gateway", "authentication"), {"service": "auth", "path": "/x"}, "tokens itself", "authentication"),
        ((*POLICY, "tokens"), None, "nobody authenticates", "gateway.routes[1].authentication"),
        ((*POLICY, "tokens", "service"), "nobody", "service 'nobody'", "policy.tokens.service"),
        ((*POLICY, "tokens", "algorithm"), "none", "'HS256' or 'RS256'", "gateway.policy.tokens.algorithm"),
        ((*POLICY, "tokens", "algorithm"), "EdDSA", "'HS256' or 'RS256'", "gateway.policy.tokens.algorithm"),
        ((*POLICY, "limits", "default"), None, "no limit is called default", "gateway.policy.limits"),
        ((*POLICY, "limits", "entry", "requests"), 0, "greater than or equal to 1", "limits.entry.requests"),
        ((*POLICY, "cors"), ["pages.example.com"], "should match pattern", "gateway.policy.cors[0]"),
        ((*POLICY, "breaker"), {"percent": 101}, "less than or equal to 100", "breaker.percent"),
        ((*ROUTES, 2, "limit"), "nothing", "unknown limit 'nothing'", "gateway.routes[2].limit"),
        ((*ROUTES, 2, "roles"), ["admin"], "roles of whom?", "gateway.routes[2].roles"),
        ((*ROUTES, 2, "methods"), ["GRAB"], "'GET'", "gateway.routes[2].methods[0]"),
        ((*ROUTES, 2, "cache"), 5, "answers to GET alone", "gateway.routes[2].cache"),
        ((*ROUTES, 2, "path"), "/v1/{a b}", "should match pattern", "gateway.routes[2].path"),
        ((*ROUTES, 3, "path"), "/v1/users/register/", "two routes of path", "gateway.routes[3].path"),
        ((*ROUTES, 11, "path"), "/v1/{other}/status", "two routes of path", "gateway.routes[12].path"),
        ((*ROUTES, 0, "path"), "/status", "no /status of its own", "gateway.routes[0].path"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, keys: tuple[Any, ...], value: Any, what: str, where: str
) -> None:
    with pytest.raises(BadInput) as told:
        load(tmp_path, edited(keys, value))
    assert what in str(told.value)
    assert where in str(told.value)


def test_nginx_takes_nothing_of_a_policy(tmp_path: Path) -> None:
    document = desk()
    document["gateway"] |= {"kind": "nginx", "image": "nginx:1.26", "policy": None}
    document["gateway"]["routes"] = [{"path": "/v1/{id}", "service": "orders"}]
    with pytest.raises(BadInput, match="nginx knows no"):
        load(tmp_path, document)
    for name, value in (("methods", ["GET"]), ("roles", ["admin"]), ("limit", "entry"), ("cache", 5)):
        document["gateway"]["routes"] = [{"path": "/open", "service": "orders", name: value}]
        with pytest.raises(BadInput, match=f"does not know {name} of a route"):
            load(tmp_path, document)


def test_the_more_particular_route_is_tried_first() -> None:
    paths = ["/", "/v1/{id}", "/v1/users", "/v1/{id}/status", "/v1/users/{id}", "/v1/users/profile", "/api/"]
    found = [each.path for each in ordered(Route(path=path, service="x") for path in paths)]
    assert found == [
        "/v1/users/profile", "/v1/users/{id}", "/v1/{id}/status", "/v1/users", "/v1/{id}", "/api/", "/",
    ]  # fmt: skip


def test_a_reload_is_checked_and_signalled(tmp_path: Path) -> None:
    found = yaml.safe_load(render(load(tmp_path, desk()), Environment())["compose.yaml"])["services"][
        "gateway"
    ]
    assert found["labels"] == {
        "hostwright.check": "haproxy -c -q -f /etc/hostwright/haproxy.cfg",
        "hostwright.reload": "USR2",
    }
    assert found["stop_signal"] == "SIGUSR1"
    assert "./secrets/gateway:/run/secrets:ro,z" in found["volumes"]


def test_a_change_of_its_secret_is_a_change_of_its_configuration(tmp_path: Path) -> None:
    app = load(tmp_path, desk())
    one, two = (render(app, Environment(digests={"gateway": each}))["gateway/digest"] for each in "12")
    assert one != two


def test_no_rendered_file_holds_the_secret(tmp_path: Path) -> None:
    app = load(tmp_path, desk())
    values = secrets.complete(app, {}, "trial")
    files = render(app, Environment(digests=secrets.digests(app, values)))
    assert values["jwt_secret"]
    assert not [path for path, text in files.items() if values["jwt_secret"] in text]


def test_its_certificate_and_key_are_called_as_haproxy_looks_for_them(tmp_path: Path) -> None:
    app = load(tmp_path, edited(("gateway", "listeners"), TLS))
    (owner,) = (
        files
        for name, files in secrets.files_of(app, secrets.complete(app, {}, "trial")).items()
        if name == "gateway"
    )
    assert {*owner} == {"certificate", "certificate.key", "jwt_secret"}
    assert (
        "bind :10443 ssl crt /run/secrets/certificate alpn h2,http/1.1"
        in render(app, Environment())["gateway/haproxy.cfg"]
    )


@pytest.mark.parametrize("name", ["gatekeeper", "starter"])
def test_an_application_in_plain_may_have_tls_on_its_own_port(tmp_path: Path, name: str) -> None:
    document = yaml.safe_load((paths.toolkit() / "services" / "apps" / f"{name}.yml").read_text())
    assert " ssl " not in render(load(tmp_path, document), Environment())["gateway/haproxy.cfg"]
    document["gateway"]["listeners"][0]["protocol"] = "https"
    app = load(tmp_path, document)
    files = render(app, Environment(names=("shop.example.com",)))
    assert "bind :8080 ssl crt /run/secrets/certificate " in files["gateway/haproxy.cfg"]
    containers = yaml.safe_load(files["compose.yaml"])["services"]
    assert "0.0.0.0:8080:8080" in containers["gateway"]["ports"]
    assert containers["auth"]["environment"]["PUBLIC_URL"] == "https://shop.example.com:8080"
    assert next(each for each in app.ports() if each.number == 8080).protocol == "https"
    manifests, held = cluster(tmp_path, document)
    assert manifests["1-base/service-gateway-8080.yaml"]["spec"]["type"] == "LoadBalancer"
    assert {"certificate", "certificate.key"} < held["1-base/secret-gateway.yaml"]["data"].keys()


def full() -> dict[str, Any]:
    """desk.yml with everything that a gateway can have."""
    document = edited(("gateway", "policy", "tokens", "revoked"), "/internal/revoked")
    document["gateway"]["listeners"] += [
        *TLS,
        {"port": 8082, "protocol": "http", "scope": "host", "service": "orders"},
        {"port": 8090, "protocol": "http", "scope": "host", "service": "gateway"},
    ]
    return document


def test_golden(tmp_path: Path) -> None:
    environment = Environment(
        name="prod",
        names=("shop.example.com", "192.0.2.10"),
        replicas={"orders": 2},
        settings={"gateway": {"RATE_LIMIT": 200}},
        digests={"gateway": "1"},
        trusted_proxies=("198.51.100.0/24",),
        network=IPv4Network("10.20.30.0/24"),
    )
    files = render(load(tmp_path, full()), environment)
    own = {path.removeprefix("gateway/"): text for path, text in files.items() if path.startswith("gateway/")}
    if UPDATE:
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for name, text in own.items():
            (GOLDEN / name).write_text(text)
    held = {path.name: path.read_text() for path in GOLDEN.iterdir()}
    assert own == held, "if that is meant: UPDATE_GOLDEN=1 pytest tests/unit/test_policy.py"


def cluster(tmp_path: Path, document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifests and Secrets, by path."""
    app = load(tmp_path, document)
    values = secrets.complete(app, {}, "trial", ("desk.example.com",))
    environment = Environment(
        name="trial",
        topology="cluster",
        names=("desk.example.com",),
        images={name: f"registry.example.com/{name}:1" for name in app.services},
        digests=secrets.digests(app, values),
        cluster=Cluster(pins=dict.fromkeys(app.stores, "one")),
    )
    both = render(app, environment), secret_files(app, environment, values)
    first, second = ({path: yaml.safe_load(text) for path, text in files.items()} for files in both)
    return first, second


def test_on_a_cluster_a_client_stays_with_one_gateway(tmp_path: Path) -> None:
    manifests, held = cluster(tmp_path, desk())
    spec = manifests["1-base/service-gateway-8080.yaml"]["spec"]
    assert (spec["type"], spec["sessionAffinity"], spec["externalTrafficPolicy"]) == (
        "LoadBalancer",
        "ClientIP",
        "Local",
    )
    pod = manifests["4-workloads/deployment-gateway.yaml"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"] == ["haproxy", "-W", "-db", "-f", "/etc/hostwright/haproxy.cfg"]
    assert {*held["1-base/secret-gateway.yaml"]["data"]} == {"jwt_secret"}
    assert "secrets" in [each["name"] for each in pod["volumes"]]
    config = manifests["1-base/configmap-gateway.yaml"]["data"]["haproxy.cfg"]
    assert "server orders orders:8080" in config
    assert "bind :10000" in config


def test_behind_an_ingress_tls_is_not_its_own(tmp_path: Path) -> None:
    manifests, held = cluster(tmp_path, edited(("gateway", "listeners"), TLS))
    assert {*held["1-base/secret-gateway-tls.yaml"]["data"]} == {"tls.crt", "tls.key"}
    config = manifests["1-base/configmap-gateway.yaml"]["data"]["haproxy.cfg"]
    assert "ssl crt" not in config
    assert "http-request redirect code 308 prefix https://" in config
    assert manifests["4-workloads/ingress-gateway.yaml"]["spec"]["tls"]


def test_prometheus_asks_for_both_of_its_metrics(tmp_path: Path) -> None:
    document = desk()
    document["components"] = {"prometheus": {"port": 9090}}
    path = tmp_path / "desk.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    app = application.load(path, components="all")
    files = render(app, Environment())
    jobs = {
        each["job_name"]: each
        for each in yaml.safe_load(files["prometheus/prometheus.yml"])["scrape_configs"]
    }
    paths = [each["labels"]["__metrics_path__"] for each in jobs["gateway"]["static_configs"]]
    assert paths == ["/metrics", "/policy"]
    assert "bind :10001" in files["gateway/haproxy.cfg"]
    assert 10001 in [port.number for port in app.ports() if port.owner == "gateway"]
