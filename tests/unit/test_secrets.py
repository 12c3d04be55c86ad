"""Secrets: made once, kept by the real Pulumi, renewed and rotated, and shown to nobody."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import NameOID
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


def test_an_address_is_one_however_it_is_written(warehouse: Application, values: dict[str, str]) -> None:
    names = ["192.0.2.10", "2001:DB8:0::10", "shop.example.com"]
    assert secrets.complete(warehouse, values, "trial", names) == values
    made = secrets.complete(warehouse, {}, "trial", names)
    assert secrets.names_of(made["gateway_certificate"]) == secrets.names_of(values["gateway_certificate"])


def test_a_long_name_of_an_environment_is_cut_in_the_authoritys(warehouse: Application) -> None:
    made = secrets.complete(warehouse, {}, "an-environment-of-thirty-two-let" * 2)
    (name,) = certificate(made["ca_certificate"]).subject
    assert str(name.value).startswith("hostwright warehouse an-environment-of-")
    assert len(name.value) == 64


# --- An operator's own certificates ---


@dataclass
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    private: Any

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key(self) -> str:
        return self.locked(NoEncryption())

    def locked(self, how: Any) -> str:
        return str(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode())


def pair(name: str, by: Pair | None = None, private: Any = None, *, ca: bool = False, days: int = 90) -> Pair:
    """For the name, signed `by` another or by itself, ending in so many days."""
    private = private or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = by.private if by else private
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=900))
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        # Of an authority of one's own it may be any number.
        .add_extension(x509.SubjectKeyIdentifier(name.encode()), critical=False)
    )
    if by:
        issuer = x509.AuthorityKeyIdentifier(
            by.certificate.subject.rdns[0].rfc4514_string()[3:].encode(), None, None
        )
        builder = builder.add_extension(issuer, critical=False)
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else SHA256()
    return Pair(builder.sign(signer, algorithm), private)


ROOT = pair("a root", ca=True)
BETWEEN = pair("an intermediate", ROOT, ca=True)
SHOP = pair("shop.example.com", BETWEEN, rsa.generate_private_key(65537, 2048))
CHAIN = SHOP.pem + BETWEEN.pem


def given(owner: str, pem: str, key: str) -> dict[str, str]:
    return {f"{owner}_certificate": pem, f"{owner}_private_key": key}


def test_a_certificate_of_ones_own_is_used_as_it_is(warehouse: Application, values: dict[str, str]) -> None:
    own = given("gateway", CHAIN, SHOP.key)
    again = secrets.complete(warehouse, values | own, "trial", ADDRESSES, own=own)
    assert again == values | own
    others = secrets.complete(warehouse, own, "trial", ADDRESSES, own=own)
    assert {name: others[name] for name in own} == own
    almost = given("gateway", *((last := pair("shop.example.com", BETWEEN, days=1)).pem, last.key))
    assert secrets.complete(warehouse, values | almost, "trial", ADDRESSES, own=almost) == values | almost
    assert secrets.complete(warehouse, values | own, "trial", ADDRESSES) != values | own, "as nobody set it"


def test_whom_clients_trust(warehouse: Application, values: dict[str, str]) -> None:
    """A file of the authority's certificate has theirs too, and its digest follows."""
    assert secrets.trusted({}) == ""
    assert secrets.trusted(values) == values["ca_certificate"]
    own = values | given("gateway", CHAIN.strip(), SHOP.key)
    believed = x509.load_pem_x509_certificates(secrets.trusted(own).encode())
    assert believed == [certificate(values["ca_certificate"]), SHOP.certificate, BETWEEN.certificate]
    for name, found in (("mail", own), ("mail", values)):
        assert secrets.files_of(warehouse, found)[name]["ca_certificate"] == secrets.trusted(found)
    changed = {
        owner
        for owner, digest in secrets.digests(warehouse, own).items()
        if digest != secrets.digests(warehouse, values)[owner]
    }
    assert changed == {"gateway", "mail"}


def test_a_developers_files_have_whom_to_trust(
    warehouse: Application, values: dict[str, str], tmp_path: Path
) -> None:
    own = values | given("gateway", CHAIN, SHOP.key)
    secrets.write(tmp_path, warehouse, own)
    assert (tmp_path / "mail/ca_certificate").read_text() == secrets.trusted(own)
    assert (tmp_path / ".store/ca_certificate").read_text() == values["ca_certificate"]


OTHER = pair("shop.example.com", BETWEEN)
ENDED = pair("shop.example.com", BETWEEN, days=-1)
SET, KEY = "secret-gateway_certificate", "secret-gateway_private_key"
BAD: dict[str, tuple[dict[str, str], str, str]] = {
    "no key": ({"gateway_certificate": CHAIN}, f"{SET} is set, and {KEY} is not", "pulumi config set"),
    "no certificate": ({"gateway_private_key": SHOP.key}, f"{KEY} is set, and {SET} is not", "pulumi"),
    "another's key": (given("gateway", CHAIN, OTHER.key), f"{KEY} is not the key of {SET}", "the first"),
    "in another order": (given("gateway", BETWEEN.pem + SHOP.pem, SHOP.key), "is not the key of", "first"),
    "ended": (given("gateway", ENDED.pem, ENDED.key), f"{SET} ended 20", f"config rm {SET} {KEY}"),
    "no certificate in it": (given("gateway", "of my own", SHOP.key), f"{SET} cannot be read", "PEM"),
    "a spoilt chain": (
        given("gateway", SHOP.pem + BETWEEN.pem.replace("M", "", 1), SHOP.key), f"{SET} cannot be read", "PEM"
    ),
    "no key in it": (given("gateway", CHAIN, "of my own"), f"{KEY} cannot be read", "PEM"),
    "a locked key": (
        given("gateway", CHAIN, SHOP.locked(BestAvailableEncryption(b"x"))), f"{KEY} cannot be read", "PEM"
    ),
    "the mail sink's": ({"mailsink_private_key": SHOP.key}, "secret-mailsink_certificate is not", "pulumi"),
    "no authority": (given("ca", SHOP.pem, SHOP.key), "secret-ca_certificate is not an authority's", "Basic"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_certificate_that_cannot_be_used(warehouse: Application, values: dict[str, str], case: str) -> None:
    own, what, fix = BAD[case]
    with pytest.raises(BadInput) as caught:
        secrets.complete(warehouse, values | own, "trial", ADDRESSES, own=own)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.where == "infra/Pulumi.trial.yaml"
    for text in (SHOP.key, OTHER.key, "of my own"):
        assert text not in str(caught.value)


@pytest.mark.parametrize(
    "private",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=lambda key: type(key).__name__,
)
def test_an_authority_of_ones_own_signs(warehouse: Application, values: dict[str, str], private: Any) -> None:
    authority = pair("an authority", private=private, ca=True)
    own = given("ca", authority.pem, authority.key)
    made = secrets.complete(warehouse, values | own, "trial", ADDRESSES, own=own)
    assert changed(values, made) == {*AUTHORITY, *GATEWAYS, *MAILS}
    assert {name: made[name] for name in own} == own
    shown = certificate(made["gateway_certificate"])
    shown.verify_directly_issued_by(authority.certificate)
    identifier = shown.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == b"an authority", "as the authority calls its key, by which clients look for it"
    assert secrets.complete(warehouse, made, "trial", ADDRESSES, own=own) == made


def test_an_authority_whose_key_cannot_sign(warehouse: Application, values: dict[str, str]) -> None:
    authority = pair("an authority", private=dsa.generate_private_key(2048), ca=True)
    own = given("ca", authority.pem, authority.key)
    with pytest.raises(BadInput, match="secret-ca_certificate is not an authority's"):
        secrets.complete(warehouse, values | own, "trial", ADDRESSES, own=own)


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
    for name in ("rabbitmq_password", "admin_password"):
        own = ("config", "set", "--secret", f"secret-{name}", "of my own")
        stack.checked(environment, stack.pulumi(environment, *own))
    before = secrets.ensure(environment, warehouse, ADDRESSES)
    assert before["rabbitmq_password"] == "of my own"
    assert before["admin_password"] == secrets.read(environment)["admin_password"] == "of my own"
    with pytest.raises(BadInput, match="the secret 'rabbitmq_password' is one you set") as caught:
        secrets.rotate(environment, warehouse, ["token_private_key", "rabbitmq_password"])
    assert "pulumi config set --secret secret-rabbitmq_password" in caught.value.fix
    assert secrets.read(environment) == before
    secrets.forget(environment.name, environment.project)
    assert secrets.read(environment) == {
        "admin_email": "boss@shop.example", "rabbitmq_password": "of my own", "admin_password": "of my own"
    }  # fmt: skip


def put(environment: Environment, values: dict[str, str]) -> None:
    """As an operator puts a file there."""
    for name, text in values.items():
        command = ("config", "set", "--secret", f"secret-{name}")
        stack.checked(environment, stack.pulumi(environment, *command, stdin=text))


def test_a_certificate_of_ones_own_is_not_kept_beside_and_changes_nothing(
    warehouse: Application, environment: Environment
) -> None:
    before = secrets.ensure(environment, warehouse, ADDRESSES)
    put(environment, {"gateway_certificate": CHAIN})
    environment = load("trial", environment.project)
    written = settings(environment)
    for ask in (secrets.check, secrets.ensure):
        with pytest.raises(
            BadInput, match="secret-gateway_certificate is set, and secret-gateway_private_key"
        ):
            ask(environment, warehouse)
    assert settings(environment) == written
    put(environment, {"gateway_private_key": SHOP.key})
    written = settings(environment)
    secrets.check(environment, warehouse)
    for _ in range(2):
        found = secrets.ensure(environment, warehouse, ADDRESSES)
        assert found["gateway_certificate"].split() == CHAIN.split()
        assert changed(before, found) == GATEWAYS
        assert settings(environment) == written
    assert secrets.read(environment) == found
    with pytest.raises(BadInput, match="'gateway_private_key' is one you set"):
        secrets.rotate(environment, warehouse, ["gateway_private_key"])
    rotated = secrets.rotate(environment, warehouse, ["ca_private_key"])
    assert rotated == sorted({*AUTHORITY, *MAILS}), "theirs is not made from ours"
    assert not GATEWAYS & {*secrets._kept(environment)[0]}
    stack.checked(environment, stack.pulumi(environment, "config", "rm", "secret-gateway_certificate"))
    stack.checked(environment, stack.pulumi(environment, "config", "rm", "secret-gateway_private_key"))
    ours = secrets.ensure(environment, warehouse, ADDRESSES)
    assert set(secrets.names_of(ours["gateway_certificate"])) >= set(ADDRESSES)


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
    assert set(secrets.names_of(secrets.read(environment)["gateway_certificate"])) >= set(ADDRESSES)
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


def test_a_state_is_known_wherever_its_url_has_it(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = environment.project / "infra/the state"
    folder.mkdir()
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file://./the%20state?no_tmp_dir=true")
    assert not stack.known(environment)
    secrets._keep(environment, {"service_key": "x"})
    assert stack.known(environment), sorted(environment.project.rglob("*"))
    assert stack.backend(environment) == folder


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
