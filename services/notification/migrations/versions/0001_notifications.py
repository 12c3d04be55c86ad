"""The log of notifications, and the inbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

now = sa.func.now()
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "notifications_log",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("order_id", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("customer_name", sa.String(200), nullable=False),
        sa.Column("total_amount", sa.Numeric(12, 2), nullable=False),
        sa.Column("text_pl", sa.Text, nullable=False),
        sa.Column("text_en", sa.Text, nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("source", sa.String(16)),
        sa.Column("customer_email", sa.String(254)),
        sa.Column("occurred_at", moment, nullable=False),
        sa.Column("created_at", moment, nullable=False, server_default=now, index=True),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.String(64), primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("received_at", moment, nullable=False, server_default=now),
    )


def downgrade() -> None:
    op.drop_table("inbox")
    op.drop_table("notifications_log")
