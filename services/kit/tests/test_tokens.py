"""Every forgery that is known to work somewhere must not work here."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from kit.authentication import Identity, Local, WithServices
from kit.tokens import SHARED, InvalidToken, Issuer, ServiceTokens, Verifier


def pair(bits: int = 2048) -> tuple[str, str]:
    return pem(rsa.generate_private_key(65537, bits))


def pem(key: Any) -> tuple[str, str]:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


PRIVATE, PUBLIC = pair()
VERIFIER = Verifier(PUBLIC, "warehouse")
ISSUER = Issuer(PRIVATE, "warehouse")
TOKEN = ISSUER.issue(user_id=7, email="jan@example.com", role="customer", session="s-1")
GOOD: dict[str, Any] = jwt.decode(TOKEN, options={"verify_signature": False})


def forged(changes: dict[str, Any] | None = None, **options: Any) -> str:
    claims = {name: value for name, value in (GOOD | (changes or {})).items() if value is not None}
    return jwt.encode(claims, **({"key": PRIVATE, "algorithm": "RS256"} | options))


def test_round_trip() -> None:
    found = VERIFIER.verify(TOKEN)
    assert (found.user_id, found.email, found.role, found.session) == (
        7,
        "jan@example.com",
        "customer",
        "s-1",
    )
    assert found.raw["exp"] - found.raw["iat"] == 24 * 3600
    assert VERIFIER.verify(forged()).user_id == 7  # so that what follows fails for its own reason


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "platform"},
        {"aud": None},
        {"iss": "somebody"},
        {"iss": None},
        {"typ": "refresh"},
        {"typ": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"sid": None},
        {"jti": None},
        {"user_id": "seven"},
        {"user_id": None},
        {"role": None},
        {"sub": None},
    ],
    ids=str,
)
def test_wrong_claims(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        VERIFIER.verify(forged(changes))


def test_a_clock_that_is_a_little_behind() -> None:
    now = int(time.time())
    assert VERIFIER.verify(forged({"iat": now + 3})).user_id == GOOD["user_id"]
    with pytest.raises(InvalidToken):
        VERIFIER.verify(forged({"exp": now - 1}))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("name", ["none", "None", "NONE", ""])
def test_algorithm_none(name: str) -> None:
    for signature in ("", TOKEN.rpartition(".")[2]):
        with pytest.raises(InvalidToken):
            VERIFIER.verify(f"{part({'alg': name, 'typ': 'JWT'})}.{part(GOOD)}.{signature}")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_public_key_as_hmac_secret(algorithm: str) -> None:
    message = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(GOOD | {'role': 'admin'})}"
    digest = hmac.new(PUBLIC.encode(), message.encode(), f"sha{algorithm[2:]}").digest()
    with pytest.raises(InvalidToken):
        VERIFIER.verify(f"{message}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}")


def test_wrong_key_and_other_algorithms() -> None:
    for token in (
        forged(key=pair()[0]),
        forged(algorithm="RS384"),
        forged(algorithm="RS512"),
        forged(algorithm="PS256"),
        forged(key=pem(ec.generate_private_key(ec.SECP256R1()))[0], algorithm="ES256"),
        forged(key=pair()[0], headers={"jwk": {"kty": "RSA"}, "kid": "../../dev/null"}),
    ):
        with pytest.raises(InvalidToken):
            VERIFIER.verify(token)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_rubbish(token: str) -> None:
    with pytest.raises(InvalidToken):
        VERIFIER.verify(token)


@given(st.integers(0, len(TOKEN.rpartition(".")[0]) - 1), st.sampled_from("AZaz09-_."))
def test_any_changed_character(position: int, character: str) -> None:
    changed = TOKEN[:position] + character + TOKEN[position + 1 :]
    if changed == TOKEN:
        assert VERIFIER.verify(changed)
        return
    with pytest.raises(InvalidToken):
        VERIFIER.verify(changed)


def test_a_token_seen_before_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    token = Issuer(PRIVATE, "warehouse", lifetime=60).issue(
        user_id=1, email="a@b.pl", role="admin", session="s"
    )
    assert VERIFIER.verify(token) is VERIFIER.verify(token)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    with pytest.raises(InvalidToken):
        VERIFIER.verify(token)


def test_keys_that_are_refused() -> None:
    small = pair(1024)
    curve = pem(ec.generate_private_key(ec.SECP256R1()))
    for private in (small[0], curve[0], PUBLIC, "rubbish", ""):
        with pytest.raises(ValueError, match="key"):
            Issuer(private, "warehouse")
    for public in (small[1], curve[1], PRIVATE, "rubbish", ""):
        with pytest.raises(ValueError, match="key"):
            Verifier(public, "warehouse")


KEY = "k" * 32
SERVICES = ServiceTokens(KEY, "warehouse")


def issued() -> dict[str, Any]:
    """The claims of a token made now: it lives for a minute, and tests come long after the import."""
    found: dict[str, Any] = jwt.decode(SERVICES.issue("orders"), options={"verify_signature": False})
    return found


def call(changes: dict[str, Any] | None = None, **options: Any) -> str:
    claims = {name: value for name, value in (issued() | (changes or {})).items() if value is not None}
    return jwt.encode(claims, **({"key": KEY, "algorithm": "HS256"} | options))


def test_a_services_token() -> None:
    assert SERVICES.verify(SERVICES.issue("orders")) == "orders"
    assert SERVICES.verify(call()) == "orders"  # so that what follows fails for its own reason
    claims = issued()
    assert claims | {"iat": 0, "exp": claims["exp"] - claims["iat"]} == {
        "iss": "hostwright",
        "aud": "service:warehouse",
        "sub": "orders",
        "typ": "service",
        "iat": 0,
        "exp": 60,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "service:gatekeeper"},
        {"aud": "warehouse"},
        {"iss": "somebody"},
        {"typ": "access"},
        {"sub": ""},
        {"exp": 1},
        {"iat": 4_000_000_000},
        *({name: None} for name in ("sub", "typ", "iss", "aud", "iat", "exp")),
    ],
)
def test_a_services_token_with_a_wrong_claim(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        SERVICES.verify(call(changes))


@pytest.mark.parametrize(
    "make",
    [
        lambda: call(key="x" * 32),
        lambda: call(algorithm="HS512", key=KEY * 2),
        lambda: call(algorithm="HS384", key=KEY * 2),
        lambda: call(algorithm="none", key=None),
        lambda: call(algorithm="RS256", key=PRIVATE),
        lambda: TOKEN,
        lambda: ServiceTokens(KEY, "gatekeeper").issue("orders"),
        lambda: ServiceTokens("x" * 32, "warehouse").issue("orders"),
        lambda: call()[:-2],
        lambda: "",
        lambda: "a.b.c",
    ],
)
def test_a_services_token_that_is_none(make: Callable[[], str]) -> None:
    with pytest.raises(InvalidToken):
        SERVICES.verify(make())


def test_a_services_token_is_no_persons() -> None:
    for token in (SERVICES.issue("orders"), call({"aud": "warehouse", "typ": "access"})):
        with pytest.raises(InvalidToken):
            VERIFIER.verify(token)


async def test_services_beside_people() -> None:
    authenticate = WithServices(Local(VERIFIER), SERVICES)
    assert await authenticate(SERVICES.issue("mail")) == Identity(0, "mail@service", "service", "")
    assert (await authenticate(TOKEN)).role == "customer"
    for token in (call({"aud": "service:gatekeeper"}), call(key="x" * 32), forged({"aud": "x"}), "", "a.b.c"):
        with pytest.raises(InvalidToken):
            await authenticate(token)


SECRET = "s" * 32


def test_a_shared_secret_signs_and_checks() -> None:
    issuer, verifier = Issuer(SECRET, "starter", algorithm=SHARED), Verifier(SECRET, "starter", SHARED)
    uid = "0192a1b2-0000-4000-8000-000000000007"
    token = issuer.issue(user_id=7, email="a@b.pl", role="admin", session="s", more={"user_id": uid})
    found = verifier.verify(token)
    assert (found.user_id, str(found.uid), found.raw["user_id"]) == (7, uid, uid)
    for other in (Verifier("t" * 32, "starter", SHARED), Verifier(SECRET, "warehouse", SHARED), VERIFIER):
        with pytest.raises(InvalidToken):
            other.verify(token)
    # Neither a key pair's token, nor one whose secret is the public key, nor a service's.
    for wrong in (
        Issuer(PRIVATE, "starter").issue(user_id=7, email="a@b.pl", role="admin", session="s"),
        ServiceTokens(SECRET, "starter").issue("orders"),
    ):
        with pytest.raises(InvalidToken):
            verifier.verify(wrong)


def test_what_is_no_uuid_is_nobody() -> None:
    with pytest.raises(InvalidToken):
        VERIFIER.verify(forged({"user_id": "0192a1b2"}))
