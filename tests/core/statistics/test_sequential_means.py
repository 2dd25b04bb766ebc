"""Always-valid tests and intervals of bounded means, and of shares within a variant."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fds_mlflow.core.evidence.bins import SCORE_BINS
from fds_mlflow.core.statistics.bounded import (
    WeightedSegment,
    mean_difference_evidence,
    mean_difference_interval,
    mean_difference_requests_until,
    weighted_ratio_evidence,
    weighted_ratio_interval,
    weighted_requests_until,
)
from fds_mlflow.core.statistics.sequential import Interval, Trials, rate_evidence
from fds_mlflow.core.statistics.shares import (
    Stratum,
    share_difference_evidence,
    share_difference_interval,
    share_difference_trials_until,
)
from fds_mlflow.core.statistics.wealth import log_threshold
from fds_mlflow.errors import ConfigError
from tests.support.effort import graded

Test = Callable[..., float]

WEIGHTS = st.floats(0.001, 0.999)
MIDDLES = tuple((b + 0.5) / SCORE_BINS for b in range(SCORE_BINS))
DISTRIBUTION = st.lists(st.floats(0.01, 1), min_size=3, max_size=3)
"""Chances, before they are made to add up to 1, of the values 0, 0.3 and 1."""
VALUES = (0.0, 0.3, 1.0)


def mean(chances: list[float]) -> float:
    """The mean of a distribution."""
    return float(np.dot(chances, VALUES) / sum(chances))


def one(weight: float, value: float, to_canary: bool) -> WeightedSegment:
    """A single outcome."""
    return WeightedSegment(weight, [value], [int(to_canary)], [int(not to_canary)])


def expected_worth(
    test: Test, weight: float, canary: list[float], champion: list[float], *, boundary: float, above: bool
) -> float:
    """What one more outcome makes of a wealth of 1 on average."""
    total = 0.0
    for to_canary, share, chances in ((True, weight, canary), (False, 1 - weight, champion)):
        for value, chance in zip(VALUES, np.array(chances) / sum(chances), strict=True):
            total += share * chance * math.exp(test([one(weight, value, to_canary)], boundary, above=above))
    return total


@given(weight=WEIGHTS, canary=DISTRIBUTION, champion=DISTRIBUTION, above=st.booleans())
def test_a_ratio_of_means_at_the_boundary_is_worth_one(
    weight: float, canary: list[float], champion: list[float], above: bool
) -> None:
    """Whatever the two distributions look like, at their own ratio of means no outcome is worth more than 1."""
    boundary = mean(canary) / mean(champion)
    worth = expected_worth(weighted_ratio_evidence, weight, canary, champion, boundary=boundary, above=above)
    assert worth == pytest.approx(1, abs=1e-9)
    beyond = boundary * (2 if above else 0.5)
    assert expected_worth(weighted_ratio_evidence, weight, canary, champion, boundary=beyond, above=above) <= 1 + 1e-9


@given(weight=WEIGHTS, canary=DISTRIBUTION, champion=DISTRIBUTION, above=st.booleans())
def test_a_difference_of_means_at_the_boundary_is_worth_one(
    weight: float, canary: list[float], champion: list[float], above: bool
) -> None:
    """The same for the difference of the two means, and less than 1 further inside the hypothesis."""
    boundary = mean(canary) - mean(champion)
    worth = expected_worth(mean_difference_evidence, weight, canary, champion, boundary=boundary, above=above)
    assert worth == pytest.approx(1, abs=1e-9)
    beyond = (boundary + (1 if above else -1)) / 2
    assert expected_worth(mean_difference_evidence, weight, canary, champion, boundary=beyond, above=above) <= 1 + 1e-9


def drawn(
    random: np.random.Generator, weight: float, number: int, *, canary: float, champion: float
) -> WeightedSegment:
    """Scores of so many keys by bin: beta distributions with these means."""
    to_canary = random.random(number) < weight
    scores = random.beta(12 * np.where(to_canary, canary, champion), 12 * (1 - np.where(to_canary, canary, champion)))
    bins = np.minimum((scores * SCORE_BINS).astype(int), SCORE_BINS - 1)
    counts = [np.bincount(bins[side], minlength=SCORE_BINS).tolist() for side in (to_canary, ~to_canary)]
    return WeightedSegment(weight, MIDDLES, *counts)


class TestRatioOfMeans:
    def test_values_of_one_are_events(self) -> None:
        """Where every loss is the largest possible one, the factors are those of the event test: 12 of 40 at 10 %."""
        segments = [WeightedSegment(0.1, [1.0], [12], [28])]
        assert weighted_ratio_evidence(segments, 1, above=True) > log_threshold(0.05)
        assert weighted_ratio_evidence(segments, 1, above=False) < 0

    def test_what_lost_nothing_is_no_evidence(self) -> None:
        """Keys without a loss change nothing: no base rate is needed, and none can be got wrong."""
        lossless = [WeightedSegment(0.1, [0.0, 0.4], [9_000, 5], [70_000, 20])]
        assert weighted_ratio_evidence(lossless, 1, above=True) == pytest.approx(
            weighted_ratio_evidence([WeightedSegment(0.1, [0.4], [5], [20])], 1, above=True)
        )

    def test_dearer_misses_are_found_where_counts_are_equal(self) -> None:
        """The same number of misses, each costing three times as much, is a higher loss."""
        values = [0.1, 0.3]
        segments = [WeightedSegment(0.5, values, [10, 300], [300, 10])]
        assert weighted_ratio_evidence(segments, 1.25, above=True) > log_threshold(0.01)
        found = weighted_ratio_interval(segments, 0.05)
        assert found.low < (10 * 0.1 + 300 * 0.3) / (300 * 0.1 + 10 * 0.3) < found.high

    def test_the_interval_ends_where_evidence_is_enough(self) -> None:
        """At its ends each one-sided test reaches log(2/alpha); without values it is unbounded."""
        segments = [WeightedSegment(0.2, [0.1, 0.5, 1.0], [30, 12, 4], [90, 41, 9])]
        found = weighted_ratio_interval(segments, 0.1)
        assert weighted_ratio_evidence(segments, found.low, above=True) == pytest.approx(log_threshold(0.05), abs=1e-6)
        assert weighted_ratio_evidence(segments, found.high, above=False) == pytest.approx(
            log_threshold(0.05), abs=1e-6
        )
        assert weighted_ratio_interval([], 0.05) == Interval(0, math.inf)

    def test_the_estimate_carries_the_evidence_on(self) -> None:
        """With as many requests again as it says, alike in every way, the evidence is there."""
        seen = WeightedSegment(0.2, [0.1, 0.5], [30, 20], [90, 41])
        more = weighted_requests_until([seen], 1, above=True, alpha=0.01, requests=10_000)
        assert more is not None
        factor = 1 + more / 10_000
        then = WeightedSegment(0.2, [0.1, 0.5], *([round(factor * n) for n in side] for side in ((30, 20), (90, 41))))
        assert weighted_ratio_evidence([then], 1, above=True) == pytest.approx(log_threshold(0.01), abs=0.4)
        assert weighted_requests_until([seen], 3, above=True, alpha=0.01, requests=10_000) is None


class TestDifferenceOfMeans:
    @pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
    def test_a_shift_is_found_and_its_absence_is_shown(self, weight: float) -> None:
        """Scores 0.06 higher are found among 40,000 keys; equal ones pass a margin of 0.05 in both directions."""
        random = np.random.default_rng(3)
        moved = [drawn(random, weight, 40_000, canary=0.26, champion=0.2)]
        alike = [drawn(random, weight, 40_000, canary=0.2, champion=0.2)]
        assert mean_difference_evidence(moved, 0, above=True) > log_threshold(0.01)
        assert mean_difference_evidence(moved, 0, above=False) < 0
        assert mean_difference_evidence(alike, 0.05, above=False) > log_threshold(0.05)
        assert mean_difference_evidence(alike, -0.05, above=True) > log_threshold(0.05)

    def test_mirrored_scores_mirror_the_answer(self) -> None:
        """1 - score with the boundary's sign turned is the same question asked from the other side."""
        values = [0.125, 0.5, 0.875]
        plain = WeightedSegment(0.1, values, [30, 20, 10], [400, 100, 50])
        mirrored = WeightedSegment(0.1, [1 - value for value in values], [30, 20, 10], [400, 100, 50])
        for boundary in (-0.1, 0.0, 0.02):
            assert mean_difference_evidence([plain], boundary, above=True) == pytest.approx(
                mean_difference_evidence([mirrored], -boundary, above=False)
            )
        found, turned = mean_difference_interval([plain], 0.05), mean_difference_interval([mirrored], 0.05)
        assert (found.low, found.high) == pytest.approx((-turned.high, -turned.low), abs=1e-9)

    @pytest.mark.slow
    def test_the_interval_holds_at_all_times_at_once(self) -> None:
        """Over 60 courses with 40 looks each, under two weights, at most 2 ever lose the true difference."""
        random, lost = np.random.default_rng(4), 0
        for _ in range(60):
            early = late = WeightedSegment(0.5, MIDDLES, [0] * SCORE_BINS, [0] * SCORE_BINS)
            out = False
            for look in range(40):
                more = drawn(random, (0.1, 0.5)[look >= 20], 50, canary=0.3, champion=0.2)
                if look < 20:
                    early = self.joined(early, more)
                else:
                    late = self.joined(late, more)
                for above in (True, False):
                    out |= mean_difference_evidence([early, late], 0.1, above=above) >= log_threshold(0.01)
            lost += out
        assert lost <= 2

    @staticmethod
    def joined(one: WeightedSegment, other: WeightedSegment) -> WeightedSegment:
        """Both segments' outcomes together."""
        counts = [
            [int(a + b) for a, b in zip(*sides, strict=True)]
            for sides in ((one.canary, other.canary), (one.champion, other.champion))
        ]
        return WeightedSegment(other.weight, MIDDLES, *counts)

    def test_the_estimate_carries_the_evidence_on(self) -> None:
        """As many requests again as it says are about enough; no scores at all never decide."""
        seen = WeightedSegment(0.5, [0.2, 0.4], [40, 60], [60, 40])
        more = mean_difference_requests_until([seen], 0, above=True, alpha=0.01, requests=100)
        assert more is not None
        factor = 1 + more / 100
        then = WeightedSegment(0.5, [0.2, 0.4], *([round(factor * n) for n in side] for side in ((40, 60), (60, 40))))
        assert mean_difference_evidence([then], 0, above=True) == pytest.approx(log_threshold(0.01), abs=0.3)
        assert mean_difference_requests_until([], 0, above=True, alpha=0.01, requests=0) is None


@pytest.mark.parametrize(("evidence", "boundary"), [(weighted_ratio_evidence, 1.1), (mean_difference_evidence, 0.01)])
@given(
    counts=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=3, max_size=3),
    weight=WEIGHTS,
    above=st.booleans(),
)
def test_only_the_counts_matter(
    evidence: Test, boundary: float, counts: list[tuple[int, int]], weight: float, above: bool
) -> None:
    """Outcomes one by one, in any order, are the same evidence as their counts by bin."""
    canary, champion = ([pair[side] for pair in counts] for side in (0, 1))
    whole = evidence([WeightedSegment(weight, VALUES, canary, champion)], boundary, above=above)
    apart = [
        WeightedSegment(weight, [value], [a], [b])
        for value, a, b in zip(VALUES[::-1], canary[::-1], champion[::-1], strict=True)
    ]
    assert evidence(apart, boundary, above=above) == pytest.approx(whole, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("evidence", [weighted_ratio_evidence, mean_difference_evidence])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_outcomes_without_a_control_are_no_evidence(evidence: Test, weight: float) -> None:
    """Under a weight of 0 or 1 there is nothing to compare with."""
    assert evidence([WeightedSegment(weight, [0.5], [50], [0])], 0.5, above=True) == pytest.approx(0)


def test_ten_million_outcomes_are_a_finite_number() -> None:
    """Evidence stays finite and intervals narrow, however many outcomes there are."""
    many = [WeightedSegment(0.1, [0.05, 0.9], [900_000, 100_000], [8_100_000, 900_000])]
    ratio, difference = weighted_ratio_interval(many, 0.05), mean_difference_interval(many, 0.05)
    assert 0.97 < ratio.low < 1 < ratio.high < 1.03
    assert -0.01 < difference.low < 0 < difference.high < 0.01


def rate_mixture(trials: Trials, share: float, *, idle: float, above: bool) -> float:
    """Log of what a stake on one side of a share has become when part of it is kept idle."""
    staked = math.exp(rate_evidence([trials], share, above=above))
    return math.log(idle + (1 - idle) * staked)


class TestShares:
    @pytest.mark.parametrize(("canary", "champion"), graded([(0.2, 0.4), (0.5, 0.5), (0.9, 0.95), (0.0, 0.3)]))
    @pytest.mark.slow
    @pytest.mark.tested(1)
    def test_the_evidence_is_worth_at_most_one_within_the_hypothesis(self, canary: float, champion: float) -> None:
        """Every outcome of up to five trials each, added up with its chance: never more than 1 on average."""
        for m, n in product(range(6), range(1, 6)):
            worth = {True: 0.0, False: 0.0}
            for s, t in product(range(m + 1), range(n + 1)):
                chance = math.comb(m, s) * canary**s * (1 - canary) ** (m - s)
                chance *= math.comb(n, t) * champion**t * (1 - champion) ** (n - t)
                for above in worth:
                    stratum = Stratum([Trials(s, m)], [Trials(t, n)])
                    evidence = share_difference_evidence([stratum], canary - champion, above=above)
                    worth[above] += chance * math.exp(evidence)
            assert max(worth.values()) <= 1 + 1e-9

    def test_no_champion_share_explains_what_was_seen_any_better(self) -> None:
        """The smallest product over the champion's share is found as a fine grid finds it."""
        canary, champion = Trials(12, 40), Trials(70, 120)
        products = [
            rate_mixture(canary, share - 0.1, idle=0.2, above=False)
            + rate_mixture(champion, share, idle=0.5, above=True)
            for share in np.linspace(0.101, 0.999, 900)
        ]
        found = share_difference_evidence([Stratum([canary], [champion])], -0.1, above=False)
        assert found == pytest.approx(min(products), abs=1e-3)
        assert found <= min(products)

    def test_a_precision_that_fell_is_found_and_an_equal_one_passes(self) -> None:
        """40 % true alerts instead of 60 % are clear among 200; 60 % passes a margin of 10 points among 800."""
        fell = share_difference_evidence([Stratum([Trials(80, 200)], [Trials(1_200, 2_000)])], -0.05, above=False)
        assert fell > log_threshold(0.05)
        assert share_difference_evidence([Stratum([Trials(120, 200)], [Trials(1_200, 2_000)])], -0.05, above=False) < 0
        assert share_difference_evidence(
            [Stratum([Trials(480, 800)], [Trials(4_800, 8_000)])], -0.1, above=True
        ) > log_threshold(0.01)

    def test_the_interval_holds_the_difference(self) -> None:
        """It holds 0.4 - 0.6, bounds nothing without trials, and is narrow for ten million."""
        found = share_difference_interval([Stratum([Trials(80, 200)], [Trials(1_200, 2_000)])], 0.05)
        assert found.low < -0.2 < found.high < 0
        assert share_difference_interval([Stratum([Trials(0, 0)], [Trials(0, 0)])], 0.05) == Interval(-1, 1)
        many = share_difference_interval([Stratum([Trials(500_000, 1_000_000)], [Trials(4_500_000, 9_000_000)])], 0.05)
        assert -0.01 < many.low < 0 < many.high < 0.01

    def test_the_estimate_carries_the_evidence_on(self) -> None:
        """With as many alerts again as it says the evidence is there; without alerts nothing can be said."""
        more = share_difference_trials_until(
            [Stratum([Trials(20, 50)], [Trials(300, 500)])], -0.05, above=False, alpha=0.01
        )
        assert more is not None
        factor = 1 + more / 50
        then = Trials(round(20 * factor), round(50 * factor)), Trials(round(300 * factor), round(500 * factor))
        assert share_difference_evidence([Stratum(*([each] for each in then))], -0.05, above=False) == pytest.approx(
            log_threshold(0.01), abs=0.3
        )
        known: dict[str, Any] = {"above": False, "alpha": 0.01}
        assert share_difference_trials_until([Stratum([Trials(60, 100)], [Trials(300, 500)])], 0.0, **known) is None
        assert share_difference_trials_until([Stratum([Trials(0, 0)], [Trials(300, 500)])], 0.0, **known) is None
        assert share_difference_trials_until([Stratum([Trials(0, 200)], [Trials(900, 1_000)])], 0.0, **known) == 0

    @settings(deadline=None)
    @given(
        canary=st.builds(lambda s, f: Trials(s, s + f), st.integers(0, 60), st.integers(0, 60)),
        champion=st.builds(lambda s, f: Trials(s, s + f), st.integers(0, 60), st.integers(0, 60)),
        boundaries=st.tuples(st.floats(-0.99, 0.99), st.floats(-0.99, 0.99)),
    )
    def test_a_wider_margin_is_less_evidence(
        self, canary: Trials, champion: Trials, boundaries: tuple[float, float]
    ) -> None:
        """Evidence of a higher share falls as the boundary rises, that of a lower one rises."""
        low, high = sorted(boundaries)

        def evidence(boundary: float, above: bool) -> float:
            return share_difference_evidence([Stratum([canary], [champion])], boundary, above=above)

        assert evidence(low, True) >= evidence(high, True) - 1e-7
        assert evidence(low, False) <= evidence(high, False) + 1e-7


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: WeightedSegment(0.1, [0.5], [1], []), "1 values, 1 canary and 0 champion counts"),
        (lambda: WeightedSegment(0.1, [1.5], [1], [1]), "value is 1.5, not a share"),
        (lambda: WeightedSegment(0.1, [0.5], [-1], [1]), "count is -1, not a count"),
        (lambda: WeightedSegment(-0.1, [0.5], [1], [1]), "weight is -0.1, not a share"),
        (lambda: weighted_ratio_evidence([], -1, above=True), "boundary -1 is not a positive ratio"),
        (lambda: mean_difference_evidence([], 1.0, above=True), "boundary 1.0 is not a difference"),
        (lambda: mean_difference_interval([], 0), "alpha is 0, not strictly between"),
        (lambda: Trials(3, 2), "3 successes of 2 trials"),
        (
            lambda: share_difference_evidence([Stratum([Trials(0, 0)], [Trials(0, 0)])], -1, above=True),
            "boundary -1 is not a diff",
        ),
    ],
)
def test_wrong_numbers_are_refused(wrong: Any, said: str) -> None:
    """A value, count, weight or boundary that cannot be is refused with its value, and nothing is guessed."""
    with pytest.raises(ConfigError, match=said):
        wrong()
