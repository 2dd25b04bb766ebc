"""Courses of the event test, many at a time: how many events it takes until the evidence is there."""

from __future__ import annotations

from math import exp, log

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.statistics.bets import ratio_bets
from fds_mlflow.core.statistics.sequential import log_factors, log_threshold
from fds_mlflow.core.statistics.starts import LATER
from fds_mlflow.core.statistics.wealth import log_mixture

Counts = npt.NDArray[np.int64]

_ROWS = 20_000
"""Counts whose evidence is computed at once: 20,000 x 54 bets are some megabytes."""


def chance(weight: float, ratio: float) -> float:
    """How likely an event is the canary's while its rate is `ratio` times the champion's."""
    return weight * ratio / (weight * ratio + 1 - weight)


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of one event, canary's with probability p, from one with probability q; in nats."""
    return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))


def in_first_hour(evidence: float) -> float:
    """What the bets of the first start must have made where a FAIL has so much evidence; both are logs.

    That is while all events lie in one hour: the stake of later starts has won nothing yet, which is dearest.
    """
    return log(max(exp(evidence) - LATER, 1e-300) / (1 - LATER))


class Limits:
    """For each number of events that raise the evidence, how many of the others it stands before it is too little.

    FAIL evidence (`above`) is raised by the canary's events, PASS evidence by the champion's. All events are taken to
    lie in one hour.
    """

    def __init__(self, weight: float, boundary: float, alpha: float, *, above: bool) -> None:
        ratios, self._shares = ratio_bets(boundary, above=above, later=above)
        canary, champion = log_factors(weight, boundary, ratios)
        self._raising, self._others = (canary, champion) if above else (champion, canary)
        self._level = in_first_hour(log_threshold(alpha)) if above else log_threshold(alpha)
        self._known: Counts = np.empty(0, dtype=np.int64)

    def up_to(self, number: int) -> Counts:
        """The limits for 1, 2, ... `number` events: -1 where even none of the others is too many."""
        while len(self._known) < number:
            first = len(self._known) + 1
            raising = np.arange(first, first + _ROWS // 10)
            self._known = np.append(self._known, self._search(raising))
        return self._known[:number]

    def _search(self, raising: Counts) -> Counts:
        low, high = np.full(len(raising), -1), np.full(len(raising), 1)
        while (growing := self._enough(raising, high)).any():
            high = np.where(growing, 2 * high, high)
        while (high - low > 1).any():
            middle = (low + high) // 2
            enough = self._enough(raising, middle)
            low, high = np.where(enough, middle, low), np.where(enough, high, middle)
        return low

    def _enough(self, raising: Counts, others: Counts) -> npt.NDArray[np.bool_]:
        stakes = raising[:, None] * self._raising + others[:, None] * self._others
        enough: npt.NDArray[np.bool_] = (log_mixture(stakes, self._shares) >= self._level) & (others >= 0)
        return enough


def events_until(
    random: np.random.Generator,
    weight: float,
    boundary: float,
    ratio: float,
    alpha: float,
    *,
    above: bool,
    courses: int,
) -> tuple[Counts, Counts]:
    """Events of the canary and of the champion until the evidence reaches log(1/alpha), looked at after every event.

    Args:
        random: Source of randomness.
        weight: The canary's share of the traffic.
        boundary: The ratio of rates that is tested.
        ratio: The true one; it must lie on the side that the test looks for.
        alpha: What the test may spend.
        above: Which test.
        courses: How many courses.

    Returns:
        Two arrays of shape (courses,), int64.
    """
    limits = Limits(weight, boundary, alpha, above=above)
    p = chance(weight, ratio) if above else 1 - chance(weight, ratio)
    raising, others = np.zeros(courses, dtype=np.int64), np.zeros(courses, dtype=np.int64)
    waiting, block, done = np.arange(courses), 64, 0
    while len(waiting):
        allowed = limits.up_to(done + block)[done:]
        so_far = others[waiting, None] + np.cumsum(random.geometric(p, (len(waiting), block)) - 1, axis=1)
        reached = so_far <= allowed
        first = np.where(reached.any(axis=1), reached.argmax(axis=1), block - 1)
        raising[waiting] = done + first + 1
        others[waiting] = so_far[np.arange(len(waiting)), first]
        waiting = waiting[~reached.any(axis=1)]
        done += block
    return (raising, others) if above else (others, raising)
