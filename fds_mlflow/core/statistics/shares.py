"""An always-valid comparison of two shares whose denominators depend on the variant, such as the precision of alerts.

Among alerts the canary's part is not known in advance: each version decides what it alerts on. So the known weight is
of no use there, and each variant's trials are a test of their own, against any pair of shares within the hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fds_mlflow.core.statistics.sequential import LOG_SHARES, TILTS
from fds_mlflow.core.statistics.wealth import (
    Floats,
    Interval,
    check_count,
    check_difference,
    log_mixture,
    log_threshold,
    values_between,
)
from fds_mlflow.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Trials:
    """Successes among the trials of one variant.

    Attributes:
        successes: Trials that were a success.
        total: All of them.

    Raises:
        ConfigError: A count is not a whole number of at least 0, or there are more successes than trials.
    """

    successes: int
    total: int

    def __post_init__(self) -> None:
        check_count("total", self.total)
        check_count("successes", self.successes)
        if self.successes > self.total:
            raise ConfigError(
                f"{self.successes} successes of {self.total} trials", fix="count each success among the trials"
            )


def share_difference_evidence(canary: Trials, champion: Trials, boundary: float, *, above: bool) -> float:
    """Evidence that the canary's share minus the champion's lies above, or below, `boundary`.

    If the difference is at most d and m is the champion's share, then the canary's is at most m + d: a stake on
    "the canary's share is above m + d" times one on "the champion's share is below m" is a test supermartingale, each
    factor being `rate_evidence` with part of its stake kept idle. Nobody knows m, so the smallest product over all m is
    the evidence: an e-process (Ramdas, Gruenwald, Vovk and Shafer, Statistical Science 38, 2023).
    What is kept idle makes not knowing m cheap: near the champion's own share its stake is never below the idle part.
    The chance of a success may move with time as long as one m fits all the time.

    Args:
        canary: The canary's trials.
        champion: The champion's trials.
        boundary: The difference to compare with, strictly between -1 and 1.
        above: True: evidence against "the difference is at most the boundary". False: against "at least".

    Returns:
        Log of the e-process; 0 without trials. Reject from log(1/alpha) on, at any time.

    Raises:
        ConfigError: The boundary does not lie strictly between -1 and 1.
    """
    check_difference(boundary)
    return _evidence(canary, champion, boundary, above)


def share_difference_interval(canary: Trials, champion: Trials, alpha: float) -> Interval:
    """Anytime confidence interval of the canary's share minus the champion's.

    Returns:
        (-1, 1) without trials of either.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """

    def evidence(boundary: float, above: bool) -> float:
        return _evidence(canary, champion, boundary, above)

    return values_between(evidence, alpha, -1.0, 1.0)


def share_difference_trials_until(
    canary: Trials, champion: Trials, boundary: float, *, above: bool, alpha: float
) -> int | None:
    """About how many more trials of the canary until the evidence reaches log(1/alpha), if all are like those so far.

    Returns:
        Trials, 0 if the evidence is there; None without any, or if a thousand times as many would not be enough.

    Raises:
        ConfigError: Boundary or alpha are wrong.
    """
    level = log_threshold(alpha)

    def enough(factor: float) -> bool:
        more = [Trials(round(factor * side.successes), round(factor * side.total)) for side in (canary, champion)]
        return share_difference_evidence(more[0], more[1], boundary, above=above) >= level

    if enough(1.0):
        return 0
    low, high = 1.0, 1_000.0
    if not canary.total or not enough(high):
        return None
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if enough(middle) else (middle, high)
    return int(np.ceil((high - 1) * canary.total))


_IDLE = {"canary": 0.2, "champion": 0.5}
_BETS: Floats = np.append(TILTS, 1.0)
_POINTS = 97


def _evidence(canary: Trials, champion: Trials, boundary: float, above: bool) -> float:
    if not above:  # the share of failures, with the boundary's sign turned round
        canary, champion = (Trials(side.total - side.successes, side.total) for side in (canary, champion))
        boundary = -boundary
    low, high = max(0.0, -boundary), min(1.0, 1.0 - boundary)
    for _ in range(4):  # the champion's share that explains best what was seen, ever closer
        shares = np.linspace(low, high, _POINTS)
        found = _log_wealth(canary, shares + boundary, "canary") + _log_wealth(champion, shares, "champion")
        best = int(np.argmin(found))
        low, high = float(shares[max(best - 1, 0)]), float(shares[min(best + 1, _POINTS - 1)])
    return float(found[best])


def _log_wealth(trials: Trials, shares: Floats, variant: str) -> Floats:
    """Log wealth of a stake on "above these shares" (canary) or "below them" (champion); 0 where that cannot be."""
    inside = (shares > 0) & (shares < 1)
    at = np.where(inside, shares, 0.5)[:, None]
    tilts = _BETS if variant == "canary" else 1 / _BETS
    failure = -np.log1p(at * (tilts - 1))
    stakes = trials.successes * (np.log(tilts) + failure) + (trials.total - trials.successes) * failure
    idle = _IDLE[variant]
    wealth = log_mixture(stakes, np.append(LOG_SHARES + np.log1p(-idle), np.log(idle)))
    if variant == "canary":  # a share of at most 0 allows no success, one of 1 allows everything
        return np.where(inside, wealth, np.where(shares <= 0, np.inf if trials.successes else 0.0, 0.0))
    return np.where(inside, wealth, np.where(shares >= 1, np.inf if trials.successes < trials.total else 0.0, 0.0))
