"""Who is asking: the token-validation middleware of every service, and what roles may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol
from uuid import UUID

import structlog
from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection, Request

from kit import client
from kit.errors import Forbidden, Unauthorized
from kit.tokens import InvalidToken, ServiceTokens, Verifier, is_service_token

# Declares the scheme in OpenAPI; the token itself is read by `bearer`, for WebSockets too.
scheme = HTTPBearer(bearerFormat="JWT", auto_error=False)

SERVICE = "service"  # the role of a caller that is a service


@dataclass(frozen=True, slots=True)
class Identity:
    """The authenticated user of a request.

    `uid` is what a contract with UUIDs calls them; `user_id`, by which we know them, is not told there.
    """

    user_id: int
    email: str
    role: str
    session: str
    uid: UUID | None = None

    @property
    def name(self) -> int | str:
        """What their contract calls them."""
        return str(self.uid) if self.uid else self.user_id

    def has(self, *roles: str) -> bool:
        return self.role in roles


class Authenticator(Protocol):
    """From a token to an identity; raises `InvalidToken` (401) or `Unavailable` (503)."""

    async def __call__(self, token: str) -> Identity: ...


class Local:
    """Believes the signature alone: enough behind a gateway that asks auth about revocation."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def __call__(self, token: str) -> Identity:
        claims = self._verifier.verify(token)
        return Identity(claims.user_id, claims.email, claims.role, claims.session, claims.uid)


class WithServices:
    """Lets services of the application in beside people: as role "service", which no person has."""

    def __init__(self, people: Authenticator, services: ServiceTokens) -> None:
        self._people = people
        self._services = services

    async def __call__(self, token: str) -> Identity:
        try:
            return await self._people(token)  # first: reading a token's header costs more than all the rest
        except InvalidToken:
            if not is_service_token(token):
                raise
        name = self._services.verify(token)
        return Identity(user_id=0, email=f"{name}@service", role=SERVICE, session="")


def bearer(connection: HTTPConnection) -> str:
    """The token of the `Authorization` header; raises `Unauthorized` when there is none."""
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthorized
    return token.strip()


async def identify(connection: HTTPConnection) -> Identity:
    """The identity behind the connection's token, for a WebSocket's first request too; raises 401."""
    authenticator: Authenticator = connection.state.authenticator
    identity = await authenticator(bearer(connection))
    structlog.contextvars.bind_contextvars(user_id=identity.name)
    return _of_this_moment(connection, identity)


async def _identity(request: Request, _: Annotated[Any, Depends(scheme)]) -> Identity:
    return await identify(request)


Current = Annotated[Identity, Depends(_identity)]


def _of_this_moment(connection: HTTPConnection, identity: Identity) -> Identity:
    """The role that auth told the gateway for this very request, where a declared gateway says so.

    The token's own role is as old as the token: without this a demoted admin would stay one for a day.
    """
    role = connection.headers.get("x-user-role")
    if role and connection.headers.get("x-user-id") == str(identity.name):
        peer = connection.client.host if connection.client else ""
        if client.within(peer, connection.app.state.settings.trusted_proxies):
            return replace(identity, role=role)
    return identity


def require(*roles: str) -> Callable[[Identity], Awaitable[Identity]]:
    """Dependency: the identity if it has one of these roles, else 403. `Depends(require("admin"))`."""

    async def check(identity: Current) -> Identity:
        if not identity.has(*roles):
            raise Forbidden(roles, identity.role)
        return identity

    return check
