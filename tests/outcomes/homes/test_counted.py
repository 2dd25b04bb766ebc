"""Evidence from Parquet files equals a naive recount, however the records lie in files."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.outcomes.homes import files
from fds_mlflow.outcomes.homes.folder import ParquetOutcomes
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord, ShadowRecord
from tests.outcomes.test_recount import HOUR, Example, own, records_and_looks, rounded
from tests.support.effort import at_most
from tests.support.recount import recount
from tests.support.samples import NOON

_examples = itertools.count()


@pytest.fixture(scope="module")
def folder() -> Iterator[ParquetOutcomes]:
    """One folder for all examples; each uses models and transactions of its own."""
    with tempfile.TemporaryDirectory() as path:
        yield ParquetOutcomes(f"parquet:{path}")


def check(home: ParquetOutcomes, example: Example, cuts: list[int], again: list[int]) -> None:
    """Write an example's records cut into batches, some batches again, and compare the evidence with a recount."""
    name = f"example-{next(_examples)}"
    flat = [*(written for both in example.drawn for written in both if written is not None), *example.labels]
    records: list[Any] = [own(name, written).record for written in sorted(flat, key=lambda written: written.at)]
    edges = sorted({0, len(records), *(cut % (len(records) + 1) for cut in cuts)})
    batches = [records[low:high] for low, high in itertools.pairwise(edges)]
    outcomes: list[OutcomeRecord] = []
    for at, batch in enumerate(batches):
        its_own = [record for record in batch if isinstance(record, OutcomeRecord)]
        outcomes += sorted(its_own, key=lambda record: record.request_id)  # a batch is written in the order of its ids
        for each in (batch, *([batch[:]] if at in again else [])):
            home.record([record for record in each if isinstance(record, OutcomeRecord)])
            home.record_shadows([record for record in each if isinstance(record, ShadowRecord)])
            home.label([record for record in each if isinstance(record, CaseRecord)])
    as_of = NOON + max(example.looks, default=60) * HOUR
    mine = [outcome for outcome in outcomes if outcome.rollout_id == "R"]
    cases = [record for record in records if isinstance(record, CaseRecord)]
    shadows = [record for record in records if isinstance(record, ShadowRecord)]
    found = home.evidence(name, "R", example.terms, as_of=as_of)
    assert rounded(found) == rounded(recount(mine, cases, shadows, example.terms, as_of))


@pytest.mark.campaign
@pytest.mark.slow
@at_most(60)
@given(
    example=records_and_looks,
    cuts=st.lists(st.integers(0, 30), max_size=4),
    again=st.lists(st.integers(0, 4), max_size=3),
)
def test_equals_a_recount(folder: ParquetOutcomes, example: Example, cuts: list[int], again: list[int]) -> None:
    """Whatever the batches, written once or twice, merged or not: the files add up to a recount of the records."""
    with mock.patch.object(files, "MANY", 7), mock.patch.object(files.os, "fsync"):
        check(folder, example, cuts, again)
