"""Valid records to start from: a test names only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)


def outcome(**changes: Any) -> OutcomeRecord:
    """An outcome of the champion at step 0 of rollout R."""
    values: dict[str, Any] = {
        "model": "fraud",
        "key": "TX1",
        "assigned": "champion",
        "version": 1,
        "score": 0.25,
        "flagged": False,
        "latency_ms": 2.0,
        "time": NOON,
        "rollout_id": "R",
        "weight": 1000,
    }
    return OutcomeRecord(**{**values, **changes})


def case(**changes: Any) -> CaseRecord:
    """A confirmed fraud, known a week after noon."""
    values: dict[str, Any] = {"transaction_id": "TX1", "status": "confirmed", "known_at": NOON + 7 * DAY}
    return CaseRecord(**{**values, **changes})
