"""Medians of stretches: what sorting each of them gives."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.features import columns
from fds_mlflow.features.columns import Column
from fds_mlflow.features.ranks import Ranks
from fds_mlflow.features.spec import Window
from tests.support.effort import at_most

VALUES = st.lists(st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.0, 1e308, -1e308, 5e-324]) | st.floats(allow_nan=False))
MEDIAN = Window(entity="e", aggregate="median", windows=("1d",))


@at_most(200)
@given(VALUES, st.data())
def test_every_stretch_has_the_median_of_its_values(values: list[float], data: st.DataObject) -> None:
    """Ties, both zeros, infinities and what is too large to be added, with groups and without."""
    number = len(values)
    places = st.integers(0, number)
    edges = data.draw(st.lists(st.tuples(places, places), min_size=1))
    start, end = np.array([sorted(edge) for edge in edges]).T
    wanted = [_median(values[a:b]) for a, b in zip(start, end, strict=True)]
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(Ranks(np.array(values, dtype=float)).median(start, end), wanted)


@pytest.mark.parametrize("few", [0, columns._FEW])
def test_many_entities_and_missing_values_are_as_one_by_one(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of values of a hundred entities, of which some are missing: by ranks and by sorting alike."""
    monkeypatch.setattr(columns, "_FEW", few)
    chance = np.random.default_rng(3)
    entity = np.sort(chance.integers(0, 100, 2_000))
    values = chance.choice([np.nan, 1.0, 2.0, 3.5, 7.0], 2_000)
    firsts = np.searchsorted(entity, entity)
    end = np.arange(1, 2_001)
    start = np.maximum(firsts, end - chance.integers(0, 60, 2_000))
    if not few:
        found = Column(values, entity).aggregate(MEDIAN, start, end)(slice(None))
        wanted = [_median([v for v in values[a:b] if not np.isnan(v)]) for a, b in zip(start, end, strict=True)]
        np.testing.assert_array_equal(found, wanted)
        return
    for first in range(0, 2_000, 50):
        block = slice(first, first + 50)
        part = Column(values[: first + 50]).aggregate(MEDIAN, start[block], end[block])(slice(None))
        wanted = [
            _median([v for v in values[a:b] if not np.isnan(v)]) for a, b in zip(start[block], end[block], strict=True)
        ]
        np.testing.assert_array_equal(part, wanted)


def _median(values: list[float]) -> float:
    if not values:
        return np.nan
    low, high = statistics.median_low(values), statistics.median_high(values)
    return low / 2 + high / 2
