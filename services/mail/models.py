"""Tables of mail_db."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum

from kit.database import metadata
from kit.outbox import inbox
from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, String, Text, Uuid, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Status(StrEnum):
    """`queued` waits for its first or next attempt; `suppressed` is a twin that nobody was sent."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"


class Base(DeclarativeBase):
    metadata = metadata()


class Mail(Base):
    """What became of one event. No body and no link: only of a password reset a digest, to know its twin."""

    __tablename__ = "mail_log"
    __table_args__ = (
        CheckConstraint(f"status IN ({', '.join(repr(each.value) for each in Status)})", name="status"),
        # Every list is by time, newest first, for all or for one of these.
        Index("mail_log_created_at_idx", "created_at", "id"),
        Index("mail_log_status_idx", "status", "created_at", "id"),
        Index("mail_log_recipient_idx", "recipient", "created_at", "id"),
        Index("mail_log_digest_idx", "digest", postgresql_where=text("digest IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    event_id: Mapped[uuid.UUID] = mapped_column(Uuid, unique=True)
    template: Mapped[str] = mapped_column(String(64))
    recipient: Mapped[str] = mapped_column(String(254))
    language: Mapped[str] = mapped_column(String(2))
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None] = mapped_column(Text)
    digest: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    sent_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


inbox.to_metadata(Base.metadata)
