"""Tokens of people and of services (HS256): algorithm pinned, type, audience and issuer checked.

People's are RS256, by a key pair; or HS256, where a contract says that there is one secret to sign and check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from kit.errors import Unauthorized

ISSUER = "hostwright"
LIFETIME = 24 * 3600  # seconds
Algorithm = Literal["RS256", "HS256"]
ALGORITHM: Algorithm = "RS256"
MIN_KEY = 2048  # bits
REQUIRED = ["sub", "user_id", "email", "role", "sid", "jti", "typ", "iss", "aud", "iat", "exp"]

SHARED: Algorithm = "HS256"
MIN_SECRET = 32  # characters: a shorter one can be guessed from any token

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
    uid: UUID | None = None


class Issuer:
    """Issues access tokens of one application with its private key (PEM), or with a shared secret."""

    def __init__(
        self, key: str, application: str, lifetime: int = LIFETIME, algorithm: Algorithm = ALGORITHM
    ) -> None:
        self._key = private_key(key) if algorithm == ALGORITHM else key
        self._algorithm = algorithm
        self._application = application
        self.lifetime = lifetime

    def issue(
        self, *, user_id: int, email: str, role: str, session: str, more: Mapping[str, Any] | None = None
    ) -> str:
        """`more` are a contract's own claims: a UUID as `user_id` leaves the number to `sub`."""
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
            **(more or {}),
        }
        return jwt.encode(claims, self._key, algorithm=self._algorithm)


class Verifier:
    """Checks access tokens of one application with the issuer's public key (PEM), or a shared secret."""

    def __init__(self, key: str, application: str, algorithm: Algorithm = ALGORITHM) -> None:
        self._key = public_key(key) if algorithm == ALGORITHM else key
        self._algorithm = algorithm
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
                algorithms=[self._algorithm],
                audience=self._application,
                issuer=ISSUER,
                leeway=LEEWAY,  # for the time of issue: ours may be behind; the end counts to the second
                options={"require": REQUIRED},
            )
            if claims["typ"] != "access":
                raise InvalidToken
            return Claims(
                user_id=int(claims["sub"]),
                email=str(claims["email"]),
                role=str(claims["role"]),
                session=str(claims["sid"]),
                expires=int(claims["exp"]),
                raw=claims,
                uid=UUID(claims["user_id"]) if isinstance(claims["user_id"], str) else None,
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
