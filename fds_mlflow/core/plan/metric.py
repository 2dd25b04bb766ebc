"""What a guardrail measures, one row a metric."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fds_mlflow.core.evidence.evidence import EventKind
from fds_mlflow.core.statistics.sequential import Side


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
