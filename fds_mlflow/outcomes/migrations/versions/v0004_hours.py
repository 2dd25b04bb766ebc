"""Tallies by the hour and the segment; and with what chance a label comes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KEY = ["count_id", "step", "weight", "assigned"]


def upgrade() -> None:
    """Add them; what is counted already has neither, and is counted on without."""
    with op.batch_alter_table("fds_tallies") as table:
        table.add_column(sa.Column("hour", sa.Integer(), server_default="0", nullable=False))
        table.add_column(sa.Column("segment", sa.String(64), server_default="", nullable=False))
        table.drop_constraint(op.f("pk_fds_tallies"), type_="primary")
        table.create_primary_key(op.f("pk_fds_tallies"), [*_KEY, "hour", "segment"])
    with op.batch_alter_table("fds_counts") as counts:
        counts.alter_column("terms", existing_type=sa.String(100), type_=sa.String(200), existing_nullable=False)
    op.add_column("fds_outcomes", sa.Column("propensity", sa.Double()))
    op.add_column("fds_outcomes", sa.Column("explored", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("fds_outcomes", sa.Column("segment", sa.String(64)))
    op.add_column("fds_fraud_cases", sa.Column("propensity", sa.Double()))


def downgrade() -> None:
    """Forget what is counted by the hour: earlier releases have no such terms, and would count it anew."""
    by_hour = "SELECT id FROM fds_counts WHERE terms LIKE '%\"hourly\"%'"
    for table in ("fds_tallies", "fds_first_events"):
        op.execute(f"DELETE FROM {table} WHERE count_id IN ({by_hour})")
    op.execute(f"DELETE FROM fds_counts WHERE id IN ({by_hour})")
    with op.batch_alter_table("fds_tallies") as tallies:
        tallies.drop_constraint(op.f("pk_fds_tallies"), type_="primary")
        tallies.create_primary_key(op.f("pk_fds_tallies"), _KEY)
        tallies.drop_column("segment")
        tallies.drop_column("hour")
    with op.batch_alter_table("fds_counts") as counts:
        counts.alter_column("terms", existing_type=sa.String(200), type_=sa.String(100), existing_nullable=False)
    for column in ("propensity", "explored", "segment"):
        op.drop_column("fds_outcomes", column)
    op.drop_column("fds_fraud_cases", "propensity")
