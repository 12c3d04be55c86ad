"""`/ws/notifications` through real servers: who is let in, what was missed, what comes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from notification.tests.conftest import Deployed, event, rows
from testing.service import Service
from websockets.asyncio.client import ClientConnection, connect

HEARTBEAT = {"type": "heartbeat"}


def listen(service: Service, token: str | None, query: str = "") -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"{service.url.replace('http', 'ws')}/ws/notifications?{query}"
    return connect(url, additional_headers=headers, open_timeout=60)


async def heard(connection: ClientConnection, within: float = 60) -> dict[str, Any]:
    """The next notification."""
    async with asyncio.timeout(within):
        while True:
            message = json.loads(await connection.recv())
            if message != HEARTBEAT:
                assert message["type"] == "notification"
                found: dict[str, Any] = message["payload"]
                return found


async def closed(connection: ClientConnection, within: float = 60) -> tuple[int | None, str | None]:
    async with asyncio.timeout(within):
        await connection.wait_closed()
    return connection.close_code, connection.close_reason


def newest(deployed: Deployed) -> int:
    ((found,),) = rows(deployed.settings, "SELECT coalesce(max(id), 0) FROM notifications_log")
    return int(found)


async def test_what_happens_is_told(deployed: Deployed) -> None:
    async with (
        listen(deployed.notification, deployed.admin.token) as english,
        listen(deployed.notification, deployed.admin.token, "language=pl") as polish,
    ):
        happened = event(5001, "shipped", total_amount=12345.6)
        await asyncio.to_thread(deployed.hook, happened)
        found = await heard(english)
        assert found["event_id"] == str(happened.id)
        assert found["text"] == "Order no. 5001 shipped: Jan Kowalski, PLN 12,345.60"
        assert (await heard(polish))["text"] == found["text_pl"]
        assert found["text_pl"] == "Zamówienie nr 5001 wysłane: Jan Kowalski, 12\u00a0345,60 zł"


async def test_an_order_reaches_the_desktops(deployed: Deployed) -> None:
    async with listen(deployed.notification, deployed.admin.token) as connection:
        order_id = await asyncio.to_thread(deployed.place)
        while (found := await heard(connection))["order_id"] != order_id:
            pass
        assert found["customer_email"] == "jan@example.com"


async def test_first_what_was_missed_then_what_comes(deployed: Deployed) -> None:
    """In the order of ids, each once, while new ones come all the time."""
    begun = newest(deployed)
    for n in range(300):  # more than is read at a time
        await asyncio.to_thread(deployed.hook, event(6000 + n, "confirmed"))
    stop = asyncio.Event()

    async def more() -> int:
        count = 0
        while not stop.is_set():
            await asyncio.to_thread(deployed.hook, event(7000 + count, "confirmed"))
            count += 1
        return count

    coming = asyncio.create_task(more())
    ids = []
    async with listen(deployed.notification, deployed.admin.token, f"after={begun}") as connection:
        while len(ids) < 320:
            ids.append((await heard(connection))["id"])
        stop.set()
        await coming
        while ids[-1] < newest(deployed):
            ids.append((await heard(connection))["id"])
    stored = rows(deployed.settings, "SELECT id FROM notifications_log WHERE id > %s ORDER BY id", begun)
    assert ids == [each for (each,) in stored]


async def test_who_has_all_is_told_only_what_comes(deployed: Deployed) -> None:
    await asyncio.to_thread(deployed.hook, event(1, "confirmed"))
    last = newest(deployed)
    for after in (last, last + 1000):  # the other is of a database that is no more
        async with listen(deployed.notification, deployed.admin.token, f"after={after}") as connection:
            async with asyncio.timeout(60):
                assert json.loads(await connection.recv()) == HEARTBEAT
            happened = event(8001, "confirmed")
            await asyncio.to_thread(deployed.hook, happened)
            assert (await heard(connection))["event_id"] == str(happened.id)


async def test_only_staff(deployed: Deployed) -> None:
    for token, why in (
        (None, "Authentication required"),
        ("nonsense", "Invalid or expired token"),
        (deployed.customer.token, "insufficient_permissions"),
    ):
        async with listen(deployed.notification, token, "after=0") as connection:
            assert await closed(connection) == (1008, why)


async def test_every_instance_tells_its_clients(deployed: Deployed) -> None:
    with Service.running("notification", deployed.settings) as second:
        async with listen(second, deployed.admin.token) as connection:
            happened = event(9001, "cancelled")
            await asyncio.to_thread(deployed.hook, happened)
            assert (await heard(connection))["event_id"] == str(happened.id)


async def test_what_was_missed_through_a_crash(deployed: Deployed) -> None:
    with Service.running("notification", deployed.settings) as first:
        async with listen(first, deployed.admin.token) as connection:
            await asyncio.to_thread(deployed.hook, event(9101, "confirmed"))
            last = (await heard(connection))["id"]
            first.kill()
    happened = [event(9102 + n, "confirmed") for n in range(3)]
    for each in happened:
        await asyncio.to_thread(deployed.hook, each)
    async with listen(deployed.notification, deployed.admin.token, f"after={last}") as connection:
        assert [(await heard(connection))["event_id"] for _ in happened] == [
            str(each.id) for each in happened
        ]
