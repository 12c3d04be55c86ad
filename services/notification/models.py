"""Tables of notifications_log."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal

from kit import outbox
from kit.database import metadata
from sqlalchemy import BigInteger, DateTime, Identity, Numeric, String, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = metadata()


class Logged(Base):
    """A notification. `source` and `customer_email` are null where orders was not asked or did not answer."""

    __tablename__ = "notifications_log"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    event_id: Mapped[uuid.UUID] = mapped_column(unique=True)
    order_id: Mapped[int]
    status: Mapped[str] = mapped_column(String(16))
    customer_name: Mapped[str] = mapped_column(String(200))
    total_amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    text_pl: Mapped[str] = mapped_column(Text)
    text_en: Mapped[str] = mapped_column(Text)
    channel: Mapped[str] = mapped_column(String(16))
    source: Mapped[str | None] = mapped_column(String(16))
    customer_email: Mapped[str | None] = mapped_column(String(254))
    occurred_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), index=True
    )


outbox.inbox.to_metadata(Base.metadata)
