"""The published document: as committed, and kept by every answer."""

from __future__ import annotations

from kit.tokens import Issuer
from mail.bootstrap import create
from mail.settings import MailSettings
from testing import openapi
from testing.rabbitmq import RabbitMQ
from testing.service import Service


def test_openapi_is_committed(own_settings: dict[str, object]) -> None:
    openapi.check_committed("mail", create(MailSettings.model_validate(own_settings)))


def test_nothing_breaks_it(
    own_settings: dict[str, object], rabbitmq: RabbitMQ, issuer: Issuer, examples: int
) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    token = issuer.issue(user_id=1, email="boss@example.com", role="admin", session="s")
    wanted = {key: value for key, value in own_settings.items() if key != "mail_delays"}
    with Service.running("mail", wanted | rabbitmq.settings()) as service:
        headers = {"Authorization": f"Bearer {token}"}
        asked = openapi.attack("mail", service.url, headers, examples=examples)
    assert asked["post", "/api/mail/preview"][200] > 0
    assert asked["get", "/api/mail"][200] > 0
    assert sum(answers[400] for answers in asked.values()) > 0
