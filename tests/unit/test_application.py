"""The application model: what it resolves to, and what it says of every mistake."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hostwright import application
from hostwright.application import file as application_file
from hostwright.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """A project's folder `services` with what the toolkit ships of the warehouse."""
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "Pulumi.yaml").write_text("name: hostwright\n")
    copied = ("auth", "orders", "prometheus", "otel-collector")
    for file in ("apps/warehouse.yml", *(f"{name}/service.yml" for name in copied)):
        target = tmp_path / "services" / file
        target.parent.mkdir(parents=True)
        shutil.copy(ROOT / "services" / file, target)
    for name in ("auth", "orders"):
        (tmp_path / "services" / name / "contracts").mkdir()
        (tmp_path / "services" / name / "contracts" / "warehouse.py").touch()
    return tmp_path / "services"


def edit(services: Path, keys: tuple[Any, ...], value: Any, file: str = "apps/warehouse.yml") -> Path:
    """Set one key of a file (None takes it out); returns the file."""
    path = services / file
    document = yaml.safe_load(path.read_text())
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def test_warehouse_has_the_documented_ports() -> None:
    found = [
        (port.number, port.protocol, port.scope, port.owner, port.service)
        for port in application.load("warehouse").ports()
        if port.scope != "internal"
    ]
    assert found == [
        (443, "https", "public", "gateway", None),
        (80, "http", "public", "gateway", None),
        (8080, "http", "host", "gateway", "orders"),
        (8081, "http", "host", "gateway", "auth"),
        (8082, "http", "host", "gateway", "notification"),
        (8083, "http", "host", "gateway", "analytics"),
        (8084, "http", "host", "gateway", "mail"),
        (5432, "postgres", "host", "orders-db", None),
        (5433, "postgres", "host", "auth-db", None),
        (5434, "amqp", "host", "rabbitmq", None),
    ]


def test_public_ports_are_for_everybody_unless_sources_are_given(services: Path) -> None:
    assert application.load("warehouse").ports()[0].sources == ("0.0.0.0/0", "::/0")
    edit(services, ("gateway", "listeners", 0, "sources"), ["192.0.2.0/24"])
    assert application.load("warehouse", services.parent).ports()[0].sources == ("192.0.2.0/24",)


def test_edges_are_who_speaks_to_whom(services: Path) -> None:
    warehouse = application.load("warehouse")
    found = {(edge.source, edge.target, edge.port, edge.kind) for edge in warehouse.edges()}
    assert found >= {
        ("gateway", "orders", 8080, "serves"),
        ("gateway", "auth", 8080, "asks"),
        ("orders", "notification", 8080, "calls"),
        ("orders", "orders-db", 5432, "keeps"),
        ("orders", "rabbitmq", 5672, "keeps"),
        ("mail", "mailsink", 2525, "tells"),
    }
    assert {each for each in found if "mailsink" in each} == {
        ("gateway", "mailsink", 8080, "serves"),
        ("mail", "mailsink", 2525, "tells"),
    }
    assert len(found) == len(warehouse.edges())
    away = warehouse.edges({"mail": {"smtp_host": "smtp.example.com", "SMTP_PORT": "587"}})
    assert [(edge.target, edge.port) for edge in away if edge.kind == "tells"] == [(None, 587)]
    assert warehouse.behind_gateway("panel")
    assert not warehouse.behind_gateway("fax")


def test_who_is_alone_is_given_no_second(services: Path) -> None:
    shutil.copytree(ROOT / "services" / "mailsink", services / "mailsink")
    edit(services, ("services", "mailsink", "replicas"), 2)
    with pytest.raises(BadInput, match="mailsink is for one instance, and is given 2") as error:
        application.load("warehouse", services.parent)
    assert "services.mailsink.replicas" in str(error.value)


def test_every_secret_has_a_kind_and_reaches_only_who_needs_it() -> None:
    found = {secret.name: secret for secret in application.load("warehouse").secrets()}
    readers = {
        name: sorted((reader.owner, reader.file, reader.uid) for reader in secret.readers)
        for name, secret in found.items()
    }
    assert readers["orders_database_password"] == [
        ("orders", "database_password", 10002),
        ("orders-db", "orders_password", 999),
    ]
    assert readers["token_private_key"] == [("auth", "token_private_key", 10001)]
    assert readers["ca_private_key"] == []
    assert readers["gateway_private_key"] == [("gateway", "private_key", 101)]
    assert readers["rabbitmq_password"] == [
        ("analytics", "broker_password", 10004),
        ("auth", "broker_password", 10001),
        ("mail", "broker_password", 10005),
        ("notification", "broker_password", 10003),
        ("orders", "broker_password", 10002),
        ("rabbitmq", "password", 999),
    ]
    assert readers["mailsink_private_key"] == [("mailsink", "private_key", 10008)]
    assert found["orders-db_password"].kind == "password"
    assert list(found) == sorted(found)


def test_images_are_named_without_registry_and_tag() -> None:
    images = application.load("warehouse").images()
    assert images["postgres"] == "postgres:17"
    assert set(images) == {"nginx", "postgres", "rabbitmq", *application.load("warehouse").services}
    assert application_file.image_name("registry:5000/library/postgres:17@sha256:00") == "postgres"


def test_the_projects_own_application_comes_before_the_toolkits(services: Path) -> None:
    edit(services, ("title",), "My warehouse")
    assert application.load("warehouse", services.parent).title == "My warehouse"
    assert application.load(services / "apps" / "warehouse.yml").title == "My warehouse"
    assert application.load("warehouse").title == "Warehouse"


def test_components_are_there_when_they_are_chosen() -> None:
    none, two, every = (
        application.load("warehouse", components=chosen)
        for chosen in ((), ["prometheus", "postgres-exporter"], "all")
    )
    assert none.components == {}
    assert not none.scraped
    assert list(two.components) == ["prometheus", "postgres-exporter-orders-db", "postgres-exporter-auth-db"]
    assert set(two.components) < set(every.components)
    assert {each.kind for each in every.components.values()} == set(none.declared)
    added = [port for port in two.ports() if port not in none.ports()]
    assert [(port.number, port.scope, port.owner) for port in added] == [
        (9090, "host", "prometheus"),
        (9090, "internal", "prometheus"),
        (9187, "internal", "postgres-exporter-orders-db"),
        (9187, "internal", "postgres-exporter-auth-db"),
        (15692, "internal", "rabbitmq"),
    ]
    assert [port for port in none.ports() if port not in two.ports()] == []
    assert set(two.images()) - set(none.images()) == {"prometheus", "postgres-exporter"}


def test_who_watches_a_database_has_a_password_of_its_own() -> None:
    found = {secret.name: secret for secret in application.load("warehouse", components="all").secrets()}
    readers = [(each.owner, each.file, each.uid) for each in found["auth-db_monitor_password"].readers]
    assert readers == [
        ("auth-db", "monitor_password", 999),
        ("postgres-exporter-auth-db", "database_password", 10021),
    ]
    plain = application.load("warehouse").secrets()
    assert not [secret for secret in plain if "monitor" in secret.name or "grafana" in secret.name]


def test_what_the_mirror_does_not_hold_is_left_out() -> None:
    every = application.load("warehouse", components="all")
    held = every.held(dict.fromkeys(set(every.images()) - {"grafana", "postgres-exporter"}, "x"))
    assert set(every.components) - set(held.components) == {
        "grafana",
        "postgres-exporter-orders-db",
        "postgres-exporter-auth-db",
    }
    assert "grafana_password" not in {secret.name for secret in held.secrets()}


def test_a_component_without_those_it_hands_on_to_is_refused_and_left_out() -> None:
    with pytest.raises(BadInput, match="otel-collector hands on to jaeger, which") as caught:
        application.load("warehouse", components=["loki", "otel-collector"])
    assert caught.value.fix == "add jaeger, or take otel-collector out"
    every = application.load("warehouse", components="all")
    held = every.held(dict.fromkeys(set(every.images()) - {"jaeger"}, "x"))
    assert set(every.components) - set(held.components) == {"jaeger", "otel-collector"}


def test_an_unknown_component_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(BadInput, match="no component 'nagios'") as caught:
        application.load("warehouse", components=["prometheus", "nagios"])
    assert caught.value.where == "hostwright:components"
    assert "node-exporter" in caught.value.fix


def test_description_is_plain_data() -> None:
    described = application.load("warehouse").describe()
    assert yaml.safe_load(yaml.safe_dump(described)) == described
    assert described["services"]["orders"]["file"]["uid"] == 10002


def test_published_schemas_are_those_of_the_model() -> None:
    for name, text in application_file.schemas().items():
        assert (ROOT / "hostwright" / "application" / "schema" / name).read_text() == text, (
            "python -m hostwright.application.file"
        )


@pytest.mark.parametrize(
    ("schema", "files"), [("application", "services/apps/*.yml"), ("service", "services/*/service.yml")]
)
def test_shipped_files_hold_to_the_published_schema(schema: str, files: str) -> None:
    validator = jsonschema.Draft202012Validator(
        yaml.safe_load((ROOT / "hostwright" / "application" / "schema" / f"{schema}.json").read_text())
    )
    found = sorted(ROOT.glob(files))
    assert found
    for path in found:
        validator.validate(yaml.safe_load(path.read_text()))


LISTENERS, ROUTES, STORES = ("gateway", "listeners"), ("gateway", "routes"), ("stores",)

MISTAKES = [
    # what is edited, to what; what the message says, at which key
    ((*LISTENERS, 3, "port"), 8080, "port 8080 is taken twice", "gateway.listeners[3].port"),
    ((*STORES, "auth-db", "port"), 5432, "port 5432 is taken twice", "stores.auth-db.port"),
    ((*STORES, "auth-db", "port"), 443, "port 443 is taken twice", "stores.auth-db.port"),
    ((*LISTENERS, 0, "port"), 70000, "less than or equal to 65535", "gateway.listeners[0].port"),
    ((*LISTENERS, 0, "protocol"), "gopher", "'http' or 'https'", "gateway.listeners[0].protocol"),
    ((*LISTENERS, 0, "scope"), "world", "'public', 'host' or 'internal'", "gateway.listeners[0].scope"),
    ((*LISTENERS, 2, "service"), "orderz", "unknown service 'orderz'", "gateway.listeners[2].service"),
    ((*LISTENERS, 2, "sources"), ["10.0.0.0/8"], "sources mean nothing", "gateway.listeners[2].sources"),
    ((*LISTENERS, 0, "sources"), ["10.0.0.1/8"], "not a network", "gateway.listeners[0].sources[0]"),
    ((*LISTENERS, 0, "redirect"), True, "https has nowhere to redirect to", "gateway.listeners[0].redirect"),
    ((*LISTENERS, 2, "redirect"), True, "either redirects or belongs", "gateway.listeners[2].redirect"),
    ((*LISTENERS, 2, "port"), 10443, "port 10443 of the gateway's container", "gateway.listeners[2].port"),
    ((*LISTENERS, 2, "port"), 10000, "port 10000 of the gateway's container", "gateway.listeners[2].port"),
    ((*ROUTES, 4, "service"), "nobody", "a route to unknown service 'nobody'", "gateway.routes[4].service"),
    ((*ROUTES, 4, "authentication"), "perhaps", "'required' or 'none'", "gateway.routes[4].authentication"),
    ((*ROUTES, 4, "path"), "/logout/", "two routes of path /logout/", "gateway.routes[4].path"),
    ((*ROUTES, 4, "path"), "orders", "should match pattern", "gateway.routes[4].path"),
    (("gateway", "authentication"), None, "nobody authenticates", "gateway.routes[4].authentication"),
    (("gateway", "authentication", "service"), "x", "unknown service 'x'", "gateway.authentication.service"),
    (("gateway", "kind"), "apache", "should be 'nginx' or 'haproxy'", "gateway.kind"),
    ((*STORES, "auth-db", "kind"), "oracle", "should be 'postgres' or 'rabbitmq'", "stores.auth-db.kind"),
    ((*STORES, "auth-db", "scope"), "internal", "its scope is internal", "stores.auth-db.port"),
    ((*STORES, "auth-db", "port"), None, "has no port on the host", "stores.auth-db.scope"),
    ((*STORES, "rabbitmq", "databases"), {"x": "y"}, "has no databases", "stores.rabbitmq.databases"),
    ((*STORES, "auth-db", "databases"), {"a": "orders"}, "one password", "stores.auth-db.databases.a"),
    ((*STORES, "auth-db", "databases"), {"a": "postgres"}, "superuser", "stores.auth-db.databases.a"),
    ((*STORES, "auth-db", "image"), "postgres:16", "two images of one name", "stores.auth-db.image"),
    (("services", "auth", "contract"), "shop", "no contract 'shop'", "services.auth.contract"),
    (("services", "auth", "contract"), None, "auth needs a contract", "services.auth.contract"),
    (("services", "auth", "database"), None, "auth needs a database (postgres)", "services.auth"),
    (("services", "auth", "database"), "auth-db/nope", "no database 'nope'", "services.auth.database"),
    (("services", "auth", "database"), "cache/x", "needs store 'cache'", "services.auth.database"),
    (("services", "auth", "database"), "rabbitmq/x", "rabbitmq is rabbitmq", "services.auth.database"),
    (("services", "panel", "broker"), "rabbitmq", "panel needs no broker", "services.panel.broker"),
    (("services", "orders", "broker"), None, "orders needs a broker (rabbitmq)", "services.orders"),
    (("services", "orders", "broker"), "auth-db", "auth-db is postgres", "services.orders.broker"),
    (("services", "auth", "replicas"), 9, "less than or equal to 8", "services.auth.replicas"),
    (("services", "auth", "replica"), 2, "unknown key 'replica'", "services.auth.replica"),
    (("services", "fax"), {}, "unknown service 'fax'", "services.fax"),
    (("services", "auth"), None, "unknown service 'auth'", "gateway.listeners[3].service"),
    (("components", "nagios"), {}, "unknown component 'nagios'", "components.nagios"),
    (("components", "grafana", "port"), 9090, "port 9090 is taken twice", "components.grafana.port"),
    (("components", "grafana", "scope"), "internal", "'public' or 'host'", "components.grafana.scope"),
    (("components", "grafana", "sources"), ["::/0"], "sources mean nothing", "components.grafana.sources"),
    (("components", "grafana", "replicas"), 2, "unknown key 'replicas'", "components.grafana.replicas"),
    (
        ("components", "postgres-exporter", "port"),
        9187,
        "for each store",
        "components.postgres-exporter.port",
    ),
    (("components", "orders"), {}, "component orders has no image", "components.orders"),
    (("services", "prometheus"), {}, "which only a component has", "services.prometheus"),
    ((*STORES, "auth-db", "databases"), {"a": "monitor"}, "who watches", "stores.auth-db.databases.a"),
    (("schema",), 2, "should be 1", "schema"),
    (("schema",), "1", "should be 1", "schema"),
    (("gateway",), None, "'gateway' is missing", "gateway"),
]


@pytest.mark.parametrize(("keys", "value", "what", "key"), MISTAKES)
def test_mistakes_are_named_with_file_line_and_key(
    services: Path, keys: tuple[Any, ...], value: Any, what: str, key: str
) -> None:
    path = edit(services, keys, value)
    with pytest.raises(BadInput) as caught:
        application.load("warehouse", services.parent)
    error = caught.value
    assert what in error.what
    place, _, where = error.where.partition(": ")
    file, _, line = place.rpartition(":")
    assert (file, where) == (str(path), key)
    assert 1 <= int(line) <= len(path.read_text().splitlines())
    assert error.fix
    assert error.exit_status == 2


SERVICE_MISTAKES = [
    ("orders", ("uid",), 10001, "both run as uid 10001"),
    ("orders", ("calls",), ["billing"], "calls service 'billing'"),
    ("orders", ("name",), "order", "calls itself 'order'"),
    ("orders", ("image",), "orders:1", "exactly one of build and image"),
    ("orders", ("secrets",), ["root_password"], "Input should be 'token_private_key'"),
    ("orders", ("needs",), {"cache": "redis"}, "Input should be 'database' or 'broker'"),
    ("auth", ("contracts", "warehouse", "secrets"), [], "no service issues any"),
    ("prometheus", ("name",), "grafana", "calls itself 'grafana'"),
    ("prometheus", ("image",), "prom/alertmanager:v1", "two images of one name"),
    ("prometheus", ("migrate",), ["true"], "which only a service has"),
    ("prometheus", ("secrets",), ["ca_certificate"], "both read secrets as uid 65534"),
    ("prometheus", ("settings",), {}, "has {retention}, and no such setting"),
    ("prometheus", ("watches",), "kafka", "'gateway' or 'postgres'"),
    ("prometheus", ("uid",), 0, "uid must be 100 or more"),
    ("otel-collector", ("sees",), {}, "only a component that `sees` the host's files may be 0"),
    ("otel-collector", ("calls",), ["elastic"], "hands on to component 'elastic'"),
]


@pytest.mark.parametrize(("service", "keys", "value", "what"), SERVICE_MISTAKES)
def test_mistakes_of_a_service_are_named(
    services: Path, service: str, keys: tuple[Any, ...], value: Any, what: str
) -> None:
    edit(services, keys, value, f"{service}/service.yml")
    with pytest.raises(BadInput, match=what):
        application.load("warehouse", services.parent)


def test_the_line_is_the_mistakes_own(services: Path) -> None:
    path = services / "apps" / "warehouse.yml"
    lines = path.read_text().splitlines()
    number = next(index for index, line in enumerate(lines) if "path: /ws," in line)
    lines[number] = lines[number].replace("service: orders", "service: nobody")
    path.write_text("\n".join(lines))
    with pytest.raises(BadInput) as caught:
        application.load("warehouse", services.parent)
    assert caught.value.where.startswith(f"{path}:{number + 1}: ")


def test_a_key_written_twice_is_refused(services: Path) -> None:
    path = services / "apps" / "warehouse.yml"
    path.write_text(path.read_text() + "title: Again\n")
    with pytest.raises(BadInput, match="'title' is there twice") as caught:
        application.load("warehouse", services.parent)
    assert caught.value.where == f"{path}:{len(path.read_text().splitlines())}"


def test_what_is_not_yaml_is_refused(services: Path) -> None:
    (services / "apps" / "warehouse.yml").write_text("name: [\n")
    with pytest.raises(BadInput, match="not YAML"):
        application.load("warehouse", services.parent)


def test_an_unknown_application_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(BadInput, match="unknown application 'warehause'") as caught:
        application.load("warehause")
    assert "warehouse" in caught.value.fix
    with pytest.raises(BadInput, match="no such application file"):
        application.load("./nowhere.yml")
