"""The gateway as an application file writes it: where it listens, whom it sends to, what it asks before."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from hostwright.application.base import (
    File,
    HttpPath,
    Identifier,
    Mebibytes,
    Name,
    Number,
    Scope,
    Uid,
    image_name,
)

PROBE = 10000  # the gateway's own port, on its container's loopback
INGRESS = (80, 443)  # ports of an Ingress controller
STATUS = 10001  # where it counts what it does, for a component that watches it
FEED = 10002  # where it reaches, on loopback, the service that tells it about ended sessions
DOCUMENT = "/openapi.json"  # where it describes what it lets through
OWN = "gateway"  # in place of a service: what the gateway answers itself
DEFAULT = "default"  # the limit of every route that names none

PART = re.compile(r"\{[a-z_]+\}")  # of a route's path: any one part of a request's

Header = Annotated[str, Field(pattern=r"^X-[A-Za-z-]+$")]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
RoutePath = Annotated[str, Field(pattern=r"^/([A-Za-z0-9._~/-]|\{[a-z_]+\})*$")]
Word = Annotated[str, Field(pattern=r"^[!-~]+$")]
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[A-Za-z0-9.:\[\]-]+)$")]


class Authentication(File):
    service: Name
    path: HttpPath
    """Answers 200 or 401 to the headers of a request."""
    headers: tuple[Header, ...] = ()
    """Headers of that answer which services receive; what clients send under these names is dropped."""


class Listener(File):
    port: Number
    protocol: Literal["http", "https"]
    scope: Scope
    sources: tuple[str, ...] = ()
    """Networks that may reach a public port; none means everybody."""
    service: Name | None = None
    """Belongs to this service: everything goes there. `gateway`: what HAProxy answers itself, unasked."""
    redirect: bool = False
    """Sends everybody to the https listener."""

    @property
    def ingress(self) -> bool:
        """Whether a cluster's Ingress stands on this port, in the gateway's place."""
        return self.scope == "public" and self.port in INGRESS


class Way(File):
    """What of the public requests goes somewhere, and under which conditions."""

    path: RoutePath
    """With everything below it. HAProxy knows parts in braces too, which stand for any one part of a path."""
    authentication: Literal["required", "none"] = "none"
    websocket: bool = False
    methods: tuple[Method, ...] = ()
    """Of HAProxy, like all below: which methods it is for; none means all."""
    roles: tuple[Identifier, ...] = ()
    """Of which whoever asks must have one."""
    limit: Identifier | None = None
    """One of policy.limits; the one called `default` where nothing is said."""
    cache: Annotated[int, Field(ge=1, le=600)] | None = None
    """While the service is away, a GET is answered with what the same user got these last seconds."""


class Route(Way):
    service: Name
    """Or `gateway`: HAProxy's own /health, /metrics or /openapi.json."""


class Limit(File):
    """At most so many requests in any so many seconds: a window that slides, and no grid of them."""

    requests: Annotated[int, Field(ge=1, le=100_000)]
    seconds: Annotated[int, Field(ge=1, le=3600)] = 60


class Tokens(File):
    """Bearer tokens that HAProxy checks itself: signature, time, type, audience, session."""

    service: Name
    """Who gives them out."""
    algorithm: Literal["HS256", "RS256"] = "RS256"
    """The only one that is believed, whatever a token says; its key is jwt_secret, or token_public_key."""
    audience: Word | None = None
    """The application's name, where nothing else is said."""
    type: Word = "access"
    user: Identifier = "user_id"
    """The claim that says who it is."""
    roles: Identifier = "roles"
    """The claim with a role or a list of them."""
    headers: dict[Header, Identifier] = Field(default={})
    """Header -> claim that services receive in it; what clients send under these names is dropped."""
    revoked: HttpPath | None = None
    """The service's feed of ended sessions (docs/gateway.md); such a token's `sid` names its session."""


class Breaker(File):
    """When a service counts as away: it is asked no more, and after a while once, to see."""

    requests: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Of which so many, at least, within the last 30 s ..."""
    percent: Annotated[int, Field(ge=1, le=100)] = 50
    """... so many, at least, failed: 5xx, no answer in time, no connection."""
    seconds: Annotated[int, Field(ge=1, le=600)] = 10
    """From open to half_open."""
    successes: Annotated[int, Field(ge=1, le=100)] = 2
    """From half_open to closed."""


class Policy(File):
    """What HAProxy asks of a request before a service hears of it."""

    errors: Literal["plain", "envelope"] = "plain"
    """The gateway's own answers: {"error": TEXT}, or {"success": false, "error": {"code", "message"}}."""
    tokens: Tokens | None = None
    limits: dict[Identifier, Limit] = Field(default={DEFAULT: Limit(requests=100)})
    """By name; `default` is that of routes that name none: an environment overrides it with RATE_LIMIT."""
    breaker: Breaker = Breaker()
    cors: tuple[Origin, ...] = ()
    """Origins whose pages may ask, beside the environment's own names; "*": all of them."""


class Gateway(File):
    kind: Literal["nginx", "haproxy"]
    image: str
    uid: Uid = 101
    memory: Mebibytes = 64
    body: Annotated[int, Field(ge=1)] = 1024
    """Largest request body in KiB."""
    authentication: Authentication | None = None
    """Of nginx, which asks a service about every request."""
    policy: Policy | None = None
    """Of HAProxy, which needs one."""
    listeners: tuple[Listener, ...] = Field(min_length=1)
    routes: tuple[Route, ...] = ()

    @property
    def image_name(self) -> str:
        return image_name(self.image)

    @property
    def tokens(self) -> Tokens | None:
        """How it knows tokens itself, if it does."""
        return self.policy.tokens if self.policy else None

    @property
    def issuer(self) -> str | None:
        """The service that knows who asks."""
        known = self.authentication or self.tokens
        return known.service if known else None

    @property
    def identity(self) -> tuple[str, ...]:
        """Headers that say who asks, which nobody but the gateway may send to services."""
        return (
            self.authentication.headers
            if self.authentication
            else (*(self.tokens.headers if self.tokens else ()),)
        )

    @property
    def asked(self) -> str | None:
        """The service that the gateway itself asks about people or sessions."""
        if self.authentication:
            return self.authentication.service
        return self.tokens.service if self.tokens and self.tokens.revoked else None

    @property
    def key_file(self) -> str:
        """What the key of its certificate is called: HAProxy looks for the certificate's name and .key."""
        return "certificate.key" if self.kind == "haproxy" else "private_key"

    @property
    def served(self) -> list[str]:
        """Services that it sends anybody to, by listener or by route; some twice."""
        found = [each.service for each in self.routes]
        found += [each.service for each in self.listeners if each.service]
        return [name for name in found if name != OWN]

    def container_port(self, listener: Listener) -> int:
        """Where the gateway, not being root, listens inside its container."""
        return listener.port if listener.port >= 1024 else listener.port + 10000
