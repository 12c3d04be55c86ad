"""Opaque tokens that a client keeps: 256 random bits, of which the database knows only the SHA-256."""

from __future__ import annotations

import hashlib
import secrets


def new() -> tuple[str, bytes]:
    """A token to give away, and its digest to store."""
    token = secrets.token_urlsafe(32)
    return token, digest(token)


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
