"""Sequential tests of pairs: requests that both versions scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fds_mlflow.core.statistics.bets import INTERVAL_LOG_SHARES, INTERVAL_TILTS, ratio_bets
from fds_mlflow.core.statistics.sequential import log_factors
from fds_mlflow.core.statistics.starts import later_evidence
from fds_mlflow.core.statistics.wealth import (
    Floats,
    Interval,
    check_count,
    in_part,
    log_mixture,
    log_threshold,
    ratios_between,
    steps_until,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Distinct keys whose request both versions scored, by which of them the event happened to.

    Attributes:
        both: To both.
        champion_only: To the champion alone.
        canary_only: To the canary alone.
        neither: To neither.
        hour: The hour of the requests, counted from any; what is asked of the whole does not need it.
        worth: How much each counts, in (0, 1]: the smallest chance with which any of them had a label, divided by its
            own (see `wealth.in_part`).
    """

    both: int = 0
    champion_only: int = 0
    canary_only: int = 0
    neither: int = 0
    hour: int = 0
    worth: float = 1.0

    @property
    def seen(self) -> int:
        """All of them."""
        return self.both + self.champion_only + self.canary_only + self.neither


def added(pairs: Iterable[Pairs]) -> Pairs:
    """Pairs of several hours as one, each counted once."""
    listed = list(pairs)
    sides = ("both", "champion_only", "canary_only", "neither")
    return Pairs(**{side: sum(getattr(each, side) for each in listed) for side in sides})


def paired_evidence(pairs: Iterable[Pairs], boundary: float, *, above: bool, later: bool = False) -> float:
    """Evidence on the ratio of rates where both versions scored the same requests.

    With c and h whether the event happened to the canary and to the champion, c - b h has an expected value of at most
    0 while the ratio is at most b. The bet on g b multiplies the stake by

        1 + (g - 1) (c - b h) / (g b + 1)

    (betting on a bounded mean: Waudby-Smith and Ramdas, JRSS B 86, 2024, section 4). At b = 1 pairs in which both
    or neither had the event change nothing, and the factors are the likelihood ratios of a coin that falls on the
    canary's side with g/(g + 1) against a fair one: McNemar's test (Psychometrika 12, 1947), made sequential.

    Args:
        pairs: Distinct keys by which of the versions the event happened to; those of one hour may be split or joined.
        boundary: The ratio of rates to compare with: 1 + margin.
        above: True: evidence against "the ratio is at most the boundary". False: against "at least".
        later: Whether a part of the stake begins in later hours (see `starts`).

    Returns:
        Log of the test martingale; 0 without pairs.

    Raises:
        ConfigError: The boundary is not a positive, finite number, or a count is wrong.
    """
    ratios, shares = ratio_bets(boundary, above=above, later=later)
    if later:
        by_hour = sorted(pairs, key=lambda each: each.hour)
        hours, place = np.unique([each.hour for each in by_hour], return_inverse=True)
        stakes = np.zeros((len(hours), len(ratios)))
        for at, each in zip(place, by_hour, strict=True):
            stakes[at] += _paired_log_stakes(each, boundary, ratios)
        return later_evidence(stakes, hours.astype(np.int64), shares)
    return float(log_mixture(_log_stakes(pairs, boundary, ratios), shares))


def paired_interval(pairs: Iterable[Pairs], alpha: float) -> Interval:
    """Anytime confidence interval of the ratio of rates from pairs, as `ratio_interval` makes it.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1, or a count is wrong.
    """
    kept = _over_hours(pairs)

    def evidence(ratio: float, above: bool) -> float:
        ratios = ratio * INTERVAL_TILTS if above else ratio / INTERVAL_TILTS
        return float(log_mixture(_log_stakes(kept, ratio, ratios), INTERVAL_LOG_SHARES))

    return ratios_between(evidence, alpha)


def _over_hours(pairs: Iterable[Pairs]) -> list[Pairs]:
    """One per worth."""
    listed = list(pairs)
    worths = sorted({each.worth for each in listed})
    return [replace(added(p for p in listed if p.worth == worth), worth=worth) for worth in worths]


def _log_stakes(pairs: Iterable[Pairs], boundary: float, ratios: Floats) -> Floats:
    total: Floats = sum((_paired_log_stakes(each, boundary, ratios) for each in pairs), np.zeros_like(ratios))
    return total


def _paired_log_stakes(pairs: Pairs, boundary: float, ratios: Floats) -> Floats:
    for name in ("both", "champion_only", "canary_only", "neither"):
        check_count(name, getattr(pairs, name))
    canary, champion = log_factors(0.5, boundary, ratios)
    # 1 + (g - 1)(1 - b)/(g b + 1) = (g + b)/(g b + 1), with r = g b
    both: Floats = np.log((ratios / boundary + boundary) / (ratios + 1))
    canary, champion, both = (in_part(factors, pairs.worth) for factors in (canary, champion, both))
    return pairs.canary_only * canary + pairs.champion_only * champion + pairs.both * both


def paired_requests_until(pairs: Sequence[Pairs], boundary: float, *, above: bool, alpha: float) -> int | None:
    """About how many more pairs it takes until the evidence reaches log(1/alpha), if they are like those so far.

    Returns:
        Pairs, 0 if the evidence is there; None without pairs, or if like this it never will be.

    Raises:
        ConfigError: Boundary, alpha or a count are wrong.
    """
    ratios, shares = ratio_bets(boundary, above=above)
    stakes = _log_stakes(pairs, boundary, ratios)
    return steps_until(stakes, shares, stakes / max(added(pairs).seen, 1), log_threshold(alpha))
