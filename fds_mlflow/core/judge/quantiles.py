"""Whether a canary's quantile lies beyond the champion's: by what lies above an edge, always valid.

A champion of which 1 - q lies above t has t as its quantile. So a canary's latency has a quantile above b times the
champion's if more of the canary lies above b t than of the champion above t; and its scores have moved up if b times
as many as the champion's lie above t. Either is a ratio of rates of an event, and the event test judges it
(`sequential.ratio_evidence`, at a ratio of 1, or b): keys are assigned by the hash, and the first request of each
counts once, so of the requests of an hour under the weight w that lie above their edge each is the canary's with the
chance p(r), whatever the load did to both. A comparison of two quantiles, each of all hours, would not bear that:
where the weight rises with the load, a canary like its champion has more of its requests in slow hours (Simpson).

What holds, exactly: where in no hour more of the canary lies above b t than of the champion above t, for the edges t
that are taken, FAIL has a chance of at most alpha. That is so of every canary that is stochastically at most b times
as slow, an equal one above all, however the load, the weight and the quantile move together. The edge of an hour is
the one nearest to the champion's quantile of the day before it, of which nothing of the hour itself is part: it is
known before the hour is bet on, and the product over hours is a test martingale. It is an edge of a bin, 9 % of a
latency or 0.25 of a score's log odds from the next: ratios of latency are rounded to edges, against whoever bets.

At the beginning there is nothing to take an edge from, until the champion has 20/(1 - q) first requests. Until then
each edge might be next to its quantile. For each there is a stake of nine tenths on the ratio test with this edge at
the beginning, and one tenth on the champion's own share above the edges beside it not being 1 - q (`rate_evidence`,
the mean of both directions). Of the edge next to the quantile that is a test supermartingale; nobody knows which one
it is, so the smallest of all is the evidence: an e-process, as in `shares`. Which edges need not be the champion's is
soon clear, and the tenth is all that it costs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, log, log1p

import numpy as np
from numpy.typing import NDArray

from fds_mlflow.core.evidence.arms import Arms
from fds_mlflow.core.evidence.bins import OCTAVE
from fds_mlflow.core.evidence.evidence import Tally
from fds_mlflow.core.judge.firsts import above as above_edges
from fds_mlflow.core.judge.firsts import column_of, edges_of, quantile_of, steps
from fds_mlflow.core.judge.measure import likeliest, rate_until
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.statistics import sequential
from fds_mlflow.core.statistics.bets import LOG_SHARES, TILTS
from fds_mlflow.core.statistics.combination import SequentialTest, Single
from fds_mlflow.core.statistics.sequential import Interval, Segment, Trials, log_factors
from fds_mlflow.core.statistics.wealth import Floats, log_mixture, log_threshold, two_sided_threshold

Ints = NDArray[np.int64]

ENOUGH = 20
"""First requests above its quantile that the champion must have, as far as can be expected, to take an edge from."""

DAY = 24
"""Hours that an edge is taken from, or as many as it takes to have enough."""

_UNSURE = 0.1
"""Share of the stake on which edge is the champion's, at the beginning."""

_CERTAIN = 100.0
"""Evidence beyond which nobody asks how much there is."""

_FINER = 128
"""Ratios of shares between a value and twice that that an interval may end at."""


@dataclass(frozen=True)
class Tails:
    """What lies above each edge, in both variants.

    Attributes:
        metric: Whose quantile: of latency, or of scores.
        quantile: Which one, in (0, 1).
        weight: Share of the treatment from now on.
        arms: By hour and weight.
    """

    metric: Metric
    quantile: float
    weight: float
    arms: Sequence[Arms]

    def evidence(self, boundary: float, *, above: bool, later: bool = False) -> float:
        """The smallest over the edges that may be next to the champion's quantile at the beginning."""
        found, tried = inf, set()
        for against, column in self._candidates:
            least = against + log(_UNSURE)
            if least >= min(found, _CERTAIN):
                return min(found, least)  # all that follow are as large
            segments, ratio = self._segments(column, boundary, above=above, hourly=later)
            if tuple(segments) in tried:
                continue  # nothing lies between the edges, and the one before had less against it
            tried.add(tuple(segments))
            test = sequential.ratio_evidence(segments, ratio, above=above, later=later)
            found = min(found, float(np.logaddexp(test + log1p(-_UNSURE), against + log(_UNSURE))))
        return found if found < inf else 0.0

    def until(self, boundary: float, *, above: bool, alpha: float) -> int | None:
        """At the shares seen so far above the edges of both, and the weight in force."""
        if not self._candidates:
            return None
        segments, ratio = self._segments(self._likeliest, boundary, above=above)
        return sequential.requests_until(
            segments,
            ratio,
            above=above,
            alpha=alpha,
            weight=self.weight,
            champion_rate=sum(s.champion for s in segments) / max(1.0, float(self._control[:, 0].sum())),
            canary_rate=sum(s.canary for s in segments) / max(1.0, float(self._treatment[:, 0].sum())),
        )

    def estimate(self) -> float | None:
        """Ratio of the quantiles of latency, or of the shares of scores above the control's quantile.

        The control's requests count in each hour and weight as much as the treatment has there.
        """
        if not self._candidates:
            return None
        if self.metric is Metric.SCORE_SHIFT:
            segments, _ = self._segments(self._likeliest, 1.0, above=True)
            return likeliest([(s.weight, s.canary, s.champion) for s in segments])
        both = (self._control[:, 0] > 0) & (self._treatment[:, 0] > 0)
        share = self._treatment[both, 0] / self._control[both, 0]
        counts = self._treatment[both].sum(axis=0), (self._control[both] * share[:, None]).sum(axis=0)
        treatment, control = (quantile_of(self.metric, each, self.quantile) for each in counts)
        return treatment / control if treatment and control else None

    def interval(self, alpha: float) -> Interval:
        """All ratios that the test with some edge that may be the champion's does not reject, within ten octaves.

        As fine as the edges of latency are; of shares half a percent.
        """
        unlikely, level = log_threshold(alpha * _UNSURE), two_sided_threshold(alpha * (1 - _UNSURE))
        kept = [column for against, column in self._candidates if against < unlikely]

        def rejects(ratio: float, above: bool) -> bool:
            tests = (self._segments(column, ratio, above=above) for column in kept)
            return all(sequential.ratio_evidence(*test, above=above) >= level for test in tests)

        each = OCTAVE if self.metric is Metric.LATENCY else _FINER
        ratios = [2 ** (step / each) for step in range(-10 * each, 10 * each + 1)]
        above = bisect_left(ratios, True, key=lambda ratio: not rejects(ratio, True))
        below = bisect_left(ratios, True, key=lambda ratio: rejects(ratio, False))
        low, high = ratios[above - 1] if above else 0.0, ratios[below] if below < len(ratios) else inf
        estimate = self.estimate()
        return Interval(low, high) if estimate is None else Interval(min(low, estimate), max(high, estimate))

    @cached_property
    def _treatment(self) -> Floats:
        return self._above([each.treatment for each in self.arms])

    @cached_property
    def _control(self) -> Floats:
        return self._above([each.control for each in self.arms])

    def _above(self, tallies: Sequence[Tally]) -> Floats:
        rows = [above_edges(self.metric, tally) for tally in tallies]
        return np.array(rows).reshape(len(rows), len(edges_of(self.metric)) + 2)

    @cached_property
    def _columns(self) -> Ints:
        """Of each hour and weight, the column of its edge; 0 at the beginning."""
        hours, place = np.unique([each.hour for each in self.arms], return_inverse=True)
        seen = np.zeros((len(hours) + 1, self._control.shape[1]))
        np.add.at(seen, place + 1, self._control)
        seen = seen.cumsum(axis=0)
        keys, enough = seen[:, 0], ENOUGH / (1 - self.quantile)
        found = np.zeros(len(hours), dtype=np.int64)
        for at in np.flatnonzero(keys[:-1] >= enough):
            day = np.searchsorted(hours, hours[at] - DAY)
            since = min(day, np.searchsorted(keys[: at + 1], keys[at] - enough, side="right") - 1)
            found[at] = self._nearest(seen[at] - seen[since])
        columns: Ints = found[place]
        return columns

    def _nearest(self, counts: Floats) -> int:
        """The column of the edge above which about 1 - q lie."""
        return int(np.argmin(np.abs(np.log((counts[1:-1] + 0.5) / (counts[0] * (1 - self.quantile)))))) + 1

    @cached_property
    def _likeliest(self) -> int:
        """The column of the edge that is next to the control's quantile at the beginning."""
        return self._nearest(np.maximum(self._control[self._columns == 0].sum(axis=0), 1e-9))

    @cached_property
    def _candidates(self) -> Sequence[tuple[float, int]]:
        """Evidence against each column being next to the control's quantile at the beginning, the smallest first."""
        if not len(self.arms):
            return ()
        early = self._columns == 0
        control = self._control[early].sum(axis=0)
        success, failure = log_factors(1 - self.quantile, 1.0, np.stack([TILTS, 1 / TILTS]))
        stakes = control[:, None, None] * success + (control[0] - control)[:, None, None] * failure
        more, fewer = log_mixture(stakes, LOG_SHARES).T
        against = np.logaddexp(more[2:], fewer[:-2]) - log(2)  # of the edge above, and of the edge below
        return sorted(zip(against.tolist(), range(1, len(control) - 1), strict=True))

    def _segments(
        self, column: int, boundary: float, *, above: bool, hourly: bool = False
    ) -> tuple[list[Segment], float]:
        """What lies above the edges, with this one at the beginning, and the ratio that is then tested.

        The treatment's edge is rounded against who bets: up where the bet is on more, down where it is on less. Hours
        under one weight are added up unless `hourly`.
        """
        columns = np.where(self._columns == 0, column, self._columns)
        rows, last = np.arange(len(columns)), self._control.shape[1] - 1
        moved = columns
        if self.metric is Metric.LATENCY:
            lowest, highest = (1, last) if above else (0, last - 1)
            moved = np.clip(columns + steps(boundary, up=above), lowest, highest)
        counts = np.stack([self._treatment[rows, moved], self._control[rows, columns]])
        places = [(each.weight, each.hour) for each in self.arms]
        if not hourly:
            weights, place = np.unique([each.weight for each in self.arms], return_inverse=True)
            counts = np.stack([np.bincount(place, each) for each in counts])
            places = [(float(weight), 0) for weight in weights]
        both = counts.astype(np.int64).tolist()
        found = [Segment(weight, t, c, hour) for (weight, hour), t, c in zip(places, *both, strict=True)]
        return found, 1.0 if self.metric is Metric.LATENCY else boundary


@dataclass(frozen=True)
class OwnQuantile:
    """The treatment's own quantile of latency.

    Attributes:
        quantile: Which one, in (0, 1).
        hours: The treatment's outcomes by the hour.
    """

    quantile: float
    hours: Sequence[Tally]

    def test(self, boundary: float, *, above: bool, later: bool) -> SequentialTest:
        """The test that it lies above, or below, so many milliseconds: that more, or less, than 1 - q lie above."""
        trials = list(self._trials(column_of(boundary, up=above)))
        whole = Trials(sum(each.successes for each in trials), sum(each.total for each in trials))
        rate = 1 - self.quantile
        evidence = sequential.rate_evidence(trials, rate, above=above, later=later)
        return Single(evidence, lambda alpha: rate_until(whole, rate, above=above, alpha=alpha))

    def _trials(self, column: int) -> Iterator[Trials]:
        for tally in self.hours:
            counts = above_edges(Metric.LATENCY, tally)
            yield Trials(int(counts[min(column, len(counts) - 1)]), int(counts[0]), tally.hour)
