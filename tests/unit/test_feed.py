"""The proof's WebSocket, over TLS, against a server in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from hostwright.proof.feed import Feed

BEARER: dict[str, Any] = {"subprotocols": ["bearer"]}


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server at 127.0.0.1, and of who trusts it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "feed")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "pem").write_bytes(text + key.private_bytes(*form))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "pem")
    return server, ssl.create_default_context(cadata=text.decode())


@pytest.fixture
def url(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[str]:
    """A server that greets, and ends with 1008 for who comes to /closed."""
    loop = asyncio.new_event_loop()

    async def greet(connection: ServerConnection) -> None:
        assert connection.request
        if connection.request.path == "/closed":
            await connection.close(1008, "no")
            return
        await connection.send("hello")
        await connection.wait_closed()

    async def serving() -> Server:
        return await serve(greet, "127.0.0.1", 0, ssl=tls[0], subprotocols=[Subprotocol("bearer")])

    started = loop.run_until_complete(serving())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"wss://127.0.0.1:{started.sockets[0].getsockname()[1]}"
    asyncio.run_coroutine_threadsafe(_ended(started), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _ended(server: Server) -> None:
    server.close()
    await server.wait_closed()


def test_messages_come_one_by_one(url: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with Feed(url, tls[1], **BEARER) as one, Feed(url, tls[1], **BEARER) as two:
        assert one.subprotocol == "bearer"
        assert (one.recv(), two.recv()) == ("hello", "hello")
        with pytest.raises(TimeoutError):
            one.recv(0.1)


def test_the_others_reason_is_told(url: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with Feed(f"{url}/closed", tls[1], **BEARER) as feed, pytest.raises(ConnectionClosed) as end:
        feed.recv()
    assert end.value.rcvd
    assert end.value.rcvd.code == 1008


def test_who_is_not_trusted_is_not_asked(url: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Feed(url, ssl.create_default_context())
