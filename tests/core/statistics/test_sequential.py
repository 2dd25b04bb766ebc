"""Always-valid tests and intervals of event rates."""

from __future__ import annotations

import math
from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.statistics.bets import LOG_SHARES, TILTS, ratio_bets
from fds_mlflow.core.statistics.paired import Pairs, paired_evidence, paired_interval, paired_requests_until
from fds_mlflow.core.statistics.sequential import (
    SRM_TILTS,
    Interval,
    Segment,
    Trials,
    log_factors,
    log_threshold,
    rate_evidence,
    rate_interval,
    ratio_evidence,
    ratio_interval,
    requests_until,
    srm_evidence,
)
from fds_mlflow.core.statistics.wealth import log_mixture
from fds_mlflow.errors import ConfigError
from tests.support.effort import at_most

WEIGHTS = st.floats(1e-4, 1 - 1e-4)
BOUNDARIES = st.floats(0.1, 10)
COUNTS = st.integers(0, 400)
SEGMENTS = st.lists(st.builds(Segment, WEIGHTS, COUNTS, COUNTS), max_size=4)


def chance(weight: float, ratio: float) -> float:
    """How likely an event is the canary's."""
    return weight * ratio / (weight * ratio + 1 - weight)


@given(weight=WEIGHTS, boundary=BOUNDARIES, above=st.booleans())
def test_no_bet_has_an_edge_at_the_boundary(weight: float, boundary: float, above: bool) -> None:
    """Under every weight, the next event is worth exactly 1 on average to every bet while the ratio is the boundary."""
    ratios, shares = ratio_bets(boundary, above=above)
    canary, champion = log_factors(weight, boundary, ratios)
    p = chance(weight, boundary)
    assert p * np.exp(canary) + (1 - p) * np.exp(champion) == pytest.approx(1, abs=1e-9)
    assert np.exp(shares).sum() == pytest.approx(1)


@given(weight=WEIGHTS, boundary=BOUNDARIES, above=st.booleans(), within=st.floats(0.01, 1))
def test_every_bet_loses_on_average_within_the_hypothesis(
    weight: float, boundary: float, above: bool, within: float
) -> None:
    """A canary that is better than the margin asks makes FAIL evidence fall, a worse one makes PASS evidence fall."""
    canary, champion = log_factors(weight, boundary, ratio_bets(boundary, above=above)[0])
    p = chance(weight, boundary * within if above else boundary / within)
    assert (p * np.exp(canary) + (1 - p) * np.exp(champion) <= 1 + 1e-9).all()


def false_alarms(weight: float, boundary: float, alpha: float, events: int, *, above: bool) -> float:
    """The exact chance that the evidence reaches log(1/alpha) within so many events, at a ratio of `boundary`."""
    ratios, shares = ratio_bets(boundary, above=above)
    canary, champion = log_factors(weight, boundary, ratios)
    p, alive = chance(weight, boundary), np.array([1.0])
    for n in range(1, events + 1):
        alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
        counts = np.arange(n + 1)[:, None]
        evidence = log_mixture(counts * canary + (n - counts) * champion, shares)
        alive[evidence >= log_threshold(alpha)] = 0
    return 1 - float(alive.sum())


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("boundary", [1.0, 1.5])
@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5, 0.9])
def test_looking_at_every_event_fails_at_most_alpha(weight: float, boundary: float, above: bool) -> None:
    """Enumerated to the last event, not simulated: with a look at each of 300 events the chance stays below alpha."""
    wrong = false_alarms(weight, boundary, 0.05, 300, above=above)
    assert wrong <= 0.05
    assert wrong > 0.005 or weight in (0.01, 0.9)  # the test is not simply mute


def by_hand(segments: list[Segment], boundary: Decimal, above: bool) -> Decimal:
    """The mixture as its formula says, product by product, in 60 digits."""
    ratios, shares = ratio_bets(float(boundary), above=above)
    total = Decimal(0)
    for ratio, share in zip(ratios, shares, strict=True):
        stake = Decimal(float(share)).exp()
        r = Decimal(float(ratio))
        for segment in segments:
            w = Decimal(segment.weight)
            p, q = (w * r / (w * r + 1 - w)), (w * boundary / (w * boundary + 1 - w))
            stake *= (p / q) ** segment.canary * ((1 - p) / (1 - q)) ** segment.champion
        total += stake
    return total


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("boundary", [1.0, 1.25, 0.8])
@pytest.mark.parametrize(
    "segments",
    [
        [Segment(0.1, 30, 150)],
        [Segment(0.01, 7, 300), Segment(0.25, 40, 90), Segment(0.5, 3, 1)],
        [Segment(0.1, 1_003_000, 8_997_000)],
        [Segment(0.5, 5_020_000, 4_980_000), Segment(0.001, 11_000, 9_989_000)],
    ],
)
def test_evidence_is_the_mixture_of_likelihood_ratios(segments: list[Segment], boundary: float, above: bool) -> None:
    """A few events or ten million: the value agrees with the formula worked out in 60 digits."""
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 60, MAX_EMAX, MIN_EMIN
        exact = float(by_hand(segments, Decimal(boundary), above).ln())
    assert ratio_evidence(segments, boundary, above=above) == pytest.approx(exact, rel=1e-9, abs=1e-6)


@given(segments=SEGMENTS, cut=st.floats(0, 1), boundary=BOUNDARIES, above=st.booleans())
def test_only_the_counts_matter(segments: list[Segment], cut: float, boundary: float, above: bool) -> None:
    """Segments may be split, joined and reordered: the evidence does not know in which order events came."""
    split = []
    for segment in segments:
        canary, champion = round(cut * segment.canary), round(cut * segment.champion)
        split += [
            Segment(segment.weight, canary, champion),
            Segment(segment.weight, segment.canary - canary, segment.champion - champion),
        ]
    whole = ratio_evidence(segments, boundary, above=above)
    assert ratio_evidence(split[::-1], boundary, above=above) == pytest.approx(whole, rel=1e-9, abs=1e-9)


@given(segments=SEGMENTS.filter(bool), boundary=BOUNDARIES)
def test_more_canary_events_never_speak_for_the_canary(segments: list[Segment], boundary: float) -> None:
    """One more event of the canary raises the evidence that its rate is higher and lowers that it is lower."""
    first, *rest = segments
    worse = [Segment(first.weight, first.canary + 1, first.champion), *rest]
    assert ratio_evidence(worse, boundary, above=True) >= ratio_evidence(segments, boundary, above=True)
    assert ratio_evidence(worse, boundary, above=False) <= ratio_evidence(segments, boundary, above=False)


@given(segments=SEGMENTS, margins=st.lists(st.floats(0.001, 9), min_size=2, max_size=4, unique=True))
def test_a_wider_margin_is_easier_to_keep(segments: list[Segment], margins: list[float]) -> None:
    """With a wider margin the evidence for a FAIL is less, and evidence for a PASS, where there is any, is more."""
    for narrow, wide in pairwise(sorted(1 + margin for margin in margins)):
        harm, less_harm = (ratio_evidence(segments, boundary, above=True) for boundary in (narrow, wide))
        assert less_harm <= harm + 1e-9
        assurance, more = (ratio_evidence(segments, boundary, above=False) for boundary in (narrow, wide))
        assert assurance <= 0 or more >= assurance - 1e-9


@at_most(30)
@given(segments=SEGMENTS, alpha=st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_holds_what_neither_test_rejects(segments: list[Segment], alpha: float) -> None:
    """At an end of the interval the evidence against it is exactly log(2/alpha), and the estimate lies inside."""
    found = ratio_interval(segments, alpha)
    assert found.low <= found.high
    if found.low >= 1:  # below 1 the test of a PASS has most of its stake on a ratio of 1, and so has it above
        assert ratio_evidence(segments, found.low, above=True) == pytest.approx(log_threshold(alpha / 2), abs=1e-6)
    if 0 < found.high <= 1:
        assert ratio_evidence(segments, found.high, above=False) == pytest.approx(log_threshold(alpha / 2), abs=1e-6)


def test_without_events_everything_is_possible() -> None:
    """No events, no evidence: 0 either way, and an interval without bounds; one-sided counts bound one side only."""
    assert ratio_evidence([], 1, above=True) == pytest.approx(0)
    assert ratio_interval([], 0.05) == Interval(0, math.inf)
    lucky, unlucky = ratio_interval([Segment(0.1, 0, 200)], 0.05), ratio_interval([Segment(0.1, 40, 0)], 0.05)
    assert (lucky.low, unlucky.high) == (0, math.inf)
    assert lucky.high < 1 < unlucky.low


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_events_without_a_control_are_no_evidence(weight: float) -> None:
    """Under a weight of 0 or 1 nothing can be compared: such events change neither evidence nor interval."""
    kept = [Segment(0.2, 12, 30)]
    assert ratio_evidence([*kept, Segment(weight, 50, 0)], 1, above=True) == ratio_evidence(kept, 1, above=True)
    assert ratio_interval([Segment(weight, 50, 0)], 0.05).high == math.inf


def test_intervals_hold_at_all_times_at_once_under_changing_weights() -> None:
    """At a true ratio of 1.7, with a weight that changes twice, few of 500 courses ever lose it in 450 events."""
    random, ratio = np.random.default_rng(1), 1.7
    ever = np.zeros(500, dtype=bool)
    stakes = [np.zeros((500, len(TILTS))) for _ in range(2)]
    for n in range(450):
        weight = (0.05, 0.25, 0.5)[n // 150]
        to_canary = random.random(500) < chance(weight, ratio)
        for side, ratios in enumerate((ratio * TILTS, ratio / TILTS)):
            canary, champion = log_factors(weight, ratio, ratios)
            stakes[side] += np.where(to_canary[:, None], canary, champion)
            ever |= log_mixture(stakes[side], LOG_SHARES) >= log_threshold(0.05)
    assert 0.02 < ever.mean() <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 500)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_the_interval_of_a_rate_holds_at_all_times_at_once(rate: float) -> None:
    """Enumerated over 200 trials with a look at each: the true rate is ever outside with a chance of at most alpha."""
    alive = np.array([1.0])
    for n in range(1, 201):
        alive = np.append(alive * (1 - rate), 0) + np.append(0, alive * rate)
        for k in np.flatnonzero(alive):
            if max(rate_evidence([Trials(int(k), n)], rate, above=side) for side in (True, False)) >= log_threshold(
                0.05
            ):
                alive[k] = 0
    assert 0 < 1 - alive.sum() <= 0.1


def test_the_interval_of_a_rate_is_what_the_tests_leave() -> None:
    """Its ends are where the evidence reaches log(2/alpha); 0 of n bounds the rate from above only."""
    found = rate_interval(Trials(7, 900), 0.05)
    assert rate_evidence([Trials(7, 900)], found.low, above=True) == pytest.approx(log_threshold(0.025), abs=1e-6)
    assert rate_evidence([Trials(7, 900)], found.high, above=False) == pytest.approx(log_threshold(0.025), abs=1e-6)
    none = rate_interval(Trials(0, 10_000), 0.05)
    assert none.low == 0
    assert none.high == pytest.approx(-math.log(0.025) / 10_000, rel=0.5)
    assert rate_interval(Trials(10, 10), 0.05).high == 1
    assert rate_interval(Trials(0, 0), 0.05) == Interval(0, 1)


class TestPairs:
    @given(champion=st.floats(0.01, 0.3), overlap=st.floats(0, 1), boundary=st.floats(0.5, 2), within=st.floats(0.2, 1))
    def test_a_pair_is_worth_at_most_one_within_the_hypothesis(
        self, champion: float, overlap: float, boundary: float, within: float
    ) -> None:
        """However much the two versions agree, the next pair's expected factor is at most 1, for every bet."""
        for above, canary in ((True, champion * boundary * within), (False, min(champion * boundary / within, 1))):
            both = overlap * min(champion, canary)
            chances = {
                Pairs(both=1): both,
                Pairs(canary_only=1): canary - both,
                Pairs(champion_only=1): champion - both,
                Pairs(neither=1): 1 - champion - canary + both,
            }
            if chances[Pairs(neither=1)] < 0:
                continue
            worth = sum(p * math.exp(paired_evidence([pair], boundary, above=above)) for pair, p in chances.items())
            assert worth <= 1 + 1e-9

    def test_without_a_margin_only_discordant_pairs_count(self) -> None:
        """At a boundary of 1 it is a fair coin: pairs that agree change nothing."""
        discordant = paired_evidence([Pairs(canary_only=30, champion_only=11)], 1, above=True)
        assert discordant == pytest.approx(ratio_evidence([Segment(0.5, 30, 11)], 1, above=True))
        agreeing = Pairs(canary_only=30, champion_only=11, both=500, neither=10_000)
        assert paired_evidence([agreeing], 1, above=True) == pytest.approx(discordant)

    def test_with_a_margin_agreement_speaks_for_equal_rates(self) -> None:
        """Within a margin of 25 %, requests that both versions got wrong are evidence that the canary is no worse."""
        few, many = Pairs(canary_only=20, champion_only=20), Pairs(canary_only=20, champion_only=20, both=200)
        assert (
            paired_evidence([many], 1.25, above=False) > log_threshold(0.05) > paired_evidence([few], 1.25, above=False)
        )

    def test_the_interval_holds_the_ratio_of_rates(self) -> None:
        """It holds (both + canary only)/(both + champion only) and is narrower the more the versions agree."""
        found = paired_interval([Pairs(both=100, canary_only=50, champion_only=20)], 0.05)
        assert found.low < 150 / 120 < found.high
        apart = ratio_interval([Segment(0.5, 150, 120)], 0.05)
        assert found.high / found.low < apart.high / apart.low
        assert paired_interval([], 0.05) == Interval(0, math.inf)

    def test_the_estimate_says_how_many_pairs_are_to_come(self) -> None:
        """Twice the evidence needs about as many pairs again; equal counts never decide."""
        seen = Pairs(both=40, canary_only=24, champion_only=12, neither=4_000)
        more = paired_requests_until([seen], 1, above=True, alpha=0.01)
        assert more is not None
        factor = 1 + more / 4_076
        then = Pairs(canary_only=round(24 * factor), champion_only=round(12 * factor))
        assert paired_evidence([then], 1, above=True) == pytest.approx(log_threshold(0.01), abs=0.5)
        assert paired_requests_until([Pairs(canary_only=9, champion_only=9)], 1, above=True, alpha=0.01) is None
        assert paired_requests_until([], 1, above=True, alpha=0.01) is None


class TestSampleRatio:
    def test_a_split_that_is_off_is_found_either_way(self) -> None:
        """12 % or 8 % of 10,000 keys where 10 % were recorded is a mismatch; 10.3 % is chance."""
        for keys in (1_200, 800):
            assert srm_evidence([Segment(0.1, keys, 10_000 - keys)]) > log_threshold(0.001)
        assert srm_evidence([Segment(0.1, 1_030, 8_970)]) < 0

    def test_a_small_deviation_of_many_keys_is_found(self) -> None:
        """A tenth of a percentage point among ten million keys is far outside chance."""
        assert srm_evidence([Segment(0.1, 1_010_000, 8_990_000)]) > log_threshold(1e-9)

    @given(weight=WEIGHTS)
    def test_the_next_key_is_worth_one_on_average(self, weight: float) -> None:
        """While keys are split as recorded, the evidence is a martingale under every weight."""
        worth = weight * math.exp(srm_evidence([Segment(weight, 1, 0)]))
        worth += (1 - weight) * math.exp(srm_evidence([Segment(weight, 0, 1)]))
        assert worth == pytest.approx(1)
        assert SRM_TILTS.min() > 1


class TestRequestsUntil:
    def test_it_agrees_with_simulated_rollouts(self) -> None:
        """At a ratio of 2, 10 % and a rate of 2 % the mean of 500 rollouts is within a fifth of the estimate."""
        said = requests_until([], 1, above=True, alpha=0.05, weight=0.1, champion_rate=0.02, canary_rate=0.04)
        assert said is not None
        assert said == pytest.approx(self.simulated_mean(0.1, 0.02, 0.04), rel=0.2)

    @staticmethod
    def simulated_mean(weight: float, champion_rate: float, canary_rate: float) -> float:
        """Mean canary requests until FAIL, by Wald's identity from the events of 500 rollouts."""
        random = np.random.default_rng(2)
        ratios, shares = ratio_bets(1.0, above=True)
        canary, champion = log_factors(weight, 1.0, ratios)
        stakes, waiting, events = np.zeros((500, len(ratios))), np.ones(500, dtype=bool), 0
        while waiting.any():
            events += int(waiting.sum())
            to_canary = random.random(500) < chance(weight, canary_rate / champion_rate)
            stakes += np.where(to_canary[:, None], canary, champion)
            waiting &= log_mixture(stakes, shares) < log_threshold(0.05)
        return events / 500 * weight / (weight * canary_rate + (1 - weight) * champion_rate)

    def test_evidence_so_far_counts(self) -> None:
        """What has been seen shortens the wait, down to 0 once it is enough; opposite evidence makes it longer."""

        def wait(*segments: Segment) -> int:
            found = requests_until(
                segments, 1, above=True, alpha=0.05, weight=0.1, champion_rate=0.02, canary_rate=0.04
            )
            assert found is not None
            return found

        assert wait(Segment(0.1, 60, 270)) == 0
        assert 0 < wait(Segment(0.1, 12, 60)) < wait() < wait(Segment(0.1, 2, 90))

    def test_what_can_never_be_decided_is_said(self) -> None:
        """A good canary never fails, events that never happen decide nothing, and without a control nothing does."""
        known: dict[str, Any] = {"above": True, "alpha": 0.05, "weight": 0.1}
        assert requests_until([], 1, champion_rate=0.02, canary_rate=0.02, **known) is None
        assert requests_until([], 1, champion_rate=0.0, canary_rate=0.0, **known) is None
        everything = known | {"weight": 1.0}
        assert requests_until([], 1, champion_rate=0.02, canary_rate=0.08, **everything) is None

    def test_passing_costs_what_its_margin_says(self) -> None:
        """A good canary waits for a PASS far longer than a bad one for a FAIL, the longer the tighter the margin."""

        def requests(margin: float) -> float:
            found = requests_until(
                [], 1 + margin, above=False, alpha=0.05, weight=0.1, champion_rate=0.02, canary_rate=0.02
            )
            assert found is not None
            return found / 0.1

        assert requests(1.0) < 10_000 < requests(0.5) < 30_000 < requests(0.1) < 600_000


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Segment(1.2, 1, 1), "weight is 1.2, not a share"),
        (lambda: Segment(math.nan, 1, 1), "weight is nan, not a share"),
        (lambda: Segment(0.1, -1, 1), "canary is -1, not a count"),
        (lambda: Segment(0.1, 1, 0.5), "champion is 0.5, not a count"),  # type: ignore[arg-type]
        (lambda: Segment(0.1, True, 1), "canary is True, not a count"),
        (lambda: ratio_evidence([], 0.0, above=True), "boundary 0.0 is not a positive ratio"),
        (lambda: ratio_evidence([], math.nan, above=True), "boundary nan is not a positive ratio"),
        (lambda: ratio_evidence([], math.inf, above=False), "boundary inf is not a positive ratio"),
        (lambda: ratio_interval([], 0.0), "alpha is 0.0, not strictly between 0 and 1"),
        (lambda: ratio_interval([], 1.0), "alpha is 1.0, not strictly between 0 and 1"),
        (lambda: rate_interval(Trials(3, 2), 0.05), "3 successes of 2 trials"),
        (lambda: rate_evidence([Trials(1, 2)], 0.0, above=True), "rate 0.0 is not strictly between 0 and 1"),
        (lambda: paired_evidence([Pairs(both=-1)], 1, above=True), "both is -1, not a count"),
        (
            lambda: requests_until([], 1, above=True, alpha=0.05, weight=0.1, champion_rate=2, canary_rate=0),
            "champion_rate is 2, not a share",
        ),
    ],
)
def test_wrong_numbers_are_refused(wrong: Any, said: str) -> None:
    """A count, weight, rate, boundary or alpha that cannot be is refused with its value, and nothing is guessed."""
    with pytest.raises(ConfigError, match=said):
        wrong()
