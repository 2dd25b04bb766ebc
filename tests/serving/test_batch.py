"""A batch is scored as a router scores it, whatever rows come together, and without a registry."""

from __future__ import annotations

import pickle
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.keys import Spelling, spelled
from fds_mlflow.core.routing.routing import bucket
from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.serving.batch import ANSWER, keys_of, recorded, records
from fds_mlflow.serving.frame_keys import keys_of as router_keys
from fds_mlflow.serving.inputs import digest
from tests.support.batches import batch_router, rows, without
from tests.support.version_caches import ROLLOUT


def told(answer: pa.RecordBatch) -> pd.DataFrame:
    """An answer by transaction, but for what differs from one call to the next."""
    return answer.to_pandas().set_index("transaction_id").drop(columns=["time", "latency_ms"])


def test_each_row_is_scored_by_the_version_of_its_key(tmp_path: Path) -> None:
    """The split is the router's, and an answer says who scored a row, how, and from which score on it is flagged."""
    answer = batch_router(tmp_path, weight=3_000)(rows(200))
    assert answer.schema == ANSWER
    for row in answer.to_pylist():
        by_canary = bucket(ROLLOUT, row["key"]) < 3_000
        large = int(row["key"][2:]) % 2
        assert row["served"] == row["assigned"] == ("canary" if by_canary else "champion")
        assert row["score"] == ((0.2, 0.8)[large] if by_canary else (0.1, 0.9)[large])
        assert (row["version"], row["flagged"], row["threshold"]) == (2 if by_canary else 1, bool(large), 0.5)
        assert (row["rollout_id"], row["step"], row["weight"], row["error"]) == (ROLLOUT, 0, 3_000, None)


def test_without_a_rollout_the_champion_scores_all(tmp_path: Path) -> None:
    """Outcomes then belong to no rollout: they are evidence of none."""
    answer = batch_router(tmp_path, weight=None)(rows(10)).to_pandas()
    assert set(answer["version"]) == {1}
    assert answer["rollout_id"].isna().all()


def test_what_is_answered_of_a_row_does_not_hang_on_its_batch(tmp_path: Path) -> None:
    """However rows are cut into batches, and in whichever process, each has the same answer."""
    router, given = batch_router(tmp_path), rows(101)
    copied = pickle.loads(pickle.dumps(router))
    pieces = copied.each([given.slice(0, 7), given.slice(7, 0), given.slice(7, 1), given.slice(8)])
    pd.testing.assert_frame_equal(pd.concat([told(piece) for piece in pieces]), told(router(given)))


def test_a_version_that_was_not_shipped_is_no_fault_of_the_canary(tmp_path: Path) -> None:
    """It is said: a batch without the canary's scores would be no evidence of it."""
    router = batch_router(tmp_path)
    with pytest.raises(RefusedError, match="version 2"):
        without(router, 2)(rows(20))


def test_the_champion_answers_just_the_rows_that_the_canary_cannot(tmp_path: Path) -> None:
    """One row that a canary refuses, among many, is the only one that it loses."""
    given = rows(50)
    router = batch_router(tmp_path, weight=10_000)
    loaded = router.loaded(2)
    real = loaded.columns

    def refuses(columns: Any, size: int) -> Any:
        if (columns["hour"] == 13).any():
            raise DataError("thirteen", fix="another hour")
        return real(columns, size)

    loaded.columns = refuses  # type: ignore[method-assign]
    try:
        answer = router(given).to_pandas()
    finally:
        loaded.columns = real  # type: ignore[method-assign]
    lost = np.array([number % 24 == 13 for number in range(50)])
    assert (answer["assigned"] == "canary").all()
    assert ((answer["served"] == "champion") == lost).all()
    assert (answer["version"] == np.where(lost, 1, 2)).all()
    assert answer["error"][lost].eq("thirteen").all()
    assert answer["error"][~lost].isna().all()
    assert answer["inputs_digest"].notna().all()


def test_a_row_that_the_champion_cannot_score_is_named(tmp_path: Path) -> None:
    """Nobody else can: the batch is refused with what is wrong with the one value."""
    given = rows(5, amount=["1.5", "2", "much", "3", "4"])
    with pytest.raises(DataError, match=r"column 'amount' does not fit: 'much' is no number"):
        batch_router(tmp_path)(given)


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    """So is a key's."""
    router, given = batch_router(tmp_path), rows(5)
    with pytest.raises(DataError, match="version 1 needs columns that the rows do not have: hour"):
        replace(router, table=replace(router.table, rollout=None))(
            given.select(["transaction_id", "amount", "channel"])
        )
    with pytest.raises(DataError, match="no column 'card'"):
        replace(router, key="card")(given)


KEYS = {
    "text": (["a", "", "é" * 300, "\U0001f600", "1000.0"], pa.string()),
    "integers": ([1, -5, 2**62], pa.int64()),
    "booleans": ([True, False], pa.bool_()),
    "floats": ([1000.0, 2.5, 1e-7, 12345678.0], pa.float64()),
    "singles": ([7.1, 3.0], pa.float32()),
    "decimals": ([Decimal("1.500"), Decimal("7.000")], pa.decimal128(10, 3)),
    "categories": (["a", "b"], pa.dictionary(pa.int8(), pa.string())),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("spelling", Spelling)
def test_keys_are_written_as_a_router_writes_them(kind: str, spelling: Spelling) -> None:
    """A key has one spelling, whatever type the column has: its variant is the same on every road."""
    values, of = KEYS[kind]
    batch = pa.RecordBatch.from_arrays([pa.array(values, of)], ["key"])
    assert keys_of(batch, "key", spelling) == router_keys(batch.to_pandas(), "key", spelling)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a", None]), "missing in 1 of 2 rows"),
        (pa.array([1.5, float("nan")]), "missing in 1 of 2 rows"),
        (pa.array([2.0**60]), "has not all digits"),
        (pa.array([0], pa.timestamp("us")), r"of the type timestamp\[us\], and a key is text"),
        (pa.array([[1]]), "of the type list"),
    ],
)
def test_what_is_no_key_is_refused(column: pa.Array, said: str) -> None:
    """Without a key the variant would be arbitrary."""
    with pytest.raises(DataError, match=said):
        keys_of(pa.RecordBatch.from_arrays([column], ["key"]), "key")


def test_half_a_character_is_no_key() -> None:
    """A lone surrogate is no UTF-8; a column that holds one all the same is refused, as Spark refuses it."""
    column = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xed\xa0\x80"]).buffers())
    with pytest.raises(DataError, match="holds what is no text"):
        keys_of(pa.RecordBatch.from_arrays([column], ["key"]), "key")


def test_a_field_of_text_that_says_nothing_is_no_key() -> None:
    """As a server reads CSV."""
    with pytest.raises(DataError, match="missing in 2 of 3 rows"):
        keys_of(pa.RecordBatch.from_arrays([pa.array(["a", "", "NaN"])], ["key"]), "key", text=True)


def test_the_same_transaction_is_one_outcome_of_a_trial(tmp_path: Path) -> None:
    """A batch that is scored again, or cut otherwise, is recorded once; another trial's outcomes are others."""
    router, given = batch_router(tmp_path), rows(30)
    with OutcomeStore("sqlite://") as store:
        assert recorded(store, router(given)) == {"new": 30, "refused": 0}
        assert recorded(store, router(given.slice(3, 9))) == {"new": 0, "refused": 0}
        assert recorded(store, batch_router(tmp_path, weight=None)(given)) == {"new": 30, "refused": 0}
        kept = {one.transaction_id: one for one in store.recent("fraud", rollout=ROLLOUT)}
    assert kept.keys() == {f"TX{number}" for number in range(30)}


def test_outcomes_of_the_split_are_evidence_and_others_are_not(tmp_path: Path) -> None:
    """What one version scored is kept, and belongs to no rollout."""
    with OutcomeStore("sqlite://") as store:
        recorded(store, batch_router(tmp_path)(rows(40)))
        recorded(store, batch_router(tmp_path, weight=None)(rows(40)))
        counts = store.counts("fraud", ROLLOUT)
        assert sum(one.keys for one in counts) == 40
        assert {one.rollout_id for one in store.recent("fraud")} == {None, ROLLOUT}


def test_what_no_store_takes_is_counted(tmp_path: Path) -> None:
    """A key of more characters than a store has room for costs no other row its outcome."""
    given = rows(3, transaction_id=["a", "b" * 256, "c"])
    with OutcomeStore("sqlite://") as store:
        assert recorded(store, batch_router(tmp_path)(given)) == {"new": 2, "refused": 1}


def test_an_outcome_has_the_digest_of_what_was_scored(tmp_path: Path) -> None:
    """It is the one that a server and a router give the same row."""
    (one, *_) = records(batch_router(tmp_path)(rows(2, hour=[None, 3.0])))
    assert one.inputs_digest == digest((50.0, None, "web"))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20))
def test_any_text_is_a_key(keys: list[str]) -> None:
    """Whatever UTF-8 has is taken as it is."""
    assert keys_of(pa.RecordBatch.from_arrays([pa.array(keys)], ["key"]), "key") == list(map(spelled, keys))
