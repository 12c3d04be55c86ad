"""What admins see and do over HTTP, and that nobody else does."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from kit import outbox
from kit.database import Database
from mail import maillog
from mail.rendering import examples
from mail.settings import MailSettings
from mail.tests.conftest import Api, Start, rows
from sqlalchemy import text

PATHS = [
    ("GET", "/api/mail"),
    ("GET", "/api/mail/templates"),
    ("POST", "/api/mail/preview"),
    ("POST", "/api/mail/1/retry"),
]


@pytest.fixture
async def api(start: Start) -> Any:
    """Without RabbitMQ."""
    async with start() as found:
        yield found


def logged(api: Api, **changes: object) -> int:
    """A row of the log."""
    row: dict[str, object] = {
        "created_at": "now",
        "event_id": uuid.uuid4(),
        "template": "welcome",
        "recipient": "jan@example.com",
        "language": "pl",
        "status": "sent",
        "attempts": 1,
        "error": None,
        **changes,
    }
    query = (
        "INSERT INTO mail_log (created_at, event_id, template, recipient, language, status, attempts, error)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id"
    )
    found: int = rows(api.settings, query, *row.values())[0][0]
    return found


async def test_only_admins(api: Api) -> None:
    for method, path in PATHS:
        nobody = await api.as_role(None).call(method, path)
        assert (nobody.status_code, nobody.json()) == (401, {"error": "Authentication required"})
        for role in ("customer", "employee"):
            answer = await api.as_role(role).call(method, path)
            assert (answer.status_code, answer.json()["required_roles"]) == (403, ["admin"])


async def test_the_log(api: Api) -> None:
    first = logged(api, status="failed", error="550 unknown", created_at="2026-01-01T10:00:00Z")
    second = logged(
        api, template="order_placed", recipient="ewa@example.com", created_at="2026-01-02T10:00:00Z"
    )
    third = logged(api, status="queued", attempts=2, created_at="2026-01-03T10:00:00Z")

    async def listed(query: str) -> list[int]:
        answer = await api.get(f"/api/mail?{query}")
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()]

    assert await listed("") == [third, second, first]
    assert await listed("status=failed&status=queued") == [third, first]
    assert await listed("template=order_placed") == [second]
    assert await listed("recipient=ewa@example.com") == [second]
    assert await listed("created_from=2026-01-02T10:00:00&created_to=2026-01-03T10:00:00Z") == [second]
    page = await api.get("/api/mail?limit=1&offset=1")
    assert [each["id"] for each in page.json()] == [second]
    assert page.headers["x-total-count"] == "3"
    shown = (await api.get("/api/mail?status=failed")).json()[0]
    assert shown["error"] == "550 unknown"
    fields = "id event_id template recipient language status attempts error created_at updated_at sent_at"
    assert list(shown) == fields.split()
    for wrong in ("status=lost", "template=spam", "limit=0", "offset=-1", "created_from=x", "recipient=a%00"):
        assert (await api.get(f"/api/mail?{wrong}")).status_code == 400


async def test_templates(api: Api) -> None:
    found = {each["name"]: each for each in (await api.get("/api/mail/templates")).json()}
    assert set(found) == set(examples())
    assert found["order_placed"]["subjects"] == {
        "pl": "Zamówienie nr 17 przyjęte",
        "en": "Order no. 17 received",
    }
    assert found["welcome"]["languages"] == ["pl", "en"]
    for name, each in found.items():
        body = {"template": name, "language": "en", "context": each["example"]}
        assert (await api.call("POST", "/api/mail/preview", body)).status_code == 200


async def test_preview(api: Api) -> None:
    body = {
        "template": "order_placed",
        "language": "en",
        "context": {**examples()["order_placed"], "order_id": 99, "customer_name": "<b>Ewa</b>"},
    }
    found = (await api.call("POST", "/api/mail/preview", body)).json()
    assert found["subject"] == "Order no. 99 received"
    assert "Hello <b>Ewa</b>," in found["text"]
    assert "Hello &lt;b&gt;Ewa&lt;/b&gt;," in found["html"]
    assert f"{api.settings['public_url']}/#/orders/99" in found["text"]
    polish = (await api.call("POST", "/api/mail/preview", {"template": "order_placed"})).json()
    assert polish["subject"] == "Zamówienie nr 17 przyjęte"
    reset = examples()["password_reset"]
    for wrong in (
        {"template": "spam"},
        {"template": "welcome", "language": "de"},
        {"template": "welcome", "context": {}},
        {"template": "welcome", "context": {"email": 7}},
        {
            "template": "password_reset",
            "context": reset | {"url": "javascript:alert(1)"},
        },
        {"template": "order_placed", "context": {**examples()["order_placed"], "total_amount": 1e308}},
    ):
        answer = await api.call("POST", "/api/mail/preview", wrong)
        assert answer.status_code == 400, wrong
        assert answer.json()["fields"]
    assert rows(api.settings, "SELECT count(*) FROM mail_log") == [(0,)]


async def test_what_cannot_be_tried_again(api: Api) -> None:
    missing = await api.call("POST", "/api/mail/999/retry")
    assert (missing.status_code, missing.json()) == (404, {"error": "Mail not found"})
    sent = await api.call("POST", f"/api/mail/{logged(api)}/retry")
    assert (sent.status_code, sent.json()["status"]) == (409, "sent")
    failed = logged(api, status="failed", error="550 unknown")
    down = await api.call("POST", f"/api/mail/{failed}/retry")
    assert down.status_code == 503
    assert rows(api.settings, "SELECT status, error FROM mail_log WHERE id = %s", failed) == [
        ("failed", "550 unknown")
    ]


async def test_health(api: Api) -> None:
    assert (await api.as_role(None).get("/health")).json() == {"status": "ok", "service": "mail"}
    assert (await api.as_role(None).get("/health/ready")).json() == {
        "status": "ok",
        "checks": {"database": "ok"},
    }


async def test_old_mails_are_forgotten(api: Api) -> None:
    logged(api, created_at="2026-01-01T10:00:00Z")
    kept = logged(api)
    settings = MailSettings.model_validate(api.settings)
    old, new = uuid.uuid4(), uuid.uuid4()
    async with Database.open(settings) as database:
        async with database.transaction() as session:
            await outbox.first_time(session, "mail", old, new)
            aged = "UPDATE inbox SET received_at = now() - interval '100 days' WHERE event_id = :old"
            await session.execute(text(aged), {"old": old})
        for days in (90, 1):  # however short the log is, an event that comes again is known
            async with database.transaction() as session:
                await maillog.purge(session, days)
    assert rows(api.settings, "SELECT id FROM mail_log") == [(kept,)]
    assert rows(api.settings, "SELECT event_id FROM inbox") == [(new,)]
