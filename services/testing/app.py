"""For tests: an HTTP client of an app in the same process, with its lifespan running."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send


@asynccontextmanager
async def client(app: FastAPI, peer: str = "127.0.0.1") -> AsyncIterator[httpx2.AsyncClient]:
    """`peer` is the address that the app sees requests come from."""
    async with app.router.lifespan_context(app) as state:

        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx2.ASGITransport(served, raise_app_exceptions=False, client=(peer, 40000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as found:
            yield found
