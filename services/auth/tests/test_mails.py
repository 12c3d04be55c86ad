"""Mails that auth asks for: welcome, and a link for a forgotten password; RabbitMQ may be away meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aio_pika
import pytest
from auth import bootstrap
from auth.tests.conftest import PASSWORD, Api, Start, until
from kit.outbox import Relay
from testing.rabbitmq import RabbitMQ

NEW = "nowy-rower-8"
NOTED = "SELECT count(*) = 0 FROM reset_requests"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SEND", 0.05)


async def forgotten(api: Api, email: str = "jan@example.com") -> list[dict[str, Any]]:
    """Asks, and waits until what was asked is dealt with; all mails of resets there are."""
    answer = await api.post("password/forgot", email=email)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"message": "If there is such an account, a link is on its way"}
    await until(api, NOTED)
    return [each for each in await api.mails() if each["template"] == "password_reset"]


def token_of(mail: dict[str, Any]) -> str:
    found: str = mail["context"]["url"].partition("#token=")[2]
    return found


async def reset(api: Api, token: str, new_password: str = NEW) -> int:
    return (await api.post("password/reset", token=token, new_password=new_password)).status_code


async def dead(api: Api, token: str) -> bool:
    answer = await api.post("password/reset", token=token, new_password=NEW)
    assert answer.status_code in (200, 400)
    return answer.status_code == 400 and answer.json()["fields"] == {"token": "is unknown, used or expired"}


async def test_welcome(api: Api) -> None:
    await api.register("Jan@example.com")
    await api.register("ewa@example.com", language="en")
    await (await api.admin()).register("ola@example.com", role="employee", language="pl")
    assert await api.mails() == [
        {"template": "welcome", "to": email, "language": language, "context": {"email": email}}
        for email, language in (
            ("jan@example.com", "pl"),
            ("ewa@example.com", "en"),
            ("ola@example.com", "pl"),
        )
    ]
    await api.register("jan@example.com")
    assert len(await api.mails()) == 3, "a refused registration welcomes nobody"


async def test_languages(api: Api) -> None:
    for language in ("de", "", None, 7, "PL"):
        refused = await api.register("jan@example.com", language=language)
        assert (refused.status_code, set(refused.json()["fields"])) == (400, {"language"}), language


async def test_link_and_new_password(api: Api) -> None:
    jan = await api.user("jan@example.com")
    await api.rows("UPDATE users SET language = 'en' WHERE email = 'jan@example.com'")
    begun = datetime.now(UTC)
    (mail,) = await forgotten(api, "JAN@example.com")
    assert await jan.stands(), "asking alone changes nothing"
    context = mail.pop("context")
    assert mail == {"template": "password_reset", "to": "jan@example.com", "language": "en"}
    assert set(context) == {"url", "expires_at"}
    assert re.fullmatch(r"https://shop\.example\.com/reset#token=[A-Za-z0-9_-]{43}", context["url"])
    expires = datetime.fromisoformat(context["expires_at"])
    assert abs(expires - begun - timedelta(hours=1)) < timedelta(minutes=1)
    token = token_of({"context": context})
    stored = await api.rows("SELECT digest FROM password_resets")
    assert stored == [(hashlib.sha256(token.encode()).digest(),)]

    answer = await api.post("password/reset", token=token, new_password=NEW)
    assert (answer.status_code, answer.json()) == (200, {"message": "Password changed successfully"})
    assert not await jan.stands(), "every session ends"
    assert (await api.post("refresh", refresh_token=jan.refresh_token)).status_code == 401
    assert (await api.login("jan@example.com", PASSWORD)).status_code == 401
    assert (await api.login("jan@example.com", NEW)).status_code == 200
    assert await dead(api, token), "it works once"


async def test_nobody_learns_who_has_an_account(api: Api, hashing: list[str]) -> None:
    """A known address is answered by the very same work; what differs is done later."""
    await api.register("jan@example.com")
    hashing.clear()
    answers = [await api.post("password/forgot", email=f"{name}@example.com") for name in ("jan", "nobody")]
    assert [each.status_code for each in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    assert hashing == []
    await until(api, NOTED)
    assert [each["to"] for each in await api.mails()] == ["jan@example.com"] * 2, "welcome, and the link"


async def test_forgot_only_notes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SEND", 3600.0)
    async with start() as api:
        await api.register("jan@example.com")
        before = await api.mails()
        for email in ("jan@example.com", "nobody@example.com"):
            assert (await api.post("password/forgot", email=email)).status_code == 202
        noted = await api.rows("SELECT email FROM reset_requests ORDER BY id")
        assert noted == [("jan@example.com",), ("nobody@example.com",)]
        assert await api.rows("SELECT * FROM password_resets") == []
        assert await api.mails() == before
    monkeypatch.setattr(bootstrap, "SEND", 0.05)
    async with start() as replica:
        await until(replica, NOTED)
        assert len(await replica.mails()) == len(before) + 1, "nothing is forgotten by a restart"


async def test_bad_requests(api: Api) -> None:
    for body in ({}, {"email": "jan"}, {"email": None}, {"email": "a@b.pl\x00"}):
        assert (await api.post("password/forgot", **body)).status_code == 400
    for body in (
        {},
        {"token": "x"},
        {"token": "", "new_password": NEW},
        {"token": "x" * 300, "new_password": NEW},
    ):
        assert (await api.post("password/reset", **body)).status_code == 400
    for token in ("x", "x" * 43, "żółw\x00"):
        assert await dead(api, token), token


async def test_a_weak_password_leaves_the_link(api: Api) -> None:
    await api.register("jan1@example.com")
    token = token_of((await forgotten(api, "jan1@example.com"))[0])
    for weak in ("shor1", "password1", "onlyletters", "jan1@example.com", "x1" * 37):
        answer = await api.post("password/reset", token=token, new_password=weak)
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {"new_password"}), weak
    assert await reset(api, token) == 200


async def test_an_old_link(api: Api) -> None:
    await api.register("jan@example.com")
    token = token_of((await forgotten(api))[0])
    await api.rows("UPDATE password_resets SET expires_at = now()")
    assert await dead(api, token)
    assert (await api.login("jan@example.com")).status_code == 200


async def test_two_with_one_link(api: Api) -> None:
    await api.register("jan@example.com")
    token = token_of((await forgotten(api))[0])
    codes = await asyncio.gather(*(reset(api, token, f"nowy-rower-{n}") for n in range(4)))
    assert sorted(codes) == [200, 400, 400, 400]
    won = codes.index(200)
    assert (await api.login("jan@example.com", f"nowy-rower-{won}")).status_code == 200


async def test_a_new_password_kills_every_link(api: Api) -> None:
    jan = await api.user("jan@example.com")
    await forgotten(api)
    first, second = map(token_of, await forgotten(api))
    assert await reset(api, first) == 200
    assert await dead(api, second)
    jan = await api.logged_in("jan@example.com", NEW)
    third = token_of((await forgotten(api))[-1])
    changed = await jan.post("password", old_password=NEW, new_password="inny-rower-9")
    assert changed.status_code == 200
    assert await dead(api, third)


async def test_a_mailbox_is_not_flooded(api: Api) -> None:
    await api.register("jan@example.com")
    for _ in range(5):
        found = await forgotten(api)
    assert len(found) == 3
    assert await reset(api, token_of(found[0])) == 200
    assert len(await forgotten(api)) == 4, "and then there is room again"


async def test_replicas_mail_a_link_once(start: Start) -> None:
    async with start() as api, start(), start():
        for n in range(8):
            await api.register(f"u{n}@example.com")
            assert (await api.post("password/forgot", email=f"u{n}@example.com")).status_code == 202
        await until(api, NOTED)
        sent = [each["to"] for each in await api.mails() if each["template"] == "password_reset"]
        assert sorted(sent) == [f"u{n}@example.com" for n in range(8)]


async def test_who_was_locked_out_may_log_in(api: Api) -> None:
    await api.register("jan@example.com")
    for _ in range(6):
        answer = await api.login("jan@example.com", "wrong-password-1")
    assert answer.status_code == 429
    assert await reset(api, token_of((await forgotten(api))[0])) == 200
    assert (await api.login("jan@example.com", NEW)).status_code == 200


async def test_all_works_while_rabbitmq_is_away(start: Start, rabbitmq: RabbitMQ) -> None:
    """Nothing listens where it should; when it does, every mail is sent, in order."""
    async with start() as api:
        jan = await api.user("jan@example.com")
        (mail,) = await forgotten(api)
        assert await reset(api, token_of(mail)) == 200
        assert not await jan.stands()
        assert (await api.get("/health/ready")).status_code == 200
        wanted = await api.rows("SELECT id::text, payload FROM outbox ORDER BY position")
    assert [payload["template"] for _, payload in wanted] == ["welcome", "password_reset"]
    async with start(**rabbitmq.settings()) as api:
        await until(api, "SELECT count(*) = 0 FROM outbox")
    found = await messages(rabbitmq)
    sent = {each.message_id: each for each in found}
    assert [(each.message_id, json.loads(each.body)) for each in sent.values()] == wanted
    for each in found:
        assert each.headers["cloudEvents:type"] == "mail.requested"
        assert each.headers["cloudEvents:source"] == "/auth"
        assert each.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


async def test_mails_leave_with_the_commit_that_asks_for_them(
    start: Start, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay would look by itself in an hour."""
    monkeypatch.setattr(bootstrap, "Relay", partial(Relay, interval=3600))
    await messages(rabbitmq)
    relayed = "SELECT count(*) = 0 FROM outbox"
    async with start(**rabbitmq.settings()) as api:
        for email in ("jan@example.com", "ewa@example.com"):
            assert (await api.register(email)).status_code == 201
            await until(api, relayed)
            await forgotten(api, email)
            await until(api, relayed)
    found = [json.loads(each.body)["template"] for each in await messages(rabbitmq)]
    assert found == ["welcome", "password_reset"] * 2


async def messages(rabbitmq: RabbitMQ) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Takes all there is in the queue of mails."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        queue = await (await connection.channel()).declare_queue("mail.send", durable=True)
        found = []
        while message := await queue.get(fail=False, timeout=60):
            await message.ack()
            found.append(message)
        return found
