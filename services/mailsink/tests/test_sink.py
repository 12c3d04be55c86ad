"""Mail goes in over SMTP as to any relay, and is read over HTTP by admins alone."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import aiosmtplib
import httpx2
import pytest
from kit.tokens import Issuer
from mail.delivery import Relay, compose
from mail.rendering import Content
from mail.settings import SmtpSettings
from mailsink.bootstrap import create
from mailsink.settings import SinkSettings
from mailsink.sink import Memory
from pydantic import ValidationError
from testing import openapi
from testing.app import client
from testing.certificates import Authority
from testing.process import free_port

TO = "jan@example.com"
USER, PASSWORD = "mail", "not-a-secret"


@dataclass
class Running:
    """A sink in this process."""

    http: httpx2.AsyncClient
    issuer: Issuer
    authority: Authority
    settings: SinkSettings
    role: str | None = "admin"

    async def get(self, path: str) -> httpx2.Response:
        headers = {}
        if self.role:
            token = self.issuer.issue(user_id=1, email="boss@example.com", role=self.role, session="s")
            headers = {"Authorization": f"Bearer {token}"}
        return await self.http.get(path, headers=headers)

    def client(self, **changes: Any) -> aiosmtplib.SMTP:
        later = self.settings.smtp_tls == "starttls"
        given = {
            "hostname": "localhost",
            "port": self.settings.smtp_port,
            "username": USER,
            "password": PASSWORD,
            "start_tls": later,
            "use_tls": not later,
            "tls_context": ssl.create_default_context(cadata=self.authority.certificate),
            "timeout": 60,
        }
        return aiosmtplib.SMTP(**{**given, **changes})

    async def send(self, message: EmailMessage, **changes: Any) -> None:
        async with self.client(**changes) as smtp:
            await smtp.send_message(message)


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def own_settings(common: Mapping[str, object], tmp_path: Path) -> dict[str, object]:
    authority = Authority()
    certificate, key = authority.issue(tmp_path, "localhost")
    return {
        "service_name": "mailsink",
        **common,
        "authority": authority,
        "smtp_host": "127.0.0.1",
        "smtp_port": free_port(),
        "smtp_user": USER,
        "smtp_password": PASSWORD,
        "tls_certificate": certificate,
        "tls_private_key": key,
    }


@pytest.fixture
def start(own_settings: dict[str, Any], issuer: Issuer) -> Start:
    @asynccontextmanager
    async def started(**changes: object) -> AsyncIterator[Running]:
        settings = SinkSettings.model_validate({**own_settings, **changes})
        async with client(create(settings)) as http:
            yield Running(http, issuer, own_settings["authority"], settings)

    return started


@pytest.fixture
async def sink(start: Start) -> AsyncIterator[Running]:
    async with start() as found:
        yield found


def message(to: str = TO, text: str = "Cześć", subject: str = "Zażółć") -> EmailMessage:
    found = EmailMessage(policy=SMTP)
    found["From"], found["To"], found["Subject"] = "no-reply@shop.example.com", to, subject
    found.set_content(text)
    found.add_alternative(f"<p>{text}</p>", subtype="html")
    return found


async def test_what_goes_in_comes_out(sink: Running) -> None:
    await sink.send(message())
    await sink.send(message("ewa@example.com", subject="second"))
    listed = await sink.get("/messages")
    assert listed.headers["x-total-count"] == "2"
    assert [each["subject"] for each in listed.json()] == ["second", "Zażółć"]
    (brief,) = (await sink.get(f"/messages?recipient={TO}")).json()
    assert (brief["sender"], brief["recipients"]) == ("no-reply@shop.example.com", [TO])
    full = (await sink.get(f"/messages/{brief['id']}")).json()
    assert {name: full[name] for name in brief} == brief
    assert (full["text"].strip(), full["html"].strip()) == ("Cześć", "<p>Cześć</p>")
    assert ["Subject", "Zażółć"] in full["headers"]
    assert len(full["raw"].encode()) == full["size"]
    assert (await sink.get("/messages/999")).status_code == 404
    assert (await sink.get("/messages/0")).status_code == 400
    assert (await sink.get("/messages?limit=1")).json() == listed.json()[:1]


def test_a_message_is_read_once_for_all_lists() -> None:
    taken = Memory(10, 10_000).add("a@example.com", [TO], bytes(message(subject="Zamówienie")))
    assert taken.subject == "Zamówienie"
    assert taken.subject is taken.subject


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_our_own_mails(start: Start, tls: str) -> None:
    """The mail service's way of sending, certificate checked."""
    async with start(smtp_tls=tls) as sink:
        given = {f"database_{name}": "unused" for name in ("host", "name", "user", "password")}
        given |= {
            "service_name": "mail",
            "application": "warehouse",
            "mail_from": "no-reply@shop.example.com",
        }
        smtp = {"smtp_host": "localhost", "smtp_port": sink.settings.smtp_port, "smtp_tls": tls}
        smtp |= {"smtp_ca": sink.authority.certificate, "smtp_user": USER, "smtp_password": PASSWORD}
        settings = SmtpSettings.model_validate(given | smtp)
        mail = compose(
            Content("Zamówienie nr 17", "<p>Zażółć</p>", "Zażółć"),
            mail_from=settings.mail_from,
            to=TO,
            language="pl",
            event_id=uuid.uuid4(),
        )
        async with Relay.open(settings) as relay:
            await relay.send(mail)
        (brief,) = (await sink.get("/messages")).json()
        full = (await sink.get(f"/messages/{brief['id']}")).json()
        assert (full["subject"], full["text"].strip()) == ("Zamówienie nr 17", "Zażółć")
        assert ["Message-ID", mail["Message-ID"]] in full["headers"]


async def test_nothing_without_tls_and_password(sink: Running) -> None:
    for wrong, code in (
        ({"password": "wrong"}, 535),
        ({"username": None, "password": None}, 530),
        ({"username": None, "password": None, "start_tls": False}, 530),
    ):
        with pytest.raises(aiosmtplib.SMTPException) as caught:
            await sink.send(message(), **wrong)
        assert getattr(caught.value, "code", None) == code, caught.value
    with pytest.raises(aiosmtplib.SMTPException):
        await sink.send(message(), start_tls=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        await sink.send(message(), tls_context=ssl.create_default_context())
    assert (await sink.get("/messages")).json() == []


async def test_only_admins_read(sink: Running) -> None:
    await sink.send(message())
    for path in ("/messages", "/messages/1"):
        assert (await replace(sink, role=None).get(path)).status_code == 401
        for role in ("customer", "employee"):
            assert (await replace(sink, role=role).get(path)).status_code == 403
        assert (await sink.get(path)).status_code == 200


async def test_a_mail_too_large(start: Start) -> None:
    async with start(message_bytes=2048) as sink:
        with pytest.raises(aiosmtplib.SMTPResponseException) as caught:
            await sink.send(message(text="x" * 4096))
        assert caught.value.code == 552
        await sink.send(message())
        assert len((await sink.get("/messages")).json()) == 1


def test_memory_has_an_end() -> None:
    memory = Memory(most=3, size=100)
    for _ in range(5):
        memory.add("a@b.pl", ["c@d.pl"], b"x" * 10)
    assert [each.id for each in memory.newest()] == [5, 4, 3]
    memory.add("a@b.pl", ["c@d.pl"], b"x" * 85)
    assert [each.id for each in memory.newest()] == [6, 5]
    memory.add("a@b.pl", ["e@f.pl"], b"x" * 500)
    assert [each.id for each in memory.newest()] == [7]
    assert memory.newest("c@d.pl") == []
    assert memory.find(6) is None


async def test_anything_can_be_shown(sink: Running) -> None:
    """A body in a charset that nobody knows, no subject, bytes that are no text."""
    raw = b"From: a@b.pl\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n\xff\xfe\x00\r\n"
    async with sink.client() as smtp:
        await smtp.sendmail("a@b.pl", [TO], raw)
        await smtp.sendmail("a@b.pl", [TO], b"\r\n")
    assert (await sink.get("/messages")).status_code == 200
    for number in (1, 2):
        assert (await sink.get(f"/messages/{number}")).status_code == 200


async def test_health(sink: Running) -> None:
    assert (await replace(sink, role=None).get("/health/ready")).json() == {
        "status": "ok",
        "checks": {"smtp": "ok"},
    }
    assert (await replace(sink, role=None).get("/health")).json() == {"status": "ok", "service": "mailsink"}


def test_no_sink_without_a_certificate(own_settings: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no certificate with its key"):
        SinkSettings.model_validate(own_settings | {"tls_private_key": tmp_path / "none"})


def test_openapi_is_committed(own_settings: dict[str, object]) -> None:
    openapi.check_committed("mailsink", create(SinkSettings.model_validate(own_settings)))
