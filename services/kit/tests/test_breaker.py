"""A breaker on a clock of its own: when it opens, who may try, what closes it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.breaker import Breaker
from kit.errors import NotFound, Unavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Target:
    """Somebody who is called through a breaker."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker("users", clock=self.clock)
        self.asked = 0

    def state(self) -> str:
        return self.breaker.state

    async def call(self, error: Exception | None = None) -> bool:
        """Whether the call came through, whatever became of it."""
        before = self.asked
        try:
            async with self.breaker():
                self.asked += 1
                if error:
                    raise error
        except (Unavailable, NotFound):
            pass
        return self.asked > before

    async def opened(self) -> None:
        for _ in range(5):
            await self.call(Unavailable())
        assert self.state() == "open"


async def test_it_opens_when_half_of_five_fail() -> None:
    target = Target()
    for _ in range(2):
        await target.call()
        await target.call(Unavailable())
    assert target.state() == "closed", "four are too few"
    await target.call(Unavailable())
    assert target.state() == "open"
    assert not await target.call()


async def test_an_answer_is_no_failure() -> None:
    target = Target()
    for _ in range(50):
        await target.call(NotFound())
    assert target.state() == "closed"


async def test_old_failures_are_forgotten() -> None:
    target = Target()
    for _ in range(4):
        await target.call(Unavailable())
    target.clock.now += 30
    for _ in range(2):
        await target.call(Unavailable())
    assert target.state() == "closed"


async def test_it_closes_after_two_successes() -> None:
    target = Target()
    await target.opened()
    target.clock.now += 9.9
    assert not await target.call()
    target.clock.now += 0.1
    assert target.state() == "half_open"
    assert await target.call()
    assert target.state() == "half_open"
    assert await target.call()
    assert target.state() == "closed"


async def test_one_failure_opens_it_again() -> None:
    target = Target()
    await target.opened()
    target.clock.now += 10
    await target.call()
    await target.call(Unavailable())
    assert target.state() == "open"
    target.clock.now += 9.9
    assert not await target.call()


async def test_who_is_refused_hears_for_how_long() -> None:
    target = Target()
    await target.opened()
    target.clock.now += 6.5
    with pytest.raises(Unavailable) as refused:
        async with target.breaker():
            pass
    assert refused.value.headers == {"Retry-After": "4"}


async def test_half_open_lets_one_at_a_time_through() -> None:
    target = Target()
    await target.opened()
    target.clock.now += 10
    let_go = asyncio.Event()

    async def slow() -> None:
        async with target.breaker():
            await let_go.wait()

    first = asyncio.create_task(slow())
    await asyncio.sleep(0)
    assert not await target.call()
    let_go.set()
    await first
    assert await target.call()
    assert target.state() == "closed"


async def test_who_is_cancelled_leaves_no_trace() -> None:
    target = Target()
    await target.opened()
    target.clock.now += 10

    async def endless() -> None:
        async with target.breaker():
            await asyncio.Event().wait()

    task = asyncio.create_task(endless())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert target.state() == "half_open"
    assert await target.call(), "and the next may try"


async def test_an_answer_of_before_says_nothing_about_now() -> None:
    target = Target()
    fail = asyncio.Event()

    async def late() -> None:
        async with target.breaker():
            await fail.wait()
            raise Unavailable

    task = asyncio.create_task(late())
    await asyncio.sleep(0)
    await target.opened()
    target.clock.now += 10
    assert await target.call()
    fail.set()
    await asyncio.gather(task, return_exceptions=True)
    assert target.state() == "half_open"


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 15)), max_size=60))
def test_nobody_is_asked_within_its_rest(steps: list[tuple[bool, float]]) -> None:
    async def walk() -> None:
        target, opened = Target(), 0.0
        for bad, pause in steps:
            target.clock.now += pause
            before = target.state()
            came = await target.call(Unavailable() if bad else None)
            assert came == (before != "open")
            if came:
                assert target.clock.now >= opened + 10
            if target.state() == "open" and before != "open":
                opened = target.clock.now

    asyncio.run(walk())
