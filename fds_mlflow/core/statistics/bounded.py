"""Always-valid tests and intervals for means of bounded values: money lost, scores.

Values come as counts by bin, the same bins for both variants; a bin stands for one value in [0, 1], and what is tested
is the mean of these. The tests bet on bounded means (Waudby-Smith and Ramdas, Estimating means of bounded random
variables by betting, JRSS B 86, 2024): a stake grows by 1 + lambda Y at each outcome, where Y has a mean of at most 0
under the hypothesis and lambda keeps the factor positive. Bets are fixed in advance and mixed (their section 4 lets
lambda be any predictable choice), so that the evidence is a function of the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fds_mlflow.core.statistics.bets import EVEN, INTERVAL_TILTS, TILTS, spread_stakes, with_fine
from fds_mlflow.core.statistics.starts import Hours, later_evidence
from fds_mlflow.core.statistics.wealth import (
    Floats,
    Interval,
    check_boundary,
    check_count,
    check_difference,
    check_share,
    log_mixture,
    log_threshold,
    ratios_between,
    steps_until,
    values_between,
)
from fds_mlflow.errors import ConfigError

__all__ = [
    "Interval",
    "WeightedSegment",
    "mean_difference_evidence",
    "mean_difference_interval",
    "mean_difference_requests_until",
    "weighted_ratio_evidence",
    "weighted_ratio_interval",
    "weighted_requests_until",
]


@dataclass(frozen=True, slots=True)
class WeightedSegment:
    """Outcomes that happened under one weight, by bin of their value.

    Attributes:
        weight: The canary's share of the traffic then, in [0, 1]. At 0 and 1 there is no control: such
            a segment is no evidence and is left out.
        values: What each bin stands for, in [0, 1].
        canary: Outcomes of keys assigned to the canary, by bin.
        champion: Outcomes of keys assigned to the champion, by bin.
        hour: The hour in which they happened, counted from any; what is asked of the whole does not need it.

    Raises:
        ConfigError: The weight or a value is not a share, a count is not a whole number of at least 0, or the three
            sequences differ in length.
    """

    weight: float
    values: Sequence[float]
    canary: Sequence[int]
    champion: Sequence[int]
    hour: int = 0

    def __post_init__(self) -> None:
        check_share("weight", self.weight)
        if not len(self.values) == len(self.canary) == len(self.champion):
            raise ConfigError(
                f"{len(self.values)} values, {len(self.canary)} canary and {len(self.champion)} champion counts",
                fix="give one value and one count of each variant per bin",
            )
        for value in self.values:
            check_share("value", value)
        for count in (*self.canary, *self.champion):
            check_count("count", count)


_RATIO_SHARES: Floats = spread_stakes(((0.1, -1.5), (0.3, 0.0), (60.0, 0.0), (100.0, -1.0)), EVEN)[1]
"""Values far below 1 want larger bets than events do: the stake is spread over g - 1 from 0.3 to 60."""


def weighted_ratio_evidence(
    segments: Iterable[WeightedSegment], boundary: float, *, above: bool, later: bool = False
) -> float:
    """Evidence that the canary's mean value per key lies above, or below, `boundary` times the champion's.

    For a key with the value x and A = 1 if it is the canary's, Y = x (A - p(b)), with p as in `sequential`, has a mean
    of at most 0 while the ratio of means is at most b. The bet on g b stakes (p(g b) - p(b)) / (p(b) (1 - p(b))) on
    it, so that the factors are

        1 + x (g - 1) (1 - w) / (w g b + 1 - w)    for the canary's,
        1 - x (g - 1) w b / (w g b + 1 - w)        for the champion's:

    the likelihood ratio of `ratio_evidence` where x = 1. A value of 0 changes nothing: keys without one need not be
    counted, and no base rate enters.

    Args:
        segments: Values by weight; segments may be split or joined at will.
        boundary: The ratio of means to compare with: 1 + margin.
        above: True: evidence against "the ratio is at most the boundary". False: against "at least".
        later: Whether a part of the stake begins in later hours (see `starts`).

    Returns:
        Log of the test martingale; 0 without values. Reject from log(1/alpha) on, at any time.

    Raises:
        ConfigError: The boundary is not a positive, finite number.
    """
    check_boundary(boundary)
    tilts = TILTS if above else 1 / TILTS
    if later:
        return later_evidence(*_weighted_by_hour(segments, boundary, tilts), _RATIO_SHARES)
    return float(log_mixture(_weighted_log_stakes(_by_value(segments), boundary, tilts), _RATIO_SHARES))


def weighted_ratio_interval(segments: Iterable[WeightedSegment], alpha: float) -> Interval:
    """Anytime confidence interval of the canary's mean value divided by the champion's.

    Returns:
        (0, inf) without values, 0 or inf at an end that nothing bounds.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    counted, shares = _by_value(segments), with_fine(_RATIO_SHARES)

    def evidence(ratio: float, above: bool) -> float:
        tilts = INTERVAL_TILTS if above else 1 / INTERVAL_TILTS
        return float(log_mixture(_weighted_log_stakes(counted, ratio, tilts), shares))

    return ratios_between(evidence, alpha)


def weighted_requests_until(
    segments: Iterable[WeightedSegment], boundary: float, *, above: bool, alpha: float, requests: int
) -> int | None:
    """About how many more canary requests until the evidence reaches log(1/alpha), if they are like those so far.

    Args:
        segments: Values so far.
        boundary: The ratio of means to compare with.
        above: Which test, as in `weighted_ratio_evidence`.
        alpha: What the test may spend.
        requests: Canary requests so far.

    Returns:
        Canary requests, 0 if the evidence is there; None without any, or if like this it never will be.

    Raises:
        ConfigError: Boundary, alpha or the number of requests are wrong.
    """
    check_boundary(boundary)
    check_count("requests", requests)
    stakes = _weighted_log_stakes(_by_value(segments), boundary, TILTS if above else 1 / TILTS)
    return steps_until(stakes, _RATIO_SHARES, stakes / max(requests, 1), log_threshold(alpha))


def _by_value(segments: Iterable[WeightedSegment]) -> Floats:
    """Weights and values that there are, and how often each happened to both variants: shape (4, distinct pairs)."""
    kept = [segment for segment in segments if 0 < segment.weight < 1]
    rows = [row for each in kept for row in zip(each.values, each.canary, each.champion, strict=True)]
    value, canary, champion = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    weight = np.repeat([each.weight for each in kept], [len(each.values) for each in kept])
    happened = canary + champion > 0
    pairs, place = np.unique(np.array([weight, value])[:, happened], axis=1, return_inverse=True)
    counts = [np.bincount(place, events[happened], pairs.shape[1]) for events in (canary, champion)]
    return np.array([*pairs, *counts])


def _weighted_log_stakes(counted: Floats, boundary: float, tilts: Floats) -> Floats:
    weight, value, canary, champion = counted
    by_canary, by_champion = _weighted_factors(weight[:, None], value, boundary, tilts)
    total: Floats = canary @ by_canary + champion @ by_champion
    return total


def _weighted_factors(weight: float | Floats, values: Floats, boundary: float, tilts: Floats) -> tuple[Floats, Floats]:
    """Logs of the factors at a value of the canary and of the champion: each of shape (values, bets)."""
    lean = values[:, None] * ((tilts - 1) / (weight * boundary * tilts + 1 - weight))
    return np.log1p(lean * (1 - weight)), np.log1p(lean * -(weight * boundary))


def _weighted_by_hour(segments: Iterable[WeightedSegment], boundary: float, tilts: Floats) -> tuple[Floats, Hours]:
    """What each bet's stake grew by in each hour, and these hours."""

    def factors(weight: float, values: Floats) -> tuple[Floats, Floats]:
        return _weighted_factors(weight, values, boundary, tilts)

    return _stakes_by_hour(segments, len(tilts), factors)


def _stakes_by_hour(
    segments: Iterable[WeightedSegment], bets: int, factors: Callable[[float, Floats], tuple[Floats, Floats]]
) -> tuple[Floats, Hours]:
    """What each bet's stake grew by in each hour that is evidence: shape (hours, bets); and these hours.

    Args:
        segments: Values by weight.
        bets: How many.
        factors: Logs of the factors at a value of the canary and of the champion under a weight, for values of shape
            (bins,): each of shape (bins, bets).
    """
    kept = [segment for segment in segments if 0 < segment.weight < 1]
    hours = np.array(sorted({segment.hour for segment in kept}), dtype=np.int64)
    stakes = np.zeros((len(hours), bets))
    groups: dict[tuple[float, tuple[float, ...]], list[WeightedSegment]] = {}
    for segment in kept:
        groups.setdefault((segment.weight, tuple(segment.values)), []).append(segment)
    for (weight, values), group in groups.items():
        place = np.searchsorted(hours, [segment.hour for segment in group])
        counts = np.array([(segment.canary, segment.champion) for segment in group])
        there = counts.any(axis=(0, 1))
        canary, champion = factors(weight, np.array(values)[there])
        np.add.at(stakes, place, counts[:, 0, there] @ canary + counts[:, 1, there] @ champion)
    return stakes, hours


_CENTRES: Floats = np.array([0.0, 1 / 32, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0])
_BETS: Floats = np.geomspace(0.004, 64.0, 33)
_DIFFERENCE_SHARES: Floats = np.full(len(_CENTRES) * len(_BETS), -np.log(len(_CENTRES) * len(_BETS)))
_LARGEST = 0.75
"""How much of a stake one outcome may take."""


def mean_difference_evidence(
    segments: Iterable[WeightedSegment], boundary: float, *, above: bool, later: bool = False
) -> float:
    """Evidence that the canary's mean minus the champion's lies above, or below, `boundary`.

    With A = 1 for a canary's key, Z = (x - c) (A/w - (1 - A)/(1 - w)) has the difference of the means as its mean
    whatever the constant c (inverse probability weighting: Horvitz and Thompson, JASA 47, 1952), so stakes grow by
    1 + lambda (Z - boundary). Both means may move with time together. The constants c and bets lambda form a grid; near
    the values' mean, c takes most of the variance away. Under each weight lambda is proportional to w (1 - w), at most
    three quarters of what would lose everything at one outcome.

    Args:
        segments: Values by weight, zeros included; segments may be split or joined at will.
        boundary: The difference to compare with, strictly between -1 and 1.
        above: True: evidence against "the difference is at most the boundary". False: against "at least".
        later: Whether a part of the stake begins in later hours (see `starts`).

    Returns:
        Log of the test martingale; 0 without values. Reject from log(1/alpha) on, at any time.

    Raises:
        ConfigError: The boundary does not lie strictly between -1 and 1.
    """
    check_difference(boundary)
    if later:
        return later_evidence(*_differences_by_hour(segments, boundary, above), _DIFFERENCE_SHARES)
    return float(log_mixture(_difference_log_stakes(segments, boundary, above), _DIFFERENCE_SHARES))


def mean_difference_interval(segments: Iterable[WeightedSegment], alpha: float) -> Interval:
    """Anytime confidence interval of the canary's mean minus the champion's.

    Returns:
        (-1, 1) without values.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    kept = tuple(segments)

    def evidence(boundary: float, above: bool) -> float:
        return float(log_mixture(_difference_log_stakes(kept, boundary, above), _DIFFERENCE_SHARES))

    return values_between(evidence, alpha, -1.0, 1.0)


def mean_difference_requests_until(
    segments: Iterable[WeightedSegment], boundary: float, *, above: bool, alpha: float, requests: int
) -> int | None:
    """About how many more canary requests until the evidence reaches log(1/alpha), if they are like those so far.

    Args:
        segments: Values so far.
        boundary: The difference to compare with.
        above: Which test, as in `mean_difference_evidence`.
        alpha: What the test may spend.
        requests: Canary requests so far.

    Returns:
        Canary requests, 0 if the evidence is there; None without any, or if like this it never will be.

    Raises:
        ConfigError: Boundary, alpha or the number of requests are wrong.
    """
    check_difference(boundary)
    check_count("requests", requests)
    stakes = _difference_log_stakes(segments, boundary, above)
    return steps_until(stakes, _DIFFERENCE_SHARES, stakes / max(requests, 1), log_threshold(alpha))


def _difference_log_stakes(segments: Iterable[WeightedSegment], boundary: float, above: bool) -> Floats:
    total: Floats = _differences_by_hour(segments, boundary, above)[0].sum(axis=0)
    return total


def _differences_by_hour(segments: Iterable[WeightedSegment], boundary: float, above: bool) -> tuple[Floats, Hours]:
    """What each bet's stake grew by in each hour, and these hours."""
    boundary = boundary if above else -boundary

    def factors(w: float, values: Floats) -> tuple[Floats, Floats]:
        mirrored = values if above else 1 - values  # turns the canary's mean minus the champion's round
        worst = np.maximum(_CENTRES / w, (1 - _CENTRES) / (1 - w)) + 1  # the most that Z - boundary can lie below 0
        bets = np.minimum(_BETS * w * (1 - w), _LARGEST / worst[:, None])[:, :, None]
        centred = (mirrored - _CENTRES[:, None])[:, None, :]
        canary = np.log1p(bets * (centred / w - boundary))
        champion = np.log1p(bets * (-centred / (1 - w) - boundary))
        shape = len(_DIFFERENCE_SHARES), len(values)
        return canary.reshape(shape).T, champion.reshape(shape).T

    return _stakes_by_hour(segments, len(_DIFFERENCE_SHARES), factors)
