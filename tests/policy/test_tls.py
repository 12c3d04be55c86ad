"""TLS where an application asks for it: the certificate, taken anew with a reload, and no way past it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from testing.certificates import Authority

from hostwright import paths
from tests.policy.gateway import PATIENCE, Gateway, desk

NAME = "desk.example.com"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def certified(gateway: Gateway, authority: Authority, folder: Path) -> None:
    certificate, key = authority.issue(folder, NAME)
    gateway.secrets |= {"certificate": certificate.read_text(), "certificate.key": key.read_text()}


@pytest.fixture
def gateway(authority: Authority, tmp_path: Path) -> Iterator[Gateway]:
    document = desk()
    document["gateway"]["listeners"] = [
        {"port": 443, "protocol": "https", "scope": "public"},
        {"port": 80, "protocol": "http", "scope": "public", "redirect": True},
    ]
    found = Gateway(document)
    certified(found, authority, tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def ask(gateway: Gateway, authority: Authority, path: str, port: int = 10443) -> tuple[Any, bytes, bytes]:
    """Answer, its body and the certificate that was shown (DER)."""
    context = ssl.create_default_context(cadata=authority.certificate)
    context.check_hostname = False  # it is called by address here; who signed it is checked
    connection = HTTPSConnection(gateway.address, port, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", path, headers={"Host": NAME})
        assert isinstance(connection.sock, ssl.SSLSocket)
        shown = connection.sock.getpeercert(binary_form=True)
        answer = connection.getresponse()
        return answer, answer.read(), shown or b""
    finally:
        connection.close()


def test_what_is_public_is_over_tls(gateway: Gateway, authority: Authority) -> None:
    answer, body, _ = ask(gateway, authority, "/open")
    assert answer.status == 200
    assert answer.getheader("strict-transport-security") == "max-age=31536000"
    assert b'["x-forwarded-proto", "https"]' in body


def test_in_plain_it_is_a_way_there(gateway: Gateway) -> None:
    answer = gateway.ask("/open/x?y=1", port=10080, Host=f"{NAME}:80")
    assert (answer.status, answer.headers["location"]) == (308, f"https://{NAME}/open/x?y=1")


@pytest.mark.parametrize("name", ["gatekeeper", "starter"])
def test_an_application_in_plain_may_have_it_on_its_own_port(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    document = yaml.safe_load((paths.toolkit() / "services" / "apps" / f"{name}.yml").read_text())
    document["gateway"]["listeners"][0]["protocol"] = "https"
    gateway = Gateway(document)
    gateway.secrets["token_public_key"] = authority.certificate  # which no request here is checked with
    certified(gateway, authority, tmp_path)
    try:
        gateway.start()
        answer, body, _ = ask(gateway, authority, "/health", 8080)
        assert (answer.status, json.loads(body)["data"]["circuit_breakers"].keys()) == (
            200,
            {"auth", "orders"},
        )
        assert answer.getheader("strict-transport-security")
        assert not gateway.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/")
    finally:
        gateway.stop()


def test_a_new_certificate_is_shown_after_a_reload(
    gateway: Gateway, authority: Authority, tmp_path: Path
) -> None:
    before = ask(gateway, authority, "/open")[2]
    certified(gateway, authority, tmp_path)
    gateway.write(digests={"gateway": "another"})
    gateway.reload()
    assert ask(gateway, authority, "/open")[2] not in (before, b"")
