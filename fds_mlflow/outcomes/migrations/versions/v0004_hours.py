"""Tallies by the hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KEY = ["count_id", "step", "weight", "assigned"]


def upgrade() -> None:
    """Add the hour; what is counted already has none, and is counted on without."""
    with op.batch_alter_table("fds_tallies") as table:
        table.add_column(sa.Column("hour", sa.Integer(), server_default="0", nullable=False))
        table.drop_constraint(op.f("pk_fds_tallies"), type_="primary")
        table.create_primary_key(op.f("pk_fds_tallies"), [*_KEY, "hour"])


def downgrade() -> None:
    """Forget what is counted by the hour: earlier releases have no such terms, and would count it anew."""
    by_hour = "SELECT id FROM fds_counts WHERE terms LIKE '%\"hourly\"%'"
    for table in ("fds_tallies", "fds_first_events"):
        op.execute(f"DELETE FROM {table} WHERE count_id IN ({by_hour})")
    op.execute(f"DELETE FROM fds_counts WHERE id IN ({by_hour})")
    with op.batch_alter_table("fds_tallies") as tallies:
        tallies.drop_constraint(op.f("pk_fds_tallies"), type_="primary")
        tallies.create_primary_key(op.f("pk_fds_tallies"), _KEY)
        tallies.drop_column("hour")
