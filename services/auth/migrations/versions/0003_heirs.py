"""The salt of a session's newest refresh token, so that one whose answer was lost can be given again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("heir_salt", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("sessions", "heir_salt")
