"""A third party's container in a copied application, as docs/bring-your-own.md says: one folder, one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application
from hostwright.application import Edge
from hostwright.errors import BadInput
from hostwright.proof.wanted import Machine
from hostwright.render import Environment, render
from tests.brought import IMAGE, bring
from tests.live import program

INIT = ["--environment", "prod", "--driver", "static", "--host", "web1=192.0.2.10", "--app", "starter"]


def run(folder: Path, *arguments: str) -> str:
    """What the command says, for an operator who has nothing yet but this folder."""
    own = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    done = subprocess.run(
        [program("hostwright"), *arguments],
        cwd=folder,
        env=os.environ | own | {"HOSTWRIGHT_ENVIRONMENT": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's project: made by `init`, with the application copied, the folder made, the line added."""
    home = tmp_path_factory.mktemp("own")
    run(home, "init", "shop", *INIT)
    bring(home / "shop")
    return home / "shop"


@pytest.fixture(scope="module")
def compose(shop: Path) -> Path:
    run(shop, "render", "--app", "starter", "--components", "prometheus", "--out", "build/compose")
    return shop / "build" / "compose"


@pytest.fixture(scope="module")
def manifests(shop: Path) -> Path:
    run(
        shop, "render", "--app", "starter", "--format", "kubernetes", "--node", "n1", "--name", "shop.example"
    )
    return shop / "build" / "kubernetes" / "prod"


def manifest(folder: Path, name: str) -> dict[str, Any]:
    (path,) = folder.glob(f"*/{name}.yaml")
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def check_gateway(files: dict[str, str]) -> None:
    (route,) = re.findall(r'^  \{ path = "\^/feeds%f.*$', files["policy.lua"], re.MULTILINE)
    assert 'service = "miniflux"' in route
    assert 'limit = "miniflux"' in route
    assert '["miniflux"] = { requests = 30, span = 60000 }' in files["policy.lua"]
    assert "backend miniflux" in files["haproxy.cfg"]


def test_routed_and_limited_on_compose(compose: Path) -> None:
    check_gateway({path.name: path.read_text() for path in (compose / "gateway").iterdir() if path.is_file()})


def test_routed_and_limited_on_a_cluster(manifests: Path) -> None:
    check_gateway(
        manifest(manifests, next(path.stem for path in manifests.glob("*/configmap-gateway*")))["data"]
    )


def test_runs_on_compose_with_a_database_of_its_own(compose: Path) -> None:
    services = yaml.safe_load((compose / "compose.yaml").read_text())["services"]
    own = services["miniflux"]
    assert (own["image"], own["user"], own["read_only"]) == (IMAGE, "10100:10100", True)
    assert own["environment"]["DATABASE_NAME"] == own["environment"]["DATABASE_USER"] == "miniflux"
    assert own["environment"]["AUTH_PROXY_HEADER"] == "X-User-Id"
    assert own["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "ports" not in own, "only the gateway is reached from outside"
    assert "$$DATABASE_HOST" in own["command"][2], "Compose itself puts nothing in its place"
    assert "miniflux=miniflux" in str(services["postgres"]["environment"])
    secret = compose / "secrets"
    password = (secret / "miniflux" / "database_password").read_text()
    assert password == (secret / "postgres" / "miniflux_password").read_text()
    assert password != (secret / "orders" / "database_password").read_text()


def test_scraped(compose: Path) -> None:
    jobs = yaml.safe_load((compose / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (services,) = [job["static_configs"] for job in jobs if job["job_name"] == "services"]
    (target,) = [each for each in services if each["labels"]["service"] == "miniflux"]
    assert target["labels"]["__metrics_path__"] == "/feeds/metrics"
    project = yaml.safe_load((compose / "compose.yaml").read_text())["services"]
    address = project["miniflux"]["networks"]["application"]["ipv4_address"]
    assert target["targets"] == [f"{address}:8080"]


def test_runs_on_a_cluster_and_reaches_its_database_alone(manifests: Path) -> None:
    pod = manifest(manifests, "deployment-miniflux")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert container["readinessProbe"]["httpGet"]["path"] == "/readiness"
    assert "$DATABASE_HOST" in container["args"][2]
    policy = manifest(manifests, "networkpolicy-miniflux")["spec"]
    peers = [each["podSelector"]["matchLabels"] for rule in policy["egress"] for each in rule["to"]]
    assert [each.get("app.kubernetes.io/name") for each in peers] == ["postgres", None], "and names (DNS)"


def test_drawn(shop: Path) -> None:
    assert "miniflux" in run(shop, "graph", "--app", "starter", "--format", "mermaid")


def test_the_proof_asks_about_it(shop: Path, tmp_path: Path) -> None:
    app = application.load("starter", shop, ["prometheus"])
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"single": {"hosts": {"web1": {"app_compose_images": {}}}}}))
    machine = Machine("web1", str(inventory))
    machine.__dict__ |= {"declared": app, "wanted": machine.variables}
    assert machine.instances["miniflux"] == "miniflux"
    assert (machine.uid("miniflux"), machine.image("miniflux")) == (10100, IMAGE)
    assert [port.number for port in machine.internal if port.owner == "miniflux"] == [8080]
    assert not [port for port in machine.published if "miniflux" in (port.owner, port.service)]
    assert app.stores["postgres"].databases["miniflux"] == "miniflux"
    edges = [edge for edge in app.edges() if "miniflux" in (edge.source, edge.target)]
    assert edges == [
        Edge("gateway", "miniflux", 8080, "serves"),
        Edge("miniflux", "postgres", 5432, "keeps"),
        Edge("prometheus", "miniflux", 8080, "watches"),
    ]


@pytest.fixture
def copy(shop: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shop, tmp_path / "shop", symlinks=True, ignore=shutil.ignore_patterns("build"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("written", ["/feeds/metrics", "/feeds/metrics/"])
def test_what_is_hidden_is_so_with_a_slash_and_without(copy: Path, written: str) -> None:
    edit(copy / "services" / "miniflux" / "service.yml", "/feeds/metrics\n", f"{written}\n")
    network = IPv4Network("10.20.30.0/24")
    files = render(application.load("starter", copy), Environment(name="prod", network=network))
    hidden = [each.split() for each in files["gateway/haproxy.cfg"].splitlines() if " /feeds/metrics" in each]
    assert len(hidden) == 3, "at the door and at each service's own"
    for paths in hidden:
        assert {"/feeds/metrics", "/feeds/metrics/", "/readiness", "/readiness/"} <= {*paths}


def test_an_application_has_the_last_word(copy: Path) -> None:
    app = copy / "services" / "apps" / "starter.yml"
    edit(app, "  routes:\n", "  routes:\n    - {path: /news, service: miniflux, limit: miniflux}\n")
    edit(app, "default: {requests: 100}", "default: {requests: 100}\n      miniflux: {requests: 5}")
    edit(app, "orders_db: orders}", "orders_db: orders, miniflux: reader}")
    found = application.load("starter", copy)
    assert [each.path for each in found.gateway.routes if each.service == "miniflux"] == ["/news"]
    assert found.gateway.policy
    assert found.gateway.policy.limits["miniflux"].requests == 5
    assert found.services["miniflux"].database
    assert found.services["miniflux"].database.role == "reader"


@pytest.mark.parametrize(
    ("file", "old", "new", "said", "where"),
    [
        (
            "miniflux/service.yml",
            "path: /feeds,",
            "path: /health,",
            "two routes",
            "service.yml:10: routes[0].path",
        ),
        (
            "miniflux/service.yml",
            "authentication: required}",
            "limit: news}",
            "unknown limit 'news'",
            "service.yml:10: routes[0].limit",
        ),
        ("miniflux/service.yml", "uid: 10100", "uid: 10001", "both run as uid 10001", "starter.yml"),
        ("apps/starter.yml", "database: postgres}", "database: mysql}", "store 'mysql'", "miniflux.database"),
        (
            "apps/starter.yml",
            "database: postgres}",
            "database: rabbitmq}",
            "rabbitmq is rabbitmq",
            "database",
        ),
        (
            "apps/starter.yml",
            "{database: postgres}",
            "{}",
            "needs a database (postgres)",
            "services.miniflux",
        ),
    ],
)
def test_what_does_not_fit_is_said_where_it_is_written(
    copy: Path, file: str, old: str, new: str, said: str, where: str
) -> None:
    edit(copy / "services" / file, old, new)
    with pytest.raises(BadInput) as error:
        application.load("starter", copy)
    assert said in str(error.value)
    assert where in str(error.value)
