"""An always-valid comparison of two shares whose denominators depend on the variant, such as the precision of alerts.

Among alerts the canary's part is not known in advance: each version decides what it alerts on. So the known weight is
of no use there, and each variant's trials are a test of their own, against any pair of shares within the hypothesis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fds_mlflow.core.statistics.bets import LOG_SHARES, TILTS
from fds_mlflow.core.statistics.sequential import Trials
from fds_mlflow.core.statistics.starts import later_evidence
from fds_mlflow.core.statistics.wealth import (
    Floats,
    Interval,
    check_difference,
    in_part,
    log_mixture,
    log_threshold,
    values_between,
)


@dataclass(frozen=True, slots=True)
class Stratum:
    """Trials of both variants while the weight stood still.

    Attributes:
        canary: The canary's; one for each worth of them.
        champion: The champion's.
    """

    canary: Sequence[Trials]
    champion: Sequence[Trials]


def share_difference_evidence(strata: Sequence[Stratum], boundary: float, *, above: bool, later: bool = False) -> float:
    """Evidence that the canary's share minus the champion's lies above, or below, `boundary`.

    If the difference is at most d and m is the champion's share, then the canary's is at most m + d: a stake on
    "the canary's share is above m + d" times one on "the champion's share is below m" is a test supermartingale, each
    factor being `rate_evidence` with part of its stake kept idle. Nobody knows m, so the smallest product over all m is
    the evidence: an e-process (Ramdas, Gruenwald, Vovk and Shafer, Statistical Science 38, 2023).
    What is kept idle makes not knowing m cheap: near the champion's own share its stake is never below the idle part.
    Within a stratum both variants' trials are spread over time alike, so the chance of a success may move there. From
    one to the next the champion's share is another: each has its own m, and what one has made is staked in the next.

    Args:
        strata: Trials by step and weight, in the order of time.
        boundary: The difference to compare with, strictly between -1 and 1.
        above: True: evidence against "the difference is at most the boundary". False: against "at least".
        later: Whether a part of the stake begins in later strata (see `starts`).

    Returns:
        Log of the e-process; 0 without trials. Reject from log(1/alpha) on, at any time.

    Raises:
        ConfigError: The boundary does not lie strictly between -1 and 1.
    """
    check_difference(boundary)
    logs = np.array([_evidence(each.canary, each.champion, boundary, above) for each in strata])
    if later:
        return later_evidence(logs[:, None], np.arange(len(logs)), np.zeros(1))
    return float(logs.sum())


def share_difference_interval(strata: Sequence[Stratum], alpha: float) -> Interval:
    """Anytime confidence interval of the canary's share minus the champion's, as `share_difference` weighs them.

    Each stratum's own interval has its part of alpha.

    Returns:
        (-1, 1) without trials of either.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    compared = [each for each in strata if _sums(each.canary)[1]]
    log_threshold(alpha)
    if not compared:
        return Interval(-1.0, 1.0)

    def interval(stratum: Stratum) -> Interval:
        def evidence(boundary: float, above: bool) -> float:
            return _evidence(stratum.canary, stratum.champion, boundary, above)

        return values_between(evidence, alpha / len(compared), -1.0, 1.0)

    found = [interval(each) for each in compared]
    weights = [_sums(each.canary)[1] for each in compared]
    low, high = (np.average([getattr(each, end) for each in found], weights=weights) for end in ("low", "high"))
    return Interval(float(low), float(high))


def share_difference(strata: Sequence[Stratum]) -> float | None:
    """The canary's share minus the champion's within each stratum, weighed by the canary's trials.

    Returns:
        None where no stratum has trials of both.
    """
    both = [(_sums(each.canary), _sums(each.champion)) for each in strata]
    both = [(canary, champion) for canary, champion in both if canary[1] and champion[1]]
    if not both:
        return None
    gaps = [canary[0] / canary[1] - champion[0] / champion[1] for canary, champion in both]
    return float(np.average(gaps, weights=[canary[1] for canary, _ in both]))


def _sums(trials: Iterable[Trials]) -> tuple[float, float]:
    """Successes and trials, each as much as it counts."""
    return sum(each.worth * each.successes for each in trials), sum(each.worth * each.total for each in trials)


def share_difference_trials_until(
    strata: Sequence[Stratum], boundary: float, *, above: bool, alpha: float
) -> int | None:
    """About how many more trials of the canary until the evidence reaches log(1/alpha), if all are like the last ones.

    Returns:
        Trials, 0 if the evidence is there; None without any, or if a thousand times as many would not be enough.

    Raises:
        ConfigError: Boundary or alpha are wrong.
    """
    level = log_threshold(alpha)

    def enough(factor: float) -> bool:
        if not strata:
            return share_difference_evidence((), boundary, above=above) >= level
        *before, last = strata
        more = [
            [replace(t, successes=round(factor * t.successes), total=round(factor * t.total)) for t in side]
            for side in (last.canary, last.champion)
        ]
        return share_difference_evidence([*before, Stratum(*more)], boundary, above=above) >= level

    if enough(1.0):
        return 0
    low, high = 1.0, 1_000.0
    last = sum(each.total for each in strata[-1].canary) if strata else 0
    if not last or not enough(high):
        return None
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if enough(middle) else (middle, high)
    return int(np.ceil((high - 1) * last))


_IDLE = {"canary": 0.2, "champion": 0.5}
_BETS: Floats = np.append(TILTS, 1.0)
_POINTS = 97


def _evidence(canary: Sequence[Trials], champion: Sequence[Trials], boundary: float, above: bool) -> float:
    if not above:  # the share of failures, with the boundary's sign turned round
        canary, champion = (
            [replace(each, successes=each.total - each.successes) for each in side] for side in (canary, champion)
        )
        boundary = -boundary
    low, high = max(0.0, -boundary), min(1.0, 1.0 - boundary)
    for _ in range(4):  # the champion's share that explains best what was seen, ever closer
        shares = np.linspace(low, high, _POINTS)
        found = _log_wealth(canary, shares + boundary, "canary") + _log_wealth(champion, shares, "champion")
        best = int(np.argmin(found))
        low, high = float(shares[max(best - 1, 0)]), float(shares[min(best + 1, _POINTS - 1)])
    return float(found[best])


def _log_wealth(trials: Sequence[Trials], shares: Floats, variant: str) -> Floats:
    """Log wealth of a stake on "above these shares" (canary) or "below them" (champion); 0 where that cannot be."""
    inside = (shares > 0) & (shares < 1)
    at = np.where(inside, shares, 0.5)[:, None]
    tilts = _BETS if variant == "canary" else 1 / _BETS
    failure = -np.log1p(at * (tilts - 1))
    stakes = np.zeros((1, 1))
    for each in trials:
        stakes = stakes + each.successes * in_part(np.log(tilts) + failure, each.worth)
        stakes = stakes + (each.total - each.successes) * in_part(failure, each.worth)
    successes, total = (sum(getattr(each, name) for each in trials) for name in ("successes", "total"))
    idle = _IDLE[variant]
    wealth = log_mixture(stakes, np.append(LOG_SHARES + np.log1p(-idle), np.log(idle)))
    if variant == "canary":  # a share of at most 0 allows no success, one of 1 allows everything
        return np.where(inside, wealth, np.where(shares <= 0, np.inf if successes else 0.0, 0.0))
    return np.where(inside, wealth, np.where(shares >= 1, np.inf if successes < total else 0.0, 0.0))
