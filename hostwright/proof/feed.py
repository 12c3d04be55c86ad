"""A WebSocket for who has no event loop.

The synchronous client of websockets reads in one thread and writes in another. Over TLS that is one session,
which OpenSSL allows one thread at a time: on a busy machine a handshake now and then has no answer.
"""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import connect

OPEN = 60.0  # seconds; an emulated guest needs many of them


class Feed:
    """Open from the beginning; its loop runs while something is waited for, in the thread that waits."""

    def __init__(self, url: str, tls: ssl.SSLContext, **options: Any) -> None:
        """`options` are those of websockets' client. Raises what it does."""
        self._runner = asyncio.Runner()
        # Between two questions nobody would answer a ping.
        wanted: dict[str, Any] = {"ssl": tls, "open_timeout": OPEN, "ping_interval": None} | options

        async def opened() -> Any:
            return await connect(url, **wanted)

        try:
            self._connection = self._runner.run(opened())
        except BaseException:
            self._runner.close()
            raise

    @property
    def subprotocol(self) -> str | None:
        """The one that was agreed on."""
        found: str | None = self._connection.subprotocol
        return found

    def recv(self, timeout: float = OPEN) -> str:
        """The next message. Raises TimeoutError, and ConnectionClosed where no more comes."""
        return str(self._runner.run(asyncio.wait_for(self._connection.recv(), timeout)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._connection.close())
        finally:
            self._runner.close()
