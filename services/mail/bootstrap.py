"""Puts the service together from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import kit.app
from fastapi import FastAPI
from kit import logging
from kit.authentication import Local
from kit.consumer import Consumer
from kit.database import Database
from kit.effects import once
from kit.tokens import Verifier
from sqlalchemy.exc import SQLAlchemyError

from mail import maillog
from mail.delivery import Relay
from mail.rendering import Templates
from mail.sending import QUEUE, Mailer
from mail.settings import MailSettings

log = logging.get("mail")

PURGE = 3600.0  # seconds


class State(kit.app.State):
    templates: Templates


def create(settings: MailSettings) -> FastAPI:
    """Ready without RabbitMQ and without the relay: requests wait in the queue while either is down."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        registry = app.state.metrics.registry
        templates = Templates(settings)
        async with Database.open(settings) as database, Relay.open(settings) as relay:
            mailer = Mailer(settings, database, templates, relay, registry)
            consumer = Consumer(
                settings,
                QUEUE,
                once(database, settings.service_name, mailer),
                database=database,
                concurrency=settings.mail_parallel,
                delays=settings.mail_delays,
                registry=registry,
            )
            purging = asyncio.create_task(_purge(database, settings.mail_log_days))
            try:
                async with consumer.running():
                    authenticator = Local(Verifier(settings.token_public_key, settings.application))
                    yield State(database=database, authenticator=authenticator, templates=templates)
            finally:
                purging.cancel()

    return kit.app.create(
        settings,
        title="Mail",
        routers=[kit.app.contract("mail", settings.contract).router],
        lifespan=lifespan,
    )


async def _purge(database: Database, days: int) -> None:
    while True:
        await asyncio.sleep(PURGE)
        try:
            async with database.transaction() as session:
                await maillog.purge(session, days)
        except SQLAlchemyError as error:
            log.warning("purge failed", reason=type(error).__name__)
