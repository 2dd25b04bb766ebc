"""All that came back about transactions, in columns: what is known of each, and what was flagged."""

from __future__ import annotations

import pytest

from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.feedback import Flagged
from fds_mlflow.outcomes.store import OutcomeStore
from tests.support.samples import DAY, NOON, case, outcome


def test_reports_are_the_latest_states(store: OutcomeStore) -> None:
    """Of each transaction the state with the latest `known_at` by then, once, in whatever order it was written."""
    store.label([case(transaction_id="T1", status="confirmed", known_at=NOON + 3 * DAY, propensity=0.5)])
    store.label([case(transaction_id="T1", status="suspected", known_at=NOON + DAY)])
    store.label([case(transaction_id="T2", status="genuine", known_at=NOON + 2 * DAY)])

    def told(**when: object) -> dict[str, tuple[str, object, float | None]]:
        found = store.reports(**when)  # type: ignore[arg-type]
        rows = zip(found.statuses, found.known_at, found.propensities, strict=True)
        return dict(zip(found.transaction_ids, rows, strict=True))

    assert told() == {
        "T1": ("confirmed", NOON + 3 * DAY, 0.5),
        "T2": ("genuine", NOON + 2 * DAY, None),
    }
    assert told(as_of=NOON + DAY) == {"T1": ("suspected", NOON + DAY, None)}
    every = store.all_cases(as_of=NOON + 2 * DAY)
    assert {name: row[0] for name, row in told(as_of=NOON + 2 * DAY).items()} == {n: c.status for n, c in every.items()}
    with pytest.raises(DataError, match="time zone"):
        store.reports(as_of=NOON.replace(tzinfo=None))


def test_flagged_is_what_never_passed_or_was_explored(store: OutcomeStore) -> None:
    """A transaction that one request let pass unflagged is none of them; a chance of 0 is no chance."""
    requests = [
        ("blocked", {"flagged": True, "propensity": 0.25}),
        ("above the cap", {"flagged": True, "propensity": 0.0}),
        ("unexplored", {"flagged": True}),
        ("explored", {"flagged": True, "propensity": 0.25, "explored": True}),
        ("passed", {"flagged": False, "propensity": 0.25}),
        ("once", {"flagged": True}),
        ("once", {"flagged": False}),
    ]
    store.record(
        [
            outcome(key=name, transaction_id=name, request_id=f"R{number}", rollout_id=None, weight=0, **more)  # type: ignore[arg-type]
            for number, (name, more) in enumerate(requests)
        ]
    )
    store.record([outcome(model="other", key="K", transaction_id="other", rollout_id=None, weight=0, flagged=True)])
    assert store.flagged("fraud") == {
        "blocked": Flagged(explored=False, propensity=0.25),
        "above the cap": Flagged(explored=False, propensity=None),
        "unexplored": Flagged(explored=False, propensity=None),
        "explored": Flagged(explored=True, propensity=0.25),
    }
