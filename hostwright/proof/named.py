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
        return super().handle_request(asked(request, self._address))


def asked(request: httpx2.Request, address: str) -> httpx2.Request:
    """The request, to be sent to the address; its name stays in Host and in the handshake of TLS."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,  # among them Host, as the URL has it
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.host},
    )
