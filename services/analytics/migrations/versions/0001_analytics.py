"""Orders and their days, reports and their files, the schedule, inbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

moment = sa.DateTime(timezone=True)

# Triggers, so that days cannot disagree with orders whoever writes them, and however many at once. Rows of
# `days` are taken in order of their key: two writers may wait for each other, but never in a circle.
COUNT = """
    CREATE FUNCTION count_days() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO days AS kept (day, source, status, orders, amount)
            SELECT (created_at AT TIME ZONE zone)::date, source, status, count(*), sum(total_amount)
            FROM added, calendar GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
            ON CONFLICT (day, source, status) DO UPDATE
            SET orders = kept.orders + excluded.orders, amount = kept.amount + excluded.amount;
        ELSE
            INSERT INTO days AS kept (day, source, status, orders, amount)
            SELECT (created_at AT TIME ZONE zone)::date, source, status, sum(n), sum(n * total_amount)
            FROM (
                SELECT created_at, source, status, total_amount, 1 AS n FROM added
                UNION ALL SELECT created_at, source, status, total_amount, -1 FROM removed
            ) AS changes, calendar GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
            ON CONFLICT (day, source, status) DO UPDATE
            SET orders = kept.orders + excluded.orders, amount = kept.amount + excluded.amount;
        END IF;
        RETURN NULL;
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("total_amount", sa.Numeric(12, 2), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
    )
    op.create_index(
        "orders_created_at_idx",
        "orders",
        ["created_at"],
        postgresql_include=["source", "status", "total_amount"],
    )
    op.create_table(
        "days",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("source", sa.String(32), primary_key=True),
        sa.Column("status", sa.String(32), primary_key=True),
        sa.Column("orders", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.Numeric(20, 2), nullable=False),
    )
    op.create_table(
        "calendar",
        sa.Column("single", sa.Boolean, primary_key=True),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.CheckConstraint("single", name="single"),
    )
    op.execute("INSERT INTO calendar (single, zone) VALUES (true, 'Europe/Warsaw')")
    op.execute(COUNT)
    op.execute(
        "CREATE TRIGGER orders_added AFTER INSERT ON orders REFERENCING NEW TABLE AS added"
        " FOR EACH STATEMENT EXECUTE FUNCTION count_days()"
    )
    op.execute(
        "CREATE TRIGGER orders_changed AFTER UPDATE ON orders REFERENCING OLD TABLE AS removed"
        " NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_days()"
    )
    op.create_table(
        "reports",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("period_start", moment, nullable=False),
        sa.Column("period_end", moment, nullable=False),
        sa.Column("interval", sa.String(8), nullable=False),
        sa.Column("total_orders", sa.BigInteger, nullable=False),
        sa.Column("total_amount", sa.Numeric(20, 2), nullable=False),
        sa.Column("sources", JSONB, nullable=False),
        sa.Column("cells", JSONB, nullable=False),
        sa.Column("created_at", moment, nullable=False),
    )
    op.create_index("reports_created_at_idx", "reports", ["created_at", "id"])
    op.create_table(
        "report_files",
        sa.Column("report_id", sa.Integer, sa.ForeignKey("reports.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("format", sa.String(8), primary_key=True),
        sa.Column("language", sa.String(2), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.create_table(
        "scheduled_runs",
        sa.Column("type", sa.String(16), primary_key=True),
        sa.Column("made_until", moment, nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.String(64), primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("received_at", moment, nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    for table in ("inbox", "scheduled_runs", "report_files", "reports", "orders", "days", "calendar"):
        op.drop_table(table)
    op.execute("DROP FUNCTION count_days")
