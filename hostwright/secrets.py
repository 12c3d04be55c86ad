"""Secrets of an environment: made once, kept encrypted in its Pulumi configuration, never printed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets as randomness
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hostwright.application import Application
from hostwright.environments import Environment
from hostwright.errors import BadInput
from hostwright.hosts import stack

# Keys of the Pulumi configuration: what was made, as one JSON object, which one call writes, whole or not;
# and secret-NAME, what an operator set, which goes before it.
MADE = "secrets"
OWN = "secret-"
HERE = ("localhost", "127.0.0.1", "::1")  # every certificate names these too: a host asks itself
RENEW = timedelta(days=30)  # before its end a certificate is made anew
CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=397)
# Made from one another: what is made first, and what goes when it goes.
PARENTS = {
    "token_public_key": "token_private_key",
    "ca_certificate": "ca_private_key",
}
CERTIFICATE, KEY = "_certificate", "_private_key"  # of an owner, made from one another and the authority
# An authority signs with one of these, by SHA-256 or, as those of Edwards' curves do, by what is its own.
SIGNERS = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)
# The first admin is made with these and is the application's afterwards: a new one here would open nothing. A
# public key is its private key's, and follows it.
FIXED = ("admin_email", "admin_password", "token_public_key")
# Of the application's people and not of where it runs: tokens that were given out, the first admin's login,
# what services sign for one another.
CARRIED = (*FIXED, "token_private_key", "jwt_secret", "service_key", "webhook_key")


def ensure(
    environment: Environment, application: Application, names: Iterable[str] = (), *, kept: bool = True
) -> dict[str, str]:
    """Every secret of the application by name; what is missing is made, and `kept`. Twice changes nothing.

    `names`: names and addresses by which others reach the gateway; its certificate is made anew when they
    change or when it ends within 30 days, unless it is one that an operator set. Raises BadInput for a
    certificate of an operator's that cannot be used, HostwrightError when Pulumi cannot keep secrets.
    """
    with _alone(environment):
        made, own = _kept(environment)
        held = made | own
        values = complete(application, held, environment.name, names, own=own)
        if kept and values.items() - held.items():
            _keep(environment, held | values, own)
    return values


def check(environment: Environment, application: Application) -> None:
    """Raise BadInput for a certificate that an operator set and that cannot be used."""
    if any(name.startswith(OWN) for name in environment.settings):
        own = _kept(environment)[1]
        for owner in _owners(application):
            _theirs(owner, own, own, environment.name, datetime.now(UTC))


def read(environment: Environment) -> dict[str, str]:
    """What the environment has now, by name, whoever it is for; empty before the first `ensure`."""
    made, own = _kept(environment)
    return made | own


def password(environment: Environment, name: str, *, kept: bool = True) -> str:
    """A password that is no application's but the environment's own; one that is missing is made, and `kept`.

    Raises HostwrightError when Pulumi cannot keep it.
    """
    with _alone(environment):
        made, own = _kept(environment)
        held = made | own
        if name not in held:
            held[name] = _password()
            if kept:
                _keep(environment, held, own)
    return held[name]


def rotate(environment: Environment, application: Application, secrets: Collection[str]) -> list[str]:
    """Make these anew, and what is made from them; the next deployment delivers them. Returns what changed.

    Stores change their passwords when they start with new ones. Raises BadInput, and changes nothing, for a
    name that is not one of the application's, for one that an operator set, and before the first `up`.
    """
    known = [secret.name for secret in application.secrets() if secret.name not in FIXED]
    if unknown := sorted(set(secrets) - {*known}):
        raise BadInput(
            f"no secret {unknown[0]!r} to rotate", where=application.name, fix=f"one of: {', '.join(known)}"
        )
    with _alone(environment):
        made, own = _kept(environment)
        held = made | own
        if not held:
            raise BadInput(
                "there are no secrets yet", where=environment.name, fix="hostwright up makes the first ones"
            )
        if theirs := sorted(name for name in own if {name, PARENTS.get(name)} & set(secrets)):
            raise BadInput(
                f"the secret {theirs[0]!r} is one you set",
                where=environment.name,
                fix=f"in infra/: pulumi config set --secret {OWN}{theirs[0]}, or pulumi config rm it first",
            )
        kept = {
            name: value for name, value in held.items() if name in own or not _lineage(name) & set(secrets)
        }
        names = names_of(made["gateway_certificate"]) if "gateway_certificate" in made else ()
        values = complete(application, kept, environment.name, names, own=own)
        _keep(environment, held | values, own)
    return sorted(name for name, value in values.items() if held.get(name) != value)


def carry(source: Environment, target: Environment, application: Application, check: bool = False) -> None:
    """Give the target those of CARRIED that the source has; twice changes nothing, and `check` never does.

    Raises BadInput for one that an operator set to something else there.
    """
    with _alone(target):
        made, own = _kept(target)
        known = {secret.name for secret in application.secrets()}
        carried = {name: text for name, text in read(source).items() if name in CARRIED and name in known}
        if clash := sorted(name for name, text in carried.items() if own.get(name, text) != text):
            raise BadInput(
                f"the secret {clash[0]!r} goes along, and you set another one there",
                where=target.name,
                fix=f"in infra/: pulumi config rm {OWN}{clash[0]} --stack {target.name}",
            )
        if not check and carried.items() - (made | own).items():
            _keep(target, made | carried, own)


def forget(name: str, project: Path) -> None:
    """Take what was made out of the environment's configuration; for when its data is gone too."""
    environment = Environment(name, project, {})
    if _kept(environment)[0]:
        stack.checked(environment, stack.pulumi(environment, "config", "rm", MADE))


def complete(
    application: Application,
    held: Mapping[str, str],
    environment: str,
    names: Iterable[str] = (),
    now: datetime | None = None,
    own: Collection[str] = (),
) -> dict[str, str]:
    """`held` with what the application lacks made, and certificates that no longer do made anew.

    `own`: names of those that an operator set: they stay as they are. Raises BadInput for a certificate among
    them that has no key, or another's, or has ended, or cannot be read.
    """
    now = now or datetime.now(UTC)
    kinds = {secret.name: secret.kind for secret in application.secrets()}
    values = {name: value for name, value in held.items() if name in kinds}
    for name, kind in kinds.items():
        if name not in values and kind in ("password", "email"):
            values[name] = _password() if kind == "password" else f"admin@{application.name}.example"
    if "token_private_key" in kinds:
        if "token_private_key" not in values:
            values["token_private_key"] = _pem(rsa.generate_private_key(65537, 2048))
        values["token_public_key"] = _public(values["token_private_key"])
    if "ca_certificate" in kinds:
        for owner in _owners(application):
            if _theirs(owner, values, own, environment, now):
                continue
            if owner == "ca":
                _authority(values, f"{application.name} {environment}", now)
            else:
                reached = sorted({*HERE, *map(_canonical, names)}) if owner == "gateway" else [owner]
                _certificate(values, owner, reached, now)
    return {name: values[name] for name in kinds}


def trusted(values: Mapping[str, str]) -> str:
    """Whom a client of the gateway trusts, as PEM; nobody in particular where there is no authority.

    That is the environment's authority, and what an operator set that it has not signed: of such a chain
    maybe no root, so that a client has to be content with any of its certificates (`knock.trusting`).
    """
    authority = values.get("ca_certificate", "")
    own = [
        text
        for name, text in sorted(values.items())
        if name.endswith(CERTIFICATE) and name != "ca_certificate" and not _signed_by(text, authority)
    ]
    return "".join(f"{text.strip()}\n" for text in (authority, *own)) if authority and own else authority


def names_of(certificate: str) -> list[str]:
    """Names and addresses that a certificate (PEM) is for, sorted."""
    found = x509.load_pem_x509_certificate(certificate.encode()).extensions
    try:
        names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return sorted(str(name.value) for name in names)


def digests(application: Application, values: Mapping[str, str]) -> dict[str, str]:
    """Owner -> a digest of the secret files it reads, which changes when one of them does."""
    return {
        owner: hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        for owner, files in files_of(application, values).items()
    }


def files_of(application: Application, values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Owner -> file -> content, as they appear in its container's /run/secrets."""
    found: dict[str, dict[str, str]] = {}
    for secret in application.secrets():
        text = trusted(values) if secret.kind == "ca-certificate" else values[secret.name]
        for reader in secret.readers:
            found.setdefault(reader.owner, {})[reader.file] = text
    return found


def write(folder: Path, application: Application, values: Mapping[str, str]) -> list[Path]:
    """The files of a developer's environment: FOLDER/OWNER/FILE for containers, FOLDER/.store/NAME to keep.

    Nobody else can enter the folder. As root, files belong to the service's uid alone; anybody else cannot
    give files away, so that behind the folder's door they can be read by all.
    """
    root = os.geteuid() == 0
    written, files = keep(folder, values), files_of(application, values)
    for secret in application.secrets():
        for reader in secret.readers:
            mode, uid = (0o400, reader.uid) if root else (0o444, -1)
            path = folder / reader.owner / reader.file
            written.append(_write(path, files[reader.owner][reader.file], mode, uid))
            path.parent.chmod(0o500 if root else 0o755)
            os.chown(path.parent, uid, uid)
    return written


def keep(folder: Path, values: Mapping[str, str], files: Mapping[str, str] | None = None) -> list[Path]:
    """FOLDER/.store/NAME for each secret, and `files` of them, all for its owner alone and not for git."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    kept = {
        ".gitignore": "*\n",
        **{f".store/{name}": value for name, value in values.items()},
        **(files or {}),
    }
    return [_write(folder / path, text, 0o600) for path, text in kept.items()]


def stored(folder: Path) -> dict[str, str]:
    """What FOLDER/.store has, by name. What is empty, as a full disk leaves it, was never anything."""
    return {path.name: text for path in (folder / ".store").glob("[!.]*") if (text := path.read_text())}


# --- Pulumi ---


@contextmanager
def _alone(environment: Environment) -> Iterator[None]:
    """One process at a time: hosts are deployed side by side, and must not each make their own."""
    environment.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (environment.state / "secrets.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kept(environment: Environment) -> tuple[dict[str, str], dict[str, str]]:
    """What was made, and what an operator set, by name."""
    done = stack.pulumi(environment, "config", "--show-secrets", "--json")
    if "no stack named" in done.stderr:
        return {}, {}
    config = json.loads(stack.checked(environment, done) or "{}")
    values = {key.split(":", 1)[1]: str(item["value"]) for key, item in config.items()}
    own = {key.removeprefix(OWN): value for key, value in values.items() if key.startswith(OWN)}
    try:
        return dict(json.loads(values.get(MADE, "{}"))), own
    except (TypeError, ValueError):
        raise BadInput(
            f"hostwright:{MADE} is not what was kept there",
            where=f"infra/Pulumi.{environment.name}.yaml",
            fix=f"bring the file back from version control; set your own as {OWN}NAME",
        ) from None


def _keep(environment: Environment, values: Mapping[str, str], own: Collection[str] = ()) -> None:
    """These, without an operator's `own`, are what was made; over standard input, as others see arguments."""
    made = {name: value for name, value in values.items() if name not in own}
    command, text = ("config", "set", "--secret", "--raw", MADE), json.dumps(made, sort_keys=True)
    done = stack.pulumi(environment, *command, stdin=text)
    if "no stack named" in done.stderr:
        stack.checked(environment, stack.pulumi(environment, "stack", "init"))
        done = stack.pulumi(environment, *command, stdin=text)
    stack.checked(environment, done)


# --- Making them ---


def _lineage(name: str) -> set[str]:
    """The secret and those it is made from."""
    found = {name}
    while parent := _parent(name):
        name = parent
        found.add(name)
    return found


def _parent(name: str) -> str | None:
    if name in PARENTS or name in PARENTS.values():
        return PARENTS.get(name)
    if name.endswith(CERTIFICATE):
        return name.removesuffix(CERTIFICATE) + KEY
    return "ca_certificate" if name.endswith(KEY) else None


def _password() -> str:
    """192 bits that need no quoting anywhere, with a letter and a digit for rules that ask for them."""
    while True:
        found = randomness.token_urlsafe(24)
        if found[0].isalnum() and any(c.isdigit() for c in found) and any(c.isalpha() for c in found):
            return found


def _owners(application: Application) -> list[str]:
    """Who has a certificate: the authority, if there is one, and then those for whom it signs."""
    kinds = {secret.name: secret.kind for secret in application.secrets()}
    signed = [name.removesuffix(CERTIFICATE) for name, kind in kinds.items() if kind == "certificate"]
    return ["ca", *signed] if "ca_certificate" in kinds else []


def _theirs(
    owner: str, values: Mapping[str, str], own: Collection[str], environment: str, now: datetime
) -> bool:
    """Whether the owner's certificate is an operator's own. Raises BadInput where it cannot be used."""
    pair = (owner + CERTIFICATE, owner + KEY)
    if not {*pair} & {*own}:
        return False

    def bad(what: str, fix: str) -> BadInput:
        return BadInput(what, where=f"infra/Pulumi.{environment}.yaml", fix=fix)

    for name, other in (pair, pair[::-1]):
        if name not in own:
            fix = (
                f"in infra/: pulumi config set --secret {OWN}{name} < FILE; or pulumi config rm {OWN}{other}"
            )
            raise bad(f"{OWN}{other} is set, and {OWN}{name} is not", fix)
    name, key = (OWN + each for each in pair)
    try:
        certificate = x509.load_pem_x509_certificates(values[pair[0]].encode())[0]
        public = _spki(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        fix = "give PEM: the certificate itself, then those that lead to its root"
        raise bad(f"{name} cannot be read: {error}", fix) from None
    try:
        private = serialization.load_pem_private_key(values[pair[1]].encode(), None)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # not what is wrong: that might show some of it
        raise bad(f"{key} cannot be read", "give PEM, and no passphrase") from None
    if _spki(private.public_key()) != public:
        raise bad(f"{key} is not the key of {name}", "the first certificate is the one that the key is for")
    if certificate.not_valid_after_utc <= now:
        what = f"{name} ended {certificate.not_valid_after_utc:%Y-%m-%d}"
        raise bad(what, f"set the next one, and its key; or pulumi config rm {name} {key}, and one is made")
    if owner == "ca" and not (isinstance(private, SIGNERS) and _is_authority(certificate)):
        fix = "BasicConstraints must say so, and the key be one that signs: of a curve, or RSA"
        raise bad(f"{name} is not an authority's", fix)
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _authority(values: dict[str, str], title: str, now: datetime) -> None:
    """The environment's own certificate authority, unless it is good for longer."""
    if "ca_private_key" in values and _good(values.get("ca_certificate"), values["ca_private_key"], now):
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name(f"hostwright {title}")
    usage = _usage(digital_signature=True, key_cert_sign=True, crl_sign=True)
    certificate = (
        _draft(name, name, key.public_key(), now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    values["ca_private_key"] = _pem(key)
    values["ca_certificate"] = certificate.public_bytes(serialization.Encoding.PEM).decode()


def _certificate(values: dict[str, str], owner: str, names: list[str], now: datetime) -> None:
    """The owner's certificate for these names and addresses, unless the one it has still does."""
    held = values.get(owner + CERTIFICATE)
    authority = x509.load_pem_x509_certificate(values["ca_certificate"].encode())
    if (
        held
        and _good(held, values.get(owner + KEY), now)
        and names_of(held) == names
        and _signed_by(held, values["ca_certificate"])
    ):
        return
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(values["ca_private_key"].encode(), None)
    assert isinstance(signer, SIGNERS)  # noqa: S101  (made so, or looked at by _theirs)
    by_itself = isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    certificate = (
        _draft(_common_name(names[-1]), authority.subject, key.public_key(), now, LEAF_LIFE)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_identifier(authority), critical=False)
        .sign(signer, None if by_itself else hashes.SHA256())
    )
    values[owner + KEY] = _pem(key)
    values[owner + CERTIFICATE] = certificate.public_bytes(serialization.Encoding.PEM).decode()


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # ub-common-name of RFC 5280


def _identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Of the authority's key, in its own words if it has some: clients compare them."""
    try:
        named = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + life)
    )


def _usage(**given: bool) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: given.get(name, False) for name in every})


def _canonical(name: str) -> str:
    """An address as a certificate has it, which is not how everybody writes it; a name as it is."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _good(certificate: str | None, key: str | None, now: datetime) -> bool:
    """Whether the certificate (PEM) belongs to the key and is good for another month."""
    if certificate is None or key is None:
        return False
    found = x509.load_pem_x509_certificate(certificate.encode())
    return found.not_valid_after_utc - now > RENEW and _public(key) == _spki(found.public_key())


def _signed_by(certificate: str, authority: str) -> bool:
    try:
        signer = x509.load_pem_x509_certificate(authority.encode())
        x509.load_pem_x509_certificate(certificate.encode()).verify_directly_issued_by(signer)
    except Exception:  # each kind of key has errors of its own
        return False
    return True


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    encoding, format_ = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, format_, serialization.NoEncryption()).decode()


def _public(private: str) -> str:
    return _spki(serialization.load_pem_private_key(private.encode(), None).public_key())


def _spki(key: object) -> str:
    encoding, format_ = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_bytes(encoding, format_).decode())  # type: ignore[attr-defined]


def _write(path: Path, text: str, mode: int, uid: int = -1) -> Path:
    """A file that is at no moment open to others, or half of what it is to be; one that is right stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _is(path, text, mode, uid):
        return path
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o600 | 0o400)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.chmod(mode)
    os.chown(new, uid, uid)
    new.replace(path)
    return path


def _is(path: Path, text: str, mode: int, uid: int) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    state = path.stat()
    own = uid in (-1, state.st_uid) and uid in (-1, state.st_gid)
    return own and state.st_mode & 0o7777 == mode and path.read_bytes() == text.encode()
