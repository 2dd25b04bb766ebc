"""The kernel at the ends of what its numbers hold: times, amounts, entities."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.features.kernel import Kernel, Past
from fds_mlflow.features.meaning import NEVER, micros
from fds_mlflow.features.spec import FeatureSpec, Gap, Window
from fds_mlflow.features.sums import Values
from tests.support.effort import at_most

EARLIEST, LATEST = -(2**63) + 1, 2**63 - 1
WINDOWS = ("1s", "10w", "5000w")
TIMES = st.one_of(
    st.sampled_from([EARLIEST, EARLIEST + 1, -1, 0, 1, LATEST - 1, LATEST]),
    st.integers(EARLIEST, EARLIEST + 3_000_000),
    st.integers(LATEST - 3_000_000, LATEST),
)
AMOUNTS = st.one_of(
    st.sampled_from([0.0, 0.1, 0.01, 2.5, 1e12, 1e12 + 0.5, -1e12, 3e-9]),
    st.floats(-1e13, 1e13, allow_subnormal=False),
)


class TestTimes:
    @at_most(100)
    @given(st.lists(st.tuples(TIMES, st.integers(-1, 2), st.one_of(st.none(), TIMES)), min_size=1, max_size=12))
    def test_the_first_and_the_last_microseconds_are_times_like_others(
        self, rows: list[tuple[int, int, int | None]]
    ) -> None:
        """At both ends of 64 bits, with windows longer than all time, nothing wraps around."""
        found = _features(rows, delay="10w")
        for i, (now, entity, _) in enumerate(rows):
            own = [(t, j) for j, (t, e, _) in enumerate(rows) if e == entity >= 0]
            past = [t for t, j in own if (t, j) <= (now, i)]
            moments = [
                (max(known, min(t + micros("10w"), LATEST)), t)
                for t, e, known in rows
                if e == entity >= 0 and known is not None
            ]
            usable = [moment for moment, t in moments if moment <= now and moment != t]
            assert (
                found["e_gap"][i] == pytest.approx((now - sorted(past)[-2]) / 1e6, rel=1e-15)
                if len(past) > 1
                else (math.isnan(found["e_gap"][i]))
            )
            for window in WINDOWS:
                assert found[f"e_count_{window}"][i] == sum(now - t < micros(window) for t in past)
                if all(moment < LATEST for moment, _ in moments):  # there the ends of time, and moments, coincide
                    assert found[f"e_known_{window}"][i] == sum(now - t < micros(window) for t in usable)

    def test_many_entities_over_all_time_fit(self) -> None:
        """As many entities as rows over all the time there is: no key is too long."""
        rng = np.random.default_rng(0)
        n = 100_000
        time = np.concatenate([[EARLIEST, LATEST], rng.integers(0, 3 * micros("5000w"), n - 2)])
        spec = FeatureSpec(windows=(Window(entity="e", aggregate="count", windows=WINDOWS),))
        codes = np.where(np.arange(n) < n // 2, np.arange(n), np.arange(n) - n // 2)  # each comes twice
        found = dict(Kernel(Past(time, {"e": codes}), spec).features("e"))
        first, second = time[: n // 2], time[n // 2 :]
        age = np.abs(first.astype(object) - second.astype(object))
        both = (age < micros("5000w")).astype(bool)
        later = np.concatenate([first > second, second >= first])
        assert (found["e_count_5000w"] == 1.0 + (later & np.concatenate([both, both]))).all()


class TestSums:
    @at_most(200)
    @given(st.lists(AMOUNTS, min_size=1, max_size=30), st.data())
    def test_a_stretch_is_as_if_alone(self, amounts: list[float], data: st.DataObject) -> None:
        """Sums and deviations of any stretch are those of its own values, whatever comes before and after."""
        start = data.draw(st.integers(0, len(amounts)))
        end = data.draw(st.integers(start, len(amounts)))
        values, (a, b) = Values(np.array(amounts)), (np.array([start]), np.array([end]))
        assert values.sum(a, b)[0] == pytest.approx(math.fsum(amounts[start:end]), rel=1e-15, abs=1e-30)
        found = values.deviation(a, b)[0]
        if start == end:
            assert math.isnan(found)
        elif len(set(amounts[start:end])) == 1:
            assert found == 0.0
        else:
            assert found == pytest.approx(statistics.pstdev(amounts[start:end]), rel=1e-12)

    def test_equal_values_deviate_by_exactly_0_after_thousands_of_large_ones(self) -> None:
        """Even where the squares before take more digits than are kept."""
        before = np.random.default_rng(0).random(2_000) * 1e13
        values, n = Values(np.concatenate([before, np.full(7, 0.001 / 3)])), len(before)
        assert (values.deviation(np.full(7, n), np.arange(n + 1, n + 8)) == 0.0).all()

    @pytest.mark.parametrize("scale", [1e300, 1e-300])
    def test_the_ends_of_a_floats_range_are_amounts_like_others(self, scale: float) -> None:
        """What overflows or vanishes when squared has the deviation it has."""
        values = Values(np.array([1.0, 3.0, 3.0]) * scale)
        ends = np.array([1, 2, 3])
        assert values.sum(ends * 0, ends) == pytest.approx(np.array([1.0, 4.0, 7.0]) * scale, rel=1e-15)
        assert values.deviation(ends * 0, ends) == pytest.approx(np.array([0.0, 1.0, 8**0.5 / 3]) * scale, rel=1e-15)

    def test_infinite_values_stay_in_their_windows(self) -> None:
        """A sum with infinities is infinite, or NaN of both; the window after them is finite again."""
        values = Values(np.array([1.0, np.inf, 2.0, -np.inf, 3.0]))
        start, end = np.array([0, 0, 2, 1, 4]), np.array([1, 3, 4, 5, 5])
        np.testing.assert_array_equal(values.sum(start, end), [1.0, np.inf, -np.inf, np.nan, 3.0])
        np.testing.assert_array_equal(values.deviation(start, end), [0.0, np.nan, np.nan, np.nan, 0.0])


def _features(rows: list[tuple[int, int, int | None]], delay: str) -> dict[str, np.ndarray]:
    """Counts, known labels and gaps of (time, entity, known)."""
    spec = FeatureSpec(
        windows=tuple(Window(entity="e", aggregate=a, windows=WINDOWS) for a in ("count", "known")),
        gaps=(Gap(entity="e"),),
        label_delay=delay,
    )
    time, entity, known = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    known = np.array([NEVER if moment is None else moment for moment in known], dtype=np.int64)
    past = Past(time.astype(np.int64), {"e": entity.astype(np.int64)}, {}, np.ones(len(rows), dtype=np.int64), known)
    return dict(Kernel(past, spec).features("e"))
