"""What is bet on is fixed: for a rollout that began before as it was, for later ones nearer to what no test beats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.calibration.events import Limits
from benchmarks.calibration.minimax import Game, bound
from benchmarks.calibration.mixture import shipped
from fds_mlflow.core.statistics.bets import TILTS, ratio_bets
from fds_mlflow.core.statistics.bounded import WeightedSegment, weighted_ratio_interval
from fds_mlflow.core.statistics.paired import Pairs, paired_evidence, paired_interval
from fds_mlflow.core.statistics.sequential import (
    Interval,
    Segment,
    Trials,
    log_threshold,
    rate_evidence,
    rate_interval,
    ratio_evidence,
    ratio_interval,
)
from fds_mlflow.core.statistics.wealth import crossing


def test_a_rollout_that_began_before_is_judged_by_the_stakes_it_began_with() -> None:
    """Evidence without later starts, by number: none of it changes with what later tests bet on."""
    assert ratio_evidence([Segment(0.1, 30, 150)], 1.0, above=True) == pytest.approx(2.223242027342316, abs=1e-9)
    assert ratio_evidence([Segment(0.25, 40, 90)], 1.25, above=True) == pytest.approx(-1.5229847688971763, abs=1e-9)
    assert ratio_evidence([Segment(0.1, 30, 450)], 1.5, above=False) == pytest.approx(12.488569046039547, abs=1e-9)
    assert paired_evidence([Pairs(canary_only=30, champion_only=11)], 1.0, above=True) == pytest.approx(
        3.5765326884648054, abs=1e-9
    )
    assert rate_evidence([Trials(30, 900)], 0.02, above=True) == pytest.approx(1.9051725736642717, abs=1e-9)


@given(boundary=st.floats(0.2, 5), above=st.booleans(), later=st.booleans())
def test_the_whole_stake_is_bet_and_a_part_of_it_on_every_size(boundary: float, above: bool, later: bool) -> None:
    """Shares add up to 1, and deviations from a fifth of a percent to 200-fold get something."""
    ratios, shares = ratio_bets(boundary, above=above, later=later)
    assert np.exp(shares).sum() == pytest.approx(1)
    excess = np.sort((ratios / boundary if above else boundary / ratios)[: len(TILTS)] - 1)
    assert (excess[0], excess[-1]) == pytest.approx((0.002, 200))
    assert np.diff(np.log(excess)).max() < 0.25
    assert shares.min() > math.log(1e-5)


@pytest.mark.parametrize("boundary", [1.0, 1.5])
@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5, 0.9])
def test_a_good_canary_is_failed_at_most_as_often_as_alpha_says(weight: float, boundary: float) -> None:
    """Enumerated to the last event of 300, with a look at each: the stakes of today's FAIL, at the very boundary."""
    limits = Limits(weight, boundary, 0.05, above=True).up_to(300)
    chance = weight * boundary / (weight * boundary + 1 - weight)
    alive = np.array([1.0])
    for n in range(1, 301):
        alive = np.append(alive * (1 - chance), 0) + np.append(0, alive * chance)
        canary = np.arange(1, n + 1)
        alive[1:][n - canary <= limits[:n]] = 0
    assert 1 - alive.sum() <= 0.05
    assert alive.sum() < 0.995 or weight in (0.01, 0.9)  # the test is not simply mute


@pytest.mark.parametrize(
    ("ratio", "most"),
    [(1.5, 1.35), (2.0, 1.35), (4.0, 1.35), (10.0, 1.5), pytest.param(1.25, 1.35, marks=pytest.mark.slow)],
)
def test_a_bad_canary_is_found_nearly_as_soon_as_any_test_can(ratio: float, most: float) -> None:
    """Worked out event by event, the stake of later starts idle, by the mean over Wald's limit."""
    assert 1 < shipped(0.1, ratio) <= most


def test_no_test_does_better_than_the_bound() -> None:
    """For ratios of 4 and 10: the game's value lies between Wald's limit and what our test does, and can be reached."""
    ratios = (4.0, 10.0)
    found = bound(ratios)
    assert 1 < bound(ratios[:1]) < found < max(shipped(0.1, ratio) for ratio in ratios)
    game = Game(ratios, 0.1, 0.05)
    for lam, price in ((0.3, 6.0), (0.5, 8.0), (0.7, 10.0)):
        value, stop = game.best(np.array([lam, 1 - lam]), price)
        cost = game.played(stop)
        assert value <= lam * cost.means[0] + (1 - lam) * cost.means[1] + price * cost.false + 1e-9
        assert value - price * 0.05 <= found + 1e-3


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_a_billion_events_are_known_to_a_tenth_of_a_percent(weight: float) -> None:
    """At a ratio of 1, intervals of rates, values and pairs at 5 % lie within a thousandth of 1; a rate's likewise."""
    canary, champion = round(weight * 10**9), round((1 - weight) * 10**9)
    values = WeightedSegment(weight, (1.0,), (canary,), (champion,))
    rate = rate_interval(Trials(10**9, 50 * 10**9), 0.05)
    for found in (
        ratio_interval([Segment(weight, canary, champion)], 0.05),
        weighted_ratio_interval([values], 0.05),
        paired_interval([Pairs(canary_only=10**9, champion_only=10**9)], 0.05),
        Interval(rate.low / 0.02, rate.high / 0.02),
    ):
        assert 0.999 < found.low < 1 < found.high < 1.001


@given(root=st.floats(-1, 1), power=st.sampled_from([0.2, 1, 3]), scale=st.floats(1e-6, 1e9), jump=st.floats(0, 10))
def test_a_crossing_is_found_from_below_in_few_steps(root: float, power: float, scale: float, jump: float) -> None:
    """However steep, flat or broken the evidence is: within 1e-10, on the rejected side, no slower than bisection."""
    asked = 0

    def evidence(x: float) -> float:
        nonlocal asked
        asked += 1
        gap = root - x
        return scale * math.copysign(abs(gap) ** power, gap) + (jump if x <= root else -jump)

    found = crossing(evidence, 0.0, -20.0, 20.0)
    assert evidence(found) >= 0
    assert evidence(found + 1.1e-10) < 0 or scale * 1e-10**power < 1e-300
    assert asked <= 90


def test_an_interval_of_many_weights_asks_a_third_of_bisection() -> None:
    """Each step goes over all weights: thirty per end instead of forty and more make the difference."""
    segments = [Segment(0.05 + n / 2_500, 10, 20) for n in range(1_000)]
    asked = 0

    def evidence(log_ratio: float) -> float:
        nonlocal asked
        asked += 1
        return ratio_evidence(segments, math.exp(log_ratio), above=True)

    found = crossing(evidence, log_threshold(0.025), -20.0, 20.0)
    assert asked <= 30
    assert ratio_interval(segments, 0.05).low == pytest.approx(math.exp(found), rel=1e-4)
