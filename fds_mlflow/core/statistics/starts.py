"""Evidence of harm that came late: a part of the stake is bet from later starts on.

A stake that lay on harm through a good week is gone: to win it back takes as much evidence as the week has cost. So a
part of the stake is kept, and bet hour by hour: what begins in an hour knows nothing of what was before. Each such
stake is a test martingale from its start on, and money that is not bet yet keeps its worth; a mixture with shares fixed
in advance is a test martingale too (see `wealth`). It is what Shin, Ramdas and Rinaldo (E-detectors: a nonparametric
framework for sequential change detection, New England Journal of Statistics in Data Science 2, 2024) add up without
shares to bound the time between false alarms; with shares it bounds the chance of any.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.statistics.wealth import Floats, log_mixture

Hours = npt.NDArray[np.int64]

LATER = 0.05
"""Share of the stake that later starts get. Every steady harm waits for at most log(1/0.95) = 0.05 nats more evidence,
where 3.0 reject at alpha 5 %; a fifth would be 0.22. After a good week, half as much costs 0.7 nats of twelve."""

_EARLY = 0.05
_WEEK = 168.0
_FALL = 0.8
"""The power of time by which most of it falls. A larger one gives an hour after a week more, and one after a month
less; with 1, what an hour gets would fall as 1/k^2."""


def unspent(hours: Hours) -> Floats:
    """Share of the later stake that is still kept when an hour has begun: 1 at the first, falling.

    A small part falls as 1/(1 + log2(1 + k)), for starts on the first day. The rest falls as (1 + k/168)^-0.8: an hour
    after a week gets two sevenths of what the first one gets, one after a month a twentieth, and what an hour gets
    falls more slowly than 1/k^2 for ever.

    Args:
        hours: Hours since the first, shape (n,), int64, at least 0.

    Returns:
        Shape (n,), float64.
    """
    kept: Floats = _EARLY / (1 + np.log2(1 + hours)) + (1 - _EARLY) * (1 + hours / _WEEK) ** -_FALL
    return kept


def later_evidence(log_stakes: Floats, hours: Hours, log_shares: Floats) -> float:
    """Log of the wealth of a mixture over bets and starts.

    Args:
        log_stakes: Log of the factor by which each bet's stake grew in each hour that has any outcome: shape
            (hours, bets), float64.
        hours: These hours, strictly rising: shape (hours,), int64.
        log_shares: Log of each bet's share of a stake: shape (bets,), float64.

    Returns:
        0 without any hour.
    """
    if not len(hours):
        return 0.0
    since = np.cumsum(log_stakes[::-1], axis=0)[::-1]  # what a bet that begins in an hour has made until now
    kept = unspent(hours - hours[0])
    begun = LATER * -np.diff(kept)  # starts in hours without outcomes have seen what the next one has
    logs = np.concatenate([log_mixture(since, log_shares), [0.0]])
    return float(log_mixture(logs, np.log(np.concatenate([[1 - LATER], begun, [LATER * kept[-1]]]))))
