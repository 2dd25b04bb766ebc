"""Transaction ids that went through a float (`1000.0`) become whole numbers again: labels find their outcomes."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

_WHOLE = {
    "sqlite": "substr({0}, -2) = '.0' AND length({0}) BETWEEN 3 AND 17"
    " AND substr({0}, 1, length({0}) - 2) NOT GLOB '*[^0-9]*' AND ({0} = '0.0' OR {0} NOT LIKE '0%')",
    "postgresql": "{0} ~ '^(0|[1-9][0-9]{{0,14}})[.]0$'",
}
"""What `core.keys.joined` shortens."""


def upgrade() -> None:
    """Rewrite the ids; a label that is there under both keeps both."""
    whole = _WHOLE[op.get_bind().dialect.name]
    rewrite = "UPDATE {0} AS old SET transaction_id = {1} WHERE {2}"
    shorter = "substr(old.transaction_id, 1, length(old.transaction_id) - 2)"
    both = "SELECT 1 FROM fds_fraud_cases AS new WHERE new.known_at = old.known_at AND new.transaction_id = {0}"
    chosen = whole.format("old.transaction_id")
    op.execute(rewrite.format("fds_outcomes", shorter, chosen))
    op.execute(rewrite.format("fds_fraud_cases", shorter, f"{chosen} AND NOT EXISTS ({both.format(shorter)})"))


def downgrade() -> None:
    """The ids stay as they are: earlier releases read them, too."""
