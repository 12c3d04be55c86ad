"""Tokens of people (RS256) and of services (HS256): algorithm pinned, type, audience and issuer checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from kit.errors import Unauthorized

ISSUER = "hostwright"
LIFETIME = 24 * 3600  # seconds
ALGORITHM = "RS256"
MIN_KEY = 2048  # bits
REQUIRED = ["sub", "user_id", "email", "role", "sid", "jti", "typ", "iss", "aud", "iat", "exp"]

SERVICE_ALGORITHM = "HS256"
SERVICE_LIFETIME = 60  # seconds
SERVICE_REQUIRED = ["sub", "typ", "iss", "aud", "iat", "exp"]
LEEWAY = 5  # seconds that clocks of hosts may differ


class InvalidToken(Unauthorized):
    """401: forged, expired, revoked, or meant for someone else."""

    text = "Invalid or expired token"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    user_id: int
    email: str
    role: str
    session: str
    expires: int
    raw: dict[str, Any]


class Issuer:
    """Issues access tokens of one application with its private key (PEM)."""

    def __init__(self, pem: str, application: str, lifetime: int = LIFETIME) -> None:
        self._key = private_key(pem)
        self._application = application
        self.lifetime = lifetime

    def issue(self, *, user_id: int, email: str, role: str, session: str) -> str:
        now = int(time.time())
        claims = {
            "sub": str(user_id),
            "user_id": user_id,
            "email": email,
            "role": role,
            "sid": session,
            "jti": session,
            "typ": "access",
            "iss": ISSUER,
            "aud": self._application,
            "iat": now,
            "exp": now + self.lifetime,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)


class Verifier:
    """Checks access tokens of one application with the issuer's public key (PEM)."""

    def __init__(self, pem: str, application: str) -> None:
        self._key = public_key(pem)
        self._application = application
        # A signature once good stays good; only time can spoil the token. Failures are not remembered.
        self._seen = lru_cache(maxsize=1024)(self._decode)

    def verify(self, token: str) -> Claims:
        """The claims of a good token; raises `InvalidToken` for every other."""
        claims = self._seen(token)
        if claims.expires <= time.time():
            raise InvalidToken
        return claims

    def _decode(self, token: str) -> Claims:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=self._application,
                issuer=ISSUER,
                leeway=LEEWAY,  # for the time of issue: ours may be behind; the end counts to the second
                options={"require": REQUIRED},
            )
            if claims["typ"] != "access":
                raise InvalidToken
            return Claims(
                user_id=int(claims["user_id"]),
                email=str(claims["email"]),
                role=str(claims["role"]),
                session=str(claims["sid"]),
                expires=int(claims["exp"]),
                raw=claims,
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise InvalidToken from error


class ServiceTokens:
    """Tokens by which services of one application know each other; all of them hold the same key."""

    def __init__(self, key: str, application: str) -> None:
        self._key = key
        self._audience = f"service:{application}"

    def issue(self, service: str) -> str:
        """A token for one call: it says who calls, and is soon over."""
        now = int(time.time())
        claims = {
            "sub": service,
            "typ": "service",
            "iss": ISSUER,
            "aud": self._audience,
            "iat": now,
            "exp": now + SERVICE_LIFETIME,
        }
        return jwt.encode(claims, self._key, algorithm=SERVICE_ALGORITHM)

    def verify(self, token: str) -> str:
        """The name of the service that calls; raises `InvalidToken`."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[SERVICE_ALGORITHM],
                audience=self._audience,
                issuer=ISSUER,
                leeway=LEEWAY,
                options={"require": SERVICE_REQUIRED},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise InvalidToken from error
        if claims["typ"] != "service" or not claims["sub"]:
            raise InvalidToken
        return str(claims["sub"])


def is_service_token(token: str) -> bool:
    """Whether a token says that it is a service's: which key to check it with, and no more than that."""
    try:
        return bool(jwt.get_unverified_header(token).get("alg") == SERVICE_ALGORITHM)
    except jwt.PyJWTError:
        return False


def private_key(pem: str) -> RSAPrivateKey:
    """Raises ValueError for anything but RSA of at least 2048 bits."""
    key = _read(lambda: load_pem_private_key(pem.encode(), password=None))
    if not isinstance(key, RSAPrivateKey) or key.key_size < MIN_KEY:
        raise ValueError(f"must be an RSA private key of at least {MIN_KEY} bits")
    return key


def public_key(pem: str) -> RSAPublicKey:
    """Raises ValueError for anything but RSA of at least 2048 bits."""
    key = _read(lambda: load_pem_public_key(pem.encode()))
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY:
        raise ValueError(f"must be an RSA public key of at least {MIN_KEY} bits")
    return key


def _read(key: Callable[[], object]) -> object:
    try:
        return key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("is not a key in PEM") from None
