"""The warehouse as people meet it: its services, its two sites and a gateway, all real, on one origin."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2

from testing.postgres import Postgres
from testing.process import Process, free_port, give, listens, own_directory
from testing.rabbitmq import RabbitMQ
from testing.service import ROOT, Service
from testing.smtp import SmtpServer

PASSWORD = "zielony-rower7"  # noqa: S105  # of every account made here
SITES = ("storefront", "panel")
ROUTES = {
    "auth": ("/api/auth/", "/auth/", "/logout", "/api/v1/"),
    "orders": ("/api/orders", "/ws"),
    "notification": ("/api/notifications", "/ws/notifications"),
    "analytics": ("/api/reports",),
    "mail": ("/api/mail",),
    "storefront": ("/",),
    "panel": ("/panel/",),
}
ASKED = ("orders", "notification", "analytics", "mail")  # services that come after auth has been asked
SHARED = {"service_key": "k" * 43, "webhook_key": "w" * 43}
LIVE = {"auth_timeout": 20, "websocket_recheck": 0.5, "websocket_heartbeat": 0.5}


@dataclass
class Shop:
    """`url` is where everything is; `services` run as their containers do."""

    url: str
    admin_email: str
    admin_password: str
    services: Mapping[str, Service]
    smtp: SmtpServer
    gateway_log: Path
    _tokens: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, email: str | None = None, json: Any = None) -> httpx2.Response:
        """As somebody who is logged in, or as nobody."""
        headers = {"Authorization": f"Bearer {self.token(email)}"} if email else {}
        return httpx2.request(
            method, self.url + path, json=json, headers=headers, timeout=30
        ).raise_for_status()

    def token(self, email: str) -> str:
        if email not in self._tokens:
            password = self.admin_password if email == self.admin_email else PASSWORD
            answer = self.call("POST", "/api/auth/login", json={"email": email, "password": password})
            self._tokens[email] = answer.json()["token"]
        return self._tokens[email]

    def user(self, role: str = "customer", language: str = "en") -> str:
        """Address of somebody new, whose password is `PASSWORD`."""
        email = f"{role}-{uuid.uuid4().hex[:8]}@example.com"
        account = {"email": email, "password": PASSWORD, "language": language, "role": role}
        self.call("POST", "/api/auth/register", self.admin_email, account)
        return email

    def place(self, email: str, **changes: object) -> int:
        order = {"customer_name": "Jan Kowalski", "customer_email": email, "total_amount": 299.99, **changes}
        found: int = self.call("POST", "/api/orders", email, order).json()["id"]
        return found

    def change(self, order_id: int, *statuses: str) -> None:
        for status in statuses:
            self.call("PATCH", f"/api/orders/{order_id}/status", self.admin_email, {"status": status})

    def mail(self, to: str, subject: str, within: float = 60.0) -> EmailMessage:
        """The mail whose subject has this in it, when it has come."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for each in self.smtp.mails:
                if each["To"] == to and re.search(subject, each["Subject"], re.IGNORECASE):
                    return each
            time.sleep(0.1)
        raise AssertionError(
            f"no mail {subject!r} to {to}: {[(e['To'], e['Subject']) for e in self.smtp.mails]}"
        )


@contextmanager
def running(
    names: Sequence[str],
    common: Mapping[str, object],
    postgres: Postgres,
    template: Callable[[str], str],
    rabbitmq: RabbitMQ,
) -> Iterator[Shop]:
    """With these services; auth and both sites are always there."""
    with ExitStack() as stack:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        smtp = SmtpServer(None, "none")
        smtp.start()
        stack.callback(smtp.stop)
        nowhere = f"http://127.0.0.1:{free_port()}"
        shared: dict[str, object] = {
            **common,
            **rabbitmq.settings(),
            **SHARED,
            **LIVE,
            "public_url": url,
            "trusted_proxies": "127.0.0.1/32",
            "client_registrations": 1000,
            "client_resets": 1000,
            "notification_url": nowhere,
            "smtp_host": smtp.host,
            "smtp_port": smtp.port,
            "smtp_tls": "none",
            "mail_from": "shop@example.com",
        }
        services = {}
        for name in ("auth", *names):
            database = postgres.settings(postgres.create(template(name)))
            services[name] = stack.enter_context(Service.running(name, {**shared, **database}))
            shared[f"{name}_url"] = services[name].url
        addresses = {name: each.url for name, each in services.items()}
        for name in SITES:
            addresses[name] = stack.enter_context(site(name))
        log = stack.enter_context(nginx("gateway", _gateway(port, addresses), port))
        email, password = str(common["admin_email"]), str(common["admin_password"])
        yield Shop(url, email, password, services, smtp, log)


@contextmanager
def site(name: str) -> Iterator[str]:
    """A site as its image serves it: its address. Only places and the port differ from the container's."""
    out = own_directory(f"site-{name}")
    try:
        build: list[str | Path] = [
            sys.executable,
            ROOT / "web/build.py",
            ROOT / name / "site",
            ROOT / "web/shared",
            out,
        ]
        subprocess.run(build, check=True, capture_output=True)
        port = free_port()
        settings = (out / "nginx.conf").read_text().replace("/tmp/", f"{out}/").replace("/site/", f"{out}/")  # noqa: S108
        with nginx(name, settings.replace("listen 8080", f"listen 127.0.0.1:{port}"), port):
            yield f"http://127.0.0.1:{port}"
    finally:
        shutil.rmtree(out)


@contextmanager
def nginx(name: str, settings: str, port: int) -> Iterator[Path]:
    """The server in the foreground; its log."""
    directory = own_directory(f"nginx-{name}")
    process = None
    try:
        config = directory / "nginx.conf"
        config.write_text(settings.replace("@HERE@", str(directory)))
        give(config)
        command: list[str | Path] = [
            "nginx",
            "-e",
            "stderr",
            "-p",
            directory,
            "-c",
            config,
            "-g",
            "daemon off;",
        ]
        environment = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"}
        process = Process(command, log=directory / "log", environment=environment, orphaned=signal.SIGTERM)
        process.wait_for(lambda: listens(port))
        yield directory / "log"
    finally:
        if process:
            process.end()
        shutil.rmtree(directory)


def _gateway(port: int, addresses: Mapping[str, str]) -> str:
    """As the application's gateway passes requests on, in little."""
    places = []
    for service, url in addresses.items():
        for path in ROUTES[service]:
            asked = "auth_request /_authenticate;" if service in ASKED and not path.startswith("/ws") else ""
            live = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
            websocket = live if path.startswith("/ws") else 'proxy_set_header Connection "";'
            identity = (
                "proxy_set_header X-User-Id $user; proxy_set_header X-User-Role $role;" if asked else ""
            )
            places.append(f"location {path} {{ {asked} {HEADERS} {identity} {websocket} proxy_pass {url}; }}")
    return f"""
worker_processes 1;
pid @HERE@/pid;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path @HERE@/body; proxy_temp_path @HERE@/proxy; fastcgi_temp_path @HERE@/fastcgi;
    uwsgi_temp_path @HERE@/uwsgi; scgi_temp_path @HERE@/scgi;
    proxy_http_version 1.1;
    proxy_read_timeout 1h;
    server {{
        listen 127.0.0.1:{port};
        auth_request_set $user $upstream_http_x_user_id;
        auth_request_set $role $upstream_http_x_user_role;
        location = /_authenticate {{
            internal;
            {HEADERS}
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_pass {addresses["auth"]}/api/v1/validate;
        }}
        {chr(10).join(places)}
    }}
}}
"""


HEADERS = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;"
