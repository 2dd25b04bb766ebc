"""Transaction ids that went through a float (`1000.0`) become whole numbers again: labels find their outcomes."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

_WHOLE = {
    "sqlite": "(substr({0}, -2) = '.0' AND length({0}) BETWEEN 3 AND 18"
    " AND substr({0}, 1, length({0}) - 2) NOT GLOB '*[^0-9]*' AND ({0} = '0.0' OR {0} NOT LIKE '0%')"
    " AND (length({0}) < 18 OR {0} < '9007199254740992.0'))",
    "postgresql": "({0} ~ '^(0|[1-9][0-9]{{0,15}})[.]0$'"
    " AND (length({0}) < 18 OR {0} COLLATE \"C\" < '9007199254740992.0'))",
}
"""What `core.keys.joined` shortens; texts of one length are in the order of their numbers."""

_SHORTER = "substr(old.transaction_id, 1, length(old.transaction_id) - 2)"

_OVERTAKEN = """
SELECT counted.id FROM fds_counts AS counted WHERE NOT counted.final AND EXISTS (
    SELECT 1 FROM fds_outcomes AS old
    WHERE old.model = counted.model AND old.rollout_id = counted.rollout_id
    AND old.id <= counted.outcome_id AND old.time <= counted.matured_time
    AND (
        {whole_outcome} AND EXISTS (SELECT 1 FROM fds_fraud_cases AS label WHERE label.transaction_id = {shorter})
        OR EXISTS (
            SELECT 1 FROM fds_fraud_cases AS label
            WHERE label.transaction_id = old.transaction_id || '.0' AND {whole_label}
        )
    )
)
"""
"""Counts that looked for the labels of an outcome before they had its name: they would not look again."""

_ANEW = """
UPDATE fds_counts SET shadow_id = 0, case_id = 0, matured_time = NULL, matured_id = 0, outcome_id = (
    SELECT min(first.id) - 1 FROM fds_outcomes AS first
    WHERE first.model = fds_counts.model AND first.rollout_id = fds_counts.rollout_id
) WHERE id = {0}
"""
"""As before the first look. The row stays: it says on which terms the rollout is to be counted before it is pruned."""


def upgrade() -> None:
    """Rewrite the ids, and have counted anew what that gives labels to; a label that is there under both keeps both."""
    whole = _WHOLE[op.get_bind().dialect.name]
    chosen = whole.format("old.transaction_id")
    _count_anew(
        _OVERTAKEN.format(whole_outcome=chosen, shorter=_SHORTER, whole_label=whole.format("label.transaction_id"))
    )
    rewrite = "UPDATE {0} AS old SET transaction_id = {1} WHERE {2}"
    both = "SELECT 1 FROM fds_fraud_cases AS new WHERE new.known_at = old.known_at AND new.transaction_id = {0}"
    op.execute(rewrite.format("fds_outcomes", _SHORTER, chosen))
    op.execute(rewrite.format("fds_fraud_cases", _SHORTER, f"{chosen} AND NOT EXISTS ({both.format(_SHORTER)})"))


def _count_anew(overtaken: str) -> None:
    """Forget what these counts have; never of final ones, whose outcomes are gone."""
    for (count,) in op.get_bind().exec_driver_sql(overtaken).all():
        op.execute(_ANEW.format(count))  # first: it waits for whoever is counting
        for table in ("fds_tallies", "fds_first_events"):
            op.execute(f"DELETE FROM {table} WHERE count_id = {count:d}")


def downgrade() -> None:
    """The ids stay as they are: earlier releases read them, too."""
