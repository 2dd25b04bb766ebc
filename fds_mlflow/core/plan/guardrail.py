"""A guardrail: one thing that a canary must not do much worse than the champion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fds_mlflow.core.evidence.bins import FINE_LATENCY_EDGES
from fds_mlflow.core.plan.metric import Metric, Row, quantile_row
from fds_mlflow.core.statistics.sequential import Side
from fds_mlflow.core.text.checks import check_keys, to_enum
from fds_mlflow.core.text.numbers import whole
from fds_mlflow.errors import ConfigError


@dataclass(frozen=True)
class Guardrail:
    """One thing that a canary must not do much worse than the champion.

    Harmful is a canary whose metric lies beyond the margin, unless it is negligible, or beyond the limit. FAIL means it
    was shown to be harmful, PASS that it was shown not to be.

    Attributes:
        metric: What is measured; a text such as "error_rate" is taken too.
        margin: How much worse than the champion is tolerated. Relative for rates and money (0.5: up to 1.5 times the
            champion's) and quantiles, absolute for `SCORE_SHIFT` and `ALERT_PRECISION` (0.05: up to 0.05). None: no
            comparison with the champion, only the limit.
        limit: Rate of the canary, in (0, 1), from which it is harmful whatever the champion does. Event rates only,
            and quantiles of latency, in milliseconds.
        negligible: Rate of the canary, in (0, 1), below which it is harmless whatever the ratio says: so that "no
            errors at all" can pass. Event rates of which only a higher one harms, and quantiles of latency, in
            milliseconds.
        required: Whether completion needs its PASS.
        side: Which deviation harms; None for the metric's own. `ALERT_RATE` and `SCORE_SHIFT` only.
        bound: `LATENCY`: milliseconds above which a request is slow. `MONEY_LOST`: cap of one loss.
        paired: Judge by requests that both versions scored (shadow evidence) instead of the split traffic. None: where
            the plan has a shadow, by these for alerts and for what labels tell, if there are any that compare.
        quantile: Which quantile is compared, in (0, 1). `LATENCY`, instead of a bound: harmful is a quantile above
             1 + margin times the champion's. `SCORE_SHIFT`, instead of the mean: harmful is a share of scores above the
             champion's quantile that is more than 1 + margin times the champion's, or less than 1/(1 + margin).

    Raises:
        ConfigError: A value is out of range, missing, or means nothing for the metric.
    """

    metric: Metric
    margin: float | None = None
    limit: float | None = None
    negligible: float | None = None
    required: bool = True
    side: Side | None = None
    bound: float | None = None
    paired: bool | None = None
    quantile: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", to_enum(Metric, "the guardrail's metric", self.metric))
        if self.side is not None:
            object.__setattr__(self, "side", to_enum(Side, f"{self.metric}: side", self.side))
        for name in ("margin", "limit", "negligible", "bound", "quantile"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, self._number(name, value))
        for name, allowed in (("required", bool), ("paired", bool | None)):
            if not isinstance(getattr(self, name), allowed):
                raise self._wrong(f"{name} is {getattr(self, name)!r}", "write true or false")
        self._check_quantile()
        self._check_margin()
        self._check_rates()
        self._check_rest()

    @property
    def harms(self) -> Side:
        """Which deviation of the canary harms."""
        return self.side or self.metric.row.side

    @property
    def row(self) -> Row:
        """What is known about its metric, or about its quantile."""
        return self.metric.row if self.quantile is None else quantile_row(self.metric, self.quantile)

    @property
    def relative(self) -> bool:
        """Whether the margin is relative: the boundary is a ratio of 1 + margin."""
        return not self.row.difference

    def to_dict(self) -> dict[str, Any]:
        """Plain values without the metric; defaults are left out."""
        values: dict[str, Any] = {}
        for name in _OPTIONS:
            value = getattr(self, name)
            if value != getattr(Guardrail, name):
                values[name] = value.value if isinstance(value, StrEnum) else whole(value)
        return values

    @classmethod
    def from_dict(cls, metric: str, values: Any) -> Guardrail:
        """Read a guardrail from plain values.

        Raises:
            ConfigError: A key is unknown, or a value is out of range.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"the guardrail {metric} is {values!r}, not a mapping", fix=f"write {metric}: {{margin: 0.5}}"
            )
        check_keys(f"the guardrail {metric}", values, _OPTIONS)
        return cls(metric=to_enum(Metric, "the guardrail's metric", metric), **values)

    def _check_margin(self) -> None:
        if self.margin is None and self.limit is None:
            raise self._wrong("neither a margin nor a limit is given", "add margin: 0.5 (or a limit)")
        if self.margin is None:
            return
        if self.relative and not 0 <= self.margin <= 1_000:
            raise self._wrong(f"margin is {self.margin:g}, not in [0, 1000]", "0.5 tolerates half as much again")
        if not self.relative and not 0 < self.margin < 1:
            raise self._wrong(f"margin is {self.margin:g}, not in (0, 1)", "it is a difference: 0.05 tolerates 0.05")

    def _check_quantile(self) -> None:
        if self.quantile is None:
            return
        if self.metric not in (Metric.LATENCY, Metric.SCORE_SHIFT):
            raise self._wrong("quantile means nothing for it", "leave it out; latency and score_shift have one")
        if not 0 < self.quantile < 1:
            raise self._wrong(f"quantile is {self.quantile:g}, not in (0, 1)", "give a share such as 0.99")
        if self.bound is not None:
            raise self._wrong("bound and quantile are given", "keep one: bound compares the shares of slow requests")
        if self.margin is None:
            return
        if self.metric is Metric.LATENCY and self.margin < FINEST:
            raise self._wrong(f"margin is {self.margin:g}", f"give at least {FINEST:g}: quantiles are as fine as bins")
        if self.metric is Metric.SCORE_SHIFT and (1 + self.margin) * (1 - self.quantile) >= 1:
            raise self._wrong(
                f"no share can be {1 + self.margin:g} times the {1 - self.quantile:g} above the quantile",
                "lower the margin, or give a higher quantile such as 0.99",
            )

    def _check_rates(self) -> None:
        for name in ("limit", "negligible"):
            rate = getattr(self, name)
            if rate is None:
                continue
            if self.metric.kind is None:
                raise self._wrong(f"{name} means nothing for it", f"leave {name} out; event rates have one")
            if self.quantile is not None:
                low, high = FINE_LATENCY_EDGES[1], FINE_LATENCY_EDGES[-1]
                if not low <= rate <= high:
                    raise self._wrong(f"{name} is {rate:g}, not in [{low:.2g}, {high:g}]", "give milliseconds")
            elif not 0 < rate < 1:
                raise self._wrong(f"{name} is {rate:g}, not a rate in (0, 1)", "give a rate such as 0.01")
        if self.negligible is not None and self.harms is not Side.HIGHER:
            raise self._wrong(f"negligible is given where {self.harms} harms", "add side: higher, or leave it out")
        if self.negligible is not None and self.margin is None:
            raise self._wrong("negligible is given without a margin", "add a margin, or leave negligible out")
        if self.negligible is not None and self.limit is not None and self.negligible >= self.limit:
            raise self._wrong(
                f"negligible {self.negligible:g} is not below the limit {self.limit:g}", "lower it, or raise the limit"
            )

    def _check_rest(self) -> None:
        row = self.row
        means = row.bound
        if means is None and self.bound is not None:
            having = " and ".join(metric for metric in Metric if metric.row.bound)
            raise self._wrong("bound means nothing for it", f"leave it out; {having} have one")
        if means is not None and (self.bound is None or self.bound <= 0):
            instead = ", or quantile: 0.99" if self.metric is Metric.LATENCY else ""
            raise self._wrong(f"bound is {self.bound!r}", f"give a number above 0: the {means}{instead}")
        if self.side is not None and not row.side_is_free:
            raise self._wrong(f"side cannot be chosen: {row.side} harms", "leave side out")
        if self.paired and not row.can_be_paired:
            able = ", ".join(sorted(metric for metric in Metric if metric.row.can_be_paired))
            raise self._wrong("it cannot be paired", f"leave paired out; {able} can")

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(f"{name} is {value!r}", "give a number")
        return float(value)

    def _wrong(self, what: str, fix: str) -> ConfigError:
        return ConfigError(f"guardrail {self.metric}: {what}", fix=fix)


FINEST = 0.1
"""Smallest margin of a quantile of latency: ratios below 2^(1/8) are not told apart."""

_OPTIONS = ("margin", "limit", "negligible", "required", "side", "bound", "paired", "quantile")
