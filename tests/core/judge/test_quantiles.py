"""Quantiles: harm is found, a canary like its champion is spared whatever the load does, units mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, erf, exp, floor, log, log1p, log2, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.evidence.arms import Arms, counts
from fds_mlflow.core.evidence.bins import FINE_LATENCY_EDGES, FINE_SCORE_EDGES, OCTAVE
from fds_mlflow.core.evidence.evidence import Evidence, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.firsts import above, quantile_of
from fds_mlflow.core.judge.judge import Status, Verdict, judge
from fds_mlflow.core.judge.quantiles import Tails
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.statistics.bets import LOG_SHARES, TILTS
from fds_mlflow.core.statistics.sequential import log_factors, ratio_evidence
from fds_mlflow.core.statistics.wealth import Floats, log_mixture
from fds_mlflow.core.weight import FULL
from fds_mlflow.errors import ConfigError
from tests.support.effort import at_most
from tests.support.trials import CANARY, CHAMPION, NOON, evidence, rollout, tally

ALPHA = log(1 / 0.05)


def normal(places: Floats, centre: float, spread: float) -> Floats:
    """Chances of the bins between places of a normal distribution."""
    below = [0.5 * (1 + erf((place - centre) / spread / sqrt(2))) for place in places]
    return np.diff([0, *below, 1])


def slow(median: float) -> Floats:
    """Chances of the fine bins of latencies with a median in ms, log normal: the 99 % quantile is four times it."""
    return normal(np.log(FINE_LATENCY_EDGES), log(median), 0.6)


def scored(odds: float) -> Floats:
    """Chances of the fine bins of scores whose log odds are normal."""
    edges = np.array(FINE_SCORE_EDGES)
    return normal(np.log(edges / (1 - edges)), odds, 1.0)


def made(variant: Variant, bins: Sequence[int] | Floats, *, hour: int = 0, weight: int = 1_000) -> Tally:
    """First requests by fine bins of their latency, and of their score alike."""
    found = {int(at): int(bins[at]) for at in np.flatnonzero(bins)}
    return Tally(
        variant=variant,
        step=0,
        weight=weight,
        hour=hour,
        latency_firsts=found,
        score_firsts={min(at, len(FINE_SCORE_EDGES)): keys for at, keys in found.items()},
    )


def drawn(random: np.random.Generator, hour: int, weight: int, keys: int, *chances: Floats) -> Arms:
    """An hour of traffic: chances of the champion's bins, and of the canary's."""
    canary = random.binomial(keys, weight / FULL)
    champions, canaries = (random.multinomial(n, p) for n, p in zip((keys - canary, canary), chances, strict=True))
    place = {"hour": hour, "weight": weight}
    return Arms(weight / FULL, made(CANARY, canaries, **place), made(CHAMPION, champions, **place), hour)


def expected(keys: int, chances: Floats, variant: Variant, **options: Any) -> Tally:
    """As many first requests in each bin as are to be expected, with all the rest that a judge reads."""
    bins = np.diff(np.round(keys * np.cumsum(chances)), prepend=0)
    return replace(
        tally(variant, keys, **options), latency_firsts=made(variant, bins).latency_firsts, score_firsts=dict(_of(bins))
    )


def _of(bins: Floats) -> list[tuple[int, int]]:
    return [(int(at), int(bins[at])) for at in np.flatnonzero(bins) if at <= len(FINE_SCORE_EDGES)]


def confounded(random: np.random.Generator, times: float, hours: int, keys: int = 600) -> list[Arms]:
    """Hours in which the load slows both down threefold, and most of the canary's traffic comes just then."""
    found = []
    for hour in range(hours):
        load, weight = (30.0, 5_000) if hour % 24 in range(8, 16) else (10.0, 500)
        found.append(drawn(random, hour, weight, keys, slow(load), slow(load * times)))
    return found


def rejects(arms: Sequence[Arms], boundary: float, *, is_above: bool, every: int = 4) -> bool:
    """Whether a test at 5 % ever rejects, to who looks every few hours."""
    looks = range(every, len(arms) + 1, every)
    found = (Tails(Metric.LATENCY, 0.99, 0.5, arms[:n]).evidence(boundary, above=is_above, later=True) for n in looks)
    return any(each >= ALPHA for each in found)


def only(one: Guardrail, *tallies: Tally) -> Verdict:
    """The verdict of a plan's one guardrail."""
    plan = Plan(guardrails=[one])
    return judge(evidence(plan, tallies), rollout(plan)).verdicts[1]


# --- validity and power ----------------------------------------------------------------------------------------------


def test_a_canary_like_its_champion_is_spared_though_its_traffic_comes_in_slow_hours() -> None:
    """Its latencies are four times the champion's when all hours are added up, and no hour speaks against it."""
    failed = 0
    for seed in range(12):
        arms = confounded(np.random.default_rng(seed), 1.0, 32)
        pooled = [sum(above(Metric.LATENCY, each.of(variant)) for each in arms) for variant in Variant]
        champion, canary = (quantile_of(Metric.LATENCY, np.asarray(each), 0.99) for each in pooled)
        assert champion is not None
        assert canary is not None
        assert canary > 1.2 * champion
        failed += rejects(arms, 1.1, is_above=True)
    assert failed <= 1


@pytest.mark.parametrize("boundary", [1.0, 1.5])
def test_a_canary_twice_as_slow_is_failed_whatever_the_load_does(boundary: float) -> None:
    """A day is enough."""
    assert all(rejects(confounded(np.random.default_rng(seed), 2.2, 24), boundary, is_above=True) for seed in range(5))


def test_a_canary_like_its_champion_passes_and_one_at_the_margin_does_not() -> None:
    """PASS with a margin of a half, from what two days say."""
    for seed in range(5):
        random = np.random.default_rng(seed)
        assert rejects(confounded(random, 1.0, 48), 1.5, is_above=False)
        assert not rejects(confounded(random, 1.6, 48), 1.5, is_above=False, every=12)


@pytest.mark.parametrize("is_above", [True, False])
def test_scores_at_the_margin_are_hardly_ever_rejected(is_above: bool) -> None:
    """A canary with 1.5 times as many scores above every edge is neither shown to have more nor to have fewer."""
    rejected = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        champion = scored(-4.6)
        tail = np.cumsum(champion) > 0.97
        canary = np.where(tail, 1.5 * champion, champion * (1 - 0.5 * champion[tail].sum() / champion[~tail].sum()))
        arms = [drawn(random, hour, 1_000, 2_000, champion, canary) for hour in range(12)]
        looks = (Tails(Metric.SCORE_SHIFT, 0.99, 0.1, arms[:n]) for n in (1, 4, 8, 12))
        rejected += any(each.evidence(1.5, above=is_above) >= ALPHA for each in looks)
    assert rejected <= 2


# --- what means nothing ----------------------------------------------------------------------------------------------


bins = st.dictionaries(st.integers(40, 60), st.integers(1, 300), max_size=6)
hours = st.lists(st.tuples(bins, bins), min_size=1, max_size=4)


def _arms(rows: Sequence[tuple[dict[int, int], dict[int, int]]], moved: int = 0) -> list[Arms]:
    def one(variant: Variant, held: dict[int, int], hour: int) -> Tally:
        shifted = {at + moved: keys for at, keys in held.items()}
        return Tally(variant=variant, step=0, weight=3_000, hour=hour, latency_firsts=shifted, score_firsts=shifted)

    return [Arms(0.3, one(CANARY, t, hour), one(CHAMPION, c, hour), hour) for hour, (t, c) in enumerate(rows)]


@given(hours, st.integers(-20, 20), st.sampled_from([1.1, 1.5, 3.0]), st.booleans(), st.sampled_from(Metric))
@at_most(40)
def test_the_unit_means_nothing(rows: Any, moved: int, boundary: float, is_above: bool, metric: Metric) -> None:
    """Both versions faster or slower by the same factor, or scores of other odds: the evidence is the same."""
    if metric not in (Metric.LATENCY, Metric.SCORE_SHIFT):
        metric = Metric.LATENCY
    here, there = (Tails(metric, 0.9, 0.3, _arms(rows, by)) for by in (0, moved))
    assert here.evidence(boundary, above=is_above) == pytest.approx(there.evidence(boundary, above=is_above))


@given(hours, st.sampled_from([1.1, 1.5, 3.0]), st.booleans())
@at_most(30)
def test_the_evidence_is_the_smallest_of_all_edges(rows: Any, boundary: float, is_above: bool) -> None:
    """Edges that are passed over could not have been the smallest."""
    arms = _arms(rows)
    tails = Tails(Metric.SCORE_SHIFT, 0.99, 0.3, arms)
    assert (tails._columns == 0).any()  # the first hour knows no day before it
    early = sum(above(Metric.SCORE_SHIFT, a.control) for a, c in zip(arms, tails._columns, strict=True) if c == 0)
    assert not isinstance(early, int)
    success, failure = log_factors(0.01, 1.0, TILTS), log_factors(0.01, 1.0, 1 / TILTS)
    found = []
    for column in range(1, len(early) - 1):
        stakes = [
            float(log_mixture(n * bet[0] + (early[0] - n) * bet[1], LOG_SHARES))
            for n, bet in ((early[column + 1], success), (early[column - 1], failure))
        ]
        segments, ratio = tails._segments(column, boundary, above=is_above)
        test = ratio_evidence(segments, ratio, above=is_above)
        found.append(np.logaddexp(test + log1p(-0.1), np.logaddexp(*stakes) - log(2) + log(0.1)))
    assert min(found) > 100 or tails.evidence(boundary, above=is_above) == pytest.approx(min(found))


@given(hours)
@at_most(15)
def test_an_estimate_lies_in_its_interval(rows: Any) -> None:
    """Whatever was counted, of latencies and of scores."""
    for metric in (Metric.LATENCY, Metric.SCORE_SHIFT):
        tails = Tails(metric, 0.9, 0.3, _arms(rows))
        estimate, interval = tails.estimate(), tails.interval(0.05)
        assert interval.low <= interval.high
        assert estimate is None or interval.low <= estimate <= interval.high


def test_no_hour_is_judged_by_an_edge_of_its_own() -> None:
    """What an hour brings changes no edge of it or of an hour before, only of those that follow."""
    random = np.random.default_rng(1)
    arms = [drawn(random, hour, 1_000, 5_000, slow(10), slow(10)) for hour in range(6)]
    edges = Tails(Metric.LATENCY, 0.99, 0.1, arms)._columns
    last = drawn(random, 5, 1_000, 50_000, slow(300), slow(300))
    assert Tails(Metric.LATENCY, 0.99, 0.1, [*arms[:5], last])._columns.tolist() == edges.tolist()
    assert (edges > 0).any()


def test_an_edge_is_of_the_day_before() -> None:
    """Slow and fast hours of a day have one edge, and a new level of the load has its own a day later."""
    random = np.random.default_rng(1)
    chances = [slow(10 if hour % 2 else 20) for hour in range(48)] + [slow(80)] * 48
    arms = [drawn(random, hour, 1_000, 3_000, each, each) for hour, each in enumerate(chances)]
    edges = Tails(Metric.LATENCY, 0.99, 0.1, arms)._columns
    assert set(np.diff(edges[24:48]).tolist()) <= {-1, 0, 1}
    assert edges[95] - edges[47] == pytest.approx(2.2 * OCTAVE, abs=2)


@given(hours, st.floats(1.1, 6))
@at_most(15)
def test_ratios_between_edges_are_rounded_against_who_bets(rows: Any, boundary: float) -> None:
    """Evidence of a canary beyond a ratio is never more than at the next edge, nor that of one below it."""
    tails = Tails(Metric.LATENCY, 0.9, 0.3, _arms(rows))
    steps = OCTAVE * log2(boundary)
    for is_above, edge in ((True, ceil(steps)), (False, floor(steps))):
        assert tails.evidence(boundary, above=is_above) == tails.evidence(2 ** (edge / OCTAVE), above=is_above)


def test_ratios_beyond_all_edges_are_judged_too() -> None:
    """Nothing is known there, so nothing is shown there."""
    arms = drawn(np.random.default_rng(1), 0, 3_000, 3_000, slow(10), slow(10))
    tails = Tails(Metric.LATENCY, 0.9, 0.3, [arms])
    assert tails.evidence(1e9, above=True) < 1
    assert tails.evidence(1e-9, above=False) < 1
    assert tails.evidence(1e9, above=False) > 10
    assert tails.evidence(1e-9, above=True) > 10
    beyond = replace(arms.treatment, latency_firsts={20: 720, 177: 180})  # a fifth above the last edge
    assert Tails(Metric.LATENCY, 0.9, 0.3, [replace(arms, treatment=beyond)]).evidence(1e9, above=False) < 1


# --- the judge -------------------------------------------------------------------------------------------------------

P99 = Guardrail(Metric.LATENCY, margin=0.5, quantile=0.99)
SHARES = Guardrail(Metric.SCORE_SHIFT, margin=0.5, quantile=0.99)


@pytest.mark.parametrize(("times", "status"), [(1.0, Status.PASS), (2.0, Status.FAIL), (1.5, Status.INCONCLUSIVE)])
def test_a_verdict_on_latency_says_both_quantiles(times: float, status: Status) -> None:
    """In milliseconds, with their ratio, an interval, and how long it will take."""
    verdict = only(P99, expected(90_000, slow(10), CHAMPION), expected(10_000, slow(10 * times), CANARY))
    assert verdict.status is status
    assert verdict.champion == pytest.approx(10 * exp(0.6 * 2.326), rel=0.01)
    assert verdict.champion is not None
    assert verdict.canary == pytest.approx(verdict.champion * times, rel=0.01)
    assert verdict.estimate == pytest.approx(times, rel=0.03)
    assert verdict.interval is not None
    assert verdict.interval.low <= times <= verdict.interval.high
    assert f"canary p99 {verdict.canary:.3g} ms of 10,000, champion p99 40.5 ms of 90,000 keys; ratio" in verdict.reason


def test_a_canary_whose_small_scores_double_is_failed() -> None:
    """Scores average 0.02, so a shift of the mean by 0.05 is out of reach; twice as many high ones are harm."""
    champion = expected(90_000, scored(-4.6), CHAMPION, score=0.02)
    canary = expected(10_000, scored(-4.1), CANARY, score=0.03)
    mean = Guardrail(Metric.SCORE_SHIFT, margin=0.05)
    assert only(mean, champion, canary).status is Status.PASS
    verdict = only(SHARES, champion, canary)
    assert verdict.status is Status.FAIL
    assert verdict.estimate is not None
    assert verdict.estimate > 2
    assert "ratio of the shares above the control's p99" in verdict.reason


def test_fewer_high_scores_harm_unless_the_side_says_otherwise() -> None:
    """Lower scores catch less: both sides harm by default."""
    sides = expected(90_000, scored(-4.6), CHAMPION), expected(30_000, scored(-5.4), CANARY, percent=25)
    champion = replace(sides[0], weight=2_500)
    assert only(SHARES, champion, sides[1]).status is Status.FAIL
    assert only(replace(SHARES, side="lower"), champion, sides[1]).status is Status.FAIL
    assert only(replace(SHARES, side="higher"), champion, sides[1]).status is Status.PASS


def test_milliseconds_that_are_negligible_or_too_many() -> None:
    """Twice a quantile of 0.4 ms harms nobody; a limit holds whatever the champion does, and needs no comparison."""
    champion, canary = expected(90_000, slow(0.1), CHAMPION), expected(10_000, slow(0.25), CANARY)
    assert only(P99, champion, canary).status is Status.FAIL
    assert only(replace(P99, negligible=5.0), champion, canary).status is Status.PASS
    assert only(replace(P99, limit=0.5), champion, canary).status is Status.FAIL
    alone = Guardrail(Metric.LATENCY, limit=5.0, quantile=0.99)
    assert only(alone, champion, canary).status is Status.PASS
    assert only(replace(alone, limit=0.5), champion, canary).status is Status.FAIL


def test_a_watch_compares_with_its_control() -> None:
    """After the completion the new champion is the one that is judged."""
    plan = Plan(guardrails=[P99])
    new = replace(expected(90_000, slow(20), CHAMPION), weight=1_000)
    old = replace(expected(10_000, slow(10), CANARY), weight=1_000)
    verdict = judge(evidence(plan, [new, old]), rollout(plan, percent=10, is_watch=True)).verdicts[1]
    assert verdict.status is Status.FAIL
    assert verdict.estimate == pytest.approx(2, rel=0.03)


def test_a_rollout_of_the_first_test_knows_no_quantiles() -> None:
    """Its outcomes are not parted by the hour."""
    with pytest.raises(ConfigError, match="test 1 knows no quantiles"):
        Plan(guardrails=[P99], test=1)
    assert Plan(guardrails=[P99]).terms.quantiles
    assert not Plan().terms.quantiles


def test_a_day_of_hours_adds_up() -> None:
    """Tallies by the hour keep their fine bins when they are added up."""
    plan = Plan(guardrails=[P99])
    random = np.random.default_rng(2)
    day = [drawn(random, hour, 1_000, 500, slow(9), slow(9)) for hour in range(24)]
    tallies = tuple(t for arms in day for t in (arms.treatment, arms.control))
    both = counts(Evidence(terms=plan.terms, as_of=NOON, tallies=tallies, hours=tallies), is_watch=False)
    assert sum(both.whole.treatment.latency_firsts.values()) + sum(both.whole.control.latency_firsts.values()) == 12_000
    assert len(both.by_hour) == 24


def test_a_quantile_is_exact_at_edges_and_within_a_bin_between_them() -> None:
    """Of a hundred latencies in one bin the median is its middle in logs; of nothing there is none."""
    held = made(CHAMPION, np.eye(178)[48 + OCTAVE] * 100)  # above 1.83 ms, up to 2 ms
    found = quantile_of(Metric.LATENCY, above(Metric.LATENCY, held), 0.5)
    assert found == pytest.approx(2 ** (1 - 1 / 16))
    assert quantile_of(Metric.LATENCY, above(Metric.LATENCY, held), 1e-9) == pytest.approx(2 ** (1 - 1 / 8))
    assert quantile_of(Metric.LATENCY, above(Metric.LATENCY, made(CANARY, np.zeros(9))), 0.5) is None
