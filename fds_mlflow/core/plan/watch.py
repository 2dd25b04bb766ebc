"""What follows a completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fds_mlflow.core.text.checks import check_keys
from fds_mlflow.core.text.duration import from_duration, to_duration
from fds_mlflow.core.text.numbers import whole
from fds_mlflow.core.weight import FULL, to_basis_points
from fds_mlflow.errors import ConfigError

WATCH_KEYS = ("duration", "control", "rollback")


@dataclass(frozen=True)
class Watch:
    """What follows a completion: the former champion stays as a small control for a while.

    Attributes:
        duration: How long; a text such as "7d" is taken too.
        control: Percentage of the traffic that stays with the former champion, above 0 and at most 50.
        rollback: Whether the champion is rolled back by itself when it is shown to be worse than its control.

    Raises:
        ConfigError: A value is out of range.
    """

    duration: timedelta
    control: float
    rollback: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration", to_duration("watch: duration", self.duration))
        if not self.duration:
            raise ConfigError("watch: duration is 0s", fix="leave the watch out, or give a time such as 7d")
        if not 0 < to_basis_points(self.control) <= FULL // 2:
            raise ConfigError(
                f"watch: control is {self.control!r} %, not above 0 and at most 50", fix="give a small one, such as 5"
            )
        object.__setattr__(self, "control", float(self.control))
        if not isinstance(self.rollback, bool):
            raise ConfigError(f"watch: rollback is {self.rollback!r}", fix="write true or false")

    def to_dict(self) -> dict[str, Any]:
        """Plain values; defaults are left out."""
        values: dict[str, Any] = {"duration": from_duration(self.duration), "control": whole(self.control)}
        return values | ({"rollback": True} if self.rollback else {})

    @classmethod
    def from_dict(cls, values: Any) -> Watch:
        """Read a watch from plain values.

        Raises:
            ConfigError: A key is unknown or missing, or a value is out of range.
        """
        if not isinstance(values, Mapping) or not {"duration", "control"} <= set(values):
            raise ConfigError(
                f"watch is {values!r}, without a duration and a control",
                fix="write watch: {duration: 7d, control: 5}",
            )
        check_keys("the watch", values, WATCH_KEYS)
        return cls(**values)
