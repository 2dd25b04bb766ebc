"""Wealth: what a gambler who bets against a hypothesis has made of 1, as a mixture over bets that are fixed in advance.

Every test of this package is one of these. A bet multiplies its stake by a factor at every observation; while the
hypothesis holds, the factor's expected value given the past is at most 1. So the stake is a non-negative
supermartingale, and so is any mixture of stakes with shares fixed in advance. By Ville's inequality (Ville, Etude
critique de la notion de collectif, 1939; Ramdas, Gruenwald, Vovk and Shafer, Game-theoretic statistics and safe
anytime-valid inference, Statistical Science 38, 2023) the mixture ever reaches 1/alpha with a chance of at most alpha,
however often somebody looks.

Factors depend on the observation's class alone, so a stake is a function of counts: the order in which outcomes arrive
changes nothing, and a look costs the same after ten million outcomes as after ten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import ConfigError

Floats = npt.NDArray[np.float64]

Evidence = Callable[[float, bool], float]
"""The log of a test martingale at a boundary, against "at most" it (True) or "at least" it (False)."""

_EXTREME = 1e9
"""Ratios beyond this, either way, are shown as infinite or zero."""

_PRECISION = 1e-10

_NEVER = 1e15
"""Steps that nobody waits for."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval that holds at all times at once.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def log_mixture(log_stakes: Floats, log_shares: Floats) -> Floats:
    """Log of the mixture's wealth: log sum_k share_k exp(log_stake_k), over the last axis.

    Args:
        log_stakes: Log of what each bet has made of 1: shape (..., bets), float64, finite.
        log_shares: Log of each bet's share of the first stake: shape (bets,), float64.

    Returns:
        Shape (...,), float64.
    """
    logs = log_stakes + log_shares
    largest = logs.max(axis=-1, keepdims=True)
    total: Floats = np.log(np.exp(logs - largest).sum(axis=-1)) + largest[..., 0]
    return total


def in_part(log_factors: Floats, worth: float) -> Floats:
    """Log of 1 + x (F - 1): the factor F of an observation that counts as the part x of one.

    What is labelled with the chance q is weighed by 1/q, so that its mean is that of all (Horvitz and Thompson, JASA
    47, 1952). A factor of 1 + lambda Y stays positive if the weights are divided by the largest of them, so x is
    the smallest chance divided by q: over labels, the factor's expected value is 1 + q_min (E F - 1).

    Args:
        log_factors: Log F, of any shape, float64.
        worth: x, in (0, 1].
    """
    return log_factors if worth == 1 else np.log1p(worth * np.expm1(log_factors))


def crossing(evidence: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where falling evidence crosses a level: the largest x in [low, high] with `evidence(x) >= level`, else `low`.

    Down to 1e-10, by inverse quadratic interpolation where that is safe, else by bisection (Chandrupatla, A new hybrid
    quadratic/bisection algorithm for finding the zero of a nonlinear function without using derivatives, Advances in
    Engineering Software 28, 1997): a third of the steps that bisection alone takes. `evidence` must not rise with x.
    """

    def above(x: float) -> float:
        return float(evidence(x)) - level

    other, at_other = low, above(low)
    if at_other < 0:
        return low
    x, at_x = high, above(high)
    if at_x >= 0:
        return high
    part = 0.5
    while abs(other - x) > _PRECISION:
        new = x + part * (other - x)
        at_new = above(new)
        if (at_new >= 0) == (at_x >= 0):
            last, at_last = x, at_x
        else:
            last, at_last, other, at_other = other, at_other, x, at_x
        x, at_x = new, at_new
        least = _PRECISION / 2 / max(abs(other - x), _PRECISION)
        part = min(max(_interpolated((x, at_x), (other, at_other), (last, at_last)), least), 1 - least)
    return x if at_x >= 0 else other


def _interpolated(new: tuple[float, float], other: tuple[float, float], last: tuple[float, float]) -> float:
    """How far from the new point to the other side the crossing probably lies; a half where nothing safe is known."""
    (x, at_x), (y, at_y), (z, at_z) = new, other, last
    if not isfinite(at_x + at_y + at_z) or at_z in (at_x, at_y):
        return 0.5
    place, rise = (x - y) / (z - y), (at_x - at_y) / (at_z - at_y)
    if rise**2 >= place or (1 - rise) ** 2 >= 1 - place:
        return 0.5
    return at_x / (at_y - at_x) * at_z / (at_y - at_z) + (z - x) / (y - x) * at_x / (at_z - at_x) * at_y / (at_z - at_y)


def values_between(evidence: Evidence, alpha: float, low: float, high: float) -> Interval:
    """All boundaries in [low, high] that neither of two one-sided tests at alpha/2 rejects: an anytime interval.

    Args:
        evidence: Log of the test martingale at a boundary; `above` falls with the boundary, its opposite rises.
        alpha: What both tests may spend together.
        low: The least boundary, the answer where nothing bounds from below.
        high: The largest.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    level = two_sided_threshold(alpha)
    least = crossing(lambda boundary: evidence(boundary, True), level, low, high)
    return Interval(least, -crossing(lambda minus: evidence(-minus, False), level, -high, -low))


def ratios_between(evidence: Evidence, alpha: float) -> Interval:
    """`values_between` for ratios, found by their logarithms; 0 or inf at an end that nothing bounds.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    end = float(np.log(_EXTREME))
    logs = values_between(lambda log_ratio, above: evidence(float(np.exp(log_ratio)), above), alpha, -end, end)
    low = float(np.exp(logs.low)) if logs.low > -end else 0.0
    return Interval(low, float(np.exp(logs.high)) if logs.high < end else float("inf"))


def steps_until(log_stakes: Floats, log_shares: Floats, growth: Floats, level: float) -> int | None:
    """After how many equal steps a mixture reaches a level if every bet grows as expected, at the same pace throughout.

    The argument is Wald's for the mean of a sequential test (Sequential Analysis, 1947, chapter 3) without the
    overshoot: the figure is about the mean over many courses, and most courses take less.

    Args:
        log_stakes: Log of what each bet has made of 1 so far: shape (bets,), float64.
        log_shares: Log of each bet's share of the first stake: shape (bets,), float64.
        growth: By how much each bet's log stake grows per step on average: shape (bets,), float64.
        level: The log of the wealth to reach.

    Returns:
        0 if it is there; None if it never will be.
    """
    if float(log_mixture(log_stakes, log_shares)) >= level:
        return 0
    rising = growth > 0
    if not rising.any():
        return None
    alone = (level - log_stakes - log_shares)[rising] / growth[rising]  # when each bet would be enough by itself
    low, high = 0, int(np.ceil(min(float(np.min(alone)), _NEVER)))
    while high - low > 1:
        middle = (low + high) // 2
        if float(log_mixture(log_stakes + middle * growth, log_shares)) >= level:
            high = middle
        else:
            low = middle
    return high if high < _NEVER else None


def log_threshold(alpha: float) -> float:
    """Log(1/alpha), from which evidence rejects.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise ConfigError(f"alpha is {alpha!r}, not strictly between 0 and 1", fix="give a small share such as 0.05")
    return -float(np.log(alpha))


def two_sided_threshold(alpha: float) -> float:
    """Log(2/alpha), from which either of two one-sided tests rejects when they share alpha.

    Raises:
        ConfigError: Alpha does not lie strictly between 0 and 1.
    """
    return log_threshold(alpha) + float(np.log(2))


def check_count(name: str, value: int) -> None:
    """Refuse what is not a count.

    Raises:
        ConfigError: The value is not a whole number of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} is {value!r}, not a count", fix="give a whole number of at least 0")


def check_share(name: str, value: float) -> None:
    """Refuse what is not a share.

    Raises:
        ConfigError: The value is not a number in [0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{name} is {value!r}, not a share", fix="give a number from 0 to 1")


def check_boundary(boundary: float) -> None:
    """Refuse what is no ratio to compare with.

    Raises:
        ConfigError: The boundary is not a positive, finite number.
    """
    if isinstance(boundary, bool) or not isinstance(boundary, int | float) or not 0 < boundary < float("inf"):
        raise ConfigError(
            f"the boundary {boundary!r} is not a positive ratio", fix="give 1 + margin, such as 1.0 or 1.25"
        )


def check_difference(boundary: float) -> None:
    """Refuse what is no difference to compare with.

    Raises:
        ConfigError: The boundary does not lie strictly between -1 and 1.
    """
    if isinstance(boundary, bool) or not isinstance(boundary, int | float) or not -1 < boundary < 1:
        raise ConfigError(
            f"the boundary {boundary!r} is not a difference between values in [0, 1]", fix="give a margin such as 0.02"
        )
