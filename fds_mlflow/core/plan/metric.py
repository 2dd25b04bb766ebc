"""What a guardrail measures, one row a metric: what it counts, what may be asked of it, and how it reads everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from fds_mlflow.core.evidence.evidence import EventKind
from fds_mlflow.core.statistics.sequential import Side
from fds_mlflow.core.text.numbers import UNKNOWN, milliseconds, money, percent, ratio


class Form(Enum):
    """What the value of a metric is: a share of what it is counted among, a score, money, or milliseconds."""

    SHARE = "share"
    SCORE = "score"
    MONEY = "money"
    TIME = "time"


@dataclass(frozen=True)
class Row:
    """What is known about one metric.

    Attributes:
        title: Its name as a heading, in the plural or as what it is.
        column: The heading of a column of its values.
        form: What its value is.
        kind: The event whose rate is measured; None where it is no event.
        among: What it is counted among, in words.
        needs_labels: Whether it waits for matured labels.
        among_alerts: Whether its truth is known of reviewed alerts; of other label-based ones, of what was not flagged.
        difference: Whether the margin is a difference; else it is relative.
        can_be_paired: Whether shadow evidence can judge it.
        side: Which deviation harms, unless a guardrail may say otherwise and does.
        side_is_free: Whether it may.
        bound: What the bound means, in words; None where it has none.
        bounded: The bound in a sentence, `{}` for its value.
        before: What stands before every value.
    """

    title: str
    column: str
    form: Form = Form.SHARE
    kind: EventKind | None = None
    among: str = "requests"
    needs_labels: bool = False
    among_alerts: bool = False
    difference: bool = False
    can_be_paired: bool = False
    side: Side = Side.HIGHER
    side_is_free: bool = False
    bound: str | None = None
    bounded: str = ""
    before: str = ""

    @property
    def unit(self) -> str:
        """What its values are given in, as an axis says it; a share as `scale` makes it."""
        among = self.among
        return {
            Form.SHARE: f"% of {among}",
            Form.SCORE: f"{self.before or 'mean '}score",
            Form.MONEY: f"money per {among.removesuffix('s')}",
            Form.TIME: f"{self.before}ms",
        }[self.form]

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be given in its unit."""
        return 100.0 if self.form is Form.SHARE else 1.0

    def describe(self, value: float | None, *, approximate: bool = False) -> str:
        """A value as it reads everywhere: a share as a percentage, money as money, a score as it is, a time in ms.

        Args:
            value: The value; None where it is not known.
            approximate: It can only be read off bins.
        """
        if value is None:
            return UNKNOWN
        reads = {Form.SHARE: percent, Form.SCORE: "{:.4g}".format, Form.MONEY: money, Form.TIME: milliseconds}
        return f"{'about ' if approximate else ''}{self.before}{reads[self.form](value)}"

    def describe_harm(self, harm: float) -> str:
        """A harm as it reads everywhere: a ratio in times, a difference as it is."""
        return f"{ratio(harm)}{' times' if not self.difference else ''}"

    def describe_range(self, low: float, high: float) -> str:
        """The harms between two; the upper one may be infinite."""
        return f"{ratio(low)} to {self.describe_harm(high)}"

    def describe_bound(self, bound: float | None) -> str:
        """What a bound does, in words; what a quantile does, which needs none."""
        return self.bounded.format(money(bound or 0) if self.form is Form.MONEY else f"{bound or 0:g}")


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
    def row(self) -> Row:
        """What is known about it."""
        return ROWS[self]

    @property
    def kind(self) -> EventKind | None:
        """The event whose rate is measured; None where it is no event."""
        return self.row.kind

    @property
    def needs_labels(self) -> bool:
        """Whether it waits for matured labels."""
        return self.row.needs_labels

    @property
    def relative(self) -> bool:
        """Whether the margin is relative: the harm is a ratio; else it is a difference."""
        return not self.row.difference

    @property
    def words(self) -> str:
        """Its name within a sentence."""
        return self.value.replace("_", " ")

    def describe(self, value: float | None, *, approximate: bool = False) -> str:
        """A value as it reads everywhere (see `Row.describe`)."""
        return self.row.describe(value, approximate=approximate)

    def describe_harm(self, harm: float) -> str:
        """A harm as it reads everywhere."""
        return self.row.describe_harm(harm)


ROWS: Mapping[Metric, Row] = {
    Metric.ERROR_RATE: Row("Errors", "errors", kind=EventKind.ERROR, can_be_paired=True),
    Metric.ALERT_RATE: Row(
        "Alerts", "alerts", kind=EventKind.ALERT, can_be_paired=True, side=Side.BOTH, side_is_free=True
    ),
    Metric.LATENCY: Row(
        *("Slow requests", "slow"),
        kind=EventKind.SLOW,
        bound="milliseconds from which a request is slow",
        bounded="slow is above {} ms",
    ),
    Metric.SCORE_SHIFT: Row(
        *("Score shift", "mean score", Form.SCORE), among="keys", difference=True, side=Side.BOTH, side_is_free=True
    ),
    Metric.MISSED_FRAUD: Row(
        *("Missed fraud", "missed"),
        kind=EventKind.MISSED_FRAUD,
        among="matured requests",
        needs_labels=True,
        can_be_paired=True,
    ),
    Metric.FALSE_POSITIVES: Row(
        *("False positives", "false positives"),
        kind=EventKind.FALSE_POSITIVE,
        among="matured requests",
        needs_labels=True,
        among_alerts=True,
        can_be_paired=True,
    ),
    Metric.ALERT_PRECISION: Row(
        *("Precision of alerts", "precision"),
        among="reviewed alerts",
        needs_labels=True,
        among_alerts=True,
        difference=True,
        side=Side.LOWER,
    ),
    Metric.MONEY_LOST: Row(
        *("Money lost", "money", Form.MONEY),
        among="matured requests",
        needs_labels=True,
        bound="cap of one loss",
        bounded="one loss counts up to {}",
    ),
}
"""The table, in the order in which metrics are judged and shown."""


def quantile_row(metric: Metric, quantile: float) -> Row:
    """What is known of a metric whose quantile is measured: of latency in ms, of scores as a score."""
    name = f"p{100 * quantile:g}"
    row = replace(metric.row, column=name, among="keys", bound=None, difference=False, before=f"{name} ")
    if metric is Metric.LATENCY:
        return replace(row, title=f"Latency, {name}", form=Form.TIME, bounded="")
    return replace(row, title=f"Scores, {name}", bounded=f"compared are the shares above the champion's {name}")
