"""Tests add up without spending more alpha: any of several by the mean of their wealth, all of them by the smallest."""

from __future__ import annotations

from math import inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.statistics.combination import AllOf, AnyOf, Single

logs = st.lists(st.floats(-50, 50), min_size=1, max_size=5)


def single(evidence: float, wait: int | None = None) -> Single:
    """A test that waits so long at alpha 1, and twice as long at alpha 1/2."""
    return Single(evidence, lambda alpha: None if wait is None else round(wait / alpha))


def test_any_of_has_the_mean_of_the_wealths() -> None:
    """A wealth of 8 and one of 2 are 5 together, not 8: taking the larger would spend alpha twice."""
    assert AnyOf([single(log(8)), single(log(2))]).evidence == pytest.approx(log(5))
    assert AnyOf([single(log(8)), single(-inf)]).evidence == pytest.approx(log(4))
    assert AnyOf([single(-inf)]).evidence == -inf


@given(logs)
def test_combined_evidence_lies_where_it_may(evidence: list[float]) -> None:
    """The mean is at most the largest, and at least the largest divided by their number; "all" is the smallest."""
    tests = [single(each) for each in evidence]
    assert max(evidence) - log(len(evidence)) - 1e-9 <= AnyOf(tests).evidence <= max(evidence) + 1e-9
    assert AllOf(tests).evidence == min(evidence)


def test_waits_add_up_like_the_evidence() -> None:
    """One of several waits for the quickest, at its share of alpha; all of them for the slowest, if it ever comes."""
    assert AnyOf([single(0, 10), single(0, 30), single(0)]).until(1.0) == 30
    assert AnyOf([single(0), single(0)]).until(1.0) is None
    assert AllOf([single(0, 10), single(0, 30)]).until(0.5) == 60
    assert AllOf([single(0, 10), single(0)]).until(0.5) is None
