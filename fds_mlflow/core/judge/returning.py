"""What first events say where keys come again: by several weights at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fds_mlflow.core.statistics.wealth import Interval

if TYPE_CHECKING:
    from fds_mlflow.core.judge.measure import Measure


@dataclass(frozen=True)
class Returning:
    """Events of keys that come again, under several weights (see `risk`).

    Attributes:
        by_keys: Under the weights, corrected by the keys that have not had the event.
        at_risk: Under the treatment's share of the requests at risk.
        least: Under the smallest weight of each hour.
        most: Under the largest.
    """

    by_keys: Measure
    at_risk: Measure
    least: Measure
    most: Measure

    def evidence(self, boundary: float, *, above: bool, later: bool = False) -> float:
        """By keys towards ratios further from 1; towards 1, by the weights that make it hardest."""
        outwards = boundary >= 1 if above else boundary <= 1
        taken = self.by_keys if outwards else self.most if above else self.least
        return taken.evidence(boundary, above=above, later=later)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """By the requests at risk."""
        return self.at_risk.until(boundary, above=above, alpha=alpha)

    def estimate(self) -> float | None:
        """By the requests at risk."""
        return self.at_risk.estimate()

    def interval(self, alpha: float) -> Interval:
        """What either allows."""
        one, other = self.by_keys.interval(alpha), self.at_risk.interval(alpha)
        return Interval(min(one.low, other.low), max(one.high, other.high))
