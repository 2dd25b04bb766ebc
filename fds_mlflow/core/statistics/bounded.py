"""Always-valid tests and intervals for means of bounded values: money lost, scores.

Values come as counts by bin, the same bins for both variants; a bin stands for one value in [0, 1], and what is tested
is the mean of these. The tests bet on bounded means (Waudby-Smith and Ramdas, Estimating means of bounded random
variables by betting, JRSS B 86, 2024): a stake grows by 1 + lambda Y at each outcome, where Y has a mean of at most 0
under the hypothesis and lambda keeps the factor positive. Bets are fixed in advance and mixed (their section 4 lets
lambda be any predictable choice), so that the evidence is a function of the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fds_mlflow.core.statistics.sequential import EVEN, TILTS, spread_stakes
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

    Raises:
        ConfigError: The weight or a value is not a share, a count is not a whole number of at least 0, or the three
            sequences differ in length.
    """

    weight: float
    values: Sequence[float]
    canary: Sequence[int]
    champion: Sequence[int]

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


def weighted_ratio_evidence(segments: Iterable[WeightedSegment], boundary: float, *, above: bool) -> float:
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

    Returns:
        Log of the test martingale; 0 without values. Reject from log(1/alpha) on, at any time.

    Raises:
        ConfigError: The boundary is not a positive, finite number.
    """
    check_boundary(boundary)
    return float(log_mixture(_weighted_log_stakes(segments, boundary, TILTS if above else 1 / TILTS), _RATIO_SHARES))


def weighted_ratio_interval(segments: Iterable[WeightedSegment], alpha: float) -> Interval:
    """Anytime confidence interval of the canary's mean value divided by the champion's.

    Returns:
        (0, inf) without values, 0 or inf at an end that nothing bounds.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    kept = tuple(segments)

    def evidence(ratio: float, above: bool) -> float:
        return float(log_mixture(_weighted_log_stakes(kept, ratio, TILTS if above else 1 / TILTS), _RATIO_SHARES))

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
    stakes = _weighted_log_stakes(segments, boundary, TILTS if above else 1 / TILTS)
    return steps_until(stakes, _RATIO_SHARES, stakes / max(requests, 1), log_threshold(alpha))


def _weighted_log_stakes(segments: Iterable[WeightedSegment], boundary: float, tilts: Floats) -> Floats:
    stakes = np.zeros_like(tilts)
    for weight, values, canary, champion in _bins(segments):
        lean = (tilts - 1) / (weight * boundary * tilts + 1 - weight)
        stakes += np.log1p(np.outer(lean, values) * (1 - weight)) @ canary
        stakes += np.log1p(np.outer(lean, values) * -(weight * boundary)) @ champion
    return stakes


def _bins(segments: Iterable[WeightedSegment]) -> Iterator[tuple[float, Floats, Floats, Floats]]:
    """Weight, values and both counts of each segment that is evidence, only bins that hold anything."""
    for segment in segments:
        canary = np.asarray(segment.canary, dtype=np.float64)
        champion = np.asarray(segment.champion, dtype=np.float64)
        held = canary + champion > 0
        if 0 < segment.weight < 1 and held.any():
            yield segment.weight, np.asarray(segment.values, dtype=np.float64)[held], canary[held], champion[held]


_CENTRES: Floats = np.array([0.0, 1 / 32, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0])
_BETS: Floats = np.geomspace(0.004, 64.0, 33)
_DIFFERENCE_SHARES: Floats = np.full(len(_CENTRES) * len(_BETS), -np.log(len(_CENTRES) * len(_BETS)))
_LARGEST = 0.75
"""How much of a stake one outcome may take."""


def mean_difference_evidence(segments: Iterable[WeightedSegment], boundary: float, *, above: bool) -> float:
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

    Returns:
        Log of the test martingale; 0 without values. Reject from log(1/alpha) on, at any time.

    Raises:
        ConfigError: The boundary does not lie strictly between -1 and 1.
    """
    check_difference(boundary)
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
    boundary = boundary if above else -boundary
    stakes = np.zeros((len(_CENTRES), len(_BETS)))
    for w, values, canary, champion in _bins(segments):
        mirrored = values if above else 1 - values  # turns the canary's mean minus the champion's round
        worst = np.maximum(_CENTRES / w, (1 - _CENTRES) / (1 - w)) + 1  # the most that Z - boundary can lie below 0
        bets = np.minimum(_BETS * w * (1 - w), _LARGEST / worst[:, None])[:, :, None]
        centred = (mirrored - _CENTRES[:, None])[:, None, :]
        stakes += np.log1p(bets * (centred / w - boundary)) @ canary
        stakes += np.log1p(bets * (-centred / (1 - w) - boundary)) @ champion
    return stakes.ravel()
