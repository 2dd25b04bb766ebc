"""A guardrail: one thing that a canary must not do much worse than the champion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fds_mlflow.core.evidence import EventKind
from fds_mlflow.core.sequential import Side
from fds_mlflow.core.settings import check_keys, short, to_enum
from fds_mlflow.errors import ConfigError


class Metric(StrEnum):
    """What a guardrail measures."""

    ERROR_RATE = "error_rate"
    ALERT_RATE = "alert_rate"
    LATENCY = "latency"
    SCORE_SHIFT = "score_shift"
    MISSED_FRAUD = "missed_fraud"
    FALSE_POSITIVES = "false_positives"
    ALERT_PRECISION = "alert_precision"
    MONEY_LOST = "money_lost"

    @property
    def kind(self) -> EventKind | None:
        """The event whose rate is measured; None where it is no event."""
        return KIND.get(self)

    @property
    def needs_labels(self) -> bool:
        """Whether it waits for matured labels."""
        return self in NEEDS_LABELS


KIND: Mapping[Metric, EventKind] = {
    Metric.ERROR_RATE: EventKind.ERROR,
    Metric.ALERT_RATE: EventKind.ALERT,
    Metric.LATENCY: EventKind.SLOW,
    Metric.MISSED_FRAUD: EventKind.MISSED_FRAUD,
    Metric.FALSE_POSITIVES: EventKind.FALSE_POSITIVE,
}
"""The metrics that are rates of an event, and which."""

NEEDS_LABELS = frozenset({Metric.MISSED_FRAUD, Metric.FALSE_POSITIVES, Metric.ALERT_PRECISION, Metric.MONEY_LOST})
DIFFERENCES = frozenset({Metric.SCORE_SHIFT, Metric.ALERT_PRECISION})
"""Metrics whose margin is a difference; the margins of all others are relative."""

NEEDS_BOUND = {Metric.LATENCY: "milliseconds from which a request is slow", Metric.MONEY_LOST: "cap of one loss"}
CAN_BE_PAIRED = frozenset({Metric.ERROR_RATE, Metric.ALERT_RATE, Metric.MISSED_FRAUD, Metric.FALSE_POSITIVES})
SIDE: Mapping[Metric, Side] = {
    Metric.ALERT_RATE: Side.BOTH,
    Metric.SCORE_SHIFT: Side.BOTH,
    Metric.ALERT_PRECISION: Side.LOWER,
}
"""Which deviation harms by default; for all others a higher rate does. The first two may be told otherwise."""


@dataclass(frozen=True)
class Guardrail:
    """One thing that a canary must not do much worse than the champion.

    Harmful is a canary whose metric lies beyond the margin, unless it is negligible, or beyond the limit. FAIL means it
    was shown to be harmful, PASS that it was shown not to be.

    Attributes:
        metric: What is measured; a text such as "error_rate" is taken too.
        margin: How much worse than the champion is tolerated. Relative for rates and money (0.5: up to 1.5 times the
            champion's), absolute for `SCORE_SHIFT` and `ALERT_PRECISION` (0.05: up to 0.05). None: no comparison
            with the champion, only the limit.
        limit: Rate of the canary, in (0, 1), from which it is harmful whatever the champion does. Event rates only.
        negligible: Rate of the canary, in (0, 1), below which it is harmless whatever the ratio says: so that "no
            errors at all" can pass. Event rates of which only a higher one harms.
        required: Whether completion needs its PASS.
        side: Which deviation harms; None for the metric's own. `ALERT_RATE` and `SCORE_SHIFT` only.
        bound: `LATENCY`: milliseconds above which a request is slow. `MONEY_LOST`: cap of one loss.
        paired: Judge by requests that both versions scored (shadow evidence) instead of the split traffic.

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
    paired: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", to_enum(Metric, "the guardrail's metric", self.metric))
        if self.side is not None:
            object.__setattr__(self, "side", to_enum(Side, f"{self.metric}: side", self.side))
        for name in ("margin", "limit", "negligible", "bound"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, self._number(name, value))
        for name in ("required", "paired"):
            if not isinstance(getattr(self, name), bool):
                raise self._wrong(f"{name} is {getattr(self, name)!r}", "write true or false")
        self._check_margin()
        self._check_rates()
        self._check_rest()

    @property
    def harms(self) -> Side:
        """Which deviation of the canary harms."""
        return self.side or SIDE.get(self.metric, Side.HIGHER)

    @property
    def relative(self) -> bool:
        """Whether the margin is relative: the boundary is a ratio of 1 + margin."""
        return self.metric not in DIFFERENCES

    def to_dict(self) -> dict[str, Any]:
        """Plain values without the metric; defaults are left out."""
        values: dict[str, Any] = {}
        for name in _OPTIONS:
            value = getattr(self, name)
            if value != getattr(Guardrail, name):
                values[name] = value.value if isinstance(value, StrEnum) else short(value)
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

    def _check_rates(self) -> None:
        for name in ("limit", "negligible"):
            rate = getattr(self, name)
            if rate is None:
                continue
            if self.metric.kind is None:
                raise self._wrong(f"{name} means nothing for it", f"leave {name} out; event rates have one")
            if not 0 < rate < 1:
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
        means = NEEDS_BOUND.get(self.metric)
        if means is None and self.bound is not None:
            raise self._wrong("bound means nothing for it", f"leave it out; {' and '.join(NEEDS_BOUND)} have one")
        if means is not None and (self.bound is None or self.bound <= 0):
            raise self._wrong(f"bound is {self.bound!r}", f"give a number above 0: the {means}")
        if self.side is not None and self.metric not in (Metric.ALERT_RATE, Metric.SCORE_SHIFT):
            raise self._wrong(f"side cannot be chosen: {SIDE.get(self.metric, Side.HIGHER)} harms", "leave side out")
        if self.paired and self.metric not in CAN_BE_PAIRED:
            raise self._wrong("it cannot be paired", f"leave paired out; {', '.join(sorted(CAN_BE_PAIRED))} can")

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(f"{name} is {value!r}", "give a number")
        return float(value)

    def _wrong(self, what: str, fix: str) -> ConfigError:
        return ConfigError(f"guardrail {self.metric}: {what}", fix=fix)


_OPTIONS = ("margin", "limit", "negligible", "required", "side", "bound", "paired")
