"""A rollout plan, validated. The only place that converts percent into basis points."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.core.plan.approval import Approval, to_approvals
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.segments import EXAMPLE, SEGMENT_KEYS, Segments
from fds_mlflow.core.plan.watch import WATCH_KEYS, Watch
from fds_mlflow.core.text.checks import check_keys, to_enum
from fds_mlflow.core.text.duration import from_duration, to_duration
from fds_mlflow.core.text.numbers import whole
from fds_mlflow.core.weight import FULL, to_basis_points, to_percent
from fds_mlflow.errors import ConfigError

__all__ = [
    "FULL",
    "GUARDRAILS",
    "Guardrail",
    "Metric",
    "Plan",
    "Segments",
    "Undecided",
    "Watch",
    "to_basis_points",
    "to_percent",
]


STEPS = (10, 25, 50, 100)
"""The steps of a plan that names none, in percent."""


class Undecided(StrEnum):
    """What follows when a step's time or traffic is used up and a required guardrail has not passed."""

    HOLD = "hold"
    ABORT = "abort"


GUARDRAILS = (
    Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.002),
    Guardrail(Metric.ALERT_RATE, margin=0.5),
    Guardrail(Metric.SCORE_SHIFT, margin=0.05),
)
"""The guardrails of a plan that names none. They need no labels."""

SRM_ALPHA = 0.005
"""Chance that a sound split is ever called broken. On top of a plan's alpha: it stops a rollout, fails none."""

COVERAGE_ALPHA = 0.005
"""Chance that labels of equal coverage are ever called unequal. On top of a plan's alpha, like `SRM_ALPHA`."""

TESTS = (1, 2)
"""The tests that rollouts are judged by. 1 knows no hours: evidence never forgets, and a rate is of keys, wherever they
went. A rollout is judged to its end by the one it began with."""

MAX_ENCODED = 3_000
"""Characters a plan may take as JSON: the tag of its rollout, and the event of its start, hold it whole."""


@dataclass(frozen=True, init=False)
class Plan:
    """How a rollout proceeds, and what is asked of the canary.

    Args:
        steps: Weights in percent, strictly rising, at most 100. At 100 there is no control: that step is the
            completion. The first may be 0 where there is a shadow: then the canary answers nobody, and is judged by
            what it scores beside the champion.
        guardrails: What the canary must not do; None for `GUARDRAILS`. One per metric.
        alpha: Chance that a good canary is ever failed, over the whole rollout, in (0, 0.5]. It is split evenly over
            the guardrails; the chance that a harmful one ever passes a given guardrail is bounded by the same share.
        min_outcomes: Distinct canary keys that a step must have seen before the rollout goes on.
        bake_time: How long a step lasts at least; a text such as "30m" is taken too, here and below.
        max_step_time: How long it may last; None for as long as it takes.
        undecided: What to do when a step's time, or the canary's keys, are used up.
        gates: Weights of steps, in percent, that a person must open.
        label_maturity: Age at which a transaction's label is taken; required by guardrails that need labels.
        max_canary_keys: Distinct keys that may meet the canary before every required guardrail has passed.
        watch: What follows the completion; None for nothing.
        shadow: Percentage of the champion's requests that the canary scores as well, without answering them.
        advance_unlabelled: Whether the rollout may go beyond its first step before any of the canary's labels have
            matured, although guardrails need them.
        segments: Parts of the traffic that every guardrail is judged in as well; None for none.
        alpha_budget: What the alphas of the model's rollouts of one quarter may add up to; None for no bound.
        silent_canary: What to do when the canary has no outcomes of late though the champion's show that it has
            traffic: it never answers, or its outcomes are lost.
        test: Which of `TESTS` judges; a rollout keeps the one it began with.
        approval: What of the rollout needs the approval of a second person: "start", "gate", "complete".

    Attributes:
        weights: The steps in basis points.
        gated: The gates in basis points.

    Raises:
        ConfigError: A value is out of range, the steps do not rise, a gate is no step, a label is asked for without
            `label_maturity`, or the plan takes more than 3,000 characters.
    """

    weights: tuple[int, ...]
    guardrails: tuple[Guardrail, ...]
    alpha: float
    min_outcomes: int
    bake_time: timedelta
    max_step_time: timedelta | None
    undecided: Undecided
    gated: tuple[int, ...]
    label_maturity: timedelta | None
    max_canary_keys: int | None
    watch: Watch | None
    shadow: float
    advance_unlabelled: bool
    segments: Segments | None
    alpha_budget: float | None
    silent_canary: Undecided
    test: int
    approval: tuple[Approval, ...]

    def __init__(
        self,
        steps: Sequence[float] = STEPS,
        *,
        guardrails: Sequence[Guardrail] | None = None,
        alpha: float = 0.05,
        min_outcomes: int = 100,
        bake_time: timedelta | str = timedelta(0),
        max_step_time: timedelta | str | None = None,
        undecided: Undecided | str = Undecided.HOLD,
        gates: Sequence[float] = (),
        label_maturity: timedelta | str | None = None,
        max_canary_keys: int | None = None,
        watch: Watch | None = None,
        shadow: float = 0.0,
        advance_unlabelled: bool = False,
        segments: Segments | None = None,
        alpha_budget: float | None = None,
        silent_canary: Undecided | str = Undecided.ABORT,
        test: int = TESTS[-1],
        approval: Sequence[Approval | str] = (),
    ) -> None:
        values = {
            "weights": _weights(steps),
            "guardrails": _in_order(GUARDRAILS if guardrails is None else guardrails),
            "alpha": alpha,
            "min_outcomes": _count("min_outcomes", min_outcomes),
            "bake_time": to_duration("bake_time", bake_time),
            "max_step_time": _positive("max_step_time", max_step_time),
            "undecided": to_enum(Undecided, "undecided", undecided),
            "gated": tuple(sorted({to_basis_points(gate) for gate in _listed("gates", gates)})),
            "label_maturity": _positive("label_maturity", label_maturity),
            "max_canary_keys": None if max_canary_keys is None else _count("max_canary_keys", max_canary_keys),
            "watch": watch,
            "shadow": shadow,
            "advance_unlabelled": advance_unlabelled,
            "segments": segments,
            "alpha_budget": alpha_budget,
            "silent_canary": to_enum(Undecided, "silent_canary", silent_canary),
            "test": test,
            "approval": to_approvals("approval", approval),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float) or not 0 < self.alpha <= 0.5:
            raise ConfigError(f"alpha is {self.alpha!r}, not in (0, 0.5]", fix="give a small share, such as 0.05")
        if self.max_step_time is not None and self.max_step_time <= self.bake_time:
            raise ConfigError(
                f"max_step_time {from_duration(self.max_step_time)} is not above the bake_time"
                f" {from_duration(self.bake_time)}",
                fix="raise it, or shorten the bake_time",
            )
        strange = sorted(set(self.gated) - set(self.weights))
        if strange:
            raise ConfigError(
                f"the gate {to_percent(strange[0]):g} is no step of {', '.join(f'{s:g}' for s in self.steps)}",
                fix="name the percentage of a step",
            )
        waiting = [guardrail.metric.value for guardrail in self.guardrails if guardrail.metric.needs_labels]
        if waiting and self.label_maturity is None:
            raise ConfigError(
                f"{', '.join(waiting)} need labels, and label_maturity is not given",
                fix="add the age at which labels are trusted, such as label_maturity: 30d",
            )
        if not isinstance(self.watch, Watch | None):
            raise ConfigError(f"watch is {self.watch!r}", fix="write watch: {duration: 7d, control: 5}")
        self._check_reach()
        if isinstance(self.test, bool) or self.test not in TESTS:
            raise ConfigError(
                f"test is {self.test!r}, none of {', '.join(map(str, TESTS))}",
                fix="leave it out for the newest; a test that is not known here is one of a later release",
            )
        if Approval.PROMOTE in self.approval:
            raise ConfigError(
                "approval names promote, which is no part of a rollout",
                fix="leave it to the model's policy (`fds policy MODEL --require-approval promote`)",
            )
        if self.test < 2 and self.terms.quantiles:
            raise ConfigError("test 1 knows no quantiles", fix="leave test out, or the quantile")
        size = len(json.dumps(self.to_dict(), separators=(",", ":")))
        if size > MAX_ENCODED:
            raise ConfigError(
                f"the plan takes {size:,} characters, more than the {MAX_ENCODED:,} a registry tag has for it",
                fix="list fewer steps or gates",
            )

    def _check_reach(self) -> None:
        """What a rollout reaches: shadows, labels, segments, and its part of a quarter's alpha."""
        if self.weights[0] == 0 and not self.shadow:
            raise ConfigError(
                f"the steps {list(self.steps)} do not rise from above 0",
                fix="begin above 0, or add shadow: 10: at 0 % the canary scores such a share beside the champion",
            )
        share = self.shadow
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
            raise ConfigError(f"shadow is {share!r}, not a percentage from 0 to 100", fix="give one such as 10")
        object.__setattr__(self, "shadow", float(share))
        if not isinstance(self.advance_unlabelled, bool):
            raise ConfigError(f"advance_unlabelled is {self.advance_unlabelled!r}", fix="write true or false")
        if not isinstance(self.segments, Segments | None):
            raise ConfigError(f"segments is {self.segments!r}", fix=f"write {EXAMPLE}")
        budget = self.alpha_budget
        if budget is None:
            return
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not self.alpha <= budget <= 1:
            raise ConfigError(
                f"alpha_budget is {budget!r}, not from alpha {self.alpha:g} to 1",
                fix="give what the rollouts of a quarter may spend together, such as 0.2",
            )

    @property
    def steps(self) -> tuple[float, ...]:
        """The weights in percent."""
        return tuple(to_percent(weight) for weight in self.weights)

    @property
    def gates(self) -> tuple[float, ...]:
        """The weights that a person must open, in percent."""
        return tuple(to_percent(weight) for weight in self.gated)

    @property
    def alpha_each(self) -> float:
        """What one guardrail may spend on the whole traffic."""
        kept = 1.0 if self.segments is None else 1.0 - self.segments.share
        return kept * self.alpha / len(self.guardrails)

    def alpha_of(self, segment: str) -> float:
        """What one guardrail may spend on a segment; 0 for what is none."""
        if self.segments is None:
            return 0.0
        return self.segments.share * self.segments.weights.get(segment, 0.0) * self.alpha / len(self.guardrails)

    @property
    def terms(self) -> Terms:
        """On which terms outcomes are counted for this plan."""
        bounds = [guardrail.bound for guardrail in self.guardrails if guardrail.metric is Metric.LATENCY]
        bound = bounds[0] if bounds else None
        return Terms(
            latency_bound=bound,
            maturity=self.label_maturity,
            hourly=self.test > 1,
            segments=self.segments is not None and self.test > 1,
            quantiles=any(guardrail.quantile is not None for guardrail in self.guardrails),
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, as `from_dict` takes them; all but the steps are left out at their defaults."""
        values: dict[str, Any] = {"steps": [whole(step) for step in self.steps]}
        if self.guardrails != GUARDRAILS:
            values["guardrails"] = {g.metric.value: g.to_dict() for g in self.guardrails}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value == default:
                continue
            if isinstance(value, timedelta):
                value = from_duration(value)
            elif isinstance(value, tuple):
                value = [each.value if isinstance(each, StrEnum) else whole(each) for each in value]
            elif isinstance(value, Watch | Segments):
                value = value.to_dict()
            values[name] = value.value if isinstance(value, StrEnum) else value
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Read a plan from plain values.

        Raises:
            ConfigError: A key is unknown, or a value is out of range.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"the plan is {values!r}, not a mapping", fix="write keys such as steps: [10, 50, 100]")
        check_keys("the plan", values, ("steps", "guardrails", *_DEFAULTS), inside=_INSIDE)
        options = dict(values)
        if "guardrails" in options:
            options["guardrails"] = _guardrails(options["guardrails"])
        if options.get("watch") is not None:
            options["watch"] = Watch.from_dict(options["watch"])
        if options.get("segments") is not None:
            options["segments"] = Segments.from_dict(options["segments"])
        return cls(**options)


_DEFAULTS: Mapping[str, Any] = {
    "alpha": 0.05,
    "min_outcomes": 100,
    "bake_time": timedelta(0),
    "max_step_time": None,
    "undecided": Undecided.HOLD,
    "gates": (),
    "label_maturity": None,
    "max_canary_keys": None,
    "watch": None,
    "shadow": 0.0,
    "advance_unlabelled": False,
    "segments": None,
    "alpha_budget": None,
    "silent_canary": Undecided.ABORT,
    "test": 1,
    "approval": (),
}
"""What is left out of the plain values. Of `test` that is the first one, which earlier releases do not name."""


_INSIDE = {
    **dict.fromkeys(WATCH_KEYS, "watch"),
    **dict.fromkeys(SEGMENT_KEYS, "segments"),
    **dict.fromkeys(map(str, Metric), "guardrails"),
}
"""Keys that stand within another one."""


def _weights(steps: Any) -> tuple[int, ...]:
    weights = tuple(to_basis_points(step) for step in _listed("steps", steps))
    if not any(weights) or any(a >= b for a, b in pairwise(weights)):
        raise ConfigError(
            f"the steps {list(steps)} do not rise from above 0",
            fix="list strictly rising percentages, such as 10, 25, 50, 100",
        )
    return weights


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"{name} is {values!r}, not a list", fix=f"write {name}: [10, 50]")
    return tuple(values)


def _in_order(guardrails: Any) -> tuple[Guardrail, ...]:
    """The guardrails in the order of the metrics; each at most once."""
    given = _listed("guardrails", guardrails)
    for guardrail in given:
        if not isinstance(guardrail, Guardrail):
            raise ConfigError(f"{guardrail!r} is no guardrail", fix='pass Guardrail("error_rate", margin=1.0)')
    if not given:
        raise ConfigError("the plan has no guardrails", fix="name at least one: nothing would ever be judged")
    order = list(Metric)
    made = tuple(sorted(given, key=lambda guardrail: order.index(guardrail.metric)))
    for one, other in pairwise(made):
        if one.metric is other.metric:
            raise ConfigError(f"there are two guardrails for {one.metric}", fix="keep one")
    return made


def _guardrails(values: Any) -> tuple[Guardrail, ...]:
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"guardrails is {values!r}, not a mapping", fix="write guardrails: {error_rate: {margin: 1.0}}"
        )
    check_keys("guardrails", values, tuple(metric.value for metric in Metric))
    return tuple(Guardrail.from_dict(metric, options) for metric, options in values.items())


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}, not a positive whole number", fix="give a count such as 100")
    return value


def _positive(name: str, value: Any) -> timedelta | None:
    made = None if value is None else to_duration(name, value)
    if made is not None and not made:
        raise ConfigError(f"{name} is 0s", fix="leave it out, or give a time such as 7d")
    return made
