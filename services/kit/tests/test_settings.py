"""A wrong setting is one clear line and exit status 2, and no secret is ever printed."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from kit.settings import (
    BrokerSettings,
    DatabaseSettings,
    ServiceTokenSettings,
    Settings,
    TokenSettings,
    WebhookSettings,
    load,
)

GOOD = {
    "SERVICE_NAME": "orders",
    "APPLICATION": "warehouse",
    "DATABASE_HOST": "orders-db",
    "DATABASE_NAME": "orders_db",
    "DATABASE_USER": "orders",
    "BROKER_HOST": "rabbitmq",
    "BROKER_USER": "orders",
}


class Orders(DatabaseSettings, BrokerSettings):
    pass


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CORS_ORIGINS", "TRUSTED_PROXIES", "DATABASE_PORT", "DATABASE_PASSWORD", "BROKER_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    (tmp_path / "database_password").write_text("s3cret of the database\n")
    (tmp_path / "broker_password").write_text("p@ss/word:with#signs")
    return tmp_path


def refused(kind: type[Settings], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as stopped:
        load(kind)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert "s3cret" not in captured.out + captured.err
    return captured.err.splitlines()


@pytest.mark.usefixtures("secrets")
def test_reads_variables_and_secret_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", '["https://a.example", "https://b.example"]')
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8")
    monkeypatch.setenv("LOG_LEVEL", "WARN")  # as many call it
    monkeypatch.setenv("DATABASE_PORT", "")
    found = load(Orders)
    assert found.database_url.password == "s3cret of the database"
    assert "s3cret" not in repr(found) + str(found.database_url)
    assert found.cors_origins == ("https://a.example", "https://b.example")
    assert found.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert (found.log_level, found.database_port) == ("warning", 5432)


def test_one_line_for_each_mistake(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_HOST")
    monkeypatch.setenv("PORT", "80000")
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/33")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    (secrets / "broker_password").unlink()
    lines = refused(Orders, capsys)
    assert sorted(line.split(":")[1].strip() for line in lines) == sorted(
        ["DATABASE_HOST", "PORT", "TRUSTED_PROXIES", "LOG_LEVEL", f"secret file {secrets}/broker_password"]
    )
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("value", ["[", "[1", '{"a": 1}', "not-an-address"])
def test_lists_that_are_none(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", value)
    (line,) = refused(Orders, capsys)
    assert line.startswith("error: TRUSTED_PROXIES: ")


@pytest.mark.usefixtures("secrets")
def test_addresses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name = "OTEL_EXPORTER_OTLP_ENDPOINT"
    for good in ("http://collector:4318", "https://[::1]/traces", "http://collector"):
        monkeypatch.setenv(name, good)
        assert load(Orders).otel_exporter_otlp_endpoint == good
    for bad in (
        "collector:4318",
        "ftp://collector",
        "http://",
        "http://s3cret:80a",
        "http://s3cret:0",
        "http://s3cret:70000",
        "http://[s3cret",
        "http://s3 cret",
        "http://s3cret?a=b",
        "http://s3cret\n",
    ):
        monkeypatch.setenv(name, bad)
        assert refused(Orders, capsys) == [f"error: {name}: is not an address such as http://host:8080"]


def test_a_key_that_is_none(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (secrets / "token_public_key").write_text("s3cret rubbish")
    (line,) = refused(TokenSettings, capsys)
    assert line == f"error: secret file {secrets}/token_public_key: is not a key in PEM"


@pytest.mark.usefixtures("secrets")
def test_without_the_secrets_directory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("SECRETS_DIR", "/nowhere")
    assert sorted(refused(Orders, capsys)) == [
        "error: secret file /nowhere/broker_password: is missing",
        "error: secret file /nowhere/database_password: is missing",
    ]
    assert not recwarn.list


@pytest.mark.parametrize(
    ("kind", "name"), [(ServiceTokenSettings, "service_key"), (WebhookSettings, "webhook_key")]
)
def test_a_key_that_can_be_guessed(
    secrets: Path, capsys: pytest.CaptureFixture[str], kind: type[Settings], name: str
) -> None:
    (secrets / name).write_text("s3cret-" + "x" * 25)
    assert getattr(load(kind), name).get_secret_value().startswith("s3cret-")
    (secrets / name).write_text("s3cret")
    (line,) = refused(kind, capsys)
    assert line.startswith(f"error: secret file {secrets}/{name}: ")
