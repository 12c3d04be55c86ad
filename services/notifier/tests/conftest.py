"""A desktop, and a gateway that its agent speaks to."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from notification.tests.conftest import Deployed, deployed
from testing import desktop as desktops
from testing.certificates import Authority
from testing.desktop import Desktop
from testing.process import Process, free_port, give, listens, own_directory

__all__ = ["deployed"]

GATEWAY = """
worker_processes 1;
pid @HERE@/pid;
error_log stderr error;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path @HERE@/b; proxy_temp_path @HERE@/p; fastcgi_temp_path @HERE@/f;
    uwsgi_temp_path @HERE@/u; scgi_temp_path @HERE@/s;
    proxy_http_version 1.1;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location /api/auth/ {{ proxy_pass {auth}; }}
        location /api/notifications {{ proxy_pass {notification}; }}
        location /ws/notifications {{
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_pass {notification};
        }}
    }}
}}
"""


@dataclass
class Gateway:
    """TLS in front of auth and notification, under a name that a private authority vouches for."""

    url: str
    ca: Path
    _start: Callable[[], Process]
    _process: Process | None = None

    def start(self) -> None:
        self._process = self._start()

    def stop(self) -> None:
        if self._process:
            self._process.end()


@pytest.fixture(scope="module")
def gateway(deployed: Deployed) -> Iterator[Gateway]:
    directory = own_directory("gateway")
    authority = Authority()
    ca = directory / "ca.pem"
    ca.write_text(authority.certificate)
    certificate, key = authority.issue(directory, "localhost")
    port = free_port()
    config = directory / "nginx.conf"
    addresses = {"auth": deployed.auth.url, "notification": deployed.notification.url}
    text = GATEWAY.format(port=port, certificate=certificate, key=key, **addresses)
    config.write_text(text.replace("@HERE@", str(directory)))
    for each in (ca, certificate, key, config):
        give(each)

    def start() -> Process:
        command = ["nginx", "-e", "stderr", "-p", directory, "-c", config, "-g", "daemon off;"]
        process = Process(
            command,
            log=directory / "log",
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            orphaned=signal.SIGTERM,
        )
        process.wait_for(lambda: listens(port))
        return process

    found = Gateway(f"https://localhost:{port}", ca, start)
    found.start()
    yield found
    found.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def desktop() -> Iterator[Desktop]:
    with desktops.desktop("pl_PL.UTF-8") as found:
        yield found
