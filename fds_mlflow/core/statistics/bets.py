"""What the event tests bet on, and how the stake is spread over it: all of it fixed before the first outcome."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fds_mlflow.core.statistics.wealth import Floats, check_boundary

KNOTS = ((0.1, -1.1), (0.22, 1.0), (0.4, 1.8), (0.8, 0.0), (1.6, 1.5), (3.2, 1.85), (8.0, 0.2), (30.0, -1.4))
"""Log density of the stakes at g - 1: the one that keeps the worst of the mean waiting times small at ratios from 1.25
to 10 and weights from 1 to 50 %, measured against Wald's limit."""

EVEN = 0.08
"""Share of the stakes that is spread evenly, so that tiny and huge deviations are found as well."""


def spread_stakes(
    knots: Sequence[tuple[float, float]], even: float, first: float = 0.002, last: float = 200.0, number: int = 53
) -> tuple[Floats, Floats]:
    """Bets on an excess g - 1 of the ratio, spaced evenly in logs, and the log of each one's share of the stake.

    Args:
        knots: Excess and log density there, rising; straight between them, falling beyond.
        even: Share of the stake that every bet gets alike, in [0, 1].
        first: Smallest excess.
        last: Largest excess.
        number: How many bets.

    Returns:
        The bets g and their log shares, each of shape (number,), float64.
    """
    excess = np.geomspace(first, last, number)
    at, heights = np.log([knot[0] for knot in knots]), [knot[1] for knot in knots]
    density = np.interp(np.log(excess), at, heights)
    density += np.minimum(0, 1.5 * (np.log(excess) - at[0])) - np.maximum(0, np.log(excess) - at[-1])
    shares = np.exp(density)
    shares = (1 - even) * shares / shares.sum() + even / number
    return 1 + excess, np.asarray(np.log(shares), dtype=np.float64)


TILTS, LOG_SHARES = spread_stakes(KNOTS, EVEN)
"""The bets g, 53 from 1.002 to 201 with g - 1 spaced evenly in logs, and the logs of their shares."""

_AT_ONE = 0.8
"""Share that a PASS stakes on a ratio of exactly 1: what a good canary has."""

POINTS = (
    (0.12, 0.01),
    (0.2482, 0.26038),
    (0.6534, 0.1648),
    (1.1947, 0.09479),
    (2.3962, 0.14078),
    (3.6595, 0.06761),
    (4.3838, 0.15694),
    (10.8154, 0.10471),
)
"""Excess g - 1 and part of the stake where a FAIL puts most of it, as `benchmarks/calibration/mixture.py` finds them:
the worst of the mean waiting times at ratios of 1.25, 1.5, 2, 4 and 10 and a weight of 10 % is smallest. After few
events they are enough or not by a hair's breadth: hence so many digits. The first is for what lies below."""

EVEN_BESIDE_POINTS = 0.012
"""Share of the stakes that is spread evenly beside these."""


def point_stakes(points: Sequence[tuple[float, float]], even: float) -> tuple[Floats, Floats]:
    """Bets on a few ratios, and beside them on all of `TILTS` alike.

    Args:
        points: Excess g - 1 and its part of the stake that is not spread evenly.
        even: Share of the stake that is, in (0, 1).

    Returns:
        The bets g and their log shares, each of shape (53 + points,), float64.
    """
    excess, parts = np.array(points, dtype=np.float64).T
    shares = np.append(np.full(len(TILTS), even / len(TILTS)), (1 - even) * parts / parts.sum())
    return np.append(TILTS, 1 + excess), np.asarray(np.log(shares), dtype=np.float64)


_POINT_TILTS, _POINT_LOG_SHARES = point_stakes(POINTS, EVEN_BESIDE_POINTS)


def ratio_bets(boundary: float, *, above: bool, later: bool = False) -> tuple[Floats, Floats]:
    """The ratios that are bet on, and the logs of their shares.

    A bet that the ratio is above the boundary b is spread over b g, one that it is below over b / g. Where a ratio of
    exactly 1 lies on that side (a PASS with a margin), most of the stake is on it: good canaries are like that, and
    better ones lose little by it.

    Args:
        boundary: The ratio b.
        above: Which side is bet on.
        later: Whether a part of the stake begins in later hours (see `starts`); the tests that do that spread it
            over `POINTS`.

    Returns:
        Ratios and log shares, each of shape (bets,), float64.

    Raises:
        ConfigError: The boundary is not a positive, finite number.
    """
    check_boundary(boundary)
    tilts, shares = (_POINT_TILTS, _POINT_LOG_SHARES) if later else (TILTS, LOG_SHARES)
    ratios = boundary * tilts if above else boundary / tilts
    if (boundary >= 1) if above else (boundary <= 1):
        return ratios, shares
    return np.append(ratios, 1.0), np.append(shares + np.log1p(-_AT_ONE), np.log(_AT_ONE))


_FINE: Floats = 1 + np.geomspace(1e-5, 1.6e-3, 12)
_FINE_SHARE = 1e-6

INTERVAL_TILTS: Floats = np.append(TILTS, _FINE)
"""The bets of intervals: finer than those of tests, for counts of hundreds of millions."""


def with_fine(log_shares: Floats) -> Floats:
    """Log shares of `INTERVAL_TILTS`, from those of `TILTS`: a millionth of the stake is on the fine ones.

    Where counts are too few for these, the end of an interval stays where the test alone rejects, to six digits; where
    they decide, a millionth costs 14 nats of hundreds of millions of events.
    """
    return np.append(log_shares + np.log1p(-_FINE_SHARE), np.full(len(_FINE), np.log(_FINE_SHARE / len(_FINE))))


INTERVAL_LOG_SHARES = with_fine(LOG_SHARES)
