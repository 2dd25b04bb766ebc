"""What an outcome was scored on: stored once with it, gone with it, refused where it is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.records import Vector
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import RecordedVector
from tests.support.samples import DAY, NOON, outcome

VECTOR = Vector({"amount": 12.5, "count_1h": 3, "gap": None, "country": "IT"}, {"id": "TX1", "amount": 12.5}, "0" * 16)


def rows(store: OutcomeStore) -> int:
    """How many vectors are stored."""
    with store.session() as session:
        return session.scalar(select(func.count()).select_from(RecordedVector)) or 0


def test_what_was_scored_is_stored_with_the_outcome(store: OutcomeStore) -> None:
    """Digest, reasons and degradation read back with the outcome, features and transaction are a row of their own."""
    told = {"degraded": True, "inputs_digest": "0123456789abcdef", "reasons": '[{"code":"V01"}]'}
    assert store.record([outcome(vector=VECTOR, request_id="R1", **told), outcome(request_id="R2")]) == 2
    one, other = sorted(store.recent("fraud"), key=lambda record: record.request_id)
    assert {name: getattr(one, name) for name in told} == told
    assert (other.degraded, other.inputs_digest, other.reasons, other.vector) == (False, None, None, None)
    with store.session() as session:
        (row,) = session.scalars(select(RecordedVector))
    assert (row.request_id, row.transaction_id, row.version, row.time, row.spec) == ("R1", "TX1", 1, NOON, "0" * 16)
    assert (json.loads(row.features), json.loads(row.raw or "")) == (VECTOR.features, VECTOR.raw)


def test_a_retry_stores_no_second_vector(store: OutcomeStore) -> None:
    """However often a request is handed over, its vector is there once."""
    for _ in range(2):
        store.record([outcome(vector=VECTOR, request_id="R1")])
    assert rows(store) == 1
    assert store.stats()[0].vectors == 1


def test_a_large_batch_has_its_vectors(memory: OutcomeStore) -> None:
    """Thousands of outcomes go in at once, each with its own."""
    memory.record([outcome(request_id=f"R{n}", vector=Vector({"n": n})) for n in range(1_000)])
    with memory.session() as session:
        found = {row.request_id: json.loads(row.features) for row in session.scalars(select(RecordedVector))}
    assert found == {f"R{n}": {"n": n} for n in range(1_000)}


def test_a_vector_goes_with_its_outcome(store: OutcomeStore) -> None:
    """Pruning deletes both, the newest vector included; younger ones stay."""
    store.record([outcome(rollout_id=None, request_id=f"R{n}", vector=VECTOR) for n in range(3)])
    store.record([outcome(rollout_id=None, request_id="young", time=NOON + 9 * DAY)])
    assert store.prune("fraud", older_than=NOON + DAY) == 6
    assert rows(store) == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"vector": Vector({"a": object()})}, "features cannot be written"),  # type: ignore[dict-item]
        ({"vector": Vector({"a": "\ud800"})}, "features cannot be written"),
        ({"vector": Vector({"a": "x" * 100_000})}, "100,000"),
        ({"vector": {"a": 1}}, "vector is a dict"),
        ({"reasons": "x" * 8_001}, "reasons"),
        ({"inputs_digest": "x" * 33}, "digest"),
        ({"degraded": "yes"}, "degraded"),
    ],
)
def test_what_is_none_is_refused(memory: OutcomeStore, changes: dict[str, Any], named: str) -> None:
    """A value that no store takes is refused by its name, and nothing of the batch is written."""
    with pytest.raises(DataError, match=named):
        memory.record([outcome(), outcome(key="TX2", **changes)])
    assert memory.recent("fraud") == []
