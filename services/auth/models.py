"""Tables of auth_db."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal, get_args

from kit import outbox
from kit.database import metadata
from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, LargeBinary, String, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Role = Literal["admin", "employee", "customer"]
ROLES: tuple[Role, ...] = get_args(Role)  # the greatest first
Language = Literal["pl", "en"]


class Base(DeclarativeBase):
    metadata = metadata()


class User(Base):
    """An account. `email` is lower case, so that its uniqueness means what people mean.

    `password_changed_at` says which password a hash is of: a rehash of the same one leaves it. `uid` is what
    contracts with UUIDs call the user; `name` is empty where a contract asks for none.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'employee', 'customer')", name="role"),
        CheckConstraint("language IN ('pl', 'en')", name="language"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    uid: Mapped[uuid.UUID] = mapped_column(unique=True, server_default=func.gen_random_uuid())
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(100), server_default="")
    password_hash: Mapped[str] = mapped_column(String(128))
    password_changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    role: Mapped[str] = mapped_column(String(16))
    language: Mapped[str] = mapped_column(String(2), server_default="pl")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


class Session(Base):
    """A login: its id is the `sid` of its access tokens. The blacklist is the rows with `revoked_at`.

    `heir_salt` made the refresh token that is not used yet out of the one before it.
    """

    __tablename__ = "sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    client: Mapped[str] = mapped_column(String(64))
    user_agent: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    refreshed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    heir_salt: Mapped[bytes | None] = mapped_column(LargeBinary)


class EndedSession(Base):
    """A session that was revoked, also of a user who is gone, as long as its tokens would be good otherwise.

    `xid` is the transaction that ended it: by it a reader knows what it has seen (`auth.sessions.ended`).
    """

    __tablename__ = "ended_sessions"

    session_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    xid: Mapped[int] = mapped_column(BigInteger, index=True)
    ended_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class RefreshToken(Base):
    """By its SHA-256. A session has one that is not used; the used ones stay to show when one was stolen."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class ResetRequest(Base):
    """Somebody typed this address as theirs; whether anybody has it is found out after the answer."""

    __tablename__ = "reset_requests"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class PasswordReset(Base):
    """A token that was mailed and not used yet, by its SHA-256."""

    __tablename__ = "password_resets"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LoginAttempts(Base):
    """Tries of one key (account and client, client, or another thing that a client does) in its window."""

    __tablename__ = "login_attempts"

    key: Mapped[str] = mapped_column(String(400), primary_key=True)
    count: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


outbox.tables(Base.metadata)
