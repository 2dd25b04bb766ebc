"""A part of the stake begins later: a harm that comes late is found, and a good canary is failed no more often."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.statistics.bets import ratio_bets
from fds_mlflow.core.statistics.sequential import Segment, log_factors, log_threshold, ratio_evidence
from fds_mlflow.core.statistics.starts import LATER, later_evidence, unspent
from fds_mlflow.core.statistics.wealth import log_mixture

SEGMENTS = st.lists(
    st.builds(Segment, st.floats(0.01, 0.99), st.integers(0, 30), st.integers(0, 200), st.integers(0, 60)),
    max_size=6,
)


@given(segments=SEGMENTS, weight=st.floats(0.01, 0.99), later=st.integers(0, 50), boundary=st.floats(0.5, 2))
def test_the_next_event_is_worth_one_on_average(
    segments: list[Segment], weight: float, later: int, boundary: float
) -> None:
    """Whatever was, in whichever hour it comes: at the boundary the wealth neither grows nor falls on average."""
    hour = max((each.hour for each in segments), default=0) + later
    chance = weight * boundary / (weight * boundary + 1 - weight)
    # An hour without events has begun as well: what it was to begin with counts.
    before = ratio_evidence([*segments, Segment(weight, 0, 0, hour)], boundary, above=True, later=True)
    canary = ratio_evidence([*segments, Segment(weight, 1, 0, hour)], boundary, above=True, later=True)
    champion = ratio_evidence([*segments, Segment(weight, 0, 1, hour)], boundary, above=True, later=True)
    worth = chance * math.exp(canary - before) + (1 - chance) * math.exp(champion - before)
    assert worth == pytest.approx(1)


@given(segments=SEGMENTS, hours=st.integers(1, 2_000))
def test_an_hour_without_events_is_worth_nothing(segments: list[Segment], hours: int) -> None:
    """A stake that begins is worth what it was worth before."""
    then = max((each.hour for each in segments), default=0) + hours
    found = ratio_evidence([*segments, Segment(0.5, 0, 0, then)], 1.0, above=True, later=True)
    assert found == pytest.approx(ratio_evidence(segments, 1.0, above=True, later=True), abs=1e-9)


def test_all_of_the_later_stake_is_shared_out_and_no_hour_gets_nothing() -> None:
    """Shares of the hours add up to the later stake, and fall more slowly than 1/k^2."""
    hours = np.arange(100_000)
    kept = unspent(hours)
    begun = -np.diff(kept)
    assert kept[0] == 1
    assert (begun > 0).all()
    squared = begun * np.arange(1, 100_000) ** 2.0
    assert (np.diff(squared[10:]) > 0).all()


def test_a_harm_after_a_good_week_is_found_nearly_as_soon_as_at_once() -> None:
    """Twenty times the errors from one hour on: three and a half times the events of a test that begins there."""
    alpha = log_threshold(0.05 / 3)
    good = [Segment(0.5, 20, 20, hour) for hour in range(168)]

    def events(before: list[Segment], *, later: bool) -> int:
        for number in range(1, 20_000):
            canary = round(number * 20 / 21)
            now = Segment(0.5, canary, number - canary, 168)
            if ratio_evidence([*before, now], 1.0, above=True, later=later) >= alpha:
                return number
        raise AssertionError

    fresh = events([], later=False)
    assert events(good, later=True) <= 3.5 * fresh
    assert events(good, later=False) > 30 * fresh


def test_a_steady_harm_waits_hardly_longer() -> None:
    """At twice the rate from the first hour on, the later stake costs at most its share, and wins a part back."""
    steady = [Segment(0.1, 2, 9, hour) for hour in range(24)]
    at_once = ratio_evidence([Segment(0.1, 48, 216)], 1.0, above=True, later=True)
    assert at_once <= ratio_evidence(steady, 1.0, above=True, later=True) < at_once + 0.2
    assert LATER <= 0.05


@given(canary=st.integers(0, 60), champion=st.integers(0, 600), weight=st.floats(0.01, 0.9))
def test_within_the_first_hour_the_later_stake_is_worth_what_it_was(canary: int, champion: int, weight: float) -> None:
    """Nothing of it is bet yet: all else has the points' bets, and together they are the evidence."""
    ratios, shares = ratio_bets(1.0, above=True, later=True)
    by_canary, by_champion = log_factors(weight, 1.0, ratios)
    begun = float(log_mixture(canary * by_canary + champion * by_champion, shares))
    found = ratio_evidence([Segment(weight, canary, champion, 5)], 1.0, above=True, later=True)
    assert found == pytest.approx(np.logaddexp(begun + math.log(1 - LATER), math.log(LATER)), abs=1e-9)


def test_nothing_is_no_evidence() -> None:
    """Without an hour, wealth is what it was."""
    assert later_evidence(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), np.log([0.2, 0.3, 0.5])) == 0.0
    assert ratio_evidence([], 1.0, above=True, later=True) == 0.0
