"""Where the stakes of a FAIL lie: the search behind `fds_mlflow.core.statistics.bets.POINTS`.

The mean waiting time under a mixture is computed exactly, event by event, with all events in one hour (the stake of
later starts is idle then, which is dearest). The points and their parts of the stake are moved (Nelder and Mead) until
the worst of the means, measured against Wald's limit, is smallest. What it prints was rounded.

    python -m benchmarks.calibration.mixture        # an hour on one core
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np

from benchmarks.calibration.events import chance, divergence, in_first_hour
from fds_mlflow.core.statistics.bets import EVEN_BESIDE_POINTS, POINTS, point_stakes, ratio_bets
from fds_mlflow.core.statistics.sequential import log_factors
from fds_mlflow.core.statistics.wealth import Floats, log_mixture

ALPHA = 0.05
ALLOWED = {1.25: 1.0, 1.35: 1.02, 1.5: 1.0, 1.75: 1.02, 2.0: 1.0, 3.0: 1.02, 4.0: 1.0, 6.0: 1.08, 10.0: 1.12}
"""How much more than elsewhere may be waited at a ratio: far jumps overshoot."""
_SURVIVING = 1e-5


def mean_to_limit(weight: float, ratio: float, tilts: Floats, log_shares: Floats, level: float = -log(ALPHA)) -> float:
    """Mean number of events until a level, divided by log(1/alpha) / KL, by enumerating the canary's events."""
    p = chance(weight, ratio)
    limit = -log(ALPHA) / divergence(p, weight)
    canary, champion = log_factors(weight, 1.0, tilts)
    alive, critical, mean = np.ones(1), 0, 0.0
    for n in range(1, int(20 * limit) + 50):
        mean += alive.sum()
        alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
        while log_mixture(critical * canary + (n - critical) * champion, log_shares) < level and critical <= n:
            critical += 1  # the fewest canary events that are enough; it never falls
        alive = alive[:critical]
        if alive.sum() < _SURVIVING:
            break
    return mean / limit


def shipped(weight: float, ratio: float) -> float:
    """`mean_to_limit` of the test as it is: its bets, and what the stake of later starts costs."""
    return mean_to_limit(weight, ratio, *ratio_bets(1.0, above=True, later=True), in_first_hour(-log(ALPHA)))


def worst(ratios: Sequence[float], weight: float = 0.1) -> float:
    """The worst of these means."""
    return max(shipped(weight, ratio) for ratio in ratios)


def _points(place: Floats) -> list[tuple[float, float]]:
    excess, parts = np.exp(place.reshape(2, -1))
    return list(zip(excess.tolist(), (parts / parts.sum()).tolist(), strict=True))


def _smooth_worst(place: Floats) -> float:
    mixture = point_stakes(_points(place), EVEN_BESIDE_POINTS)
    level = in_first_hour(-log(ALPHA))
    found = np.array([mean_to_limit(0.1, ratio, *mixture, level) / allowed for ratio, allowed in ALLOWED.items()])
    return float(np.log(np.exp(100 * found).mean()) / 100)


def main() -> None:
    """Search, print the points."""
    from scipy.optimize import minimize

    start = np.log(np.array(POINTS).T).ravel()
    steps = np.vstack([start, *(start + 0.2 * row for row in np.eye(len(start)))])
    options = {"maxfev": 600, "initial_simplex": steps, "adaptive": True}
    found = minimize(_smooth_worst, start, method="Nelder-Mead", options=options)
    print(f"{found.fun:.4f}", [(round(excess, 3), round(part, 3)) for excess, part in _points(found.x)])


if __name__ == "__main__":
    main()
