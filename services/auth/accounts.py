"""What auth does: register, log in and out, change a password, list people, assign roles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from kit import logging, outbox
from kit.authentication import Identity
from kit.database import Database
from kit.errors import Conflict, Invalid, NotFound, Unauthorized
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth import sessions
from auth.limits import Limits
from auth.mails import mail
from auth.models import Language, LoginAttempts, PasswordReset, Role, User
from auth.passwords import Passwords, weakness
from auth.sessions import Grant, Grants, Origin

log = logging.get("auth")

EMAIL = re.compile(
    r"^[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$"
)


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
    """The use cases. Those that hash open short transactions themselves, so none waits for a hash."""

    database: Database
    passwords: Passwords
    grants: Grants
    limits: Limits

    async def register(
        self, email: str, password: str, role: Role, language: Language, client: str | None
    ) -> int:
        """The new user's id; raises `EmailTaken`, and `TooManyRequests` unless `client` is None."""
        if client is not None:
            await self.limits.register(self.database, client)
        hashed = await self.passwords.hash(password)
        async with self.database.transaction() as session:
            user_id = await create(session, email, hashed, role, language)
            await outbox.add(session, mail("welcome", user_id, email, language, {"email": email}))
        return user_id

    async def login(self, email: str, password: str, origin: Origin) -> Grant:
        """Tokens of a new session; raises `BadCredentials`, `TooManyRequests`."""
        await self.limits.login(self.database, email, origin.client)
        async with self.database.transaction() as session:
            user = await session.scalar(select(User).where(User.email == email))
        good, rehashed = await self.passwords.verify(password, user.password_hash if user else None)
        if not good or user is None:
            log.info("login refused", client=origin.client)
            raise BadCredentials
        async with self.database.transaction() as session:
            if not await _unchanged(session, user):
                raise BadCredentials
            await self.limits.forgive(session, email, origin.client)
            if rehashed:
                await session.execute(
                    update(User)
                    .where(User.id == user.id)
                    .values(password_hash=rehashed, updated_at=User.updated_at)
                )
            grant = await self.grants.start(session, user, origin)
        log.info("login", user_id=user.id, session=grant.session)
        return grant

    async def change_password(self, identity: Identity, old: str, new: str, client: str) -> None:
        """Ends the user's other sessions. A wrong `old` counts as a failed login; raises `Invalid`."""
        wrong = Invalid({"old_password": "is wrong"})
        await self.limits.login(self.database, identity.email, client)
        async with self.database.transaction() as session:
            user = await get(session, identity.user_id)
        good, _ = await self.passwords.verify(old, user.password_hash)
        if not good:
            raise wrong
        if problem := "must be another one" if new == old else weakness(new, user.email):
            raise Invalid({"new_password": problem})
        hashed = await self.passwords.hash(new)
        async with self.database.transaction() as session:
            if not await _unchanged(session, user):
                raise wrong
            await self.limits.forgive(session, user.email, client)
            await set_password(session, user.id, hashed, keep=identity.session)

    async def logout(self, identity: Identity) -> None:
        """Puts the session's access tokens on the blacklist, and its refresh token out of use."""
        async with self.database.transaction() as session:
            await sessions.end(session, identity.user_id, identity.session)

    async def purge(self) -> None:
        """Forgets long ended sessions, dead links of resets, and windows of tries."""
        async with self.database.transaction() as session:
            await sessions.purge(session)
            await session.execute(delete(PasswordReset).where(PasswordReset.expires_at < func.now()))
            ended = func.now() - timedelta(seconds=self.limits.window)
            await session.execute(delete(LoginAttempts).where(LoginAttempts.started_at < ended))


async def create(session: AsyncSession, email: str, hashed: str, role: Role, language: Language) -> int:
    """Inserts a user; raises `EmailTaken`, also when two come at once."""
    statement = insert(User).values(email=email, password_hash=hashed, role=role, language=language)
    found = await session.scalar(
        statement.on_conflict_do_nothing(index_elements=["email"]).returning(User.id)
    )
    if found is None:
        raise EmailTaken
    log.info("user created", user_id=found, role=role)
    return int(found)


async def set_password(session: AsyncSession, user_id: int, hashed: str, keep: str | None = None) -> None:
    """Ends every session but `keep`, and every link that could set yet another password."""
    await session.execute(
        update(User).where(User.id == user_id).values(password_hash=hashed, password_changed_at=func.now())
    )
    await session.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))
    await sessions.end_all(session, user_id, keep)
    log.info("password changed", user_id=user_id)


async def get(session: AsyncSession, user_id: int) -> User:
    user = await session.get(User, user_id)
    if user is None:
        raise NotFound("User not found")
    return user


async def page(
    session: AsyncSession, query: str, role: Role | None, limit: int, offset: int
) -> tuple[Sequence[User], int]:
    """Users by id whose address has `query` in it, and how many there are on all pages."""
    wanted = [User.email.contains(query.lower(), autoescape=True)] if query else []
    if role:
        wanted.append(User.role == role)
    statement = select(User).where(*wanted).order_by(User.id).limit(limit).offset(offset)
    users = (await session.scalars(statement)).all()
    return users, await session.scalar(select(func.count()).select_from(User).where(*wanted)) or 0


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


async def _unchanged(session: AsyncSession, user: User) -> bool:
    """Locks the user; false if the password that was verified meanwhile is no longer theirs.

    Without it a login with the old password could begin a session just after a reset has ended them all.
    """
    same = User.password_changed_at == user.password_changed_at
    locked = select(User.id).where(User.id == user.id, same).with_for_update(key_share=True)
    return await session.scalar(locked) is not None
