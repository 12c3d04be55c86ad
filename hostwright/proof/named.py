"""Asking at an address by a name that need not resolve; for a WebSocket that is Feed's option `host`."""

from __future__ import annotations

import ssl

import httpx2


class Named(httpx2.HTTPTransport):
    """All requests go to one address; the host of their URL is asked for there, by its certificate too."""

    def __init__(self, address: str, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls)
        self._address = address

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return super().handle_request(_asked(request, self._address))


class AsyncNamed(httpx2.AsyncHTTPTransport):
    """The same, for many requests at once, over at most so many connections."""

    def __init__(self, address: str, tls: ssl.SSLContext, limits: httpx2.Limits) -> None:
        super().__init__(verify=tls, limits=limits)
        self._address = address

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await super().handle_async_request(_asked(request, self._address))


def _asked(request: httpx2.Request, address: str) -> httpx2.Request:
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,  # among them Host, as the URL has it
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.host},
    )
