"""Secrets: made once, kept by the real Pulumi, renewed and rotated, and shown to nobody."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.verification import PolicyBuilder, Store

from hostwright import application, secrets, toolchain
from hostwright.application import Application
from hostwright.environments import Environment, load
from hostwright.errors import BadInput, Failure
from hostwright.hosts import stack

ADDRESSES = ["192.0.2.10", "2001:db8::10", "shop.example.com"]
AUTHORITY = {"ca_certificate", "ca_private_key"}
GATEWAYS = {"gateway_certificate", "gateway_private_key"}
MAILS = {"mailsink_certificate", "mailsink_private_key"}


@pytest.fixture(scope="module")
def warehouse() -> Application:
    return application.load("warehouse")


@pytest.fixture(scope="module")
def values(warehouse: Application) -> dict[str, str]:
    return secrets.complete(warehouse, {}, "trial", ADDRESSES)


def certificate(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode())


def changed(old: dict[str, str], new: dict[str, str]) -> set[str]:
    return {name for name in new if old.get(name) != new[name]}


# --- Making them ---


def test_everything_the_application_needs_is_made(warehouse: Application, values: dict[str, str]) -> None:
    assert set(values) == {secret.name for secret in warehouse.secrets()}
    passwords = [values[each.name] for each in warehouse.secrets() if each.kind == "password"]
    assert len(set(passwords)) == len(passwords)
    for password in passwords:
        assert len(password) == 32  # of 64 characters each: 192 bits
        assert any(each.isdigit() for each in password)
        assert any(each.isalpha() for each in password)
    assert values["admin_email"] == "admin@warehouse.example"


def test_a_second_time_nothing_changes(warehouse: Application, values: dict[str, str]) -> None:
    assert secrets.complete(warehouse, values, "trial", reversed(ADDRESSES)) == values


def test_what_the_application_does_not_know_is_left_out(
    warehouse: Application, values: dict[str, str]
) -> None:
    assert "other" not in secrets.complete(warehouse, {**values, "other": "x"}, "trial", ADDRESSES)


def test_token_keys_are_a_pair(values: dict[str, str]) -> None:
    private = load_pem_private_key(values["token_private_key"].encode(), None)
    public = load_pem_public_key(values["token_public_key"].encode())
    assert private.public_key() == public
    assert private.key_size == 2048  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [*ADDRESSES, "localhost", "127.0.0.1", "::1"])
def test_the_certificate_is_good_for_every_name(values: dict[str, str], name: str) -> None:
    subject = secrets._general(name)
    assert isinstance(subject, (x509.DNSName, x509.IPAddress))
    verifier = (
        PolicyBuilder().store(Store([certificate(values["ca_certificate"])])).build_server_verifier(subject)
    )
    chain = verifier.verify(certificate(values["gateway_certificate"]), [])
    assert len(chain) == 2


@pytest.mark.parametrize(
    ("names", "days", "renewed"),
    [
        (ADDRESSES, 0, set()),
        (ADDRESSES, 366, set()),
        (ADDRESSES, 368, {*GATEWAYS, *MAILS}),
        ([*ADDRESSES, "192.0.2.11"], 0, GATEWAYS),
        (ADDRESSES[1:], 0, GATEWAYS),
        (ADDRESSES, 3650 - 29, {*AUTHORITY, *GATEWAYS, *MAILS}),
    ],
)
def test_certificates_are_renewed_for_new_names_and_in_time(
    warehouse: Application, values: dict[str, str], names: list[str], days: int, renewed: set[str]
) -> None:
    now = datetime.now(UTC) + timedelta(days=days)
    assert changed(values, secrets.complete(warehouse, values, "trial", names, now)) == renewed


@pytest.mark.parametrize(
    ("lost", "made"),
    [
        ({"token_public_key"}, set()),
        ({"token_private_key"}, {"token_private_key", "token_public_key"}),
        ({"gateway_private_key"}, GATEWAYS),
        ({"mailsink_certificate"}, MAILS),
        ({"ca_certificate"}, {*AUTHORITY, *GATEWAYS, *MAILS}),
        ({"rabbitmq_password"}, {"rabbitmq_password"}),
    ],
)
def test_what_a_killed_run_left_out_is_made_and_fits(
    warehouse: Application, values: dict[str, str], lost: set[str], made: set[str]
) -> None:
    held = {name: value for name, value in values.items() if name not in lost}
    assert changed(values, secrets.complete(warehouse, held, "trial", ADDRESSES)) == made


# --- Keeping them ---


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment of its own: project, Pulumi's state and passphrase."""
    toolchain.ensure()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of the tests only")
    (tmp_path / "project" / "infra").mkdir(parents=True)
    (tmp_path / "project" / "infra" / "Pulumi.yaml").write_text("name: hostwright\nruntime: python\n")
    file = tmp_path / "project" / "infra" / "Pulumi.trial.yaml"
    file.write_text("config:\n  hostwright:application: warehouse\n")
    return load("trial", tmp_path / "project")


def settings(environment: Environment) -> str:
    return (environment.project / "infra" / "Pulumi.trial.yaml").read_text()


def test_the_store_keeps_them_encrypted_and_exact(
    warehouse: Application,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    commands: list[str] = []
    run = subprocess.run

    def watched(command: list[str], **options: object) -> object:
        commands.append(" ".join(str(each) for each in command))
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", watched)
    assert secrets.read(environment) == {}
    made = secrets.ensure(environment, warehouse, ADDRESSES)
    assert secrets.read(environment) == made
    written = settings(environment)
    assert "hostwright:application: warehouse" in written

    before = len(commands)
    assert secrets.ensure(environment, warehouse, ADDRESSES) == made
    assert len(commands) == before + 1, "when all are there they are read, at once, and not written"
    assert settings(environment) == written

    # Neither the file, nor a command line that everybody on the machine can see, nor the terminal shows one.
    seen = "\n".join([written, *commands, *capfd.readouterr()])
    for name, value in made.items():
        assert value.strip() not in seen, name


def test_what_an_operator_set_goes_before_what_was_made(
    warehouse: Application, environment: Environment
) -> None:
    own = ("config", "set", "--secret", "secret-admin_email", "boss@shop.example")
    secrets._keep(environment, {})  # the stack
    stack.checked(environment, stack.pulumi(environment, *own))
    assert secrets.ensure(environment, warehouse, ADDRESSES)["admin_email"] == "boss@shop.example"
    assert "admin_email" not in secrets._kept(environment)[0], "his would come back when he takes it out"
    own = ("config", "set", "--secret", "secret-rabbitmq_password", "of my own")
    stack.checked(environment, stack.pulumi(environment, *own))
    before = secrets.ensure(environment, warehouse, ADDRESSES)
    assert before["rabbitmq_password"] == "of my own"
    with pytest.raises(BadInput, match="the secret 'rabbitmq_password' is one you set") as caught:
        secrets.rotate(environment, warehouse, ["token_private_key", "rabbitmq_password"])
    assert "pulumi config set --secret secret-rabbitmq_password" in caught.value.fix
    assert secrets.read(environment) == before
    secrets.forget(environment.name, environment.project)
    assert secrets.read(environment) == {
        "admin_email": "boss@shop.example", "rabbitmq_password": "of my own"
    }  # fmt: skip


def test_rotation_changes_what_is_named_and_what_is_made_from_it(
    warehouse: Application, environment: Environment
) -> None:
    with pytest.raises(BadInput, match="there are no secrets yet"):
        secrets.rotate(environment, warehouse, ["rabbitmq_password"])
    assert secrets.read(environment) == {}
    old = secrets.ensure(environment, warehouse, ADDRESSES)
    assert secrets.rotate(environment, warehouse, ["rabbitmq_password", "token_private_key"]) == [
        "rabbitmq_password",
        "token_private_key",
        "token_public_key",
    ]
    new = secrets.read(environment)
    assert changed(old, new) == {"rabbitmq_password", "token_private_key", "token_public_key"}
    assert secrets.rotate(environment, warehouse, ["ca_private_key"]) == sorted(
        {*AUTHORITY, *GATEWAYS, *MAILS}
    )
    assert set(secrets._names_of(secrets.read(environment)["gateway_certificate"])) >= set(ADDRESSES)
    for wrong in ("nope", "admin_email", "admin_password", "token_public_key"):
        with pytest.raises(BadInput, match=f"no secret '{wrong}' to rotate"):
            secrets.rotate(environment, warehouse, [wrong])


def test_what_is_of_people_is_carried_and_what_is_of_a_place_stays(
    warehouse: Application, environment: Environment
) -> None:
    (environment.project / "infra" / "Pulumi.other.yaml").write_text("config: {}\n")
    other = load("other", environment.project)
    old = secrets.ensure(environment, warehouse, ADDRESSES)
    new = secrets.ensure(other, warehouse, ["192.0.2.20"])
    secrets.carry(environment, other, warehouse, check=True)
    assert secrets.read(other) == new
    secrets.carry(environment, other, warehouse)
    moved = secrets.read(other)
    carried = {*secrets.CARRIED} & {*old}
    assert {*secrets.CARRIED} - carried == {"jwt_secret"}, "of tokens that this application does not give"
    assert changed(new, moved) == carried - {"admin_email"}  # which every environment has alike
    assert {name: old[name] for name in carried} == {name: moved[name] for name in carried}
    assert secrets.ensure(other, warehouse, ["192.0.2.20"]) == moved, "and nothing has to be made anew"
    assert secrets.read(environment) == old

    own = ("config", "set", "--secret", "secret-admin_email", "boss@shop.example")
    stack.checked(other, stack.pulumi(other, *own))
    for check in (True, False):
        with pytest.raises(BadInput, match="'admin_email' goes along, and you set another one") as caught:
            secrets.carry(environment, other, warehouse, check=check)
    assert "pulumi config rm secret-admin_email --stack other" in caught.value.fix


def test_forgetting_takes_all_of_them_and_nothing_else(environment: Environment) -> None:
    secrets._keep(environment, {"admin_email": "boss@shop.example", "service_key": "x"})
    secrets.forget(environment.name, environment.project)
    assert secrets.read(environment) == {}
    assert "hostwright:application: warehouse" in settings(environment)
    secrets.forget(environment.name, environment.project)


@pytest.mark.parametrize("text", ["of my own", "17"])
def test_what_was_written_over_is_said(environment: Environment, text: str) -> None:
    secrets._keep(environment, {"service_key": "x"})
    over = ("config", "set", "--secret", secrets.MADE, text)
    stack.checked(environment, stack.pulumi(environment, *over))
    with pytest.raises(BadInput, match="hostwright:secrets is not what was kept there"):
        secrets.read(environment)


def test_a_wrong_passphrase_is_said(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets._keep(environment, {"admin_email": "boss@shop.example"})
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "another")
    with pytest.raises(BadInput, match="passphrase is not the one"):
        secrets.read(environment)


def test_a_missing_pulumi_is_said(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure, match="no pulumi on this machine"):
        secrets.read(environment)


def test_a_password_of_the_environments_own_is_made_once(
    environment: Environment, warehouse: Application
) -> None:
    for_a_check = secrets.password(environment, "microk8s_token", kept=False)
    made = secrets.password(environment, "microk8s_token")
    assert len(made) == 32
    assert made != for_a_check
    assert secrets.password(environment, "microk8s_token") == made
    secrets.ensure(environment, warehouse, ADDRESSES)
    assert secrets.read(environment)["microk8s_token"] == made, "secrets of the application leave it alone"
