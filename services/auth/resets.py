"""A forgotten password: a link by mail that works once, for an hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kit import logging, outbox
from kit.database import Database
from kit.errors import Invalid
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import accounts, opaque
from auth.limits import Limits
from auth.mails import mail
from auth.models import PasswordReset, ResetRequest, User
from auth.passwords import Passwords, weakness

log = logging.get("auth.resets")

LIVE = 3  # links of one user at a time, so that nobody can fill somebody's mailbox
BATCH = 50


@dataclass(frozen=True, slots=True)
class Resets:
    """`lifetime` of a link in seconds; it begins with `public_url`. `most` of one client in a window."""

    database: Database
    passwords: Passwords
    limits: Limits
    public_url: str
    lifetime: int
    most: int

    async def forgot(self, email: str, client: str) -> None:
        """Notes the wish, and no more: the answer must take as long where nobody has this address."""
        await self.limits.reset(self.database, client, self.most)
        async with self.database.transaction() as session:
            await session.execute(insert(ResetRequest).values(email=email))

    async def send(self) -> None:
        """Makes of the wishes noted, by whichever replica, links and their mails."""
        async with self.database.transaction() as session:
            oldest = select(ResetRequest.id).order_by(ResetRequest.id).limit(BATCH)
            taken = delete(ResetRequest).where(
                ResetRequest.id.in_(oldest.with_for_update(skip_locked=True).scalar_subquery())
            )
            emails = (await session.scalars(taken.returning(ResetRequest.email))).all()
            # Locked, and in one order: replicas must not both see room for a last link.
            users = select(User).where(User.email.in_(emails)).order_by(User.id).with_for_update()
            for user in (await session.scalars(users)).all() if emails else ():
                await self._link(session, user)

    async def _link(self, session: AsyncSession, user: User) -> None:
        live = (PasswordReset.user_id == user.id, PasswordReset.expires_at > func.now())
        if (await session.scalar(select(func.count()).where(*live)) or 0) >= LIVE:
            log.info("reset not mailed: enough links", user_id=user.id)
            return
        token, digest = opaque.new()
        expires = datetime.now(UTC) + timedelta(seconds=self.lifetime)
        await session.execute(
            insert(PasswordReset).values(digest=digest, user_id=user.id, expires_at=expires)
        )
        context = {
            "url": f"{self.public_url.rstrip('/')}/reset#token={token}",
            "expires_at": expires.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        await outbox.add(session, mail("password_reset", user.id, user.email, user.language, context))
        log.info("reset mailed", user_id=user.id)

    async def reset(self, token: str, new: str, client: str) -> None:
        """Sets the password and ends every session of the user; raises `Invalid`."""
        digest = opaque.digest(token)
        live = (PasswordReset.digest == digest, PasswordReset.expires_at > func.now())
        async with self.database.transaction() as session:
            user = await session.scalar(select(User).join(PasswordReset).where(*live))
        if user is None:
            raise _dead()
        if problem := weakness(new, user.email):
            raise Invalid({"new_password": problem})  # the link is good for another try
        hashed = await self.passwords.hash(new)
        async with self.database.transaction() as session:
            # The user first, as everybody locks; then the link, which only one of two can take.
            await session.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
            taken = delete(PasswordReset).where(*live).returning(PasswordReset.user_id)
            if await session.scalar(taken) is None:
                raise _dead()
            await accounts.set_password(session, user.id, hashed)
            await self.limits.forget(session, user.email, client)


def _dead() -> Invalid:
    return Invalid({"token": "is unknown, used or expired"})
