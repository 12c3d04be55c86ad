"""A circuit breaker: who keeps failing is left alone for a while, and asked carefully after."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from kit import logging
from kit.errors import Unavailable

log = logging.get("kit.breaker")

State = Literal["closed", "open", "half_open"]


class Breaker:
    """`async with breaker(): ...` around each call; raises `Unavailable` at once while it is open.

    It opens when of at least `least` calls in the last `window` seconds half failed, lets one call at a time
    through after `rest` seconds, and closes after `successes` of these; one failure opens it again. A failure
    is an `Unavailable`: whatever else is raised is an answer, which shows that somebody is there.
    """

    def __init__(
        self,
        name: str,
        *,
        least: int = 5,
        window: float = 30.0,
        rest: float = 10.0,
        successes: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._least = least
        self._window = window
        self._rest = rest
        self._successes = successes
        self._clock = clock
        self._state: State = "closed"
        self._epoch = 0
        self._trying = False
        self._clear()

    @property
    def state(self) -> State:
        if self._state == "open" and self._clock() >= self._since + self._rest:
            self._become("half_open")
        return self._state

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        state = self.state
        if state == "open" or (state == "half_open" and self._trying):
            raise Unavailable(headers={"Retry-After": str(self._wait())})
        self._trying = state == "half_open"
        epoch, failed = self._epoch, None
        try:
            yield
            failed = False
        except Unavailable:
            failed = True
            raise
        except Exception:
            failed = False
            raise
        finally:
            if epoch == self._epoch:  # what began before a change of state says nothing about the new one
                self._trying = False
                if failed is not None:  # neither: the caller was cancelled
                    self._count(failed)

    def _count(self, failed: bool) -> None:
        if self._state == "half_open":
            self._good += not failed
            if failed:
                self._become("open")
            elif self._good >= self._successes:
                self._become("closed")
            return
        now = self._clock()
        self._calls.append((now, failed))
        while self._calls[0][0] <= now - self._window:
            self._calls.popleft()
        failures = sum(bad for _, bad in self._calls)
        if len(self._calls) >= self._least and failures * 2 >= len(self._calls):
            self._become("open")

    def _become(self, state: State) -> None:
        log.warning("breaker", target=self._name, old=self._state, new=state)
        self._state = state
        self._epoch += 1
        self._clear()

    def _clear(self) -> None:
        self._since = self._clock()
        self._calls: deque[tuple[float, bool]] = deque()
        self._good = 0
        self._trying = False

    def _wait(self) -> int:
        """Whole seconds until it is worth another try: of half open, until the one that tries is back."""
        left = self._since + self._rest - self._clock() if self._state == "open" else 0.0
        return int(left) + 1
