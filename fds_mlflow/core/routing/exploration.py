"""Exploration: a small random share of what would be blocked is let pass, so that its truth shows.

Who is let pass is told by the key alone, as the variant is, and by a hash of its own: replicas agree about it, and it
says nothing about the variant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import xxhash

from fds_mlflow.core.routing.routing import SEED
from fds_mlflow.core.text.checks import is_number
from fds_mlflow.errors import ConfigError

COLUMN = "amount"
"""The column of the amount, where none is named."""

_HASHES = 2**64


@dataclass(frozen=True)
class Exploration:
    """Which of the requests that a version flags are let pass all the same.

    Attributes:
        model: Registered model; it salts the hash.
        share: Of what is flagged, in (0, 1].
        cap: Amount, without its sign, up to which; None for any amount.
        column: Column of the amount, where there is a cap.
        per_day: How many a day, which begins at midnight UTC, for all replicas together; None for any number.

    Raises:
        ConfigError: A value is out of range.
    """

    model: str
    share: float
    cap: float | None = None
    column: str = COLUMN
    per_day: int | None = None

    def __post_init__(self) -> None:
        if not is_number(self.share) or not 0 < self.share <= 1:
            raise ConfigError(f"the share to explore is {self.share!r}, not in (0, 1]", fix="give one such as 0.005")
        if self.cap is not None and (not is_number(self.cap) or self.cap <= 0):
            raise ConfigError(
                f"the cap on what is explored is {self.cap!r}, no amount above 0",
                fix="give an amount, or leave it out for none",
            )
        if not isinstance(self.column, str) or not self.column:
            raise ConfigError(f"the column of the amount is {self.column!r}", fix="name a column of the request")
        if self.per_day is not None and (not isinstance(self.per_day, int) or self.per_day is True or self.per_day < 1):
            raise ConfigError(
                f"{self.per_day!r} are to be explored a day, no whole number from 1 on",
                fix="give a count such as 100, or leave it out for no bound",
            )

    @classmethod
    def of(
        cls,
        model: str,
        percent: float,
        *,
        cap: float | None = None,
        column: str | None = None,
        per_day: int | None = None,
        recorded: bool = True,
    ) -> Exploration | None:
        """What options say; None where nothing is explored.

        Args:
            model: Registered model.
            percent: Of what is flagged, from 0 to 100; 0 for nothing.
            cap: As the attribute.
            column: As the attribute; None for `COLUMN`.
            per_day: As the attribute.
            recorded: Whether outcomes are recorded.

        Raises:
            ConfigError: A value is out of range, or bounds what is not explored; or no outcome would tell.
        """
        if not is_number(percent) or not 0 <= percent <= 100:
            raise ConfigError(
                f"{percent!r} percent are to be explored of {model}, not 0 to 100", fix="give a share such as 0.5"
            )
        if column is not None and cap is None:
            raise ConfigError(
                f"the column {column!r} of an amount is named for {model}, and no cap on it",
                fix="add the cap (`--explore-cap`, in Python explore_cap=), or leave the column out",
            )
        if percent == 0:
            if cap is not None or per_day is not None:
                raise ConfigError(
                    f"what is explored of {model} is bounded, and nothing is explored",
                    fix="add the percentage (`--explore 0.5`, in Python explore=0.5), or leave the bounds out",
                )
            return None
        if not recorded:
            raise ConfigError(
                f"transactions of {model} would be let pass, and no outcome recorded to learn from",
                fix="record outcomes, or leave the exploration out",
            )
        return cls(model, percent / 100, cap, COLUMN if column is None else column, per_day)

    def propensity(self, amount: Any) -> float:
        """The chance that a request is let pass if it is flagged.

        Args:
            amount: Of the request, as it came; not looked at where there is no cap. One above the cap, none, and what
                is no finite number have no chance.
        """
        if self.cap is None:
            return self.share
        try:
            number = math.nan if isinstance(amount, bool) else abs(float(amount))
        except (TypeError, ValueError, OverflowError):
            return 0.0
        return self.share if number <= self.cap else 0.0

    def explores(self, key: str, propensity: float) -> bool:
        """Whether a request is let pass if it is flagged; always the same answer.

        Args:
            key: Its routing key.
            propensity: Its chance.
        """
        text = (self._prefix + key).encode(errors="surrogatepass")
        return propensity > 0 and xxhash.xxh64_intdigest(text, SEED) < int(propensity * _HASHES)

    @cached_property
    def _prefix(self) -> str:
        return f"explore:{self.model}:"

    @staticmethod
    def day(now: datetime) -> datetime:
        """When the day began that `per_day` counts, UTC.

        Args:
            now: The time, UTC.
        """
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
