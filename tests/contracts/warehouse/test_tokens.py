"""Who has no token that stands gets nothing from any service; forged ones are made with all that helps."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.environment import Account, Gateway, refused

pytestmark = pytest.mark.shows("auth/jwt", "auth/middleware", "tech/auth")

# One path of each service, and of auth those that tell something.
PATHS = (
    "/api/v1/validate",
    "/api/v1/validate-token",
    "/api/v1/profile",
    "/api/auth/sessions",
    "/api/auth/users",
    "/api/orders",
    "/api/notifications",
    "/api/reports",
    "/api/mail",
    "/messages",
)
SOCKETS = ("/ws", "/ws/notifications")


def part(value: bytes | dict[str, Any]) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read(encoded: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(encoded + "=="))
    return found


class Forger:
    """Knows a good token and, unlike anybody outside, the keys of the environment."""

    def __init__(self, token: str, secrets: Any) -> None:
        self.token = token
        self.head, self.body, self.signature = token.split(".")
        self.claims = read(self.body)
        self.public = secrets["token_public_key"].encode()
        self.private: Any = serialization.load_pem_private_key(secrets["token_private_key"].encode(), None)

    def made(self, sign: Callable[[bytes], bytes], head: dict[str, Any], **changes: Any) -> str:
        claims = {name: value for name, value in (self.claims | changes).items() if value is not None}
        message = f"{part({'typ': 'JWT', 'alg': 'RS256'} | head)}.{part(claims)}"
        return f"{message}.{part(sign(message.encode()))}"

    def own(self, **changes: Any) -> str:
        """Signed as auth signs."""
        return self.made(
            lambda text: self.private.sign(text, padding.PKCS1v15(), hashes.SHA256()), {}, **changes
        )

    def rsa(self, algorithm: str, way: Any, digest: Any) -> str:
        return self.made(lambda text: self.private.sign(text, way, digest), {"alg": algorithm})

    def stranger(self, **head: Any) -> str:
        key = rsa.generate_private_key(65537, 2048)
        return self.made(lambda text: key.sign(text, padding.PKCS1v15(), hashes.SHA256()), head, role="admin")

    def elliptic(self) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        return self.made(lambda text: key.sign(text, ec.ECDSA(hashes.SHA256())), {"alg": "ES256"})

    def shared(self, algorithm: str, secret: bytes) -> str:
        digest = f"sha{algorithm[2:]}"
        return self.made(lambda text: hmac.digest(secret, text, digest), {"alg": algorithm}, role="admin")

    def unsigned(self, name: str, signature: bytes = b"") -> str:
        return self.made(lambda _: signature, {"alg": name}, role="admin")

    def changed(self, **changes: Any) -> str:
        return f"{self.head}.{part(self.claims | changes)}.{self.signature}"


def pss() -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA256()), 32)


FORGED: dict[str, Callable[[Forger], str]] = {
    "no token": lambda _: "not-a-token",
    "dots": lambda _: "..",
    "three parts": lambda _: "a.b.c",
    "long": lambda _: "x" * 6000,
    "cut": lambda by: by.token[:-4],
    "without signature": lambda by: f"{by.head}.{by.body}.",
    "two in one": lambda by: f"{by.token}.{by.signature}",
    "promoted": lambda by: by.changed(role="admin"),
    "somebody else's": lambda by: by.changed(user_id=1, sub="1"),
    "alg none": lambda by: by.unsigned("none"),
    "alg None": lambda by: by.unsigned("None"),
    "alg NONE": lambda by: by.unsigned("NONE"),
    "no alg": lambda by: by.unsigned(""),
    "alg none, signed": lambda by: by.unsigned("none", b"x" * 256),
    "another key": lambda by: by.stranger(),
    "its own key": lambda by: by.stranger(jwk={"kty": "RSA", "e": "AQAB", "n": "AQAB"}),
    "a key from elsewhere": lambda by: by.stranger(jku="https://evil.example/keys", kid="../../dev/null"),
    "public key as secret": lambda by: by.shared("HS256", by.public),
    "public key as secret, trimmed": lambda by: by.shared("HS256", by.public.strip()),
    "public key as longer secret": lambda by: by.shared("HS512", by.public),
    "no secret": lambda by: by.shared("HS256", b""),
    "RS384": lambda by: by.rsa("RS384", padding.PKCS1v15(), hashes.SHA384()),
    "RS512": lambda by: by.rsa("RS512", padding.PKCS1v15(), hashes.SHA512()),
    "PS256": lambda by: by.rsa("PS256", pss(), hashes.SHA256()),
    "ES256": lambda by: by.elliptic(),
    "expired": lambda by: by.own(exp=int(time.time()) - 60, iat=int(time.time()) - 3600),
    "never expires": lambda by: by.own(exp=None),
    "of another application": lambda by: by.own(aud="gatekeeper"),
    "of another issuer": lambda by: by.own(iss="somebody"),
    "of another kind": lambda by: by.own(typ="refresh"),
    "of no session": lambda by: by.own(sid="00000000-0000-4000-8000-000000000000"),
    "without a session": lambda by: by.own(sid=None),
}


@pytest.fixture(scope="module")
def forger(customer: Account, gateway: Gateway) -> Forger:
    return Forger(customer.token, gateway.secrets)


def test_what_the_forger_makes_is_good_otherwise(http, forger) -> None:
    """so that what follows is refused for its own reason"""
    headers = {"Authorization": f"Bearer {forger.own()}"}
    assert http.get("/api/v1/validate", headers=headers).status_code == 200


@pytest.mark.parametrize("how", FORGED)
def test_no_forged_token_opens_anything(http, forger, how: str) -> None:
    headers = {"Authorization": f"Bearer {FORGED[how](forger)}"}
    for path in PATHS:
        refused(http.get(path, headers=headers), 401)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "bearer",
        "Basic YWRtaW46YWRtaW4=",
        "{token}",
        "Token {token}",
        "Bearer {token} {token}",
    ],
)
def test_no_other_header_opens_anything(http, customer, header: str) -> None:
    for path in PATHS:
        refused(http.get(path, headers={"Authorization": header.format(token=customer.token)}), 401)


def test_a_token_elsewhere_is_none(http, customer) -> None:
    for path in PATHS:
        refused(http.get(path, params={"token": customer.token, "access_token": customer.token}), 401)
        refused(http.get(path, headers={"Cookie": f"token={customer.token}; session={customer.token}"}), 401)


@pytest.mark.shows("auth/blacklist", "auth/logout")
def test_a_revoked_token_opens_nothing(http, account) -> None:
    leaving = account()
    assert leaving.ask("POST", "/logout").status_code == 200
    for path in PATHS:
        refused(leaving.ask("GET", path), 401)


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize(
    "how", ["no token", "alg none", "another key", "public key as secret", "expired", "of no session"]
)
def test_no_socket_for_a_forger(gateway, forger, path: str, how: str) -> None:
    token = FORGED[how](forger)
    for options in (
        {"additional_headers": {"Authorization": f"Bearer {token}"}},
        {"subprotocols": ["bearer", token]},
    ):
        with (
            pytest.raises((InvalidStatus, ConnectionClosed)) as end,
            gateway.feed(path, **options) as socket,
        ):
            socket.recv()
        error: Any = end.value
        code = error.response.status_code if isinstance(error, InvalidStatus) else error.rcvd.code
        assert code in (401, 403, 1008)
