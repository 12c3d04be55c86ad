"""The probe command against real sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kit import health
from testing.process import free_port, until

SERVICES = Path(health.__file__).parents[1]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/ok": 200, "/moved": 302}.get(self.path, 503))
        self.end_headers()
        self.wfile.write(b"200 in the body must not count")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def probe(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kit.health", url]
    return subprocess.run(command, cwd=SERVICES, capture_output=True, text=True, check=False)


def test_probe(port: int) -> None:
    def good() -> bool:
        done = probe(f"http://127.0.0.1:{port}/ok")
        assert done.returncode == 0 or "timed out" in done.stderr
        return (done.returncode, done.stdout, done.stderr) == (0, "", "")

    until(good)
    for path in ("/bad", "/moved"):
        bad = probe(f"http://127.0.0.1:{port}{path}")
        assert bad.returncode == 1
        assert path in bad.stderr


def test_probe_without_a_server() -> None:
    gone = probe(f"http://127.0.0.1:{free_port()}/health/live")
    assert gone.returncode == 1
    assert "refused" in gone.stderr
    assert "Traceback" not in gone.stderr
    assert probe("http://127.0.0.1:port/").returncode == 1
