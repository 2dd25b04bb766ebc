"""What a guardrail measures: a ratio of rates, pairs, money per key, mean scores, shares of alerts.

Each measure answers the same questions from counts: how strong the evidence is that the treatment lies above or
below a boundary, where it probably lies, and how long it will take to know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt
from typing import Protocol

import numpy as np

from fds_mlflow.core.evidence.arms import Arms, Counts
from fds_mlflow.core.evidence.bins import LOSS_VALUES, SCORE_VALUES
from fds_mlflow.core.evidence.evidence import EventKind, Tally, Terms
from fds_mlflow.core.judge.labels import event_of, events_by_chance, strata_of
from fds_mlflow.core.judge.returning import Returning
from fds_mlflow.core.judge.risk import weights_at_risk, weights_by_keys
from fds_mlflow.core.judge.values import (
    binned,
    dot,
    exposed,
    lost,
    mean_score,
    precision_of,
)
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.statistics import bounded, paired, sequential, shares
from fds_mlflow.core.statistics.bounded import WeightedSegment
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.search import smallest
from fds_mlflow.core.statistics.sequential import Interval, Segment, Trials
from fds_mlflow.core.statistics.shares import Stratum
from fds_mlflow.core.statistics.wealth import log_threshold

LONGEST = 2**40
"""Requests beyond which a wait is called endless."""


class Measure(Protocol):
    """Counts of both variants, and what they say about a boundary."""

    def evidence(self, boundary: float, *, above: bool, later: bool = False) -> float:
        """Log of the test martingale against "at most the boundary" (`above`) or "at least the boundary".

        `later`: a part of the stake begins in later hours.
        """
        ...

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """About how many more requests of the treatment until that test rejects; None for never."""
        ...

    def estimate(self) -> float | None:
        """The ratio, or the difference; None without any event."""
        ...

    def interval(self, alpha: float) -> Interval:
        """Where it lies at all times with a chance of at least 1 - alpha."""
        ...


@dataclass(frozen=True)
class Ratio:
    """Rates of an event in both variants, by the weights in force.

    Attributes:
        segments: Events by weight, the treatment as the canary.
        weight: Share of the treatment from now on.
        treatment_exposed: Requests of the treatment that could have had the event.
        control_exposed: Those of its control.
    """

    segments: Sequence[Segment]
    weight: float
    treatment_exposed: int
    control_exposed: int

    def evidence(self, boundary: float, *, above: bool, later: bool = False) -> float:
        """The conditional test of `sequential.ratio_evidence`."""
        return sequential.ratio_evidence(self.segments, boundary, above=above, later=later)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """At the rates seen so far and the weight in force."""
        canary = sum(segment.canary for segment in self.segments)
        champion = sum(segment.champion for segment in self.segments)
        return sequential.requests_until(
            self.segments,
            boundary,
            above=above,
            alpha=alpha,
            weight=self.weight,
            champion_rate=min(1.0, champion / max(1, self.control_exposed)),
            canary_rate=min(1.0, canary / max(1, self.treatment_exposed)),
        )

    def estimate(self) -> float | None:
        """The ratio that makes the events as likely as can be: the conditional maximum likelihood over all weights."""
        return likeliest([(s.weight, s.canary, s.champion) for s in self.segments])

    def interval(self, alpha: float) -> Interval:
        """See `sequential.ratio_interval`."""
        return sequential.ratio_interval(self.segments, alpha)


@dataclass(frozen=True)
class Paired:
    """An event in requests that both versions scored.

    Attributes:
        hours: Keys by which of the versions it happened to, by the hour.
    """

    hours: Sequence[Pairs]

    def evidence(self, boundary: float, *, above: bool, later: bool = False) -> float:
        """See `paired.paired_evidence`."""
        return paired.paired_evidence(self.hours, boundary, above=above, later=later)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """In pairs: requests that both versions score."""
        return paired.paired_requests_until(self.hours, boundary, above=above, alpha=alpha)

    def estimate(self) -> float | None:
        """Events of the treatment per event of its control."""
        treatment = sum(each.worth * (each.both + each.canary_only) for each in self.hours)
        control = sum(each.worth * (each.both + each.champion_only) for each in self.hours)
        if not control:
            return inf if treatment else None
        return treatment / control

    def interval(self, alpha: float) -> Interval:
        """See `paired.paired_interval`."""
        return paired.paired_interval(self.hours, alpha)


@dataclass(frozen=True)
class Weighed:
    """Events that do not all count alike, per request: by the money lost, or the inverse chance of a label.

    Attributes:
        segments: Events by weight and what they count, as shares of the most that one counts.
        exposed: Requests of the treatment whose labels have matured.
        losses: What both have under each of these weights, the treatment first, as such shares.
    """

    segments: Sequence[WeightedSegment]
    exposed: int
    losses: Sequence[tuple[float, float]]

    def evidence(self, boundary: float, *, above: bool, later: bool = False) -> float:
        """See `bounded.weighted_ratio_evidence`."""
        return bounded.weighted_ratio_evidence(self.segments, boundary, above=above, later=later)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """If losses go on like those so far."""
        return bounded.weighted_requests_until(self.segments, boundary, above=above, alpha=alpha, requests=self.exposed)

    def estimate(self) -> float | None:
        """The ratio at which both lose as the weights say; None without any loss."""
        return self._ratio(self.losses)

    def interval(self, alpha: float) -> Interval:
        """See `bounded.weighted_ratio_interval`; moved by what the bins do to the ratio."""
        found = bounded.weighted_ratio_interval(self.segments, alpha)
        binned = [(dot(each.values, each.canary), dot(each.values, each.champion)) for each in self.segments]
        ratio, by_bins = self.estimate(), self._ratio(binned)
        if not ratio or not by_bins or inf in (ratio, by_bins):
            return _around(ratio, found)
        return _around(ratio, Interval(found.low * ratio / by_bins, found.high * ratio / by_bins))

    def _ratio(self, losses: Sequence[tuple[float, float]]) -> float | None:
        return likeliest([(each.weight, *lost) for each, lost in zip(self.segments, losses, strict=True)])


@dataclass(frozen=True)
class Scores:
    """Mean scores of both variants.

    Attributes:
        segments: Keys by weight and bin of their first score.
        means: Mean scores under each of these weights, the treatment's first; None without keys.
    """

    segments: Sequence[WeightedSegment]
    means: Sequence[tuple[float | None, float | None]]

    def evidence(self, boundary: float, *, above: bool, later: bool = False) -> float:
        """See `bounded.mean_difference_evidence`."""
        return bounded.mean_difference_evidence(self.segments, boundary, above=above, later=later)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """If scores go on like those so far."""
        requests = sum(sum(segment.canary) for segment in self.segments)
        return bounded.mean_difference_requests_until(
            self.segments, boundary, above=above, alpha=alpha, requests=requests
        )

    def estimate(self) -> float | None:
        """Difference of the means within each weight, weighed by the treatment's keys."""
        return self._difference(self.means)

    def interval(self, alpha: float) -> Interval:
        """See `bounded.mean_difference_interval`; moved by what the bins do to the difference, and never without it."""
        found = bounded.mean_difference_interval(self.segments, alpha)
        difference = self.estimate()
        by_bins = self._difference([(binned(s.values, s.canary), binned(s.values, s.champion)) for s in self.segments])
        if difference is None or by_bins is None:
            return found
        moved = difference - by_bins
        low, high = (max(-1.0, min(1.0, end + moved)) for end in (found.low, found.high))
        return _around(difference, Interval(low, high))

    def _difference(self, means: Sequence[tuple[float | None, float | None]]) -> float | None:
        total, keys = 0.0, 0
        for segment, (treatment, control) in zip(self.segments, means, strict=True):
            if treatment is not None and control is not None:
                total += sum(segment.canary) * (treatment - control)
                keys += sum(segment.canary)
        return total / keys if keys else None


@dataclass(frozen=True)
class Shares:
    """A share of what each variant's own decisions bring about, such as the precision of its alerts.

    Attributes:
        strata: Trials of both, the treatment's as the canary's.
        keys: Keys of the treatment that led to these trials.
    """

    strata: Sequence[Stratum]
    keys: int

    def evidence(self, boundary: float, *, above: bool, later: bool = False) -> float:
        """See `shares.share_difference_evidence`."""
        return shares.share_difference_evidence(self.strata, boundary, above=above, later=later)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """If both variants' trials go on like the last ones, in the same proportion."""
        trials = shares.share_difference_trials_until(self.strata, boundary, above=above, alpha=alpha)
        seen = sum(trials.total for each in self.strata for trials in each.canary)
        return None if trials is None else ceil(trials * self.keys / max(1, seen))

    def estimate(self) -> float | None:
        """Difference of the shares."""
        return shares.share_difference(self.strata)

    def interval(self, alpha: float) -> Interval:
        """See `shares.share_difference_interval`."""
        return _around(self.estimate(), shares.share_difference_interval(self.strata, alpha))


def rate_until(trials: Trials, boundary: float, *, above: bool, alpha: float) -> int | None:
    """About how many more requests until one variant's own rate is shown to lie above or below a fixed one."""
    if not trials.total:
        return None
    level = log_threshold(alpha)

    def reached(more: int) -> bool:
        in_all = trials.total + more
        seen = Trials(round(trials.successes * in_all / trials.total), in_all)
        return sequential.rate_evidence([seen], boundary, above=above) >= level

    return _first(reached)


def likeliest(events: Sequence[tuple[float, float, float]]) -> float | None:
    """The ratio at which events, or what they cost, would part as they did: sum of x (A - p(r)) = 0.

    Args:
        events: Weight, and how much happened to the treatment and to its control.

    Returns:
        0 or infinity where one of them had none; None where both had none.
    """
    weight, treatment, control = np.array(events, dtype=np.float64).reshape(-1, 3).T
    if not treatment.sum() or not control.sum():
        return None if treatment.sum() == control.sum() else (inf if treatment.sum() else 0.0)

    def excess(ratio: float) -> float:
        return float(((treatment + control) * weight * ratio / (weight * ratio + 1 - weight) - treatment).sum())

    low, high = 1e-9, 1e9
    for _ in range(100):
        middle = sqrt(low * high)
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return sqrt(low * high)


def measure(metric: Metric, counts: Counts, weight: float, bound: float | None, terms: Terms) -> Measure:
    """The measure of a metric, from both variants' outcomes by hour and weight.

    Args:
        metric: What is measured.
        counts: Of both variants.
        weight: Share of the treatment from now on.
        bound: For money: the cap of one loss.
        terms: On which they were counted.
    """
    compared, whole = counts.by_hour, counts.compared
    if metric is Metric.SCORE_SHIFT:
        means = [(mean_score(each.treatment), mean_score(each.control)) for each in compared]
        return Scores(_weighted(compared, SCORE_VALUES, lambda tally: tally.scores), means)
    if metric is Metric.ALERT_PRECISION:
        strata = strata_of(counts, terms, lambda tally: precision_of(tally, counts.least_chance))
        return Shares(strata, whole.treatment.matured)
    if metric is Metric.MONEY_LOST:
        if bound is None:
            raise TypeError("a guardrail of money has a cap")
        values = [min(value, bound) / bound for value in LOSS_VALUES]
        segments = _weighted(compared, values, lambda tally: tally.losses)
        losses = [(lost(each.treatment, bound) / bound, lost(each.control, bound) / bound) for each in compared]
        return Weighed(segments, exposed(metric, whole.treatment, terms), losses)
    return _rate(metric, counts, weight, terms)


def _rate(metric: Metric, counts: Counts, weight: float, terms: Terms) -> Measure:
    """Events by hour and weight; weighed where they have labels by several chances."""
    arms, whole, least = counts.by_hour, counts.compared, counts.least_chance
    events = [[events_by_chance(metric, tally, least) for tally in (each.treatment, each.control)] for each in arms]
    chances = sorted({chance for both in events for each in both for chance, count in each.items() if count})
    # The first alert of a key is at risk where exploration or a sample tells whether it was false.
    kind = EventKind.ALERT if metric is Metric.FALSE_POSITIVES and least is not None else event_of(metric)
    split = [each.weight for each in arms]
    at_risk = weights_at_risk(arms, kind) if terms.hourly else split
    treatment, control = (exposed(metric, tally, terms) for tally in (whole.treatment, whole.control))
    worths = [chances[0] / chance for chance in chances]
    counted = [[tuple(one.get(chance, 0) for chance in chances) for one in both] for both in events]

    def made(weights: Sequence[float]) -> Measure:
        rows = list(zip(weights, counted, arms, strict=True))
        if len(chances) <= 1:
            segments = [Segment(at, sum(ours), sum(theirs), each.hour) for at, (ours, theirs), each in rows]
            return Ratio(segments, weight, treatment, control)
        weighed = [WeightedSegment(at, worths, ours, theirs, each.hour) for at, (ours, theirs), each in rows]
        return Weighed(weighed, treatment, [(dot(s.values, s.canary), dot(s.values, s.champion)) for s in weighed])

    if at_risk == split:
        return made(split)
    by_keys = weights_by_keys(arms, kind)
    smallest, largest = (list(map(choose, split, by_keys, at_risk)) for choose in (min, max))
    return Returning(made(by_keys), made(at_risk), made(smallest), made(largest))


def _weighted(
    arms: Sequence[Arms], values: Sequence[float], bins: Callable[[Tally], tuple[int, ...]]
) -> list[WeightedSegment]:
    nothing = (0,) * len(values)
    return [
        WeightedSegment(each.weight, values, bins(each.treatment) or nothing, bins(each.control) or nothing, each.hour)
        for each in arms
    ]


def _around(estimate: float | None, found: Interval) -> Interval:
    """An interval that holds its estimate, also where no one ratio fits every hour and weight."""
    return found if estimate is None else Interval(min(found.low, estimate), max(found.high, estimate))


def _first(reached: Callable[[int], bool]) -> int | None:
    """The first count that reaches it; None beyond `LONGEST`."""
    return 0 if reached(0) else smallest(reached, most=LONGEST)
