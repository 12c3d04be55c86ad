"""Fewer fetches, and no answer older than its question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from kit.batch import Batch


async def test_gathers_while_one_is_under_way() -> None:
    fetched: list[list[int]] = []
    gate = asyncio.Event()

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        fetched.append(sorted(keys))
        await gate.wait()
        return {key: key * 2 for key in keys if key != 13}

    batch = Batch(fetch)
    first = asyncio.create_task(batch(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(batch(key)) for key in (2, 3, 13, 3)]
    await asyncio.sleep(0.01)
    gate.set()
    assert await first == 2
    assert await asyncio.gather(*others) == [4, 6, None, 6]
    assert fetched == [[1], [2, 3, 13]]


async def test_never_older_than_the_question() -> None:
    truth = {"a": "old"}
    begun, gate = asyncio.Event(), asyncio.Event()

    async def fetch(keys: Sequence[str]) -> dict[str, str]:
        found = {key: truth[key] for key in keys}
        begun.set()
        await gate.wait()
        return found

    batch = Batch(fetch)
    before = asyncio.create_task(batch("a"))
    await begun.wait()
    truth["a"] = "new"
    after = asyncio.create_task(batch("a"))
    await asyncio.sleep(0.01)
    gate.set()
    assert (await before, await after) == ("old", "new")


async def test_failures_and_cancellations_stay_with_their_own() -> None:
    fail = True

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        await asyncio.sleep(0.01)
        if fail:
            raise ConnectionError("down")
        return {key: key for key in keys}

    batch = Batch(fetch, size=2)
    results = await asyncio.gather(*(batch(key) for key in range(5)), return_exceptions=True)
    assert [type(each) for each in results] == [ConnectionError] * 5
    fail = False
    gone, stays = asyncio.create_task(batch(1)), asyncio.create_task(batch(1))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 1
    with pytest.raises(asyncio.CancelledError):
        await gone
