"""The scorer contract: what counts as one float in [0, 1] per row, and what is said where it is broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import DataError
from fds_mlflow.scoring.contract import checked, checked_one
from fds_mlflow.scoring.scorer import Scorer
from fds_mlflow.scoring.served import Prepared
from tests.support.version_caches import version_cache

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(scores=SCORES, column=st.booleans())
def test_scores_in_the_unit_interval_come_back_as_they_are(scores: list[float], column: bool) -> None:
    """A score per row is taken as a list, an array or one column, and given as float64 of shape (rows,)."""
    answer: Any = np.array(scores)[:, None] if column else scores
    found = checked(1, answer, len(scores))
    assert found.dtype == np.float64
    assert found.tolist() == scores
    assert [checked_one(1, score) for score in scores] == scores


@given(scores=SCORES, place=st.integers(0), bad=st.floats().filter(lambda score: not 0 <= score <= 1))
def test_one_score_outside_the_unit_interval_breaks_the_contract(scores: list[float], place: int, bad: float) -> None:
    """One score that is negative, above 1, infinite or no number refuses the whole answer, alone and among others."""
    scores[place % len(scores)] = bad
    with pytest.raises(DataError, match=r"version 7 gives 1 of .* not one float in"):
        checked(7, scores, len(scores))
    with pytest.raises(DataError, match=r"version 7 gives the score .* not one float in"):
        checked_one(7, bad)


@pytest.mark.parametrize("answer", [[0.1], [[0.1, 0.2]], 0.1, [0.1, 0.2, 0.3], ["fraud", "none"], [None, 0.5]])
def test_another_number_of_scores_or_no_numbers_break_the_contract(answer: Any) -> None:
    """Two rows that do not get one number each refuse the answer; the message says what came instead."""
    with pytest.raises(DataError, match=r"version 7 .* not one float in"):
        checked(7, answer, 2)


def test_a_server_and_the_library_refuse_the_same_answer_alike(tmp_path: Any) -> None:
    """One answer that breaks the contract is refused in the same words when promoted, when routed and when served."""
    from fds_mlflow.scoring.loaded import Loaded

    there = version_cache(tmp_path)
    prepared = there.prepared(1, "identity1")
    assert isinstance(prepared, Prepared)
    served = Loaded.load(prepared, 0.5, 1.0)
    served._ask = lambda rows: [[0.1] * len(rows)]  # type: ignore[method-assign]
    routed = Scorer(1, 0.5, {}, None, lambda frame: [[0.1] * len(frame)])
    said = []
    for score in (lambda: served.rows([(1.0, 2.0, "shop")] * 2), lambda: routed.score(pd.DataFrame({"a": [1, 2]}))):
        with pytest.raises(DataError) as caught:
            score()
        said.append((caught.value.what, caught.value.fix))
    assert said[0] == said[1]
