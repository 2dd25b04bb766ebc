"""Whether both variants' labels are made alike. Labels are not missing at random, and a comparison must bear that.

Two kinds of transactions get their labels in two ways, and each is compared only with its like:

- What a version flagged is blocked or reviewed: its truth is known if somebody looked. False positives and precision
  are counted among reviewed alerts. They compare if the share of alerts that are reviewed is the same for both
  variants; a share that depends on the variant tilts them, so that is tested.
- What a version did not flag shows its truth by itself: a fraud is disputed, whoever missed it. Missed frauds and money
  lost are counted among those. They compare if disputes and their bookkeeping do not know the variant. Genuine
  transactions that were not flagged and have a label are the check: a version hardly changes how many there are.
"""

from __future__ import annotations

from collections.abc import Callable

from fds_mlflow.core.evidence.arms import Counts
from fds_mlflow.core.evidence.evidence import EventKind, Tally, Terms
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import COVERAGE_ALPHA
from fds_mlflow.core.statistics.sequential import Segment, Trials, ratio_evidence
from fds_mlflow.core.statistics.shares import Stratum, share_difference_evidence
from fds_mlflow.core.statistics.wealth import log_threshold
from fds_mlflow.core.text.numbers import percent

TOLERATED = 1.25
"""Ratio of labelled genuine transactions, either way, that flagging different ones may bring about."""

_THRESHOLD = log_threshold(COVERAGE_ALPHA / 4)
"""Alerts and what was not flagged are two tests of two sides each."""


def coverage(metric: Metric, tally: Tally) -> float | None:
    """Share of the keys that a label-based metric is counted among whose truth is known; None without any."""
    if metric.row.among_alerts:
        return tally.reviewed_alerts / tally.matured_alerts if tally.matured_alerts else None
    return tally.labelled / tally.matured if tally.matured else None


def known(tally: Tally, kind: EventKind, terms: Terms) -> int | None:
    """How many keys an event happened to; None where nobody could see it: no request, no bound, or no label.

    A missed fraud shows only where something that was not flagged has a label, and a false positive only where
    an alert was reviewed: without one, nobody looked.
    """
    count = tally.events.get(kind, 0)
    if kind is EventKind.MISSED_FRAUD:
        looked = tally.labelled > tally.reviewed_alerts
    elif kind is EventKind.FALSE_POSITIVE:
        looked = tally.reviewed_alerts > 0 or (tally.labelled > 0 and not tally.matured_alerts)
    else:
        looked = tally.requests > 0 and (kind is not EventKind.SLOW or terms.latency_bound is not None)
    return count if count or looked else None


def caught(tally: Tally) -> int | None:
    """Keys whose first alert was a fraud, as far as alerts are reviewed; None where there are some, and none is."""
    if not tally.reviewed_alerts and (tally.matured_alerts or not tally.labelled):
        return None
    return tally.reviewed_alerts - tally.false_alerts


def label_fault(metric: Metric, counts: Counts, terms: Terms) -> str | None:
    """Why the labels of both variants do not compare for this metric; None where nothing speaks against it.

    Args:
        metric: A label-based one.
        counts: Of both variants.
        terms: On which they were counted.
    """
    return _alerts_reviewed_apart(counts, terms) if metric.row.among_alerts else _passed_labelled_apart(counts, terms)


def strata_of(counts: Counts, terms: Terms, trials: Callable[[Tally], Trials]) -> list[Stratum]:
    """Trials of both variants while the weight stood still; of all of the rollout where the terms know no hours."""
    arms = counts.by_step if terms.hourly else (counts.compared,)
    return [Stratum(trials(each.treatment), trials(each.control)) for each in arms]


def _alerts_reviewed_apart(counts: Counts, terms: Terms) -> str | None:
    strata = strata_of(counts, terms, lambda tally: Trials(tally.reviewed_alerts, tally.matured_alerts))
    found = max(share_difference_evidence(strata, 0.0, above=above) for above in (True, False))
    if found < _THRESHOLD:
        return None
    whole = counts.compared
    treatment, control = whole.treatment, whole.control
    ours, theirs = (percent(tally.reviewed_alerts / tally.matured_alerts) for tally in (treatment, control))
    return (
        f"{ours} of {treatment.matured_alerts:,} alerts of the {treatment.variant} are reviewed, but {theirs} of"
        f" {control.matured_alerts:,} of the {control.variant}: they do not compare"
    )


def _passed_labelled_apart(counts: Counts, terms: Terms) -> str | None:
    def genuine(tally: Tally) -> int:
        return tally.passed_genuine if terms.hourly else _genuine(tally)

    segments = [Segment(each.weight, genuine(each.treatment), genuine(each.control)) for each in counts.by_weight]
    above = ratio_evidence(segments, TOLERATED, above=True)
    below = ratio_evidence(segments, 1 / TOLERATED, above=False)
    if max(above, below) < _THRESHOLD:
        return None
    treatment, control = sum(segment.canary for segment in segments), sum(segment.champion for segment in segments)
    ours, theirs = counts.compared.treatment.variant, counts.compared.control.variant
    return (
        f"{treatment:,} genuine transactions that the {ours} did not flag are labelled, and {control:,} that the"
        f" {theirs} did not flag: not as the traffic splits, so labels depend on the variant"
    )


def _genuine(tally: Tally) -> int:
    """Keys that were not flagged, have a label, and are no fraud, as far as counts tell that know no hours."""
    return max(0, tally.labelled - tally.reviewed_alerts - tally.events.get(EventKind.MISSED_FRAUD, 0))
