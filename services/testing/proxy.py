"""A TCP proxy between a service and what it needs, which passes everything on late, or not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """On loopback. `delay` (seconds) is of each piece, `hold` lets nothing by until `release`."""

    host = "127.0.0.1"

    def __init__(self, port: int, delay: float = 0) -> None:
        self.delay = delay
        self._target = (self.host, port)
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((self.host, 0))
        self.port = int(self._listener.getsockname()[1])

    @classmethod
    @contextmanager
    def running(cls, port: int, delay: float = 0) -> Iterator[Proxy]:
        """Before `port` of this machine."""
        proxy = cls(port, delay)
        threading.Thread(target=proxy._accept, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.release()
            for each in [proxy._listener, *proxy._sockets]:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while piece := one.recv(65536):
                time.sleep(self.delay)
                self._open.wait()
                other.sendall(piece)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
