"""Tables of orders_db."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from kit import outbox
from kit.database import metadata
from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Numeric,
    String,
    Uuid,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orders.language import Language
from orders.status import Status


class Source(StrEnum):
    """Where an order came from; the two outside systems carry Polish letters in some clients."""

    WEBSITE = "website"
    MANUAL = "manual"
    ZRODLO_JEDEN = "zrodlo_jeden"
    ZRODLO_DWA = "zrodlo_dwa"


class Base(DeclarativeBase):
    metadata = metadata()


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(each.value) for each in values)})"


class Order(Base):
    """`owner_id` is the user who placed it. `customer_email` is lower case; nothing is owned by it.

    `language` is what the customer's mails are written in. `uid` and `owner_uid` are what contracts with
    UUIDs call the order and its owner. `items` is a list of {product, quantity, price}, where a contract has
    them: not jsonb, which would not keep it as it was written.
    """

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(_one_of("status", Status), name="status"),
        CheckConstraint(_one_of("source", Source), name="source"),
        CheckConstraint(_one_of("language", Language), name="language"),
        CheckConstraint("total_amount >= 0", name="total_amount"),
        # Every list is by time, newest first, for all or for one of these.
        Index("orders_created_at_idx", "created_at", "id"),
        Index("orders_owner_id_idx", "owner_id", "created_at", "id"),
        Index("orders_status_idx", "status", "created_at", "id"),
        Index("orders_customer_email_idx", "customer_email", "created_at", "id"),
        Index("orders_uid_idx", "uid", unique=True, postgresql_where=text("uid IS NOT NULL")),
        Index(
            "orders_owner_uid_idx",
            "owner_uid",
            "created_at",
            "id",
            postgresql_where=text("owner_uid IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    owner_id: Mapped[int]
    customer_name: Mapped[str] = mapped_column(String(200))
    customer_email: Mapped[str] = mapped_column(String(254))
    source: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    total_amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    language: Mapped[str] = mapped_column(String(2), server_default=Language.POLISH.value)
    uid: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    owner_uid: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    items: Mapped[list[dict[str, object]] | None] = mapped_column(JSON)


class StatusChange(Base):
    """Who made an order what, and when. `old_status` is null for the order's first."""

    __tablename__ = "order_status_history"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    old_status: Mapped[str | None] = mapped_column(String(16))
    new_status: Mapped[str] = mapped_column(String(16))
    changed_by: Mapped[int]
    role: Mapped[str] = mapped_column(String(16))
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class IdempotencyKey(Base):
    """A request to place an order, and its answer, which is null only inside its transaction."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_created_at_idx", "created_at"),)

    user_id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


outbox.tables(Base.metadata)
