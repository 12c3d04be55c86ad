"""Things at once: of two changes one wins, and what all saw adds up."""

from __future__ import annotations

import asyncio
from collections import Counter

from orders.tests.conftest import BOSS, JAN, STAFF, Api, Start, rows


async def test_of_two_changes_one_wins(start: Start) -> None:
    async with start() as one, start() as other:  # two instances on one database
        for _ in range(10):
            order_id = (await one.as_user(JAN).place())["id"]
            answers = await asyncio.gather(
                one.as_user(STAFF).change(order_id, "confirmed"),
                other.as_user(BOSS).change(order_id, "cancelled"),
                one.as_user(BOSS).change(order_id, "confirmed"),
                other.as_user(STAFF).change(order_id, "cancelled"),
            )
            # Confirmed first can be cancelled after; nothing else fits together.
            won = [answer.json()["new_status"] for answer in answers if answer.status_code == 200]
            assert won in (["confirmed"], ["cancelled"]) or sorted(won) == ["cancelled", "confirmed"]
            assert {answer.status_code for answer in answers} == {200, 409}
            query = "SELECT new_status FROM order_status_history WHERE order_id = %s ORDER BY id"
            kept = [each for (each,) in rows(one.database, query, order_id)]
            assert kept in (["new", "cancelled"], ["new", "confirmed", "cancelled"], ["new", "confirmed"])
            assert Counter(kept[1:]) == Counter(won)


async def test_the_same_change_twice_counts_once(api: Api) -> None:
    order_id = (await api.as_user(JAN).place())["id"]
    answers = await asyncio.gather(*(api.as_user(STAFF).change(order_id, "confirmed") for _ in range(12)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 11}
    assert rows(api.database, "SELECT count(*) FROM order_status_history") == [(2,)]
    assert rows(api.database, "SELECT count(DISTINCT aggregateid) FROM outbox") == [(1,)]
    assert rows(api.database, "SELECT queue, count(*) FROM outbox GROUP BY queue HAVING count(*) != 2") == []


async def test_many_orders_at_once(start: Start) -> None:
    async with start() as one, start() as other:
        placed = await asyncio.gather(*(each.as_user(JAN).place() for each in (one, other) * 40))
        assert len({order["id"] for order in placed}) == 80
        assert len(await one.as_user(JAN).listed("limit=1000")) == 80
        assert rows(one.database, "SELECT count(*), count(DISTINCT aggregateid) FROM outbox") == [(320, 80)]
