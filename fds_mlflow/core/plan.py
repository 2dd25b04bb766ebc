"""A rollout plan, validated. The only place that converts percent into basis points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

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


@dataclass(frozen=True, init=False)
class Plan:
    """How a rollout proceeds, and what a plain rule asks of the canary at each step.

    Args:
        steps: Weights in percent, strictly rising, each above 0 and at most 100.
        min_outcomes: Canary outcomes needed in a step before it is judged.
        min_success_rate: The canary's success rate below which it fails, in [0, 1].
        max_success_drop: How far the canary's success rate may lie below the champion's, in [0, 1].

    Raises:
        ConfigError: A value is out of range, or the steps do not rise.
    """

    weights: tuple[int, ...]
    min_outcomes: int
    min_success_rate: float
    max_success_drop: float

    def __init__(
        self,
        steps: Sequence[float] = (10, 25, 50, 100),
        *,
        min_outcomes: int = 100,
        min_success_rate: float = 0.9,
        max_success_drop: float = 0.05,
    ) -> None:
        weights = tuple(to_basis_points(step) for step in steps)
        if not weights or weights[0] == 0 or any(a >= b for a, b in pairwise(weights)):
            raise ConfigError(
                f"the steps {list(steps)} do not rise from above 0",
                fix="list strictly rising percentages, such as 10, 25, 50, 100",
            )
        if isinstance(min_outcomes, bool) or not isinstance(min_outcomes, int) or min_outcomes < 1:
            raise ConfigError(
                f"min_outcomes is {min_outcomes!r}, not a positive whole number",
                fix="give a count such as 100",
            )
        for name, rate in (("min_success_rate", min_success_rate), ("max_success_drop", max_success_drop)):
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise ConfigError(f"{name} is {rate!r}, not a share", fix="give a number from 0 to 1")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "min_outcomes", min_outcomes)
        object.__setattr__(self, "min_success_rate", float(min_success_rate))
        object.__setattr__(self, "max_success_drop", float(max_success_drop))

    @property
    def steps(self) -> tuple[float, ...]:
        """The weights in percent."""
        return tuple(to_percent(weight) for weight in self.weights)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, as `from_dict` takes them."""
        return {
            "steps": list(self.steps),
            "min_outcomes": self.min_outcomes,
            "min_success_rate": self.min_success_rate,
            "max_success_drop": self.max_success_drop,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Read a plan from plain values.

        Raises:
            ConfigError: A key is unknown, or a value is out of range.
        """
        known = {"steps"} | {field.name for field in fields(cls)} - {"weights"}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                f"the plan has unknown keys: {', '.join(unknown)}", fix=f"use only {', '.join(sorted(known))}"
            )
        return cls(**values)
