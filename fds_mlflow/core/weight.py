"""Weights: percent for people, basis points inside."""

from __future__ import annotations

from fds_mlflow.errors import ConfigError

FULL = 10_000
"""The weight, in basis points, that sends all traffic to the canary."""


def to_basis_points(percent: float) -> int:
    """Convert a percentage in [0, 100] into basis points in [0, 10000].

    Raises:
        ConfigError: The value is not a number in that range, or is finer than 0.01 %.
    """
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise ConfigError(f"a weight of {percent!r} is not a percentage", fix="give a number from 0 to 100, such as 25")
    points = round(percent * 100)
    if abs(points - percent * 100) > 1e-6:
        raise ConfigError(
            f"a weight of {percent!r} % is finer than one basis point",
            fix=f"round it to two decimals: {points / 100}",
        )
    return points


def to_percent(basis_points: int) -> float:
    """Convert basis points into the percentage that people read."""
    return basis_points / 100
