"""A gateway as one writes it in an afternoon (ASGI, aiohttp, PyJWT), which ours is measured beside.

It routes, checks tokens, keeps a window that slides for each user, tells services who asks, and logs a line
of JSON. It knows no ended sessions, no roles, no breaker and no cache, and does not try again.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import aiohttp
import jwt

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

SECRET = os.environ["JWT_SECRET"]
AUDIENCE = os.environ["AUDIENCE"]
SERVICES = {"/v1/users": os.environ["AUTH_URL"], "/v1/orders": os.environ["ORDERS_URL"]}
LIMIT, SPAN = int(os.environ["RATE_LIMIT"]), 60  # requests, in so many seconds
HOP_BY_HOP = {"connection", "host", "keep-alive", "transfer-encoding", "upgrade"}

logging.basicConfig(format="%(message)s", level=logging.INFO)
log = logging.getLogger("gateway")
windows: defaultdict[str, deque[float]] = defaultdict(deque)
session: aiohttp.ClientSession


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await answer(scope, receive, send)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    started = time.monotonic()
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    request, user = headers.get("x-request-id") or str(uuid4()), None
    try:
        service = route(scope["path"])
        claims = identify(headers)
        user = claims["user_id"]
        admit(user)
        headers |= {
            "x-request-id": request,
            "x-user-id": user,
            "x-user-email": claims["email"],
            "x-user-roles": ",".join(claims["roles"]),
            "x-forwarded-for": scope["client"][0],
        }
        status, kind, body = await forward(service, scope, headers, await read(receive))
    except Refused as refused:
        status, kind = refused.status, "application/json"
        body = json.dumps({"success": False, "error": {"message": str(refused)}}).encode()
    answered = {"content-type": kind, "content-length": str(len(body)), "x-request-id": request}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in answered.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
    line = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "level": "info",
        "service": "gateway",
        "request_id": request,
        "user_id": user,
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "client": scope["client"][0],
        "milliseconds": round((time.monotonic() - started) * 1000),
    }
    log.info(json.dumps(line))


async def lifespan(receive: Receive, send: Send) -> None:
    global session
    await receive()
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await session.close()
    await send({"type": "lifespan.shutdown.complete"})


def route(path: str) -> str:
    """The service's URL."""
    for prefix, url in SERVICES.items():
        if path == prefix or path.startswith(prefix + "/"):
            return url
    raise Refused(404, "Not found")


def identify(headers: dict[str, str]) -> dict[str, Any]:
    """The claims of the token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(401, "Token required")
    try:
        claims: dict[str, Any] = jwt.decode(
            token, SECRET, algorithms=["HS256"], audience=AUDIENCE, options={"require": ["exp", "iat"]}
        )
    except jwt.PyJWTError as error:
        raise Refused(401, "Invalid token") from error
    if claims.get("typ") != "access":
        raise Refused(401, "Invalid token")
    return claims


def admit(user: str) -> None:
    """At most LIMIT requests in any SPAN seconds."""
    now, window = time.monotonic(), windows[user]
    while window and window[0] <= now - SPAN:
        window.popleft()
    if len(window) >= LIMIT:
        raise Refused(429, "Rate limit exceeded")
    window.append(now)


async def read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def forward(service: str, scope: Scope, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
    """Status, type and body of the service's answer."""
    query = scope["query_string"].decode("latin-1")
    url = service + scope["path"] + (f"?{query}" if query else "")
    passed = {name: value for name, value in headers.items() if name not in HOP_BY_HOP}
    try:
        async with session.request(scope["method"], url, headers=passed, data=body or None) as found:
            return found.status, found.headers.get("content-type", ""), await found.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Refused(503, "Service unavailable") from error
