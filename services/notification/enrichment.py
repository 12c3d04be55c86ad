"""What only orders knows of an order, asked over HTTP: a notification goes without it if need be."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import httpx2
from kit import logging
from kit.calls import ServiceClient
from kit.errors import Unavailable
from prometheus_client import CollectorRegistry, Counter

log = logging.get("notification.enrichment")


@dataclass(frozen=True, slots=True)
class Details:
    source: str
    customer_email: str


class Enrichment:
    """Asks orders, for at most `timeout` seconds; after a failure nobody is asked for `pause` seconds.

    So one that is down or slow makes a few notifications late by `timeout`, not all of them.
    """

    def __init__(
        self, orders: ServiceClient, timeout: float, pause: float, registry: CollectorRegistry
    ) -> None:
        self._orders = orders
        self._timeout = timeout
        self._pause = pause
        self._until = float("-inf")
        self._asked = Counter(
            "enrichment",
            "Notifications of new orders, by whether orders told more",
            ["outcome"],
            registry=registry,
        )

    async def of(self, order_id: int) -> Details | None:
        """The order's details, or None where they cannot be had in time."""
        if time.monotonic() < self._until:
            self._asked.labels("skipped").inc()
            return None
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._orders.get(f"/api/orders/{order_id}")
            found = answer.raise_for_status().json()
            details = Details(str(found["source"]), str(found["customer_email"]))
        except (Unavailable, httpx2.HTTPError, TimeoutError, ValueError, KeyError) as error:
            self._until = time.monotonic() + self._pause
            self._asked.labels("failed").inc()
            log.warning("orders told no details", order_id=order_id, reason=type(error).__name__)
            return None
        self._asked.labels("told").inc()
        return details
