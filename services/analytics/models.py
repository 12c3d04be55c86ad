"""Tables of analytics_db."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from kit.database import metadata
from kit.outbox import inbox
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    String,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = metadata()


class Order(Base):
    """The newest that events told of an order; `changed_at` is when it became so."""

    __tablename__ = "orders"
    __table_args__ = (
        # Parts of days, at the ends of a period, are counted from this index alone.
        Index("orders_created_at_idx", "created_at", postgresql_include=["source", "status", "total_amount"]),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(32))
    total_amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Day(Base):
    """Orders of a day of the calendar's time zone, by source and status; triggers of `orders` keep it."""

    __tablename__ = "days"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    source: Mapped[str] = mapped_column(String(32), primary_key=True)
    status: Mapped[str] = mapped_column(String(32), primary_key=True)
    orders: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[Decimal] = mapped_column(Numeric(20, 2))


class Calendar(Base):
    """One row: the time zone in which `days` were counted."""

    __tablename__ = "calendar"
    __table_args__ = (CheckConstraint("single", name="single"),)

    single: Mapped[bool] = mapped_column(primary_key=True)
    zone: Mapped[str] = mapped_column(String(64))


class Report(Base):
    """A report as it was made: `cells` are the figures behind its files and its chart."""

    __tablename__ = "reports"
    __table_args__ = (Index("reports_created_at_idx", "created_at", "id"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    type: Mapped[str] = mapped_column(String(16))
    period_start: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    period_end: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    interval: Mapped[str] = mapped_column(String(8))
    total_orders: Mapped[int] = mapped_column(BigInteger)
    total_amount: Mapped[Decimal] = mapped_column(Numeric(20, 2))
    sources: Mapped[list[Any]] = mapped_column(JSONB)
    cells: Mapped[list[Any]] = mapped_column(JSONB, deferred=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class ReportFile(Base):
    """A report in one format and language, kept here so that any instance can hand it out."""

    __tablename__ = "report_files"

    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id", ondelete="CASCADE"), primary_key=True)
    format: Mapped[str] = mapped_column(String(8), primary_key=True)
    language: Mapped[str] = mapped_column(String(2), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    size: Mapped[int] = mapped_column(Integer)
    sha256: Mapped[str] = mapped_column(String(64))


class ScheduledRun(Base):
    """Until when the runs of a kind have been made, whichever instance made them."""

    __tablename__ = "scheduled_runs"

    type: Mapped[str] = mapped_column(String(16), primary_key=True)
    made_until: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


inbox.to_metadata(Base.metadata)
