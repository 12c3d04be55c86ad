"""Refresh tokens, password resets, a language for mails, outbox and inbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

now = sa.func.now()
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("users", sa.Column("password_changed_at", moment, nullable=False, server_default=now))
    op.add_column("users", sa.Column("language", sa.String(2), nullable=False, server_default="pl"))
    op.create_check_constraint("language", "users", "language IN ('pl', 'en')")
    op.add_column("sessions", sa.Column("refreshed_at", moment))
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column(
            "session_id",
            sa.Uuid,
            sa.ForeignKey("sessions.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("created_at", moment, nullable=False, server_default=now),
        sa.Column("used_at", moment),
    )
    op.create_table(
        "reset_requests",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("created_at", moment, nullable=False, server_default=now),
    )
    op.create_table(
        "password_resets",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column(
            "user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("created_at", moment, nullable=False, server_default=now),
        sa.Column("expires_at", moment, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False),
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
        sa.UniqueConstraint("id", "queue"),
    )
    op.create_index(
        "outbox_pending_idx",
        "outbox",
        ["aggregatetype", "aggregateid", "position"],
        postgresql_where=sa.text("dead_at IS NULL"),
    )
    op.create_index(
        "outbox_queue_idx", "outbox", ["queue", "position"], postgresql_where=sa.text("dead_at IS NULL")
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.String(64), primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("received_at", moment, nullable=False, server_default=now),
    )


def downgrade() -> None:
    for table in ("inbox", "outbox", "password_resets", "reset_requests", "refresh_tokens"):
        op.drop_table(table)
    op.drop_column("sessions", "refreshed_at")
    op.drop_column("users", "language")
    op.drop_column("users", "password_changed_at")
