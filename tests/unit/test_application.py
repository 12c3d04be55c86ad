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
    for file in ("apps/warehouse.yml", *(f"{name}/service.yml" for name in ("auth", "orders"))):
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
    (("gateway", "kind"), "apache", "should be 'nginx'", "gateway.kind"),
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
    ("auth", ("secrets",), [], "no service issues any"),
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
