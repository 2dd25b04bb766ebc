"""Retention: what is old and counted goes, and every verdict stays as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from fds_mlflow.core.evidence.evidence import EventKind, Terms
from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.outcomes import retention
from fds_mlflow.outcomes.aio import AsyncOutcomeStore
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import FraudCase, Outcome, Shadow
from tests.outcomes.test_evidence import only, shadow
from tests.support.samples import DAY, NOON, case, outcome

TERMS = Terms(latency_bound=100.0, maturity=7 * DAY)
LATER = NOON + 30 * DAY


def _rows(store: OutcomeStore) -> tuple[int, ...]:
    with store.session() as session:
        tables = (Outcome, Shadow, FraudCase)
        return tuple(session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


def _newest(store: OutcomeStore) -> None:
    """A row of each table that is too young to be deleted."""
    store.record([outcome(rollout_id="young", request_id="young", key="young", time=LATER)])
    store.record_shadows([shadow("young", time=LATER)])
    store.label([case(transaction_id="young", known_at=LATER)])


@pytest.mark.campaign
@pytest.mark.slow
def test_a_verdict_stays_as_it_was(store: OutcomeStore) -> None:
    """The evidence of a rollout is the same after its outcomes, shadows and labels are deleted, labels included."""
    store.record([outcome(key=f"C{n % 5}", request_id=f"R{n}", flagged=n % 3 == 0) for n in range(20)])
    store.record_shadows([shadow(f"R{n}") for n in range(10)])
    store.label([case(transaction_id=f"C{n}", known_at=NOON + DAY) for n in range(5)])
    store.evidence("fraud", "R", TERMS, as_of=NOON)  # nothing is mature yet: pruning counts the labels first
    _newest(store)
    assert store.prune("fraud", older_than=LATER) == 20 + 10 + 5
    assert _rows(store) == (1, 1, 1)
    evidence = store.evidence("fraud", "R", TERMS, as_of=LATER)
    assert only(evidence).labelled == 5
    assert evidence.pairs[EventKind.MISSED_FRAUD].both > 0
    assert store.prune("fraud", older_than=LATER) == 0
    assert store.evidence("fraud", "R", TERMS, as_of=LATER) == evidence


def test_a_dry_run_counts_what_would_go_but_for_labels(store: OutcomeStore) -> None:
    """Nothing is deleted or counted; what is young or uncounted stays out of it as it would."""
    store.record([outcome(key=f"C{n % 5}", request_id=f"R{n}") for n in range(20)])
    store.record([outcome(rollout_id=None, request_id=f"O{n}", key=f"O{n}") for n in range(3)])
    store.record_shadows([shadow(f"R{n}") for n in range(10)])
    _newest(store)
    before = _rows(store)
    assert store.prune("fraud", older_than=LATER, dry_run=True) == 3
    assert store.prune("fraud", older_than=LATER, uncounted=True, dry_run=True) == 20 + 3 + 10
    assert store.prune("fraud", older_than=NOON - timedelta(seconds=1), uncounted=True, dry_run=True) == 0
    assert _rows(store) == before
    assert store.prune("fraud", older_than=LATER, uncounted=True) == 20 + 3 + 10


@pytest.mark.campaign
@pytest.mark.slow
def test_what_arrives_after_it_does_not_change_it(store: OutcomeStore) -> None:
    """The evidence of a deleted rollout is final: a straggler is stored, but no customer counts as new again."""
    store.record([outcome(), outcome(key="TX2")])
    before = store.evidence("fraud", "R", TERMS, as_of=LATER)
    _newest(store)
    store.prune("fraud", older_than=LATER)
    store.record([outcome()])
    assert store.evidence("fraud", "R", TERMS, as_of=LATER) == before
    with pytest.raises(RefusedError, match="deleted"):
        store.evidence("fraud", "R", Terms(), as_of=LATER)


@pytest.mark.campaign
@pytest.mark.slow
def test_a_rollout_goes_as_a_whole(store: OutcomeStore) -> None:
    """While one outcome of a rollout is young, or its label not mature, all of the rollout stays, and its labels."""
    store.record([outcome(), outcome(key="TX2", time=LATER - 6 * DAY)])
    store.label([case(known_at=NOON)])
    store.evidence("fraud", "R", TERMS, as_of=LATER)
    _newest(store)
    assert store.prune("fraud", older_than=LATER) == 0
    assert store.prune("fraud", older_than=LATER + DAY + timedelta(microseconds=1)) == 3


@pytest.mark.campaign
@pytest.mark.slow
def test_what_nobody_counted_stays(store: OutcomeStore) -> None:
    """A rollout that nobody asked about is deleted only on demand; what belongs to no rollout goes by its age."""
    store.record([outcome(), outcome(rollout_id=None, weight=0), outcome(rollout_id=None, weight=0, time=LATER)])
    store.record([outcome(model="other", rollout_id="O")])
    _newest(store)
    assert store.prune("fraud", older_than=LATER) == 1
    assert store.prune("fraud", older_than=LATER, uncounted=True) == 1
    assert _rows(store)[0] == 3


def test_labels_stay_while_any_model_needs_them(store: OutcomeStore) -> None:
    """A label goes when no outcome of any rollout of any model is left that it belongs to, by key or transaction."""
    store.record([outcome(model="other", key="A"), outcome(model="third", key="C", transaction_id="B")])
    store.label([case(transaction_id=name, known_at=NOON) for name in ("A", "B", "nobody's")])
    _newest(store)
    store.prune("fraud", older_than=LATER)
    assert set(store.cases(["A", "B", "nobody's"])) == {"A", "B"}


@pytest.mark.slow
def test_row_numbers_are_never_used_again(store: OutcomeStore) -> None:
    """The newest row stays, however old: the next one would get its number, and would be taken for counted."""
    store.record([outcome()])
    store.evidence("fraud", "R", TERMS, as_of=LATER)
    store.prune("fraud", older_than=LATER)
    store.record([outcome(rollout_id="S")])
    assert only(store.evidence("fraud", "S", TERMS, as_of=LATER)).requests == 1


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize("rollout_id", ["R", None])
def test_chunk_by_chunk(store: OutcomeStore, rollout_id: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many transactions it takes, what is old goes with its shadows; rows of other models stay."""
    monkeypatch.setattr(retention, "CHUNK", 3)
    placed = {"rollout_id": rollout_id, "weight": 1000 if rollout_id else 0}
    mine = [outcome(key=f"C{n % 4}", request_id=f"R{n}", time=NOON + (n // 3) * DAY, **placed) for n in range(17)]
    store.record(mine)
    store.record([outcome(model="other", request_id=f"R{n}", time=NOON, **placed) for n in range(5)])
    store.record_shadows([shadow(f"R{n}") for n in range(0, 17, 2)])
    store.record_shadows([replace(shadow(f"R{n}"), model="other") for n in range(5)])
    _newest(store)
    assert store.prune("fraud", older_than=LATER, uncounted=True) == 17 + 9
    assert _rows(store) == (5 + 1, 5 + 1, 1)
    assert store.prune("fraud", older_than=LATER, uncounted=True) == 0


def test_stats(store: OutcomeStore) -> None:
    """How much there is, per model."""
    store.record([outcome(), outcome(time=LATER, rollout_id="S"), outcome(model="other", rollout_id=None, weight=0)])
    store.record_shadows([shadow("R1")])
    store.evidence("fraud", "R", TERMS, as_of=NOON)
    fraud, other = store.stats()
    assert (fraud.model, fraud.outcomes, fraud.shadows, fraud.rollouts, fraud.counted) == ("fraud", 2, 1, 2, 1)
    assert (fraud.oldest, fraud.newest) == (NOON, LATER)
    assert (other.model, other.outcomes, other.rollouts) == ("other", 1, 0)


def test_a_time_without_a_zone(memory: OutcomeStore) -> None:
    """A naive time is refused: nobody can tell which moment it means."""
    with pytest.raises(DataError, match="time zone"):
        memory.prune("fraud", older_than=LATER.replace(tzinfo=None))


@pytest.mark.slow
async def test_awaited(url: str) -> None:
    """The async store deletes and tells the same."""
    async with AsyncOutcomeStore(url) as store:
        await store.record([outcome(), outcome(rollout_id="young", time=LATER)])
        before = await store.evidence("fraud", "R", TERMS, as_of=LATER)
        assert await store.prune("fraud", older_than=LATER) == 1
        assert await store.evidence("fraud", "R", TERMS, as_of=LATER) == before
        assert [entry.outcomes for entry in await store.stats()] == [1]
