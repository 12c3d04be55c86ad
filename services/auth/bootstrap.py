"""Puts the service together from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import kit.app
from fastapi import FastAPI
from kit import logging
from kit.broker import RabbitPublisher
from kit.database import Database
from kit.outbox import Relay
from kit.tokens import Issuer, Verifier
from sqlalchemy.exc import SQLAlchemyError

from auth.accounts import Accounts
from auth.limits import Limits
from auth.mails import QUEUE
from auth.passwords import Passwords
from auth.resets import Resets
from auth.sessions import Grants, Sessions
from auth.settings import AuthSettings

log = logging.get("auth")

PURGE = 600.0  # seconds
SEND = 1.0


class State(kit.app.State):
    accounts: Accounts
    grants: Grants
    resets: Resets
    sessions: Sessions


def create(settings: AuthSettings) -> FastAPI:
    """Ready without RabbitMQ: only mails wait for it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        verifier = Verifier(settings.token_public_key, settings.application)
        passwords = Passwords()
        issuer = Issuer(
            settings.token_private_key.get_secret_value(), settings.application, settings.token_lifetime
        )
        limits = Limits(
            window=settings.login_window,
            per_account=settings.login_attempts,
            per_client=settings.client_attempts,
            registrations=settings.client_registrations,
            resets=settings.client_resets,
        )
        async with (
            Database.open(settings) as database,
            RabbitPublisher.open(settings) as publisher,
            Relay(database, publisher, queues=(QUEUE,), registry=app.state.metrics.registry).running(),
        ):
            grants = Grants(database, issuer, settings.session_lifetime)
            accounts = Accounts(database, passwords, grants, limits)
            resets = Resets(database, passwords, limits, settings.public_url, settings.reset_lifetime)
            sessions = Sessions(database, verifier)
            tasks = [
                asyncio.create_task(_every(PURGE, accounts.purge)),
                asyncio.create_task(_every(SEND, resets.send)),
            ]
            try:
                yield State(
                    database=database,
                    authenticator=sessions,
                    accounts=accounts,
                    grants=grants,
                    resets=resets,
                    sessions=sessions,
                )
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                passwords.close()
                await sessions.close()

    return kit.app.create(
        settings, title="Auth", routers=kit.app.contract("auth", settings.contract), lifespan=lifespan
    )


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Again and again, through outages, of which the first failure is told."""
    down = False
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:  # whatever it is: work that ended here would be missed by nobody
            if not down:
                expected = isinstance(error, SQLAlchemyError)
                log.warning(f"{work.__name__} failed", reason=type(error).__name__, exc_info=not expected)
            down = True
        else:
            down = False
