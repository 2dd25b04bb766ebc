"""What a judge reads, counted once and kept; shadows; indexes that find a key and a transaction."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)
_IN_A_ROLLOUT = sa.text("rollout_id IS NOT NULL")
_OWN_TRANSACTION = sa.text("rollout_id IS NOT NULL AND transaction_id <> key")

_ANNOUNCED = ("fds_outcomes", "fds_fraud_cases", "fds_shadows")
_ANNOUNCE = """
CREATE FUNCTION fds_announce_writer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    announced text := 'fds.writes_' || TG_TABLE_NAME;
    newest bigint;
BEGIN
    IF coalesce(current_setting(announced, true), '') = '' THEN
        EXECUTE format('SELECT coalesce(max(id), 0) FROM %s', TG_RELID::regclass) INTO newest;
        PERFORM pg_advisory_xact_lock_shared((TG_RELID::bigint << 32) | (newest & 4294967295));
        PERFORM set_config(announced, '1', true);
    END IF;
    RETURN NULL;
END $$
"""
"""A transaction that writes says so, before its first row number is drawn, by a shared lock that blocks nobody. The
lock's number holds the newest row it saw: its own rows come after that one. See `marks.py`."""


def upgrade() -> None:
    """Create the tables of counts and of shadows, and change the indexes of outcomes."""
    op.drop_index("ix_fds_outcomes_evidence", "fds_outcomes")
    op.create_index(
        "ix_fds_outcomes_key",
        "fds_outcomes",
        ["model", "rollout_id", "key"],
        sqlite_where=_IN_A_ROLLOUT,
        postgresql_where=_IN_A_ROLLOUT,
        postgresql_include=["id"],
    )
    op.create_index(
        "ix_fds_outcomes_transaction",
        "fds_outcomes",
        ["model", "transaction_id"],
        sqlite_where=_OWN_TRANSACTION,
        postgresql_where=_OWN_TRANSACTION,
    )
    op.add_column("fds_fraud_cases", sa.Column("withdrawn", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "fds_shadows",
        sa.Column("id", _SERIAL, sa.Identity(), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("time", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fds_shadows")),
        sa.UniqueConstraint("model", "request_id", name=op.f("uq_fds_shadows_model_request_id")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_fds_shadows_version")),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_fds_shadows_score")),
        sa.CheckConstraint("score IS NOT NULL OR error IS NOT NULL", name=op.f("ck_fds_shadows_answer")),
        sa.CheckConstraint("latency_ms >= 0", name=op.f("ck_fds_shadows_latency")),
    )
    op.create_table(
        "fds_counts",
        sa.Column("id", _SERIAL, sa.Identity(), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("rollout_id", sa.String(64), nullable=False),
        sa.Column("terms", sa.String(100), nullable=False),
        sa.Column("outcome_id", sa.BigInteger(), nullable=False),
        sa.Column("shadow_id", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("matured_time", _MOMENT, nullable=True),
        sa.Column("matured_id", sa.BigInteger(), nullable=False),
        sa.Column("as_of", _MOMENT, nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fds_counts")),
        sa.UniqueConstraint("model", "rollout_id", "terms", name=op.f("uq_fds_counts_model_rollout_id_terms")),
    )
    op.create_table(
        "fds_tallies",
        sa.Column("count_id", _SERIAL, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("assigned", sa.String(8), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.Column("first", _MOMENT, nullable=False),
        sa.Column("last", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("count_id", "step", "weight", "assigned", name=op.f("pk_fds_tallies")),
        sa.ForeignKeyConstraint(["count_id"], ["fds_counts.id"], name=op.f("fk_fds_tallies_count_id")),
    )
    op.create_table(
        "fds_first_events",
        sa.Column("count_id", _SERIAL, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("outcome_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("count_id", "kind", "key", name=op.f("pk_fds_first_events")),
        sa.ForeignKeyConstraint(["count_id"], ["fds_counts.id"], name=op.f("fk_fds_first_events_count_id")),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_ANNOUNCE)
        for table in _ANNOUNCED:
            op.execute(
                f"CREATE TRIGGER {table}_announce BEFORE INSERT ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION fds_announce_writer()"
            )


def downgrade() -> None:
    """Drop what was counted, and the shadows."""
    if op.get_bind().dialect.name == "postgresql":
        for table in _ANNOUNCED:
            op.execute(f"DROP TRIGGER {table}_announce ON {table}")
        op.execute("DROP FUNCTION fds_announce_writer()")
    op.drop_table("fds_first_events")
    op.drop_table("fds_tallies")
    op.drop_table("fds_counts")
    op.drop_table("fds_shadows")
    op.drop_column("fds_fraud_cases", "withdrawn")
    op.drop_index("ix_fds_outcomes_transaction", "fds_outcomes")
    op.drop_index("ix_fds_outcomes_key", "fds_outcomes")
    op.create_index("ix_fds_outcomes_evidence", "fds_outcomes", ["model", "rollout_id", "step", "assigned", "key"])
