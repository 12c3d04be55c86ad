"""Puts the service together from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NotRequired

import kit.app
from fastapi import FastAPI
from kit import logging
from kit.broker import RabbitPublisher
from kit.database import Database
from kit.outbox import Relay
from kit.settings import BrokerSettings, Settings
from sqlalchemy.exc import SQLAlchemyError

from auth.accounts import Accounts
from auth.contracts import Contract
from auth.limits import Limits
from auth.passwords import Passwords
from auth.resets import Resets
from auth.sessions import Grants, Sessions
from auth.settings import AuthSettings, WarehouseSettings

log = logging.get("auth")

PURGE = 600.0  # seconds
SEND = 1.0


class State(kit.app.State):
    accounts: Accounts
    grants: Grants
    sessions: Sessions
    resets: NotRequired[Resets]


def contract(settings: Settings) -> Contract:
    """The one that the settings name, or exit status 2."""
    found: Contract = kit.app.contract("auth", settings.contract).CONTRACT
    return found


def create(settings: AuthSettings) -> FastAPI:
    """`settings` of the contract's class. Ready without RabbitMQ: only events wait for it."""
    chosen = contract(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        passwords = Passwords()
        limits = Limits(
            window=settings.login_window,
            per_account=settings.login_attempts,
            per_client=settings.client_attempts,
            registrations=settings.client_registrations,
        )
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(Database.open(settings))
            if isinstance(settings, BrokerSettings):
                publisher = await stack.enter_async_context(RabbitPublisher.open(settings, chosen.topics))
                relay = Relay(database, publisher, queues=chosen.queues, registry=app.state.metrics.registry)
                await stack.enter_async_context(relay.running())
            grants = Grants(database, settings.issuer(), settings.session_lifetime, chosen.claims)
            accounts = Accounts(database, passwords, grants, limits, chosen.rules)
            sessions = Sessions(database, settings.verifier())
            state = State(
                database=database,
                authenticator=sessions,
                accounts=accounts,
                grants=grants,
                sessions=sessions,
            )
            tasks = [asyncio.create_task(_every(PURGE, accounts.purge))]
            if isinstance(settings, WarehouseSettings):
                resets = Resets(
                    database,
                    passwords,
                    limits,
                    settings.public_url,
                    settings.reset_lifetime,
                    settings.client_resets,
                )
                state["resets"] = resets
                tasks.append(asyncio.create_task(_every(SEND, resets.send)))
            try:
                yield state
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                passwords.close()
                await sessions.close()

    return kit.app.create(
        settings, title="Auth", routers=[chosen.router], lifespan=lifespan, errors=chosen.errors
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
