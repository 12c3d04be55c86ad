"""The list, and events that come by webhook."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from notification.tests.conftest import BOSS, JAN, KEYS, STAFF, Api, Start, event, rows, signed


@pytest.fixture
async def api(api: Api) -> Api:
    return api.as_user(STAFF)


async def told(api: Api, count: int) -> list[int]:
    """Ids of so many notifications, oldest first."""
    for n in range(1, count + 1):
        assert (await api.hook(event(n))).status_code == 202
    return [each["id"] for each in reversed(await api.listed())]


async def test_a_notification(api: Api) -> None:
    happened = event(12, "new", customer_name="Żaneta Łęcka", total_amount=299.9)
    answer = await api.hook(happened)
    assert (answer.status_code, answer.json()) == (202, {"event_id": str(happened.id), "duplicate": False})
    (found,) = await api.listed("language=pl")
    assert datetime.fromisoformat(found.pop("created_at")) <= datetime.now(UTC)
    notification_id = found.pop("id")
    assert found == {
        "event_id": str(happened.id),
        "order_id": 12,
        "status": "new",
        "customer_name": "Żaneta Łęcka",
        "total_amount": 299.9,
        "text": "Nowe zamówienie nr 12: Żaneta Łęcka, 299,90 zł",
        "text_pl": "Nowe zamówienie nr 12: Żaneta Łęcka, 299,90 zł",
        "text_en": "New order no. 12: Żaneta Łęcka, PLN 299.90",
        "channel": "webhook",
        "source": None,
        "customer_email": None,
        "occurred_at": happened.payload["timestamp"],
    }
    answer = await api.get(f"/api/notifications/{notification_id}")
    assert answer.json()["text"] == "New order no. 12: Żaneta Łęcka, PLN 299.90"
    assert '"total_amount":299.90,' in answer.text
    answer = await api.get(f"/api/notifications/{notification_id}?language=pl")
    assert answer.json()["text"] == found["text"]


async def test_newest_first_or_after_one_oldest_first(api: Api) -> None:
    ids = await told(api, 5)
    answer = await api.get("/api/notifications?limit=2")
    assert [each["id"] for each in answer.json()] == [ids[4], ids[3]]
    assert answer.headers["X-Total-Count"] == "5"
    answer = await api.get(f"/api/notifications?after={ids[1]}&limit=2")
    assert [each["id"] for each in answer.json()] == [ids[2], ids[3]]
    assert answer.headers["X-Total-Count"] == "3"
    answer = await api.get(f"/api/notifications/?after={ids[4]}")
    assert (answer.json(), answer.headers["X-Total-Count"]) == ([], "0")
    assert [each["id"] for each in await api.listed("after=0")] == ids


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=1001", "language=de", f"after={2**63}"]
)
async def test_bad_queries(api: Api, query: str) -> None:
    answer = await api.get(f"/api/notifications?{query}")
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [query.partition("=")[0]]


async def test_only_staff(api: Api) -> None:
    (one,) = await told(api, 1)
    for path in ("/api/notifications", f"/api/notifications/{one}"):
        assert (await replace(api, token=None).get(path)).status_code == 401
        refused = await api.as_user(JAN).get(path)
        assert refused.status_code == 403
        assert refused.json()["required_roles"] == ["admin", "employee"]
        assert (await api.as_user(BOSS).get(path)).status_code == 200


async def test_one_that_is_not_there(api: Api) -> None:
    answer = await api.get("/api/notifications/1")
    assert (answer.status_code, answer.json()) == (404, {"error": "Notification not found"})
    assert (await api.get("/api/notifications/x")).status_code == 400


async def test_a_twin_is_dropped(api: Api) -> None:
    happened = event()
    answers = await asyncio.gather(*(api.hook(happened) for _ in range(12)))
    assert {each.status_code for each in answers} == {202}
    assert sorted(each.json()["duplicate"] for each in answers) == [False] + [True] * 11
    assert len(await api.listed()) == 1


async def test_who_cannot_sign_tells_nothing(api: Api) -> None:
    content, headers = signed(event())
    other = signed(event(), body=content)[1]
    for wrong in (
        {},
        {name: value for name, value in headers.items() if name != "webhook-signature"},
        {**headers, "webhook-signature": "v1,AAAA"},
        {**headers, "webhook-signature": other["webhook-signature"]},
        {**headers, "webhook-id": str(uuid.uuid4())},
        {**headers, "webhook-timestamp": str(int(time.time()) + 5)},
        {**headers, "webhook-timestamp": "soon"},
    ):
        answer = await api.http.post("/webhooks/orders", content=content, headers=wrong)
        assert answer.status_code == 401, wrong
        assert answer.json()["error"]
    changed = content.replace(b"299.99", b"1.00")
    assert (await api.http.post("/webhooks/orders", content=changed, headers=headers)).status_code == 401
    for off in (-301, 360):  # the signature grows older on its way
        assert (await api.hook(event(), at=time.time() + off)).status_code == 401
    assert await api.listed() == []
    assert (await api.http.post("/webhooks/orders", content=content, headers=headers)).status_code == 202


@pytest.mark.parametrize(
    "change",
    [
        {"status": "lost"},
        {"order_id": "12"},
        {"order_id": 0},
        {"total_amount": -1},
        {"timestamp": "yesterday"},
        {"customer_name": None},
        {"more": 1},
    ],
)
async def test_signed_nonsense(api: Api, change: dict[str, Any]) -> None:
    answer = await api.hook(event(**change))
    assert answer.status_code == 400
    assert answer.json()["fields"]["body"]
    assert rows(api.database, "SELECT count(*) FROM inbox") == [(0,)]


async def test_signed_but_no_event(api: Api) -> None:
    for body in (b"", b"{", b"[]", b"\xff"):
        assert (await api.hook(event(), body=body)).status_code == 400
    answer = await api.hook(replace(event(), type="order.eaten"))
    assert answer.json()["fields"] == {"ce-type": "is none of order.created, order.status_changed"}
    assert await api.listed() == []


async def test_what_was_kept_is_logged_under_the_id_of_its_request(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, and without what it says."""
    happened = event()
    content, headers = signed(happened)
    capsys.readouterr()
    for _ in range(2):
        answer = await api.http.post(
            "/webhooks/orders", content=content, headers=headers | {"X-Request-ID": "placed-1"}
        )
        assert answer.status_code == 202
    written = capsys.readouterr().out
    lines = [json.loads(each) for each in written.splitlines()]
    (line,) = [each for each in lines if each["message"] == "notification kept"]
    assert (line["logger"], line["level"], line["request_id"]) == ("notification", "info", "placed-1")
    assert (line["event_id"], line["type"]) == (str(happened.id), "order.created")
    assert "Kowalski" not in written


async def test_what_is_old_is_forgotten(api: Api, start: Start) -> None:
    old, young = await told(api, 2)
    rows(
        api.database,
        "UPDATE notifications_log SET created_at = now() - interval '8 days' WHERE id = %s",
        old,
    )
    rows(
        api.database,
        "UPDATE inbox SET received_at = now() - interval '8 days' FROM notifications_log AS log"
        " WHERE inbox.event_id = log.event_id AND log.id = %s",
        old,
    )
    async with start(retention_days=7) as fresh, asyncio.timeout(60):  # it tidies up when it starts
        while len(await fresh.as_user(STAFF).listed()) == 2:
            await asyncio.sleep(0.05)
    assert [each["id"] for each in await api.listed()] == [young]
    assert rows(api.database, "SELECT count(*) FROM inbox") == [(1,)]


async def test_health_and_metrics(api: Api) -> None:
    answer = await api.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": "notification"})
    # RabbitMQ, auth and orders are down here: what is logged can be read all the same.
    assert (await api.get("/health/ready")).json() == {"status": "ok", "checks": {"database": "ok"}}
    await told(api, 1)
    assert await api.counted('http_requests_total{method="POST",route="/webhooks/orders",status="202"}') == 1
    assert await api.counted("websocket_clients") == 0


async def test_secrets_stay_secret(api: Api) -> None:
    content, headers = signed(event())
    answer = await api.http.post("/webhooks/orders", content=content, headers={**headers, "webhook-id": "x"})
    assert KEYS["webhook_key"] not in answer.text
    assert json.loads(answer.text)["error"]
