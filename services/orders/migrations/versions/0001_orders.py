"""Orders, the history of their statuses, outbox and inbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

now = sa.func.now()
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("owner_id", sa.Integer, nullable=False),
        sa.Column("customer_name", sa.String(200), nullable=False),
        sa.Column("customer_email", sa.String(254), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("total_amount", sa.Numeric(12, 2), nullable=False),
        sa.Column("created_at", moment, nullable=False, server_default=now),
        sa.Column("updated_at", moment, nullable=False, server_default=now),
        sa.CheckConstraint(
            "status IN ('new', 'confirmed', 'shipped', 'delivered', 'cancelled')", name="status"
        ),
        sa.CheckConstraint("source IN ('website', 'manual', 'zrodlo_jeden', 'zrodlo_dwa')", name="source"),
        sa.CheckConstraint("total_amount >= 0", name="total_amount"),
    )
    op.create_index("orders_created_at_idx", "orders", ["created_at", "id"])
    op.create_index("orders_owner_id_idx", "orders", ["owner_id", "created_at", "id"])
    op.create_index("orders_status_idx", "orders", ["status", "created_at", "id"])
    op.create_index("orders_customer_email_idx", "orders", ["customer_email", "created_at", "id"])
    op.create_table(
        "order_status_history",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "order_id", sa.Integer, sa.ForeignKey("orders.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("old_status", sa.String(16)),
        sa.Column("new_status", sa.String(16), nullable=False),
        sa.Column("changed_by", sa.Integer, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("changed_at", moment, nullable=False, server_default=now),
    )
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False, unique=True),
        sa.Column("aggregatetype", sa.String(64), nullable=False),
        sa.Column("aggregateid", sa.String(64), nullable=False),
        sa.Column("type", sa.String(128), nullable=False),
        sa.Column("queue", sa.String(128), nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("headers", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("created_at", moment, nullable=False, server_default=now),
        sa.Column("available_at", moment, nullable=False, server_default=now),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_token", sa.Uuid),
        sa.Column("leased_until", moment),
        sa.Column("dead_at", moment),
        sa.Column("error", sa.Text),
    )
    op.create_index(
        "outbox_pending_idx",
        "outbox",
        ["aggregatetype", "aggregateid", "position"],
        postgresql_where=sa.text("dead_at IS NULL"),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.String(64), primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("received_at", moment, nullable=False, server_default=now),
    )


def downgrade() -> None:
    for table in ("inbox", "outbox", "order_status_history", "orders"):
        op.drop_table(table)
