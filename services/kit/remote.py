"""Asks auth over HTTP about a token, where no gateway has asked before: for a WebSocket, a job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit.authentication import Identity
from kit.calls import ServiceClient
from kit.errors import Unavailable
from kit.live import LiveSettings
from kit.tokens import InvalidToken, Verifier


class Remote:
    """Checks the signature, then asks auth whether the session still stands and which role it has now."""

    def __init__(self, verifier: Verifier, auth: ServiceClient) -> None:
        self._verifier = verifier
        self._auth = auth

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: LiveSettings, verifier: Verifier) -> AsyncIterator[Remote]:
        """Tries again for as long as two of auth's answers may take."""
        wait = settings.auth_timeout
        auth = ServiceClient.open(settings, settings.auth_url.rstrip("/"), timeout=wait, patience=2 * wait)
        async with auth as client:
            yield cls(verifier, client)

    async def __call__(self, token: str) -> Identity:
        claims = self._verifier.verify(token)
        try:
            answer = await self._auth.get("/api/v1/validate", headers={"Authorization": f"Bearer {token}"})
        except Unavailable as error:
            raise Unavailable("Authentication service unavailable") from error
        if answer.status_code == 401:
            raise InvalidToken
        if answer.status_code != 200:
            raise Unavailable("Authentication service unavailable")
        role = answer.headers.get("X-User-Role", claims.role)
        return Identity(claims.user_id, claims.email, role, claims.session, claims.uid)
