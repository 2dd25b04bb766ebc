"""What a guardrail measures: a ratio of rates, pairs, money per key, mean scores, shares of alerts.

Each measure answers the same questions from counts: how strong the evidence is that the treatment lies above or
below a boundary, where it probably lies, and how long it will take to know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt
from typing import Protocol

from fds_mlflow.core.evidence.arms import Arms, Counts
from fds_mlflow.core.evidence.bins import LOSS_VALUES, SCORE_VALUES
from fds_mlflow.core.evidence.evidence import EventKind, Tally
from fds_mlflow.core.judge.values import binned, dot, exposed, lost, mean_score, precision_of
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.statistics import bounded, paired, sequential, shares
from fds_mlflow.core.statistics.bounded import WeightedSegment
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.search import smallest
from fds_mlflow.core.statistics.sequential import Interval, Segment
from fds_mlflow.core.statistics.shares import Trials
from fds_mlflow.core.statistics.wealth import log_threshold

LONGEST = 2**40
"""Requests beyond which a wait is called endless."""


class Measure(Protocol):
    """Counts of both variants, and what they say about a boundary."""

    def evidence(self, boundary: float, *, above: bool) -> float:
        """Log of the test martingale against "at most the boundary" (`above`) or "at least the boundary"."""
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
        treatment_keys: Keys of the treatment that could have had the event.
        control_keys: Keys of its control.
    """

    segments: Sequence[Segment]
    weight: float
    treatment_keys: int
    control_keys: int

    def evidence(self, boundary: float, *, above: bool) -> float:
        """The conditional test of `sequential.ratio_evidence`."""
        return sequential.ratio_evidence(self.segments, boundary, above=above)

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
            champion_rate=min(1.0, champion / max(1, self.control_keys)),
            canary_rate=min(1.0, canary / max(1, self.treatment_keys)),
        )

    def estimate(self) -> float | None:
        """The ratio that makes the events as likely as can be: the conditional maximum likelihood over all weights."""
        canary = sum(segment.canary for segment in self.segments)
        champion = sum(segment.champion for segment in self.segments)
        if not canary or not champion:
            return None if canary == champion else (inf if canary else 0.0)

        def excess(ratio: float) -> float:
            expected = sum(
                (s.canary + s.champion) * s.weight * ratio / (s.weight * ratio + 1 - s.weight) for s in self.segments
            )
            return expected - canary

        low, high = 1e-9, 1e9
        for _ in range(100):
            middle = sqrt(low * high)
            low, high = (middle, high) if excess(middle) < 0 else (low, middle)
        return sqrt(low * high)

    def interval(self, alpha: float) -> Interval:
        """See `sequential.ratio_interval`."""
        return sequential.ratio_interval(self.segments, alpha)


@dataclass(frozen=True)
class Paired:
    """An event in requests that both versions scored.

    Attributes:
        pairs: Keys by which of the versions it happened to.
    """

    pairs: Pairs

    def evidence(self, boundary: float, *, above: bool) -> float:
        """See `paired.paired_evidence`."""
        return paired.paired_evidence(self.pairs, boundary, above=above)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """In pairs: requests that both versions score."""
        return paired.paired_requests_until(self.pairs, boundary, above=above, alpha=alpha)

    def estimate(self) -> float | None:
        """Events of the treatment per event of its control."""
        treatment, control = self.pairs.both + self.pairs.canary_only, self.pairs.both + self.pairs.champion_only
        if not control:
            return inf if treatment else None
        return treatment / control

    def interval(self, alpha: float) -> Interval:
        """See `paired.paired_interval`."""
        return paired.paired_interval(self.pairs, alpha)


@dataclass(frozen=True)
class Money:
    """Money lost per key, in both variants.

    Attributes:
        segments: Losses by weight, as shares of the cap.
        keys: Keys of the treatment whose labels have matured.
        control_keys: Keys of its control.
        losses: What both lost in all, the treatment first, as shares of the cap.
    """

    segments: Sequence[WeightedSegment]
    keys: int
    control_keys: int
    losses: tuple[float, float]

    def evidence(self, boundary: float, *, above: bool) -> float:
        """See `bounded.weighted_ratio_evidence`."""
        return bounded.weighted_ratio_evidence(self.segments, boundary, above=above)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """If losses go on like those so far."""
        return bounded.weighted_requests_until(self.segments, boundary, above=above, alpha=alpha, requests=self.keys)

    def estimate(self) -> float | None:
        """The ratio of the losses per key; None without any loss."""
        return self._ratio(*self.losses)

    def interval(self, alpha: float) -> Interval:
        """See `bounded.weighted_ratio_interval`; moved by what the bins do to the ratio."""
        found = bounded.weighted_ratio_interval(self.segments, alpha)
        treatment = sum(dot(segment.values, segment.canary) for segment in self.segments)
        control = sum(dot(segment.values, segment.champion) for segment in self.segments)
        ratio, by_bins = self.estimate(), self._ratio(treatment, control)
        if not ratio or not by_bins or inf in (ratio, by_bins):
            return found
        return Interval(found.low * ratio / by_bins, found.high * ratio / by_bins)

    def _ratio(self, treatment: float, control: float) -> float | None:
        if not control:
            return inf if treatment else None
        return (treatment / max(1, self.keys)) / (control / max(1, self.control_keys))


@dataclass(frozen=True)
class Scores:
    """Mean scores of both variants.

    Attributes:
        segments: Keys by weight and bin of their first score.
        means: Mean scores under each of these weights, the treatment's first; None without keys.
    """

    segments: Sequence[WeightedSegment]
    means: Sequence[tuple[float | None, float | None]]

    def evidence(self, boundary: float, *, above: bool) -> float:
        """See `bounded.mean_difference_evidence`."""
        return bounded.mean_difference_evidence(self.segments, boundary, above=above)

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
        """See `bounded.mean_difference_interval`; moved by what the bins do to the difference."""
        found = bounded.mean_difference_interval(self.segments, alpha)
        difference = self.estimate()
        by_bins = self._difference([(binned(s.values, s.canary), binned(s.values, s.champion)) for s in self.segments])
        if difference is None or by_bins is None:
            return found
        moved = difference - by_bins
        return Interval(*(max(-1.0, min(1.0, end + moved)) for end in (found.low, found.high)))

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
        treatment: Trials of the treatment.
        control: Trials of its control.
        keys: Keys of the treatment that led to these trials.
    """

    treatment: Trials
    control: Trials
    keys: int

    def evidence(self, boundary: float, *, above: bool) -> float:
        """See `shares.share_difference_evidence`."""
        return shares.share_difference_evidence(self.treatment, self.control, boundary, above=above)

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """If both variants' trials go on like those so far, in the same proportion."""
        trials = shares.share_difference_trials_until(self.treatment, self.control, boundary, above=above, alpha=alpha)
        return None if trials is None else ceil(trials * self.keys / self.treatment.total)

    def estimate(self) -> float | None:
        """Difference of the shares."""
        if not self.treatment.total or not self.control.total:
            return None
        return self.treatment.successes / self.treatment.total - self.control.successes / self.control.total

    def interval(self, alpha: float) -> Interval:
        """See `shares.share_difference_interval`."""
        return shares.share_difference_interval(self.treatment, self.control, alpha)


def rate_until(successes: int, trials: int, boundary: float, *, above: bool, alpha: float) -> int | None:
    """About how many more requests until one variant's own rate is shown to lie above or below a fixed one."""
    if not trials:
        return None
    level = log_threshold(alpha)

    def reached(more: int) -> bool:
        in_all = trials + more
        events = round(successes * in_all / trials)
        return sequential.rate_evidence(events, in_all, boundary, above=above) >= level

    return _first(reached)


def measure(metric: Metric, counts: Counts, weight: float, bound: float | None) -> Measure:
    """The measure of a metric, from both variants' outcomes by weight.

    Args:
        metric: What is measured.
        counts: Of both variants.
        weight: Share of the treatment from now on.
        bound: For money: the cap of one loss.
    """
    compared, whole = counts.by_weight, counts.compared
    if metric is Metric.SCORE_SHIFT:
        means = [(mean_score(each.treatment), mean_score(each.control)) for each in compared]
        return Scores(_weighted(compared, SCORE_VALUES, lambda tally: tally.scores), means)
    if metric is Metric.ALERT_PRECISION:
        return Shares(precision_of(whole.treatment), precision_of(whole.control), whole.treatment.matured)
    if metric is Metric.MONEY_LOST:
        if bound is None:
            raise TypeError("a guardrail of money has a cap")
        values = [min(value, bound) / bound for value in LOSS_VALUES]
        segments = _weighted(compared, values, lambda tally: tally.losses)
        losses = (lost(whole.treatment, bound) / bound, lost(whole.control, bound) / bound)
        return Money(segments, whole.treatment.matured, whole.control.matured, losses)
    kind = metric.kind
    if kind is None:
        raise TypeError(f"{metric} is measured otherwise")
    treatment, control = (exposed(metric, tally) for tally in (whole.treatment, whole.control))
    return Ratio(segments_of(compared, kind), weight, treatment, control)


def segments_of(arms: Sequence[Arms], kind: EventKind) -> list[Segment]:
    """Events of a kind by weight."""
    return [Segment(a.weight, a.treatment.events.get(kind, 0), a.control.events.get(kind, 0)) for a in arms]


def _weighted(
    arms: Sequence[Arms], values: Sequence[float], bins: Callable[[Tally], tuple[int, ...]]
) -> list[WeightedSegment]:
    nothing = (0,) * len(values)
    return [
        WeightedSegment(each.weight, values, bins(each.treatment) or nothing, bins(each.control) or nothing)
        for each in arms
    ]


def _first(reached: Callable[[int], bool]) -> int | None:
    """The first count that reaches it; None beyond `LONGEST`."""
    return 0 if reached(0) else smallest(reached, most=LONGEST)
