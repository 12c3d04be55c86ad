"""What auth does: register, log in and out, change a password, list people, assign roles."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kit import logging, outbox
from kit.authentication import Identity
from kit.database import Database
from kit.errors import Conflict, Invalid, NotFound, Unauthorized
from kit.outbox import Event
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import sessions
from auth.limits import Limits
from auth.models import ROLES, Language, LoginAttempts, PasswordReset, Role, User
from auth.passwords import Passwords, weakness
from auth.sessions import Grant, Grants, Origin

log = logging.get("auth")

EMAIL = re.compile(
    r"^[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$"
)


Change = Literal["registered", "updated", "deleted"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a contract asks of the use cases, beyond its shapes.

    `told` makes the events of a user's change. Where tokens are `believed`, nobody asks us about each
    request: the gateway hears which sessions have ended, and so a lesser role ends those of a greater one.
    """

    told: Callable[[Change, User], Sequence[Event]]
    strict_passwords: bool = True
    believed: bool = False


class BadCredentials(Unauthorized):
    """401, the same for an unknown e-mail and for a wrong password."""

    code = "INVALID_CREDENTIALS"
    text = "Invalid email or password"


class EmailTaken(Conflict):
    """409 with the text that the warehouse documents for this case."""

    code = "EMAIL_EXISTS"
    text = "Failed to create user"


class LastAdmin(Conflict):
    text = "The last admin must stay one"


class WrongPassword(Invalid):
    """400: who would change a password gave another one than the present."""

    def __init__(self) -> None:
        super().__init__({"old_password": "is wrong"})


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
    rules: Rules

    async def register(
        self,
        email: str,
        password: str,
        client: str | None,
        *,
        name: str = "",
        role: Role = "customer",
        language: Language = "pl",
    ) -> User:
        """The new user; raises `EmailTaken`, and `TooManyRequests` unless `client` is None."""
        if client is not None:
            await self.limits.register(self.database, client)
        hashed = await self.passwords.hash(password)
        async with self.database.transaction() as session:
            user = await create(session, email, hashed, role, language, name)
            await outbox.add(session, *self.rules.told("registered", user))
        return user

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
            # As they are now, and locked: a token must not say a role that was taken away meanwhile.
            user = await get(session, user.id)
            grant = await self.grants.start(session, user, origin)
        log.info("login", user_id=user.id, session=grant.session)
        return grant

    async def change_password(self, identity: Identity, old: str, new: str, client: str) -> None:
        """Ends the user's other sessions; raises `Invalid`, `WrongPassword` (counted as a failed login)."""
        async with self.database.transaction() as session:
            user = await get(session, identity.user_id)
        strict = self.rules.strict_passwords
        if problem := "must be another one" if new == old else weakness(new, user.email, strict):
            raise Invalid({"new_password": problem})
        await self.limits.login(self.database, user.email, client)
        good, _ = await self.passwords.verify(old, user.password_hash)
        if not good:
            raise WrongPassword
        hashed = await self.passwords.hash(new)
        async with self.database.transaction() as session:
            if not await _unchanged(session, user):
                raise WrongPassword
            await self.limits.forgive(session, user.email, client)
            await set_password(session, user.id, hashed, keep=identity.session)

    async def logout(self, identity: Identity) -> None:
        """Puts the session's access tokens on the blacklist, and its refresh token out of use."""
        async with self.database.transaction() as session:
            await sessions.end(session, identity.user_id, identity.session)

    async def update(self, session: AsyncSession, user: User, name: str | None, email: str | None) -> User:
        """Changes what is given; raises `EmailTaken`."""
        user.name = user.name if name is None else name
        user.email = user.email if email is None else email
        try:
            await session.flush()
        except IntegrityError as error:
            raise EmailTaken from error
        await session.refresh(user)
        await outbox.add(session, *self.rules.told("updated", user))
        return user

    async def assign(self, session: AsyncSession, user: User, role: Role, by: Identity) -> User:
        """Gives a user a role; raises `LastAdmin`. In force at once, but for tokens that are believed."""
        await _not_the_last(session, user, role)
        log.info("role assigned", user_id=user.id, old=user.role, new=role, by=by.user_id)
        lesser = ROLES.index(role) > ROLES.index(user.role)
        user.role = role
        await session.flush()
        await session.refresh(user)
        if lesser and self.rules.believed:
            await sessions.end_all(session, user.id)
        return user

    async def remove(self, session: AsyncSession, user: User, by: Identity) -> None:
        """Deletes a user, whose sessions end; raises `LastAdmin`."""
        await _not_the_last(session, user, None)
        await sessions.end_all(session, user.id)
        await session.delete(user)
        await session.flush()
        await outbox.add(session, *self.rules.told("deleted", user))
        log.info("user deleted", user_id=user.id, by=by.user_id)

    async def purge(self) -> None:
        """Forgets long ended sessions, dead links of resets, and windows of tries."""
        async with self.database.transaction() as session:
            await sessions.purge(session, self.grants.issuer.lifetime)
            await session.execute(delete(PasswordReset).where(PasswordReset.expires_at < func.now()))
            ended = func.now() - timedelta(seconds=self.limits.window)
            await session.execute(delete(LoginAttempts).where(LoginAttempts.started_at < ended))


async def create(
    session: AsyncSession, email: str, hashed: str, role: Role, language: Language, name: str
) -> User:
    """Inserts a user; raises `EmailTaken`, also when two come at once."""
    statement = insert(User).values(
        email=email, password_hash=hashed, role=role, language=language, name=name
    )
    only = statement.on_conflict_do_nothing(index_elements=["email"]).returning(User)
    found: User | None = await session.scalar(only)
    if found is None:
        raise EmailTaken
    log.info("user created", user_id=found.id, role=role)
    return found


async def set_password(session: AsyncSession, user_id: int, hashed: str, keep: str | None = None) -> None:
    """Ends every session but `keep`, and every link that could set yet another password."""
    await session.execute(
        update(User).where(User.id == user_id).values(password_hash=hashed, password_changed_at=func.now())
    )
    await session.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))
    await sessions.end_all(session, user_id, keep)
    log.info("password changed", user_id=user_id)


async def get(session: AsyncSession, key: int | uuid.UUID) -> User:
    """By `id` or by `uid`; raises `NotFound`."""
    column = User.uid if isinstance(key, uuid.UUID) else User.id
    user = await session.scalar(select(User).where(column == key))
    if user is None:
        raise NotFound("User not found")
    return user


async def page(
    session: AsyncSession, query: str, role: Role | None, limit: int, offset: int
) -> tuple[Sequence[User], int]:
    """Users by id whose address or name has `query` in it, and how many there are on all pages."""
    wanted = []
    if query:
        named = User.name.icontains(query, autoescape=True)
        wanted.append(or_(User.email.contains(query.lower(), autoescape=True), named))
    if role:
        wanted.append(User.role == role)
    statement = select(User).where(*wanted).order_by(User.id).limit(limit).offset(offset)
    users = (await session.scalars(statement)).all()
    return users, await session.scalar(select(func.count()).select_from(User).where(*wanted)) or 0


async def _not_the_last(session: AsyncSession, user: User, role: Role | None) -> None:
    """Locks the user, and raises `LastAdmin` if nobody else could give roles once they are `role` or gone."""
    # All admins are locked, in one order: two admins who demote each other must not both succeed.
    admins = select(User.id).where(User.role == "admin").order_by(User.id).with_for_update()
    found = (await session.scalars(admins)).all()
    if await session.get(User, user.id, with_for_update=True, populate_existing=True) is None:
        raise NotFound("User not found")
    if role != "admin" and list(found) == [user.id]:
        raise LastAdmin


async def _unchanged(session: AsyncSession, user: User) -> bool:
    """Locks the user; false if the password that was verified meanwhile is no longer theirs.

    Without it a login with the old password could begin a session just after a reset has ended them all.
    """
    same = User.password_changed_at == user.password_changed_at
    locked = select(User.id).where(User.id == user.id, same).with_for_update(key_share=True)
    return await session.scalar(locked) is not None
