"""Whether both variants' labels are made alike. Labels are not missing at random, and a comparison must bear that.

Two kinds of transactions get their labels in two ways, and each is compared only with its like:

- What a version flagged is blocked: its truth is known if somebody looked, or if it was let pass to explore. False
  positives and precision are counted among alerts that are labelled with a known chance, each weighed by its inverse
  (Horvitz and Thompson, JASA 47, 1952): the share of exploration, the chance that a reviewed sample declares, or 1
  where every alert has a label. Of anything else nobody knows what it stands for, and nothing is said. What is to show
  its truth must show it alike for both variants; that is tested.
- What a version did not flag shows its truth by itself: a fraud is disputed, whoever missed it. Missed frauds and money
  lost are counted among those. They compare if disputes and their bookkeeping do not know the variant. Genuine
  transactions that were not flagged and have a label are the check: a version hardly changes how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

from fds_mlflow.core.evidence.arms import Arms, Counts
from fds_mlflow.core.evidence.evidence import EventKind, KnownAlerts, Tally, Terms
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import COVERAGE_ALPHA
from fds_mlflow.core.statistics.sequential import Segment, Trials, ratio_evidence
from fds_mlflow.core.statistics.shares import Stratum, share_difference_evidence
from fds_mlflow.core.statistics.wealth import log_threshold
from fds_mlflow.core.text.numbers import percent

TOLERATED = 1.25
"""Ratio of labelled genuine transactions, either way, that flagging different ones may bring about."""

COMPLETE = 0.95
"""Share of alerts that have a label from which every alert is taken to have one, where no chance is known."""

SPARE = 4
"""Labels of the smallest chance that may be missing by chance where there are none yet."""

UNKNOWN_CHANCE = (
    "nobody knows with what chance the others are labelled: let a share of them pass (fds serve --explore), declare the"
    " propensity of reviewed ones with their labels, or label every alert"
)

_THRESHOLD = log_threshold(COVERAGE_ALPHA / 4)
"""Alerts and what was not flagged are two tests of two sides each."""


def coverage(metric: Metric, tally: Tally) -> float | None:
    """Share of the keys that a label-based metric is counted among whose truth is known; None without any."""
    if metric.row.among_alerts:
        alerts = [each for _, each in alerts_of(tally, least_chance(tally))]
        shown, reviewed = sum(each.shown for each in alerts), sum(each.reviewed for each in alerts)
        return reviewed / shown if shown else None
    return tally.labelled / tally.matured if tally.matured else None


def least_chance(tally: Tally) -> float | None:
    """The smallest chance above 0 with which labels of a variant's alerts come; None where none is known."""
    return min((chance for chance in tally.known_alerts if chance > 0), default=None)


def alerts_of(tally: Tally, least: float | None) -> list[tuple[float, KnownAlerts]]:
    """Alerts that are compared, and how much each counts: by the smallest chance, divided by its own.

    Args:
        tally: One variant's.
        least: The smallest chance with which labels of either variant come; None where every alert is to have one.
    """
    if least is None:
        alerts = tally.matured_alerts
        return [(1.0, KnownAlerts(alerts, alerts, tally.reviewed_alerts, tally.false_alerts))]
    return [(least / chance, alerts) for chance, alerts in tally.known_alerts.items() if chance > 0]


def event_of(metric: Metric) -> EventKind:
    """The event that a metric counts; of money, the one that loses it.

    Raises:
        TypeError: It counts none.
    """
    kind = EventKind.MISSED_FRAUD if metric is Metric.MONEY_LOST else metric.kind
    if kind is None:
        raise TypeError(f"{metric} counts no event")
    return kind


def events_by_chance(metric: Metric, tally: Tally, least: float | None) -> dict[float, int]:
    """A variant's first events, by the chance with which they have a label; `least` as of `alerts_of`."""
    kind = event_of(metric)
    if kind is EventKind.FALSE_POSITIVE and least is not None:
        return {chance: alerts.false for chance, alerts in tally.known_alerts.items() if chance > 0}
    found = dict(tally.missed_known) if kind is EventKind.MISSED_FRAUD else {}
    found[1.0] = found.get(1.0, 0) + tally.events.get(kind, 0) - sum(found.values())
    return found


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
    if metric.row.among_alerts:
        return _unknown_chance(counts, terms) or _alerts_reviewed_apart(counts, terms)
    both = [events_by_chance(metric, tally, None) for tally in (counts.whole.treatment, counts.whole.control)]
    chances = {chance for events in both for chance, count in events.items() if count}
    if metric is Metric.MONEY_LOST and len(chances) > 1:
        return "missed frauds are labelled with several chances, and money is not weighed by them"
    return _passed_labelled_apart(counts, terms)


def pairs_fault(metric: Metric, counts: Counts) -> str | None:
    """Why the labels of requests that both versions scored do not compare; None where nothing speaks against it.

    What one version flags is blocked, and its truth is hidden from the other one too.
    """
    whole = counts.whole
    sides = [tally for tally in (whole.treatment, whole.control) if tally.matured]
    blind = next(filter(None, (_blind(tally, counts.least_chance) for tally in sides)), None)
    if blind is not None:
        return blind
    if metric is Metric.FALSE_POSITIVES:
        for tally in sides:
            passed, labelled = tally.matured - tally.matured_alerts, tally.labelled - tally.reviewed_alerts
            if labelled < COMPLETE * passed:
                share = percent(labelled / passed)
                return (
                    f"{share} of {passed:,} keys that the {tally.variant} did not flag are labelled: what the other"
                    " version alone would have flagged has no truth"
                )
    return None


def _known_apart(arms: Arms, least: float) -> str | None:
    """Why known chances of one variant's labels stand for fewer of its alerts: where servers explore for one alone."""
    sides = (arms.treatment, arms.control)
    if not all(tally.matured_alerts for tally in sides):
        return None
    for one, other in (sides, sides[::-1]):
        (found, most), (others, at_most) = _covered(one, least), _covered(other, least)
        if most / one.matured_alerts < COMPLETE * (2 * others - at_most) / other.matured_alerts:
            return (
                f"{percent(found / one.matured_alerts)} of the alerts of the {one.variant} have a known chance of a"
                f" label, but {percent(others / other.matured_alerts)} of the {other.variant}: let every server explore"
                " alike"
            )
    return None


def own_fault(metric: Metric, counts: Counts) -> str | None:
    """Why the treatment's own rate is not known; None where nothing speaks against it."""
    own = counts.whole.treatment
    if not metric.row.among_alerts or not own.reviewed_alerts:
        return None
    return _blind(own, counts.least_chance)


def _unknown_chance(counts: Counts, terms: Terms) -> str | None:
    if not terms.hourly:
        return None
    least = counts.least_chance
    if least is not None:
        return next(filter(None, (_known_apart(each, least) for each in counts.by_step)), None)
    sides = (counts.compared.treatment, counts.compared.control)
    return next(filter(None, (_blind(tally) for tally in sides if tally.reviewed_alerts)), None)


def _blind(tally: Tally, least: float | None = None) -> str | None:
    """Why labels of alerts stand for no others: too few have a label or, where some chance is known, a known chance."""
    if least is None:
        covered = most = float(tally.reviewed_alerts)
    else:
        covered, most = _covered(tally, least)
    if most >= COMPLETE * tally.matured_alerts:
        return None
    share = percent(covered / tally.matured_alerts)
    which = "are labelled" if least is None else "have a known chance of a label"
    return f"{share} of {tally.matured_alerts:,} alerts of the {tally.variant} {which}, and {UNKNOWN_CHANCE}"


def _covered(tally: Tally, least: float) -> tuple[float, float]:
    """Of how many alerts the chance of a label is known, and how many that may be.

    Exploration draws for each alert, so they are counted. A sample declares its chance with its labels alone: these
    stand for as many as their inverse says, give or take four standard deviations.
    """
    drawn = any(not chance or alerts.matured > alerts.shown for chance, alerts in tally.known_alerts.items())
    found, variance = 0.0, 0.0 if drawn else SPARE * (1 - least) / least**2
    for chance, alerts in tally.known_alerts.items():
        if not chance or alerts.matured > alerts.shown:
            found += alerts.matured
        else:
            found += alerts.shown / chance
            variance += alerts.shown * (1 - chance) / chance**2
    return found, found + 4 * sqrt(variance)


def strata_of(counts: Counts, terms: Terms, trials: Callable[[Tally], Sequence[Trials]]) -> list[Stratum]:
    """Trials of both variants while the weight stood still; of all of the rollout where the terms know no hours."""
    arms = counts.by_step if terms.hourly else (counts.compared,)
    return [Stratum(trials(each.treatment), trials(each.control)) for each in arms]


def _alerts_reviewed_apart(counts: Counts, terms: Terms) -> str | None:
    def shown(tally: Tally) -> list[Trials]:
        return [Trials(each.reviewed, each.shown) for _, each in alerts_of(tally, counts.least_chance)]

    strata = strata_of(counts, terms, shown)
    found = max(share_difference_evidence(strata, 0.0, above=above) for above in (True, False))
    if found < _THRESHOLD:
        return None
    whole = counts.compared
    sums = [
        (sum(each.successes for each in trials), sum(each.total for each in trials))
        for trials in (shown(whole.treatment), shown(whole.control))
    ]
    (ours, among), (theirs, others) = sums
    which = "alerts" if counts.least_chance is None else "alerts whose truth was to show"
    return (
        f"{percent(ours / among)} of {among:,} {which} of the {whole.treatment.variant} are reviewed, but"
        f" {percent(theirs / others)} of {others:,} of the {whole.control.variant}: they do not compare"
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
