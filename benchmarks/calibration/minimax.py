"""The best that any test could do: a bound on the worst mean waiting time, which a test can reach.

Wald's limit, log(1/alpha) / KL, is that of a test that is told the ratio. A test that is not told it, and has to be
good at several, has a worst mean over these limits that is at least the value of a game: whatever it does,

    max over r of E_r[T] / limit(r)  >=  min over T of  sum_r lambda_r E_r[T] / limit(r) + c (P_1(T < inf) - alpha)

for all weights lambda that add up to 1 and every price c >= 0 of a false alarm at a ratio of 1 (Lagrange duality, as
Kiefer and Weiss, Some properties of generalized sequential probability ratio tests, Annals of Mathematical Statistics
28, 1957, use it). The right side is an optimal stopping problem over (events,
events of the canary), which dynamic programming solves: after `HORIZON` limits waiting is taken to be free, so that
what is found stays a bound. The left side is largest where the right one is, over lambda and c: a concave function,
climbed by cutting planes in a box that shrinks (each solution of the stopping problem is a cut).

    python -m benchmarks.calibration.minimax        # under a minute per set of ratios
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from benchmarks.calibration.events import chance, divergence
from fds_mlflow.core.statistics.wealth import Floats

Counts = npt.NDArray[np.int64]

HORIZON = 8
"""Limits of the ratio that is found last, after which waiting costs nothing."""
PRECISION = 5e-4
ROUNDS = 80
_LARGEST = 50.0
"""Log of a likelihood ratio at which every price of a false alarm has long been exceeded."""


@dataclass(frozen=True)
class Stop:
    """A test, and what it costs.

    Attributes:
        means: Mean number of events over Wald's limit, by ratio.
        false: Chance of a rejection at a ratio of 1.
    """

    means: Floats
    false: float


class Game:
    """Events of the canary under one weight, at a ratio of 1 and at each of several ratios."""

    def __init__(self, ratios: Sequence[float], weight: float, alpha: float) -> None:
        self.weight, self.alpha = weight, alpha
        self.chances = np.array([chance(weight, ratio) for ratio in ratios])
        self.limits = np.array([-log(alpha) / divergence(p, weight) for p in self.chances])
        self.horizon = int(HORIZON * self.limits.max())
        n = np.arange(self.horizon + 1)
        spread = np.sqrt(n * weight * (1 - weight))
        # Outside of these a course is so unlikely that to look away changes nothing; it only lowers the bound.
        self._low = np.maximum(0, np.floor(n * weight - 7 * spread - 3)).astype(np.int64)
        self._high = np.minimum(n, np.ceil(n * weight + 6 * spread + 12)).astype(np.int64)

    def best(self, lam: Floats, price: float) -> tuple[float, Counts]:
        """The least cost, and from how many events of the canary on to stop, by the number of events."""
        w, canary = self.weight, np.log(self.chances / self.weight)
        champion = np.log((1 - self.chances) / (1 - self.weight))
        base = np.log(np.maximum(lam, 1e-300) / self.limits)
        value = np.zeros(int(self._high[-1]) + 3)
        stop = np.zeros(self.horizon + 1, dtype=np.int64)
        for n in range(self.horizon - 1, -1, -1):
            low, high = self._low[n], self._high[n]
            k = np.arange(low, high + 1)
            logs = np.outer(canary - champion, k) + (n * champion + base)[:, None]
            waiting = np.exp(np.minimum(logs, _LARGEST)).sum(axis=0)
            waiting += w * value[low + 1 : high + 2] + (1 - w) * value[low : high + 1]
            enough = waiting >= price
            stop[n] = k[enough.argmax()] if enough.any() else high + 1
            value[low : high + 1] = np.minimum(waiting, price)
            value[high + 1 : high + 3] = price
        return float(value[0]), stop

    def played(self, stop: Counts) -> Stop:
        """What it costs to stop there."""
        p = np.append(self.chances, self.weight)[:, None]
        alive = np.zeros((len(p), int(stop.max()) + 3))
        alive[:, 0] = 1
        means, false, top = np.zeros(len(p)), 0.0, 1
        for n in range(self.horizon):
            false += alive[-1, stop[n] : top].sum()
            alive[:, stop[n] : top] = 0
            top = min(top, int(stop[n]))
            means += alive[:, :top].sum(axis=1)
            alive[:, 1 : top + 1] = alive[:, 1 : top + 1] * (1 - p) + alive[:, :top] * p
            alive[:, :1] *= 1 - p
            top += 1
        return Stop(means[:-1] / self.limits, float(false))


def bound(ratios: Sequence[float], weight: float = 0.1, alpha: float = 0.05) -> float:
    """What no test's worst mean over Wald's limit goes below.

    Args:
        ratios: At which it is to be good.
        weight: The canary's share of the traffic.
        alpha: What the test may spend.
    """
    from scipy.optimize import linprog

    game, number = Game(ratios, weight, alpha), len(ratios)
    lam, price = np.full(number, 1 / number), 0.5 / alpha
    found, at = -np.inf, np.append(lam, price)
    cuts: list[Floats] = []
    for round_ in range(ROUNDS):
        value, stop = game.best(lam, price)
        if value - price * alpha > found:
            found, at = value - price * alpha, np.append(lam, price)
        cost = game.played(stop)
        cuts.append(np.append(-cost.means, [alpha - cost.false, 1.0]))
        box = max(0.5 * 0.85**round_, 0.02)
        near = [(max(0.0, share - box), min(1.0, share + box)) for share in at[:-1]]
        best = linprog(
            np.append(np.zeros(number + 1), -1.0),
            A_ub=np.array(cuts),
            b_ub=np.zeros(len(cuts)),
            A_eq=[np.append(np.ones(number), [0, 0])],
            b_eq=[1.0],
            bounds=[*near, (price_at(at, -box), price_at(at, box)), (None, None)],
        )
        if -best.fun - found < PRECISION:
            break
        lam, price = np.maximum(best.x[:number], 0), float(best.x[number])
    return found


def price_at(at: Floats, change: float) -> float:
    """The price so far, changed by a share."""
    return float(at[-1] * (1 + change))


def main() -> None:
    """Print the bounds that `benchmarks.power` reports."""
    for ratios in ((1.25, 1.5, 2.0, 4.0), (1.25, 1.5, 2.0, 4.0, 10.0)):
        print(ratios, f"{bound(ratios):.4f}")


if __name__ == "__main__":
    main()
