"""Tables of auth_db."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal, get_args

from kit.database import metadata
from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Identity, String, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Role = Literal["admin", "employee", "customer"]
ROLES: tuple[Role, ...] = get_args(Role)


class Base(DeclarativeBase):
    metadata = metadata()


class User(Base):
    """An account. `email` is lower case, so that its uniqueness means what people mean."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role IN ('admin', 'employee', 'customer')", name="role"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


class Session(Base):
    """A login and its one token, whose `sid` is the id. The blacklist is the rows with `revoked_at`."""

    __tablename__ = "sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    client: Mapped[str] = mapped_column(String(64))
    user_agent: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class LoginAttempts(Base):
    """Failed logins of one key (account and client, or client) in its current window."""

    __tablename__ = "login_attempts"

    key: Mapped[str] = mapped_column(String(400), primary_key=True)
    count: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
