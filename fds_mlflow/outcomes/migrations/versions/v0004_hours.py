"""Tallies by the hour and the segment; and with what chance a label comes."""

from __future__ import annotations

from typing import Any

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
    op.add_column("fds_outcomes", sa.Column("propensity", sa.Double()))
    op.add_column("fds_outcomes", sa.Column("explored", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("fds_outcomes", sa.Column("segment", sa.String(64)))
    explored: dict[str, Any] = {f"{name}_where": sa.text("explored") for name in ("sqlite", "postgresql")}
    op.create_index("ix_fds_outcomes_explored", "fds_outcomes", ["model", "time"], **explored)
    op.add_column("fds_fraud_cases", sa.Column("propensity", sa.Double()))


def downgrade() -> None:
    """Forget what is counted by the hour: earlier releases have no such terms, and would count it anew."""
    by_hour = "SELECT id FROM fds_counts WHERE terms LIKE '%\"by\"%'"
    for table in ("fds_tallies", "fds_first_events"):
        op.execute(f"DELETE FROM {table} WHERE count_id IN ({by_hour})")
    op.execute(f"DELETE FROM fds_counts WHERE id IN ({by_hour})")
    with op.batch_alter_table("fds_tallies") as tallies:
        tallies.drop_constraint(op.f("pk_fds_tallies"), type_="primary")
        tallies.create_primary_key(op.f("pk_fds_tallies"), _KEY)
        tallies.drop_column("segment")
        tallies.drop_column("hour")
    op.drop_index("ix_fds_outcomes_explored", "fds_outcomes")
    for column in ("propensity", "explored", "segment"):
        op.drop_column("fds_outcomes", column)
    op.drop_column("fds_fraud_cases", "propensity")
