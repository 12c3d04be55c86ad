"""From a message on `mail.send` to a mail on a real SMTP server: what is sent, what is not, and how often."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mail import delivery
from mail.language import LANGUAGES, Language
from mail.rendering import examples
from mail.tests.conftest import TO, WITHIN, Start, dead, of_smtp, rows
from testing.certificates import DAY, Authority
from testing.process import free_port
from testing.rabbitmq import RabbitMQ
from testing.smtp import SmtpServer, Tls

RESET = "https://shop.example.com/reset#token=3f9c1d7e5b2a4860"


@pytest.fixture
def own_settings(
    own_settings: dict[str, object], broker: dict[str, object], smtp: SmtpServer, authority: Authority
) -> dict[str, object]:
    return own_settings | broker | of_smtp(smtp, authority)


async def reached(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_mail_arrives(start: Start, smtp: SmtpServer, language: Language) -> None:
    async with start() as api:
        ids = {template: await api.ask(template, language=language) for template in examples()}
        shown = {}
        for template, event_id in ids.items():
            assert (await api.sent(event_id))["attempts"] == 1
            example = {"template": template, "language": language}
            shown[template] = (await api.call("POST", "/api/mail/preview", example)).json()
        metrics = (await api.get("/metrics")).text
    by_id = {mail["Message-ID"]: mail for mail in smtp.mails}
    assert len(by_id) == len(smtp.mails) == len(ids)
    for template, event_id in ids.items():
        mail = by_id[f"<{event_id}@shop.example.com>"]
        assert mail["From"] == "Sklep <no-reply@shop.example.com>"
        assert mail["To"] == TO
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["Content-Language"] == language
        assert abs(mail["Date"].datetime - datetime.datetime.now(datetime.UTC)) < DAY
        assert mail["Subject"] == shown[template]["subject"]
        assert mail.get_content_type() == "multipart/alternative"
        text, html = mail.iter_parts()
        assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
        if template == "order_placed":
            said = {"pl": "12 345,50 zł", "en": "PLN 12,345.50"}[language]
            assert said in text.get_content().replace("\N{NO-BREAK SPACE}", " ")
            assert said in html.get_content().replace("\N{NO-BREAK SPACE}", " ")
        else:
            lines = text.get_content().splitlines()
            assert [each for each in lines if "://" in each] == [
                each for each in shown[template]["text"].splitlines() if "://" in each
            ]
        assert f'mail_attempts_total{{outcome="sent",template="{template}"}} 1.0' in metrics
    assert all(len(line) <= 998 for raw in smtp.raw for line in raw.splitlines())


async def test_tls_from_the_first_byte(
    start: Start, new_smtp: Callable[..., SmtpServer], authority: Authority, tmp_path: Path
) -> None:
    server = new_smtp("tls")
    (tmp_path / "ca.pem").write_text(authority.certificate)
    async with start(**of_smtp(server, authority) | {"smtp_ca": str(tmp_path / "ca.pem")}) as api:
        await api.sent(await api.ask())
    assert [mail["To"] for mail in server.mails] == [TO]


CERTIFICATES: dict[str, Callable[[Authority, Path], tuple[Path, Path]]] = {
    "of an authority unknown to us": lambda _, folder: Authority().issue(folder, "localhost"),
    "of another host": lambda authority, folder: authority.issue(folder, "mail.example.com"),
    "that has expired": lambda authority, folder: authority.issue(folder, "localhost", valid=-DAY),
}


@pytest.mark.parametrize("tls", ["starttls", "tls"])
@pytest.mark.parametrize("wrong", CERTIFICATES)
async def test_a_wrong_certificate(
    start: Start,
    new_smtp: Callable[..., SmtpServer],
    authority: Authority,
    tmp_path: Path,
    wrong: str,
    tls: Tls,
) -> None:
    server = new_smtp(tls, CERTIFICATES[wrong](authority, tmp_path))
    async with start(**of_smtp(server, authority)) as api:
        event_id = await api.ask()
        found = await api.log(event_id, "failed")  # after every attempt: the relay may yet be mended
        assert found["attempts"] == 3
        assert "certificate verify failed" in found["error"]
    assert not server.seen.is_set()


async def test_without_starttls_nothing_is_said(
    start: Start, new_smtp: Callable[..., SmtpServer], authority: Authority
) -> None:
    """Somebody in between may have taken the offer of STARTTLS out."""
    server = new_smtp("none")
    async with start(**of_smtp(server, authority) | {"smtp_tls": "starttls"}) as api:
        found = await api.log(await api.ask(), "failed")
        assert "STARTTLS" in found["error"]
    assert not server.seen.is_set()


async def test_no_tls_where_we_are_told_so(
    start: Start, new_smtp: Callable[..., SmtpServer], authority: Authority
) -> None:
    server = new_smtp("none")
    async with start(**of_smtp(server, authority)) as api:
        await api.sent(await api.ask())
    assert len(server.raw) == 1


async def test_a_wrong_password_costs_no_mail(start: Start, smtp: SmtpServer, rabbitmq: RabbitMQ) -> None:
    """The relay says 535, but to us and not to the mail: it waits until the password is mended."""
    async with start(smtp_password="wrong", mail_delays=(0.2, 0.3) * 20) as api:
        event_id = await api.ask()
        await reached(
            lambda: rows(api.settings, "SELECT 1 FROM mail_log WHERE attempts > 1 AND status = 'queued'")
        )
        assert (await api.log(event_id, "queued"))["error"].startswith("535 ")
    assert smtp.raw == []
    assert await dead(rabbitmq) == []
    async with start() as api:
        await api.sent(event_id)
    assert len(smtp.raw) == 1


async def test_not_now_is_tried_again(start: Start, smtp: SmtpServer, rabbitmq: RabbitMQ) -> None:
    smtp.replies.extend(["451 4.3.0 later", "421 4.3.2 much later"])
    async with start() as api:
        found = await api.sent(await api.ask())
    assert (found["attempts"], found["error"]) == (3, None)
    assert len(smtp.raw) == 1
    assert await dead(rabbitmq) == []


@pytest.mark.parametrize("at", ["recipient", "mail"])
async def test_never_is_not(start: Start, smtp: SmtpServer, rabbitmq: RabbitMQ, at: str) -> None:
    if at == "recipient":
        smtp.recipients_refused["nobody@example.com"] = "550 5.1.1 unknown"
    else:
        smtp.replies.append("554 5.7.1 spam")
    async with start() as api:
        event_id = await api.ask(to="nobody@example.com")
        found = await api.log(event_id, "failed")
        assert (found["attempts"], found["sent_at"]) == (1, None)
        assert found["error"] == {"recipient": "550 5.1.1 unknown", "mail": "554 5.7.1 spam"}[at]
        await api.sent(await api.ask())  # the rest flows on
        assert await dead(rabbitmq) == [str(event_id)]
    assert [mail["To"] for mail in smtp.mails] == [TO]


async def test_given_up_and_tried_again_by_hand(start: Start, smtp: SmtpServer, rabbitmq: RabbitMQ) -> None:
    smtp.replies.extend(["451 4.3.0 later"] * 6)
    async with start() as api:
        lost, other = await api.ask(), await api.ask("order_placed")
        mail = await api.log(lost, "failed")
        assert mail["attempts"] == 3
        await api.log(other, "failed")
        async with asyncio.timeout(WITHIN):
            while len(await dead(rabbitmq)) < 2:
                await asyncio.sleep(0.1)
        answer = await api.call("POST", f"/api/mail/{mail['id']}/retry")
        assert (answer.status_code, answer.json()["status"]) == (202, "queued"), answer.text
        assert (await api.sent(lost))["attempts"] == 4
        assert await dead(rabbitmq) == [str(other)]
        again = await api.call("POST", f"/api/mail/{mail['id']}/retry")
        assert (again.status_code, again.json()["status"]) == (409, "sent")
        gone = rows(api.settings, "SELECT id FROM mail_log WHERE event_id = %s", other)[0][0]
        await _purged(rabbitmq)
        answer = await api.call("POST", f"/api/mail/{gone}/retry")
        assert answer.status_code == 410
        assert (await api.log(other, "failed"))["id"] == gone
    assert [mail["Message-ID"] for mail in smtp.mails] == [f"<{lost}@shop.example.com>"]


async def _purged(rabbitmq: RabbitMQ) -> None:
    import aio_pika
    from mail.dead import DEAD

    async with await aio_pika.connect(rabbitmq.url) as connection:
        await (await connection.channel()).queue_delete(DEAD)


async def test_the_relay_is_away_and_back(start: Start, smtp: SmtpServer) -> None:
    smtp.stop()
    async with start(mail_delays=(0.2, 0.3) * 20) as api:
        ids = [await api.ask(to=f"c{n}@example.com") for n in range(5)]
        for each in ids:
            await api.log(each, "queued")
        assert (await api.get("/health/ready")).status_code == 200
        await reached(lambda: rows(api.settings, "SELECT 1 FROM mail_log WHERE attempts > 1"))
        smtp.start()
        for each in ids:
            await api.sent(each)
    assert sorted(str(mail["To"]) for mail in smtp.mails) == [f"c{n}@example.com" for n in range(5)]


async def test_mails_that_follow_each_other_share_a_connection(
    start: Start, smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MOST", 4)
    async with start(mail_parallel=1) as api:
        for _ in range(10):
            await api.sent(await api.ask())
    assert (len(smtp.raw), smtp.logins) == (10, 3)


async def test_a_connection_that_the_relay_has_left_costs_no_mail(start: Start, smtp: SmtpServer) -> None:
    async with start() as api:
        await api.sent(await api.ask())
        smtp.stop()
        smtp.start()
        assert (await api.sent(await api.ask()))["attempts"] == 1
    assert (len(smtp.raw), smtp.logins) == (2, 2)


async def test_an_idle_connection_is_left(
    start: Start, smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "IDLE", 0.2)
    async with start() as api:
        await api.sent(await api.ask())
        async with asyncio.timeout(WITHIN):
            while not smtp.farewells:
                await asyncio.sleep(0.05)
        assert smtp.logins == 1


async def test_one_event_is_one_mail(start: Start, smtp: SmtpServer) -> None:
    """Two instances, each event published three times."""
    async with start() as api, start():
        ids = [uuid.uuid4() for _ in range(10)]
        await asyncio.gather(*(api.ask(event_id=each) for each in ids * 3))
        last = await api.ask(to="last@example.com")
        for each in (*ids, last):
            await api.sent(each)
    assert sorted(str(mail["Message-ID"]) for mail in smtp.mails) == sorted(
        f"<{each}@shop.example.com>" for each in (*ids, last)
    )


async def test_the_window_that_smtp_leaves(start: Start, smtp: SmtpServer) -> None:
    """The database forgets us after the relay has taken the mail: it leaves twice, and can be told."""
    async with start() as api:

        def cut() -> None:
            smtp.before = None
            rows(
                api.settings,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'mail'",
            )

        smtp.before = cut
        event_id = await api.ask()
        assert (await api.sent(event_id))["attempts"] == 2
    assert [mail["Message-ID"] for mail in smtp.mails] == [f"<{event_id}@shop.example.com>"] * 2


async def test_the_same_password_reset_is_sent_once(start: Start, smtp: SmtpServer) -> None:
    async with start(mail_twin_window=600) as api:
        reset = {**examples()["password_reset"], "url": RESET}
        first = await api.ask("password_reset", **reset)
        await api.sent(first)
        second = await api.ask("password_reset", **reset)
        assert (await api.log(second, "suppressed"))["sent_at"] is None
        elsewhere = await api.ask("password_reset", to="ewa@example.com", **reset)
        newer = await api.ask("password_reset", **reset | {"url": f"{RESET}00"})  # the older no longer opens
        welcomes = [await api.ask(), await api.ask()]  # only resets are compared
        for each in (elsewhere, newer, *welcomes):
            await api.sent(each)
        rows(api.settings, "UPDATE mail_log SET sent_at = sent_at - interval '11 minutes'")
        await api.sent(await api.ask("password_reset", **reset))
    assert len(smtp.raw) == 6


async def test_two_resets_at_once(start: Start, smtp: SmtpServer) -> None:
    async with start() as api, start():
        reset = {**examples()["password_reset"], "url": RESET}
        ids = await asyncio.gather(*(api.ask("password_reset", **reset) for _ in range(6)))
        found = [(await api.log(each, "sent", "suppressed"))["status"] for each in ids]
    assert sorted(found) == ["sent", *["suppressed"] * 5]
    assert len(smtp.raw) == 1


async def test_an_expired_link_is_not_sent(start: Start, smtp: SmtpServer, rabbitmq: RabbitMQ) -> None:
    async with start() as api:
        found = await api.log(await api.ask("password_reset", expires_at="2026-01-01T00:00:00Z"), "failed")
        assert found["error"] == "the link expired before the mail could leave"
        assert await dead(rabbitmq) == []
    assert smtp.raw == []


@pytest.mark.parametrize("reply", ["250", "451 4.7.1", "550 5.7.1"])
async def test_no_link_is_kept(
    start: Start, smtp: SmtpServer, capsys: pytest.CaptureFixture[str], reply: str
) -> None:
    """Neither in the database nor in the log, not even when the relay's refusal quotes it."""
    if reply != "250":
        smtp.replies.extend([f"{reply} bad link {RESET}"] * 3)
    async with start(log_level="debug") as api:
        event_id = await api.ask("password_reset", url=RESET)
        found = await api.log(event_id, "sent", "failed")
        kept = str(rows(api.settings, "SELECT mail_log::text FROM mail_log"))
        kept += str(rows(api.settings, "SELECT inbox::text FROM inbox"))
        listed = (await api.get("/api/mail")).text
    assert found["error"] == (None if reply == "250" else reply[:3])
    logged = capsys.readouterr().out
    assert str(event_id) in kept
    assert str(event_id) in listed
    assert str(event_id) in logged
    for place in (kept, listed, logged):
        assert "3f9c1d7e" not in place


LETTERS = "zażółć@example.com"


async def test_letters_in_an_address(
    start: Start, smtp: SmtpServer, new_smtp: Callable[..., SmtpServer], authority: Authority
) -> None:
    async with start() as api:
        await api.sent(await api.ask(to=LETTERS))
        await api.sent(await api.ask(to="jan@żółw.example.com"))
    assert [str(mail["To"]) for mail in smtp.mails] == [LETTERS, "jan@xn--w-uga1v8h.example.com"]
    old = new_smtp(utf8=False)
    async with start(**of_smtp(old, authority)) as api:
        assert "SMTPUTF8" in (await api.log(await api.ask(to=LETTERS), "failed"))["error"]
    assert old.raw == []


@pytest.mark.parametrize(
    "to", ["a@b@c.pl", "a@.pl", "a\u0000@b.pl", "<a@b.pl>", "a@b.pl,c@d.pl", f"{'a' * 300}@b.pl"]
)
async def test_what_is_no_address(start: Start, smtp: SmtpServer, rabbitmq: RabbitMQ, to: str) -> None:
    async with start() as api:
        event_id = await api.ask(to=to)
        async with asyncio.timeout(WITHIN):
            while await dead(rabbitmq) != [str(event_id)]:
                await asyncio.sleep(0.1)
        await api.sent(await api.ask())
    assert [str(mail["To"]) for mail in smtp.mails] == [TO]


async def test_a_body_that_fits_no_schema(start: Start, smtp: SmtpServer, rabbitmq: RabbitMQ) -> None:
    import aio_pika
    from mail.sending import QUEUE

    bad: list[Any] = [b"{", b'{"template": "spam"}', b"[]"]
    async with start() as api:
        async with await aio_pika.connect(rabbitmq.url) as connection:
            channel = await connection.channel()
            await channel.declare_queue(QUEUE, durable=True)
            for each in bad:
                await channel.default_exchange.publish(
                    aio_pika.Message(each, message_id=str(uuid.uuid4())), QUEUE
                )
        await api.sent(await api.ask())
        async with asyncio.timeout(WITHIN):
            while len(await dead(rabbitmq)) < len(bad):
                await asyncio.sleep(0.1)
    assert len(smtp.raw) == 1


async def test_a_relay_that_hangs(start: Start, smtp: SmtpServer) -> None:
    """It takes the connection and says nothing."""

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)
        writer.close()

    port = free_port()
    server = await asyncio.start_server(silent, "127.0.0.1", port)
    async with start(smtp_port=port, smtp_timeout=0.3) as api:
        found = await api.log(await api.ask(), "failed")
    server.close()
    assert found["attempts"] == 3
