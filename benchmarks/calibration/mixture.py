"""Where the stakes of the event test lie: the search behind `fds_mlflow.core.statistics.sequential.KNOTS`.

The mean waiting time under a mixture is computed exactly, event by event, and the log density of the stakes over
g - 1 at eight knots is moved (Nelder and Mead) until the worst of the means, measured against Wald's limit, is
smallest. What it prints was rounded; the powers printed by `benchmarks.power` are those of the rounded one.

    python -m benchmarks.calibration.mixture        # some minutes on one core
"""

from __future__ import annotations

from math import log

import numpy as np

from benchmarks.calibration.events import chance, divergence
from fds_mlflow.core.statistics.sequential import EVEN, KNOTS, log_factors, spread_stakes
from fds_mlflow.core.statistics.wealth import Floats, log_mixture

ALPHA = 0.05
CELLS = (
    (0.1, 1.25, 1.0),
    (0.1, 1.35, 1.0),
    (0.1, 1.5, 1.0),
    (0.1, 1.75, 1.0),
    (0.1, 2.0, 1.0),
    (0.05, 2.5, 1.0),
    (0.01, 3.2, 1.0),
    (0.01, 4.0, 1.0),
    (0.01, 5.0, 1.03),
    (0.1, 10.0, 1.16),
)
"""Weight, ratio, and how much more than elsewhere may be waited there: far jumps overshoot."""
_SURVIVING = 1e-3


def mean_to_limit(weight: float, ratio: float, tilts: Floats, log_shares: Floats) -> float:
    """Mean number of events until log(1/alpha), divided by log(1/alpha) / KL, by enumerating the canary's events."""
    p = chance(weight, ratio)
    limit = -log(ALPHA) / divergence(p, weight)
    canary, champion = log_factors(weight, 1.0, tilts)
    alive, critical, mean = np.ones(1), 0, 0.0
    for n in range(1, int(12 * limit) + 50):
        mean += alive.sum()
        alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
        while log_mixture(critical * canary + (n - critical) * champion, log_shares) < -log(ALPHA) and critical <= n:
            critical += 1  # the fewest canary events that are enough; it never falls
        alive = alive[:critical]
        if alive.sum() < _SURVIVING:
            break
    return mean / limit


def worst(heights: Floats) -> float:
    """A smooth maximum over all cells."""
    mixture = spread_stakes([(at, height) for (at, _), height in zip(KNOTS, heights, strict=True)], EVEN)
    found = np.array([mean_to_limit(weight, ratio, *mixture) / allowed for weight, ratio, allowed in CELLS])
    return float(np.log(np.exp(60 * found).mean()) / 60)


def main() -> None:
    """Search, print the heights."""
    from scipy.optimize import minimize

    start = np.zeros(len(KNOTS))
    steps = np.vstack([start, *(start + 0.5 * row for row in np.eye(len(start)))])
    options = {"maxfev": 250, "initial_simplex": steps}
    found = minimize(worst, start, method="Nelder-Mead", options=options)
    print(f"{found.fun:.4f}", [(at, round(float(height), 2)) for (at, _), height in zip(KNOTS, found.x, strict=True)])


if __name__ == "__main__":
    main()
