"""The server's feed: connected as long as there is a network, from the last notification that was shown."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from contextlib import suppress
from typing import Any

import httpx2
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from hostwright_notifier.account import Account, Refused
from hostwright_notifier.desktop import Desktop
from hostwright_notifier.texts import TEXTS

log = logging.getLogger(__name__)

FIRST, LONGEST = 1.0, 60.0  # seconds between attempts to connect
GATHER = 0.1  # seconds in which what comes together is shown together
MANY = 5  # notifications at once; more become one
SHOWN = 3  # of those, the last, in its text
BACKLOG = 1000  # not yet shown; while there are so many we do not read on
POLICY = 1008  # close code: not with this token


class Agent:
    """Moves notifications from the server to the desktop until cancelled; raises `Refused`."""

    def __init__(self, account: Account, desktop: Desktop, language: str) -> None:
        self._account = account
        self._desktop = desktop
        self._language = language
        self._texts = TEXTS[language]
        self._received = account.last_id  # what waits to be shown must not come again
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BACKLOG)

    async def run(self) -> None:
        tasks = [asyncio.create_task(each) for each in (self._show(), self._follow(), self._bus())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()  # none of them ends but by an exception
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _show(self) -> None:
        """Shows what comes, and remembers it when it has been shown."""
        while True:
            batch = [await self._waiting.get()]
            await asyncio.sleep(GATHER)
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            if len(batch) > MANY:
                title = self._texts["many"].format(count=len(batch))
                body = "\n".join(each["text"] for each in batch[-SHOWN:])
                await self._desktop.show(title, body, self._page("orders"), self._texts["open_many"])
                await self._remember(batch[-1])
                continue
            for each in batch:
                title, _, body = each["text"].partition(": ")
                url = self._page(f"orders/{each['order_id']}")
                await self._desktop.show(title, body, url, self._texts["open"])
                await self._remember(each)

    async def _remember(self, shown: dict[str, Any]) -> None:
        self._account.last_id = shown["id"]
        await asyncio.to_thread(self._account.save)

    def _page(self, place: str) -> str:
        return f"{self._account.url}/panel/#/{place}"

    async def _bus(self) -> None:
        await self._desktop.gone()
        raise ConnectionError("the session bus is gone")

    async def _follow(self) -> None:
        """Connects again and again. A refused token is renewed, which tells whether the session has ended;
        where a renewed one is refused, too, we are not wanted."""
        pause, refused = FIRST, 0
        token: str | None = None
        while True:
            try:
                if token is None:
                    token = await asyncio.to_thread(self._account.refresh)
                if self._received is None:
                    self._received = await asyncio.to_thread(self._account.newest, token)
                async with self._connection(token) as connection:
                    log.info("connected to %s", self._account.url)
                    with suppress(ConnectionClosed):
                        async for line in connection:
                            pause, refused = FIRST, 0
                            await self._take(json.loads(line))
                why = connection.close_reason or f"closed with {connection.close_code}"
                if connection.close_code == POLICY:
                    token, refused = None, refused + 1
                    if refused == 2:
                        raise Refused(f"the server refuses {self._account.email}: {why}")
            except (httpx2.HTTPError, OSError, WebSocketException, ValueError, KeyError) as error:
                why = f"{type(error).__name__}: {error}"
            log.warning("not connected (%s); again in about %.0f s", why, pause)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # not all desktops at once
            pause = min(pause * 2, LONGEST)

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "notification":
            await self._waiting.put(message["payload"])
            self._received = message["payload"]["id"]

    def _connection(self, token: str) -> connect:
        url = self._account.url.replace("http", "ws", 1)
        return connect(
            f"{url}/ws/notifications?after={self._received}&language={self._language}",
            ssl=self._account.tls(),
            additional_headers={"Authorization": f"Bearer {token}"},
        )
