"""Asks the service of users whether somebody is one, where a contract wants that of who places an order."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from kit import logging
from kit.authentication import Identity
from kit.breaker import Breaker
from kit.calls import ServiceClient
from kit.errors import Unavailable
from kit.settings import Settings
from kit.tokens import InvalidToken

log = logging.get("orders.users")

KNOWN = 600.0  # seconds that a user counts as one without being asked for, while nobody answers
MOST = 10_000  # users remembered


class Users:
    """Over HTTP, with the caller's own token: what it answers holds for them, and for their session too.

    Tried again, and behind a breaker. While the service is away, who was a user a moment ago still is one:
    orders go on for those who were about; for others there is `Unavailable`.
    """

    def __init__(self, service: ServiceClient, breaker: Breaker) -> None:
        self._service = service
        self._breaker = breaker
        self._known: OrderedDict[UUID, tuple[str, float]] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, url: str) -> AsyncIterator[Users]:
        service = ServiceClient.open(settings, url.rstrip("/"), timeout=2.0, attempts=3, patience=5.0)
        async with service as found:
            yield cls(found, Breaker("users"))

    async def name(self, identity: Identity, token: str) -> str:
        """What the caller is called; raises `InvalidToken` if they are no user any more, `Unavailable`."""
        if identity.uid is None:
            raise InvalidToken
        try:
            async with self._breaker():
                answer = await self._service.get(
                    f"/users/{identity.uid}", headers={"Authorization": f"Bearer {token}"}
                )
                if answer.status_code >= 500:
                    raise Unavailable
        except Unavailable:
            name, until = self._known.get(identity.uid, ("", 0.0))
            if until < time.monotonic():
                raise
            log.warning("user taken as known", breaker=self._breaker.state)
            return name
        if answer.status_code != 200:
            self._known.pop(identity.uid, None)
            raise InvalidToken
        found: str = answer.json()["data"]["name"]
        self._known[identity.uid] = (found, time.monotonic() + KNOWN)
        self._known.move_to_end(identity.uid)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return found
