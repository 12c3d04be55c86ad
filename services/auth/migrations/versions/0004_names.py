"""Names and UUIDs of users, and the sessions that ended, for gateways that believe tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

now = sa.func.now()


def upgrade() -> None:
    # A constant default writes no row. The UUIDs do, of a table that has a row a person.
    op.add_column("users", sa.Column("name", sa.String(100), nullable=False, server_default=""))
    op.add_column(
        "users", sa.Column("uid", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid())
    )
    op.create_unique_constraint("users_uid_key", "users", ["uid"])
    op.create_table(
        "ended_sessions",
        sa.Column("session_id", sa.Uuid, primary_key=True),
        sa.Column("xid", sa.BigInteger, nullable=False, index=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
    )


def downgrade() -> None:
    op.drop_table("ended_sessions")
    op.drop_column("users", "uid")
    op.drop_column("users", "name")
