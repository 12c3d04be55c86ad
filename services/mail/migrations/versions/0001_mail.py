"""The log of mails, and the inbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

now = sa.func.now()
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "mail_log",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("template", sa.String(64), nullable=False),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("error", sa.Text),
        sa.Column("digest", sa.String(64)),
        sa.Column("created_at", moment, nullable=False, server_default=now),
        sa.Column("updated_at", moment, nullable=False, server_default=now),
        sa.Column("sent_at", moment),
        sa.CheckConstraint("status IN ('queued', 'sent', 'failed', 'suppressed')", name="status"),
    )
    op.create_index("mail_log_created_at_idx", "mail_log", ["created_at", "id"])
    op.create_index("mail_log_status_idx", "mail_log", ["status", "created_at", "id"])
    op.create_index("mail_log_recipient_idx", "mail_log", ["recipient", "created_at", "id"])
    op.create_index(
        "mail_log_digest_idx", "mail_log", ["digest"], postgresql_where=sa.text("digest IS NOT NULL")
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.String(64), primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("received_at", moment, nullable=False, server_default=now),
    )


def downgrade() -> None:
    for table in ("inbox", "mail_log"):
        op.drop_table(table)
