"""Outcomes and fraud cases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both tables and their indexes."""
    op.create_table(
        "fds_outcomes",
        sa.Column("id", _SERIAL, sa.Identity(), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("transaction_id", sa.String(255), nullable=False),
        sa.Column("rollout_id", sa.String(64), nullable=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("assigned", sa.String(8), nullable=False),
        sa.Column("served", sa.String(8), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("time", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fds_outcomes")),
        sa.UniqueConstraint("model", "request_id", name=op.f("uq_fds_outcomes_model_request_id")),
        sa.CheckConstraint("step >= 0", name=op.f("ck_fds_outcomes_step")),
        sa.CheckConstraint("weight BETWEEN 0 AND 10000", name=op.f("ck_fds_outcomes_weight")),
        sa.CheckConstraint("assigned IN ('champion', 'canary')", name=op.f("ck_fds_outcomes_assigned")),
        sa.CheckConstraint("served IN ('champion', 'canary')", name=op.f("ck_fds_outcomes_served")),
        sa.CheckConstraint("rollout_id IS NOT NULL OR assigned = 'champion'", name=op.f("ck_fds_outcomes_rollout")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_fds_outcomes_version")),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_fds_outcomes_score")),
        sa.CheckConstraint("score IS NOT NULL OR error IS NOT NULL", name=op.f("ck_fds_outcomes_answer")),
        sa.CheckConstraint("latency_ms >= 0", name=op.f("ck_fds_outcomes_latency")),
    )
    op.create_index("ix_fds_outcomes_evidence", "fds_outcomes", ["model", "rollout_id", "step", "assigned", "key"])
    op.create_index("ix_fds_outcomes_recent", "fds_outcomes", ["model", "time"])
    op.create_table(
        "fds_fraud_cases",
        sa.Column("id", _SERIAL, sa.Identity(), nullable=False),
        sa.Column("transaction_id", sa.String(255), nullable=False),
        sa.Column("status", sa.String(14), nullable=False),
        sa.Column("fraud_type", sa.String(64), nullable=True),
        sa.Column("loss_amount", sa.Double(), nullable=True),
        sa.Column("occurred_at", _MOMENT, nullable=True),
        sa.Column("reported_at", _MOMENT, nullable=True),
        sa.Column("resolved_at", _MOMENT, nullable=True),
        sa.Column("known_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fds_fraud_cases")),
        sa.UniqueConstraint("transaction_id", "known_at", name=op.f("uq_fds_fraud_cases_transaction_id_known_at")),
        sa.CheckConstraint(
            "status IN ('suspected', 'confirmed', 'false_positive', 'genuine')",
            name=op.f("ck_fds_fraud_cases_status"),
        ),
        sa.CheckConstraint("loss_amount >= 0", name=op.f("ck_fds_fraud_cases_loss")),
    )


def downgrade() -> None:
    """Drop both tables, and everything in them."""
    op.drop_table("fds_fraud_cases")
    op.drop_table("fds_outcomes")
