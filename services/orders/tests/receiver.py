"""What stands in notification's place: it takes signed webhooks, and may be away, slow or cross."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kit.webhooks import verify
from testing.process import free_port


@dataclass
class Webhook:
    id: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Receiver:
    """`stop` and `start` keep the address; it answers with status `answer` after `delay` seconds."""

    secret: str
    port: int = field(default_factory=free_port)
    answer: int = 202
    delay: float = 0
    taken: list[Webhook] = field(default_factory=list)
    refused: int = 0
    _server: ThreadingHTTPServer | None = None

    @classmethod
    @contextmanager
    def running(cls, secret: str) -> Iterator[Receiver]:
        receiver = cls(secret)
        receiver.start()
        try:
            yield receiver
        finally:
            receiver.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(receiver.delay)
                status = receiver.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Not on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Raises for a forged webhook, whose sender then gets no answer."""
        event_id = verify(self.secret, headers, body)
        if self.answer >= 300:
            self.refused += 1
        else:
            self.taken.append(Webhook(event_id, path, headers, json.loads(body)))
        return self.answer
