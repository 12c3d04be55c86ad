"""mail and the sink as their containers run them: from the queue to what an admin reads."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2
import pytest
from kit.broker import RabbitPublisher
from kit.outbox import Event
from kit.settings import BrokerSettings
from kit.tokens import Issuer
from testing import openapi
from testing.certificates import Authority
from testing.process import free_port, give, own_directory
from testing.rabbitmq import RabbitMQ
from testing.service import Service


async def ask(broker: Mapping[str, object], to: str) -> uuid.UUID:
    settings = BrokerSettings.model_validate({"service_name": "auth", "application": "warehouse", **broker})
    payload = {"template": "welcome", "to": to, "language": "pl", "context": {"email": to}}
    event = Event("mail.requested", "user", "7", "mail.send", payload)
    async with RabbitPublisher.open(settings) as publisher:
        await publisher.publish(event)
    return event.id


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def of_sink(common: Mapping[str, object], authority: Authority) -> Iterator[dict[str, object]]:
    """Its settings; what logs in there does it by the same names."""
    directory = own_directory("certificates")
    certificate, key = authority.issue(directory, "localhost")
    give(certificate)
    give(key)
    login = {"smtp_user": "mail", "smtp_password": "not-a-secret", "smtp_port": free_port()}
    yield {**common, **login, "tls_certificate": certificate, "tls_private_key": key}
    shutil.rmtree(directory)


@pytest.fixture
def headers(issuer: Issuer) -> dict[str, str]:
    """An admin's."""
    token = issuer.issue(user_id=1, email="boss@example.com", role="admin", session="s")
    return {"Authorization": f"Bearer {token}"}


def test_nothing_breaks_it(of_sink: dict[str, object], headers: dict[str, str], examples: int) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    with Service.running("mailsink", of_sink) as sink:
        asked = openapi.attack("mailsink", sink.url, headers, examples=examples)
    assert asked["get", "/messages"][200] > 0
    assert asked["get", "/messages"][400] > 0


def test_from_the_queue_to_the_reader(
    common: Mapping[str, object],
    of_sink: dict[str, object],
    authority: Authority,
    new_database: Callable[..., dict[str, Any]],
    rabbitmq: RabbitMQ,
    headers: dict[str, str],
) -> None:
    of_mail = {
        **common,
        **{name: value for name, value in of_sink.items() if name.startswith("smtp_")},
        **new_database("mail"),
        **rabbitmq.settings(),
        "smtp_host": "localhost",
        "smtp_ca": authority.certificate,
        "mail_from": "no-reply@shop.example.com",
        "mail_delays": "1,2,3",
    }
    to = f"{uuid.uuid4().hex}@example.com"
    with Service.running("mailsink", of_sink) as sink, Service.running("mail", of_mail):
        event_id = asyncio.run(ask(rabbitmq.settings(), to))
        with httpx2.Client(base_url=sink.url, headers=headers, timeout=60) as http:
            deadline = time.monotonic() + 60
            while not (found := http.get("/messages", params={"recipient": to}).json()):
                assert time.monotonic() < deadline, "no mail came"
                time.sleep(0.1)
            full = http.get(f"/messages/{found[0]['id']}").json()
    assert full["subject"] == "Witamy w sklepie Warehouse"
    assert f"Konto dla adresu {to} zostało założone." in full["text"]
    assert ["Message-ID", f"<{event_id}@shop.example.com>"] in full["headers"]
