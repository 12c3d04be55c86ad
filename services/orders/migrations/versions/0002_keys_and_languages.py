"""Idempotency keys, the language of an order's mails, and events that go to several queues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from kit.outbox import to_one_queue, to_several_queues

revision = "0002"
down_revision = "0001"

now = sa.func.now()
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("created_at", moment, nullable=False, server_default=now),
    )
    op.create_index("idempotency_keys_created_at_idx", "idempotency_keys", ["created_at"])
    # A constant default: no row is written, however many there are.
    op.add_column("orders", sa.Column("language", sa.String(2), nullable=False, server_default="pl"))
    op.create_check_constraint("language", "orders", "language IN ('pl', 'en')")
    to_several_queues(op)


def downgrade() -> None:
    to_one_queue(op)
    op.drop_column("orders", "language")
    op.drop_table("idempotency_keys")
