"""Logins: begun, refreshed, listed, ended; and whose a token is at this moment."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from kit import logging
from kit.authentication import Identity
from kit.batch import Batch
from kit.database import Database
from kit.errors import Unavailable
from kit.tokens import Claims, InvalidToken, Issuer, Verifier
from sqlalchemy import BigInteger, ColumnElement, String, cast, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import opaque
from auth.models import EndedSession, RefreshToken, Session, User

log = logging.get("auth.sessions")

TIMEOUT = 5.0  # seconds
MOST = 500  # sessions in a list, the newest
GRACE = timedelta(seconds=30)  # in which a refresh whose answer was lost may be asked for again
KEPT = timedelta(days=7)  # how long an ended session stays, for those who ask who was logged in


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a login comes from."""

    client: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login or a refresh gives. `expires_in` is the access token's, in seconds."""

    access: str
    refresh: str
    expires_in: int
    session: str
    user: User


@dataclass(frozen=True, slots=True)
class Grants:
    """Gives tokens. `lifetime` of a session in seconds: no refresh makes it longer.

    `claims` are those that only the contract's tokens have.
    """

    database: Database
    issuer: Issuer
    lifetime: int
    claims: Callable[[User], dict[str, Any]]

    async def start(self, session: AsyncSession, user: User, origin: Origin) -> Grant:
        """A new session, in the caller's transaction."""
        started = Session(
            id=uuid.uuid4(),
            user_id=user.id,
            client=origin.client[:64],
            user_agent=origin.user_agent[:256],
            expires_at=datetime.now(UTC) + timedelta(seconds=self.lifetime),
        )
        session.add(started)
        await session.flush()
        token, digest = opaque.new()
        session.add(RefreshToken(digest=digest, session_id=started.id))
        return self._grant(user, started.id, token)

    async def refresh(self, token: str) -> Grant:
        """New tokens for one that was not used before; raises `InvalidToken`.

        One that comes again at once, by a page that was reloaded or a second tab, gets what it got the first
        time, as long as nobody has used that. Any other that comes twice was stolen, from whichever of the
        two: the whole session ends. That is committed before the refusal is sent, so the thief has nothing
        left by then. A thief who comes within the grace gets the owner's own next token and no other: the
        session ends when both have used that.
        """
        async with self.database.transaction() as session:
            # The lock makes two with the same token one after the other: the second finds it used.
            found = (
                await session.execute(
                    select(RefreshToken, Session, User)
                    .join(Session, Session.id == RefreshToken.session_id)
                    .join(User, User.id == Session.user_id)
                    .where(RefreshToken.digest == opaque.digest(token), *_live())
                    .with_for_update(of=(RefreshToken, Session))
                )
            ).one_or_none()
            grant = None
            if found is not None:
                used, family, user = found
                if used.used_at is None:
                    used.used_at = family.refreshed_at = func.now()
                    family.heir_salt = secrets.token_bytes(32)
                    heir, digest = opaque.heir(token, family.heir_salt)
                    session.add(RefreshToken(digest=digest, session_id=family.id))
                    grant = self._grant(user, family.id, heir)
                elif again := await self._again(session, token, family):
                    grant = self._grant(user, family.id, again)
                else:
                    log.warning("refresh token reused", user_id=user.id, session=str(family.id))
                    await end(session, user.id, family.id)
        if grant is None:
            raise InvalidToken
        return grant

    @staticmethod
    async def _again(session: AsyncSession, token: str, family: Session) -> str | None:
        """What this used token gave, if that is the family's newest, not used itself, and given just now.

        The salt is the newest one's: with any older token it makes what nobody was given.
        """
        if family.heir_salt is None:
            return None
        heir, digest = opaque.heir(token, family.heir_salt)
        given = await session.scalar(
            select(RefreshToken.session_id).where(
                RefreshToken.digest == digest,
                RefreshToken.used_at.is_(None),
                RefreshToken.created_at > func.clock_timestamp() - GRACE,
            )
        )
        return heir if given else None

    def _grant(self, user: User, session_id: uuid.UUID, token: str) -> Grant:
        access = self.issuer.issue(
            user_id=user.id,
            email=user.email,
            role=user.role,
            session=str(session_id),
            more=self.claims(user),
        )
        return Grant(access, token, self.issuer.lifetime, str(session_id), user)


async def listed(session: AsyncSession, user_id: int) -> Sequence[Session]:
    """Sessions of a user that stand, the newest first."""
    mine = select(Session).where(Session.user_id == user_id, *_live())
    return (await session.scalars(mine.order_by(Session.created_at.desc(), Session.id).limit(MOST))).all()


async def end(session: AsyncSession, user_id: int, session_id: str | uuid.UUID) -> bool:
    """Revokes one session of this user; false if they have none like it."""
    return await _revoke(session, user_id, Session.id == uuid.UUID(str(session_id))) > 0


async def end_all(session: AsyncSession, user_id: int, keep: str | None = None) -> int:
    """Revokes all sessions of a user but `keep`; how many those were."""
    # The user is locked: two who end each other's sessions would lock rows in different orders.
    await session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    return await _revoke(session, user_id, *([Session.id != uuid.UUID(keep)] if keep else []))


async def ended(
    session: AsyncSession, since: int, lifetime: int
) -> tuple[int, Sequence[tuple[uuid.UUID, datetime]]]:
    """A cursor for the next call, and sessions revoked since that of the last (0 is before all).

    With each comes the moment after which no token of it is good, `lifetime` seconds after its end. The
    cursor is the oldest transaction that was under way: whatever began before has been seen, and nothing is
    missed that commits late. What ended since may be told again.
    """
    # First, so that its snapshot is not younger than that of the rows.
    cursor = await session.scalar(select(_bigint(func.pg_snapshot_xmin(func.pg_current_snapshot())))) or 0
    begin = since if since <= cursor else 0  # a cursor of the future is of a database that was there before
    until = EndedSession.ended_at + timedelta(seconds=lifetime)
    found = select(EndedSession.session_id, until).where(EndedSession.xid >= begin, until > func.now())
    return cursor, [(row[0], row[1]) for row in await session.execute(found.order_by(EndedSession.xid))]


async def purge(session: AsyncSession, lifetime: int) -> None:
    """`lifetime` of an access token, in seconds."""
    old = func.now() - KEPT
    await session.execute(delete(Session).where(or_(Session.expires_at < old, Session.revoked_at < old)))
    over = EndedSession.ended_at < func.now() - timedelta(seconds=lifetime)
    await session.execute(delete(EndedSession).where(over))


async def _revoke(session: AsyncSession, user_id: int, *which: ColumnElement[bool]) -> int:
    mine = (Session.user_id == user_id, *_live(), *which)
    revoked = update(Session).where(*mine).values(revoked_at=func.now()).returning(Session.id)
    done = (await session.scalars(revoked)).all()
    if done:
        rows = select(Session.id, _bigint(func.pg_current_xact_id())).where(Session.id.in_(done))
        await session.execute(insert(EndedSession).from_select(["session_id", "xid"], rows))
    log.info("sessions ended", user_id=user_id, count=len(done))
    return len(done)


def _bigint(xid: ColumnElement[Any]) -> ColumnElement[int]:
    """Of an xid8, for which drivers know no type."""
    return cast(cast(xid, String), BigInteger)


def _live() -> tuple[ColumnElement[bool], ...]:
    return Session.revoked_at.is_(None), Session.expires_at > func.now()


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose a session that stands is, and what they are now."""

    user_id: int
    email: str
    role: str


class Sessions:
    """The authenticator behind every validate, so the hottest path there is.

    A good token is one whose session stands; a logout or a new role counts from the next request on.
    """

    def __init__(self, database: Database, verifier: Verifier) -> None:
        self._database = database
        self._verifier = verifier
        self._standing = Batch(self._fetch)
        self._connection: psycopg.AsyncConnection | None = None

    async def __call__(self, token: str) -> Identity:
        identity, _ = await self.look(token)
        return identity

    async def look(self, token: str) -> tuple[Identity, Claims]:
        """Raises `InvalidToken` if forged, expired, revoked or unknown; `Unavailable` without a database."""
        claims = self._verifier.verify(token)
        found = await self._standing(_uuid(claims.session))
        if found is None or found.user_id != claims.user_id:
            raise InvalidToken
        return Identity(found.user_id, found.email, found.role, claims.session, claims.uid), claims

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _fetch(self, sessions: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Standing]:
        """On a connection of its own and past the ORM: a quarter of the CPU. Survives a database restart."""
        try:
            return await self._ask(sessions)
        except (psycopg.Error, OSError, TimeoutError):
            await self.close()
        try:
            return await self._ask(sessions)
        except (psycopg.Error, OSError, TimeoutError) as error:
            await self.close()
            raise Unavailable from error

    async def _ask(self, sessions: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Standing]:
        async with asyncio.timeout(TIMEOUT):
            if self._connection is None:
                self._connection = await self._database.dedicated()
            rows = await (await self._connection.execute(STANDING, [list(sessions)])).fetchall()
        return {row[0]: Standing(*row[1:]) for row in rows}


STANDING = """
    SELECT sessions.id, users.id, users.email, users.role
    FROM sessions JOIN users ON users.id = sessions.user_id
    WHERE sessions.id = ANY(%s) AND sessions.revoked_at IS NULL AND sessions.expires_at > now()
"""


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise InvalidToken from error
