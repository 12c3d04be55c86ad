"""Migrations of auth_db, and the first admin."""

from __future__ import annotations

from kit import logging
from kit.database import Database
from kit.settings import load
from sqlalchemy import select

from auth import accounts
from auth.models import User
from auth.passwords import Passwords
from auth.settings import AdminSettings

log = logging.get("auth.migrations")


async def after_upgrade() -> None:
    """Creates the first admin from the secret files; one who exists is left alone, password and role."""
    settings = load(AdminSettings)
    try:
        email = accounts.normalised(settings.admin_email)
    except ValueError as error:
        raise SystemExit(f"error: secret file admin_email {error}") from None
    async with Database.open(settings) as database, database.transaction() as session:
        if await session.scalar(select(User.id).where(User.email == email)):
            log.info("first admin exists")
            return
        hashed = await Passwords().hash(settings.admin_password.get_secret_value())
        await accounts.create(session, email, hashed, "admin", "pl", "Admin")
