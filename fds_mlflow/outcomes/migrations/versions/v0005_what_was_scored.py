"""With an outcome, what it was scored on: a digest of it, its reasons, and of some the features themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add them; what is stored already has none."""
    op.add_column("fds_outcomes", sa.Column("degraded", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("fds_outcomes", sa.Column("inputs_digest", sa.String(32)))
    op.add_column("fds_outcomes", sa.Column("reasons", sa.Text()))
    op.create_table(
        "fds_vectors",
        sa.Column("id", _SERIAL, sa.Identity(), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("transaction_id", sa.String(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("spec", sa.String(80), nullable=True),
        sa.Column("features", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fds_vectors")),
        sa.UniqueConstraint("model", "request_id", name=op.f("uq_fds_vectors_model_request_id")),
    )
    op.create_index("ix_fds_vectors_recent", "fds_vectors", ["model", "time"])


def downgrade() -> None:
    """Forget what outcomes were scored on."""
    op.drop_table("fds_vectors")
    for column in ("degraded", "inputs_digest", "reasons"):
        op.drop_column("fds_outcomes", column)
