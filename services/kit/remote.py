"""Asks auth over HTTP about a token, where no gateway has asked before: for a WebSocket, a job."""

from __future__ import annotations

import httpx2

from kit import context
from kit.authentication import Identity
from kit.errors import Unavailable
from kit.tokens import InvalidToken, Verifier


class Remote:
    """Checks the signature, then asks auth whether the session still stands and which role it has now."""

    def __init__(self, verifier: Verifier, auth_url: str, http: httpx2.AsyncClient) -> None:
        self._verifier = verifier
        self._url = auth_url.rstrip("/") + "/api/v1/validate"
        self._http = http

    async def __call__(self, token: str) -> Identity:
        claims = self._verifier.verify(token)
        try:
            with context.span("GET auth"):
                headers = context.outgoing() | {"Authorization": f"Bearer {token}"}
                answer = await self._http.get(self._url, headers=headers)
        except httpx2.HTTPError as error:
            raise Unavailable("Authentication service unavailable") from error
        if answer.status_code == 401:
            raise InvalidToken
        if answer.status_code != 200:
            raise Unavailable("Authentication service unavailable")
        role = answer.headers.get("X-User-Role", claims.role)
        return Identity(claims.user_id, claims.email, role, claims.session, claims.uid)
