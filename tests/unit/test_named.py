"""An address is asked by a name that nobody resolves, and its certificate is looked at by that name."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from hostwright.proof.named import Named
from lab.snaps.microk8s.standin import tls
from tests.faults.named import AsyncNamed

HERE = "127.0.0.1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Its port, and whom to trust. It answers with the name that it was asked for, and is shop.invalid."""
    tls.make_authority(tmp_path)
    tls.make_certificate(tmp_path, ["shop.invalid"])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = (self.headers["Host"] or "").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer((HERE, 0), Handler)
    listening.socket = tls.serving(tmp_path).wrap_socket(listening.socket, server_side=True)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield listening.server_port, ssl.create_default_context(cafile=tmp_path / "ca.crt")
    listening.shutdown()
    listening.server_close()


def ask(url: str, trusted: ssl.SSLContext) -> str:
    with httpx2.Client(transport=Named(HERE, trusted), timeout=60) as http:
        return http.get(url).text


def ask_later(url: str, trusted: ssl.SSLContext) -> str:
    async def asked() -> str:
        way = AsyncNamed(HERE, trusted, httpx2.Limits(max_connections=1))
        async with httpx2.AsyncClient(transport=way, timeout=60) as http:
            return (await http.get(url)).text

    return asyncio.run(asked())


@pytest.mark.parametrize("way", [ask, ask_later])
def test_a_name_is_asked_at_an_address(
    server: tuple[int, ssl.SSLContext], way: Callable[[str, ssl.SSLContext], str]
) -> None:
    port, trusted = server
    assert way(f"https://shop.invalid:{port}/", trusted) == f"shop.invalid:{port}"
    with pytest.raises(httpx2.ConnectError, match="Hostname mismatch"):
        way(f"https://other.invalid:{port}/", trusted)
