"""Always-valid tests and intervals for rates of rare events: functions of counts, to be looked at whenever you like.

The hash assigns keys, so while the canary's rate is r times the champion's, an event under weight w is the canary's
with probability

    p(r) = w r / (w r + 1 - w),

whatever the base rate is and however it moves. Against the hypothesis "r <= b" each event multiplies the stake of
a bet on r = g b, g > 1, by the likelihood ratio: p(g b) / p(b) if it is the canary's, (1 - p(g b)) / (1 - p(b)) if not.
Its expected value is 1 at r = b and less below, under every weight.

Which arm the next event belongs to is the test of Lindon and Malek (Anytime-valid inference for multinomial count data,
NeurIPS 2022, on inhomogeneous Bernoulli and Poisson processes); the likelihood ratio is that of Wald's test of two
binomials by their odds ratio (Sequential Analysis, 1947, chapter 6); to mix it over g is Robbins' method of mixtures
(Annals of Mathematical Statistics 41, 1970). See `wealth` for why peeking costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

import numpy as np

from fds_mlflow.core.statistics.bets import INTERVAL_LOG_SHARES, INTERVAL_TILTS, ratio_bets
from fds_mlflow.core.statistics.starts import Hours, later_evidence
from fds_mlflow.core.statistics.wealth import (
    Floats,
    Interval,
    check_count,
    check_share,
    in_part,
    log_mixture,
    log_threshold,
    ratios_between,
    steps_until,
)
from fds_mlflow.errors import ConfigError

__all__ = [
    "Interval",
    "Segment",
    "Side",
    "Trials",
    "log_threshold",
    "rate_evidence",
    "rate_interval",
    "ratio_evidence",
    "ratio_interval",
    "requests_until",
    "srm_evidence",
]


class Side(StrEnum):
    """Which deviation of the canary harms."""

    HIGHER = "higher"
    LOWER = "lower"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Segment:
    """Events of one kind that happened under one weight.

    Attributes:
        weight: The canary's share of the traffic then, in [0, 1]. At 0 and 1 there is no control: such
            a segment is no evidence and is left out.
        canary: Events of keys assigned to the canary.
        champion: Events of keys assigned to the champion.
        hour: The hour in which they happened, counted from any; what is asked of the whole does not need it.

    Raises:
        ConfigError: The weight is not a share, or a count is not a whole number of at least 0.
    """

    weight: float
    canary: int
    champion: int
    hour: int = 0

    def __post_init__(self) -> None:
        check_share("weight", self.weight)
        check_count("canary", self.canary)
        check_count("champion", self.champion)


def log_factors(weight: float | Floats, boundary: float, ratios: Floats) -> tuple[Floats, Floats]:
    """By how much, in logs, each bet's stake grows at an event of the canary and at one of the champion.

    log p(r)/p(b) and log (1 - p(r))/(1 - p(b)), with p(r)/p(b) = (r/b) (w b + 1 - w) / (w r + 1 - w).

    Args:
        weight: The canary's share of the traffic; of shape (n, 1) for several at once.
        boundary: The ratio b.
        ratios: The ratios r that are bet on: shape (bets,).

    Returns:
        Two arrays like `ratios`, of shape (n, bets) for several weights.
    """
    champion = -np.log1p(weight * (ratios - boundary) / (weight * boundary + 1 - weight))
    return np.log(ratios / boundary) + champion, champion


def ratio_evidence(segments: Iterable[Segment], boundary: float, *, above: bool, later: bool = False) -> float:
    """Evidence that the canary's rate lies above, or below, `boundary` times the champion's.

    Args:
        segments: Events by weight; segments of one hour may be split or joined at will.
        boundary: The ratio of rates to compare with: 1 + margin.
        above: True: evidence against "the ratio is at most the boundary". False: against "at least".
        later: Whether a part of the stake begins in later hours (see `starts`): what lies beyond the boundary only
            lately is found as well. Such a test spreads its stake over a few points (see `bets`).

    Returns:
        Log of the test martingale; 0 without events. Reject from log(1/alpha) on, at any time.

    Raises:
        ConfigError: The boundary is not a positive, finite number.
    """
    return _bets_evidence(segments, boundary, *ratio_bets(boundary, above=above, later=later), later=later)


def ratio_interval(segments: Iterable[Segment], alpha: float) -> Interval:
    """Anytime confidence interval of the canary's rate divided by the champion's.

    All ratios that neither one-sided test at alpha/2 rejects. Both tests are monotone in the boundary (each bet's
    factors are), so the set is an interval and its ends are found by bisection.

    Returns:
        (0, inf) without events, 0 or inf at an end that nothing bounds.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    counted = _by_weight(segments)

    def evidence(ratio: float, above: bool) -> float:
        ratios = ratio * INTERVAL_TILTS if above else ratio / INTERVAL_TILTS
        return float(log_mixture(_log_stakes(counted, ratio, ratios), INTERVAL_LOG_SHARES))

    return ratios_between(evidence, alpha)


def _bets_evidence(
    segments: Iterable[Segment], boundary: float, ratios: Floats, log_shares: Floats, *, later: bool = False
) -> float:
    if later:
        return later_evidence(*_by_hour(segments, boundary, ratios), log_shares)
    return float(log_mixture(_log_stakes(_by_weight(segments), boundary, ratios), log_shares))


def _log_stakes(counted: Floats, boundary: float, ratios: Floats) -> Floats:
    weights, canary, champion = counted
    # log (w r + 1 - w) of each bet, and of the boundary: a logarithm for each and nothing else, as weights may be many.
    sums = (canary + champion) @ np.log(np.outer(weights, np.append(ratios, boundary) - 1) + 1)
    made: Floats = canary.sum() * np.log(ratios / boundary) + sums[-1] - sums[:-1]
    return made


def _by_hour(segments: Iterable[Segment], boundary: float, ratios: Floats) -> tuple[Floats, Hours]:
    """What each bet's stake grew by in each hour, and these hours."""
    weights, canary, champion, hour = _counted(segments)
    hours, place = np.unique(hour.astype(np.int64), return_inverse=True)
    by_canary, by_champion = log_factors(weights[:, None], boundary, ratios)
    stakes = np.zeros((len(hours), len(ratios)))
    np.add.at(stakes, place, canary[:, None] * by_canary + champion[:, None] * by_champion)
    return stakes, hours


def _by_weight(segments: Iterable[Segment]) -> Floats:
    """Distinct weights, and the events of both variants under each: shape (3, weights)."""
    weight, canary, champion, _ = _counted(segments)
    weights, place = np.unique(weight, return_inverse=True)
    return np.array([weights, *(np.bincount(place, events, len(weights)) for events in (canary, champion))])


def _counted(segments: Iterable[Segment]) -> Floats:
    """Weights, events of both variants and hours, of the segments that are evidence: shape (4, segments)."""
    rows = [(s.weight, s.canary, s.champion, s.hour) for s in segments if 0 < s.weight < 1]
    return np.array(rows, dtype=np.float64).reshape(-1, 4).T


@dataclass(frozen=True, slots=True)
class Trials:
    """Successes among trials.

    Attributes:
        successes: Trials that were a success.
        total: All of them.
        hour: The hour in which they happened, counted from any; what is asked of the whole does not need it.
        worth: How much each success counts, in (0, 1] (see `wealth.in_part`); of shares of two variants, each trial.

    Raises:
        ConfigError: A count is not a whole number of at least 0, or there are more successes than trials.
    """

    successes: int
    total: int
    hour: int = 0
    worth: float = 1.0

    def __post_init__(self) -> None:
        check_count("total", self.total)
        check_count("successes", self.successes)
        if self.successes > self.total:
            raise ConfigError(
                f"{self.successes} successes of {self.total} trials", fix="count each success among the trials"
            )


def rate_evidence(trials: Iterable[Trials], boundary: float, *, above: bool, later: bool = False) -> float:
    """Evidence that one rate lies above, or below, a fixed one.

    A success has odds b/(1 - b) at the boundary and g times these under a bet: the event test with weight b.
    Each trial's chance of a success, given the past, must lie on the tested side; it need not be constant. A success
    that counts in part x is the mean of its factor and that of no success, x to 1 - x: then the mean worth is tested.

    Args:
        trials: Successes and all of them; those of one hour may be split or joined at will.
        boundary: The rate to compare with, strictly between 0 and 1.
        above: True: evidence against "the rate is at most the boundary". False: against "at least".
        later: Whether a part of the stake begins in later hours (see `starts`).

    Returns:
        Log of the test martingale; 0 without trials.

    Raises:
        ConfigError: The boundary does not lie strictly between 0 and 1.
    """
    if isinstance(boundary, bool) or not isinstance(boundary, int | float) or not 0 < boundary < 1:
        raise ConfigError(f"the rate {boundary!r} is not strictly between 0 and 1", fix="give a rate such as 0.02")
    counted = list(trials)
    ratios, shares = ratio_bets(1.0, above=above, later=later)
    segments = [Segment(boundary, each.successes, each.total - each.successes, each.hour) for each in counted]
    if all(each.worth == 1 for each in counted):
        return _bets_evidence(segments, 1.0, ratios, shares, later=later)
    success, failure = log_factors(boundary, 1.0, ratios)
    hours, place = np.unique([each.hour for each in counted], return_inverse=True)
    stakes = np.zeros((len(hours), len(ratios)))
    for at, each in zip(place, counted, strict=True):
        stakes[at] += each.total * failure + each.successes * in_part(success - failure, each.worth)
    if later:
        return later_evidence(stakes, hours.astype(np.int64), shares)
    return float(log_mixture(stakes.sum(axis=0), shares))


def rate_interval(trials: Trials, alpha: float) -> Interval:
    """Anytime confidence interval of one rate: all rates that neither one-sided test at alpha/2 rejects.

    Returns:
        (0, 1) without trials.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    # Successes have odds b/(1 - b) of what failures have under equal weights.
    odds = ratio_interval([Segment(0.5, trials.successes, trials.total - trials.successes)], alpha)
    return Interval(odds.low / (1 + odds.low), odds.high / (1 + odds.high) if isfinite(odds.high) else 1.0)


SRM_TILTS: Floats = 1 + np.geomspace(1e-4, 20.0, 41)
"""Bets of the sample-ratio test: a broken split can be off by very little, and there are many keys."""


def srm_evidence(segments: Iterable[Segment]) -> float:
    """Evidence that keys are not split as the recorded weights say (sample-ratio mismatch).

    The event test with "a key was seen" as the event, against a ratio of exactly 1, staked half on more canary keys
    and half on fewer, evenly over the logs of the deviation. Lindon and Malek (NeurIPS 2022) test the same with a
    Dirichlet mixture.

    Args:
        segments: Distinct keys first seen, by the weight in force then.

    Returns:
        Log of the test martingale; 0 without keys.
    """
    ratios = np.concatenate([SRM_TILTS, 1 / SRM_TILTS])
    return _bets_evidence(segments, 1.0, ratios, np.full(len(ratios), -np.log(len(ratios))))


def requests_until(
    segments: Sequence[Segment],
    boundary: float,
    *,
    above: bool,
    alpha: float,
    weight: float,
    champion_rate: float,
    canary_rate: float,
) -> int | None:
    """About how many more canary requests it takes until the evidence reaches log(1/alpha), at these rates.

    Every bet is carried on from what it has made so far at its expected growth (see `wealth.steps_until`): about the
    mean over many rollouts; half of them take less.

    Args:
        segments: Events so far.
        boundary: The ratio of rates to compare with: 1 + margin.
        above: Which test, as in `ratio_evidence`.
        alpha: What the test may spend.
        weight: The canary's share of the traffic from now on, in [0, 1].
        champion_rate: Events per champion request, in [0, 1].
        canary_rate: Events per canary request, in [0, 1].

    Returns:
        Canary requests, 0 if the evidence is there; None if at these rates it never will be.

    Raises:
        ConfigError: A rate or weight is not a share, or boundary or alpha are wrong.
    """
    for name, share in (("weight", weight), ("champion_rate", champion_rate), ("canary_rate", canary_rate)):
        check_share(name, share)
    level = log_threshold(alpha)
    ratios, shares = ratio_bets(boundary, above=above)
    stakes = _log_stakes(_by_weight(segments), boundary, ratios)
    growth = np.zeros_like(ratios)
    if 0 < weight < 1:
        canary, champion = log_factors(weight, boundary, ratios)
        growth = canary_rate * canary + champion_rate * (1 - weight) / weight * champion
    return steps_until(stakes, shares, growth, level)
