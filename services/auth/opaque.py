"""Opaque tokens that a client keeps: 256 random bits, of which the database knows only the SHA-256."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets


def new() -> tuple[str, bytes]:
    """A token to give away, and its digest to store."""
    token = secrets.token_urlsafe(32)
    return token, digest(token)


def heir(token: str, salt: bytes) -> tuple[str, bytes]:
    """The token that comes after this one, and its digest: the same whenever it is asked for with this salt.

    Neither who has the token nor who reads the database can tell it; only both together can.
    """
    mac = hmac.digest(token.encode(), salt, "sha256")
    found = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    return found, digest(found)


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
