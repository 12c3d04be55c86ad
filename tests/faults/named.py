"""Asking at an address by a name that need not resolve, many requests at once."""

from __future__ import annotations

import ssl

import httpx2

from hostwright.proof.named import asked


class AsyncNamed(httpx2.AsyncHTTPTransport):
    """As `hostwright.proof.named.Named`, over at most so many connections."""

    def __init__(self, address: str, tls: ssl.SSLContext, limits: httpx2.Limits) -> None:
        super().__init__(verify=tls, limits=limits)
        self._address = address

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await super().handle_async_request(asked(request, self._address))
