"""Puts the service together from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import kit.app
from fastapi import FastAPI
from kit import logging, outbox
from kit.authentication import Local
from kit.consumer import Consumer
from kit.database import Database
from kit.effects import AT_ONCE, together
from kit.tokens import Verifier

from analytics import projection
from analytics.reports import Reports, Scheduler
from analytics.settings import AnalyticsSettings

log = logging.get("analytics")

PURGE = 3600.0  # seconds


class State(kit.app.State):
    reports: Reports


def create(settings: AnalyticsSettings) -> FastAPI:
    """Ready without RabbitMQ: what was counted can be asked for, and what was missed is counted later."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        registry = app.state.metrics.registry
        verifier = Verifier(settings.token_public_key, settings.application)
        async with Database.open(settings) as database:
            reports = Reports(database, settings.zone)
            consumer = Consumer(
                settings,
                projection.QUEUE,
                together(database, settings.service_name, projection.apply, "event counted"),
                database=database,
                concurrency=AT_ONCE,
                registry=registry,
            )
            scheduler = Scheduler(reports, settings.runs, registry=registry)
            purging = asyncio.create_task(_purge(database))
            try:
                async with consumer.running(), scheduler.running():
                    yield State(database=database, authenticator=Local(verifier), reports=reports)
            finally:
                purging.cancel()
                await asyncio.gather(purging, return_exceptions=True)

    return kit.app.create(
        settings,
        title="Analytics",
        routers=[kit.app.contract("analytics", settings.contract).router],
        lifespan=lifespan,
    )


async def _purge(database: Database) -> None:
    while True:
        try:
            async with database.transaction() as session:
                await outbox.purge(session)
        except Exception as error:  # whatever it is: a purge that ended here would be missed by nobody
            log.warning("purge failed", reason=type(error).__name__)
        await asyncio.sleep(PURGE)
