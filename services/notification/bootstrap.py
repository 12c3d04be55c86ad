"""Puts the service together from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import kit.app
from fastapi import FastAPI
from kit import logging
from kit.authentication import Local
from kit.calls import ServiceClient
from kit.consumer import Consumer
from kit.database import Database
from kit.effects import AT_ONCE
from kit.live import Gate, Hub
from kit.remote import Remote
from kit.tokens import Verifier

from notification.enrichment import Enrichment
from notification.notifications import FEED, QUEUE, STAFF, Notification, Notifications
from notification.settings import NotificationSettings

log = logging.get("notification")

PURGE = 3600.0  # seconds


class State(kit.app.State):
    notifications: Notifications
    gate: Gate[Notification]


def create(settings: NotificationSettings) -> FastAPI:
    """Ready without RabbitMQ and orders: what is logged can be read, and webhooks are taken."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        verifier = Verifier(settings.token_public_key, settings.application)
        registry = app.state.metrics.registry
        async with (
            Database.open(settings) as database,
            ServiceClient.open(settings, settings.orders_url) as orders,
            Remote.open(settings, verifier) as remote,
            Hub.running(database, FEED, settings, registry) as hub,
        ):
            enrichment = Enrichment(orders, settings.orders_timeout, settings.orders_pause, registry)
            retention = timedelta(days=settings.retention_days)
            notifications = Notifications(database, enrichment, settings.service_name, retention)
            gate = Gate(settings, hub, verifier, remote, STAFF)
            consumer = Consumer(
                settings,
                QUEUE,
                notifications.received["rabbitmq"],
                database=database,
                concurrency=AT_ONCE,
                registry=registry,
            )

            stop = asyncio.Event()
            purging = asyncio.create_task(_purge(notifications, stop))
            try:
                async with consumer.running():
                    yield State(
                        database=database,
                        authenticator=Local(verifier),
                        notifications=notifications,
                        gate=gate,
                    )
            finally:
                stop.set()
                await purging

    return kit.app.create(
        settings,
        title="Notification",
        routers=[kit.app.contract("notification", settings.contract).router],
        lifespan=lifespan,
    )


async def _purge(notifications: Notifications, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            if gone := await notifications.purge():
                log.info("old notifications forgotten", count=gone)
        except Exception as error:  # whatever it is: a purge that ended here would be missed by nobody
            log.warning("purge failed", reason=type(error).__name__)
        with suppress(TimeoutError):
            async with asyncio.timeout(PURGE):
                await stop.wait()
