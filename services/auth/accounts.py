"""What auth does: register, log in and out, say who a token belongs to, assign roles."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kit import logging
from kit.authentication import Identity
from kit.database import Database
from kit.errors import Conflict, NotFound, Unauthorized
from kit.tokens import Issuer
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.limits import LoginLimit
from auth.models import LoginAttempts, Role, Session, User
from auth.passwords import Passwords

log = logging.get("auth")

EMAIL = re.compile(
    r"^[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$"
)
KEPT = timedelta(days=7)  # how long an ended session stays, for those who ask who was logged in


class BadCredentials(Unauthorized):
    """401, the same for an unknown e-mail and for a wrong password."""

    text = "Invalid email or password"


class EmailTaken(Conflict):
    """409 with the text that the warehouse documents for this case."""

    text = "Failed to create user"


class LastAdmin(Conflict):
    text = "The last admin must stay one"


def normalised(email: str) -> str:
    """The address as it is stored and compared; raises ValueError if it is none."""
    found = email.strip().lower()
    if len(found) > 254 or not EMAIL.match(found) or ".." in found or found.startswith("."):
        raise ValueError("is not an e-mail address")
    return found


@dataclass(frozen=True, slots=True)
class Accounts:
    """The use cases. Those that hash open short transactions themselves, so none waits for bcrypt."""

    database: Database
    passwords: Passwords
    issuer: Issuer
    limit: LoginLimit

    async def register(self, email: str, password: str, role: Role = "customer") -> int:
        """The new user's id; raises `EmailTaken`."""
        hashed = await self.passwords.hash(password)
        async with self.database.transaction() as session:
            return await create(session, email, hashed, role)

    async def login(self, email: str, password: str, client: str, user_agent: str) -> tuple[str, User]:
        """A token of a new session; raises `BadCredentials`, `TooManyRequests`."""
        await self.limit.count(self.database, email, client)
        async with self.database.transaction() as session:
            user = await session.scalar(select(User).where(User.email == email))
        good, rehashed = await self.passwords.verify(password, user.password_hash if user else None)
        if not good or user is None:
            log.info("login refused", client=client)
            raise BadCredentials
        started = Session(
            id=uuid.uuid4(),
            user_id=user.id,
            client=client[:64],
            user_agent=user_agent[:256],
            expires_at=datetime.now(UTC) + timedelta(seconds=self.issuer.lifetime),
        )
        async with self.database.transaction() as session:
            session.add(started)
            await self.limit.forgive(session, email, client)
            if rehashed:
                await session.execute(update(User).where(User.id == user.id).values(password_hash=rehashed))
        log.info("login", user_id=user.id, session=str(started.id))
        token = self.issuer.issue(user_id=user.id, email=user.email, role=user.role, session=str(started.id))
        return token, user

    async def logout(self, identity: Identity) -> None:
        """Puts the session's token on the blacklist."""
        async with self.database.transaction() as session:
            await session.execute(
                update(Session)
                .where(Session.id == uuid.UUID(identity.session), Session.revoked_at.is_(None))
                .values(revoked_at=func.now())
            )
        log.info("logout", user_id=identity.user_id, session=identity.session)

    async def purge(self) -> None:
        """Forgets long ended sessions and windows of failed logins."""
        async with self.database.transaction() as session:
            await session.execute(delete(Session).where(Session.expires_at < func.now() - KEPT))
            ended = func.now() - timedelta(seconds=self.limit.window)
            await session.execute(delete(LoginAttempts).where(LoginAttempts.started_at < ended))


async def create(session: AsyncSession, email: str, hashed: str, role: Role) -> int:
    """Inserts a user; raises `EmailTaken`, also when two come at once."""
    statement = insert(User).values(email=email, password_hash=hashed, role=role)
    found = await session.scalar(
        statement.on_conflict_do_nothing(index_elements=["email"]).returning(User.id)
    )
    if found is None:
        raise EmailTaken
    log.info("user created", user_id=found, role=role)
    return int(found)


async def get(session: AsyncSession, user_id: int) -> User:
    user = await session.get(User, user_id)
    if user is None:
        raise NotFound("User not found")
    return user


async def page(session: AsyncSession, limit: int, offset: int) -> tuple[Sequence[User], int]:
    """Users by id, and how many there are."""
    users = (await session.scalars(select(User).order_by(User.id).limit(limit).offset(offset))).all()
    return users, await session.scalar(select(func.count()).select_from(User)) or 0


async def assign(session: AsyncSession, user_id: int, role: Role, by: Identity) -> User:
    """Gives a user a role, at once for every token of theirs; raises `NotFound`, `LastAdmin`."""
    # All admins are locked, in one order: two admins who demote each other must not both succeed.
    admins = (
        await session.scalars(select(User.id).where(User.role == "admin").order_by(User.id).with_for_update())
    ).all()
    user = await session.get(User, user_id, with_for_update=True, populate_existing=True)
    if user is None:
        raise NotFound("User not found")
    if role != "admin" and list(admins) == [user_id]:
        raise LastAdmin
    log.info("role assigned", user_id=user_id, old=user.role, new=role, by=by.user_id)
    user.role = role
    await session.flush()
    await session.refresh(user)
    return user
