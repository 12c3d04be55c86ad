"""UUIDs and items of orders, for contracts that have them; nothing is written of orders that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = {"uid": sa.Uuid, "owner_uid": sa.Uuid, "items": sa.JSON}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("orders", sa.Column(name, kind))
    op.create_index(
        "orders_uid_idx", "orders", ["uid"], unique=True, postgresql_where=sa.text("uid IS NOT NULL")
    )
    op.create_index(
        "orders_owner_uid_idx",
        "orders",
        ["owner_uid", "created_at", "id"],
        postgresql_where=sa.text("owner_uid IS NOT NULL"),
    )


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("orders", name)
