"""Puts the service together from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import kit.app
from fastapi import FastAPI
from kit import logging
from kit.database import Database
from kit.tokens import Issuer, Verifier
from sqlalchemy.exc import SQLAlchemyError

from auth.accounts import Accounts
from auth.limits import LoginLimit
from auth.passwords import Passwords
from auth.sessions import Sessions
from auth.settings import AuthSettings

log = logging.get("auth")

PURGE = 600.0  # seconds


class State(kit.app.State):
    accounts: Accounts
    sessions: Sessions


def create(settings: AuthSettings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        verifier = Verifier(settings.token_public_key, settings.application)
        passwords = Passwords(settings.bcrypt_cost)
        issuer = Issuer(
            settings.token_private_key.get_secret_value(), settings.application, settings.token_lifetime
        )
        limit = LoginLimit(settings.login_window, settings.login_attempts, settings.client_attempts)
        async with Database.open(settings) as database:
            accounts = Accounts(database, passwords, issuer, limit)
            sessions = Sessions(database, verifier)
            purging = asyncio.create_task(_purge(accounts))
            try:
                yield State(database=database, authenticator=sessions, accounts=accounts, sessions=sessions)
            finally:
                purging.cancel()
                passwords.close()
                await sessions.close()

    return kit.app.create(
        settings, title="Auth", routers=kit.app.contract("auth", settings.contract), lifespan=lifespan
    )


async def _purge(accounts: Accounts) -> None:
    while True:
        await asyncio.sleep(PURGE)
        try:
            await accounts.purge()
        except SQLAlchemyError as error:
            log.warning("purge failed", reason=type(error).__name__)
