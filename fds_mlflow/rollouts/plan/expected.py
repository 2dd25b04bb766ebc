"""What is assumed of the traffic before a rollout, and the evidence that is to be expected of it then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import erf, inf, log2, sqrt

import numpy as np

from fds_mlflow.core.evidence.bins import LOSS_BINS, OCTAVE, SCORE_BINS, loss_bins
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, KnownAlerts, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.harm import boundaries
from fds_mlflow.core.judge.judge import Status, judge
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.paired import added as pairs_added
from fds_mlflow.core.weight import FULL, to_percent
from fds_mlflow.errors import ConfigError

RATES: Mapping[Metric, float] = {
    Metric.ERROR_RATE: 0.001,
    Metric.ALERT_RATE: 0.02,
    Metric.LATENCY: 0.01,
    Metric.MISSED_FRAUD: 0.002,
    Metric.FALSE_POSITIVES: 0.015,
    Metric.ALERT_PRECISION: 0.3,
    Metric.MONEY_LOST: 0.002,
}
"""Rates that are assumed where none are given; the precision for `ALERT_PRECISION`, missed frauds for `MONEY_LOST`."""

MEAN_SCORE = 0.14
"""Mean score of the champion that is assumed where none is given, as the rate of `SCORE_SHIFT`."""

LOSS = 110.0
"""Money that a missed fraud takes on average, where nobody says."""

HARM = 2.0
"""How far beyond its boundary the harmful canary lies, as a multiple of it, where nobody says."""

_SCARCE = 1e-9
"""The smallest traffic, and the smallest rate, that anything is said about."""

START = datetime(2000, 1, 3, tzinfo=UTC)
"""When the expected rollout begins; any time will do."""


@dataclass(frozen=True)
class Assumptions:
    """What is assumed of the traffic.

    Attributes:
        traffic: Requests per second, both variants together; None to leave out what takes time.
        rates: The champion's rates; `RATES` and `MEAN_SCORE` for those that are left out, missed frauds for those that
            lose money, and a precision at which `fraud_rate` is what the champion misses and catches.
        fraud_rate: Share of the requests that are frauds; None for those that the champion misses and catches by
            `rates`.
        loss: Money that a missed fraud takes on average.
        alert_cost: Money that one alert takes; None to leave it out.
        harm: How far beyond its boundary a harmful canary lies, as a multiple of the boundary.

    Raises:
        ConfigError: A value is out of range, or fewer requests are frauds than the champion misses.
    """

    traffic: float | None = None
    rates: Mapping[Metric, float] = field(default_factory=dict)
    fraud_rate: float | None = None
    loss: float = LOSS
    alert_cost: float | None = None
    harm: float = HARM

    def __post_init__(self) -> None:
        if self.traffic is not None and not _SCARCE <= self.traffic <= 1 / _SCARCE:
            raise ConfigError(
                f"the traffic is {self.traffic!r} requests per second, not from {_SCARCE:g} to {1 / _SCARCE:g}",
                fix="give a rate such as 50/s or 2000/m",
            )
        given = self.rates
        missed = {Metric.MONEY_LOST: given[Metric.MISSED_FRAUD]} if Metric.MISSED_FRAUD in given else {}
        rates = {**RATES, Metric.SCORE_SHIFT: MEAN_SCORE, **missed, **given}
        object.__setattr__(self, "rates", rates)
        if self.fraud_rate is None:
            caught = rates[Metric.ALERT_RATE] * rates[Metric.ALERT_PRECISION]
            most = max(rates[Metric.MISSED_FRAUD], rates[Metric.MONEY_LOST])
            object.__setattr__(self, "fraud_rate", min(most + caught, (1 + most) / 2))
        elif Metric.ALERT_PRECISION not in given:
            precision = (self.fraud_rate - rates[Metric.MISSED_FRAUD]) / rates[Metric.ALERT_RATE]
            rates[Metric.ALERT_PRECISION] = precision if _SCARCE <= precision < 1 else RATES[Metric.ALERT_PRECISION]
        for name, rate in (*rates.items(), ("frauds", self.frauds)):
            if not _SCARCE <= rate < 1:
                raise ConfigError(
                    f"the rate of {name} is {rate!r}, not a share from {_SCARCE:g} to below 1",
                    fix="give one such as 0.002",
                )
        for metric in (Metric.MISSED_FRAUD, Metric.MONEY_LOST):
            if rates[metric] > self.frauds:
                raise ConfigError(
                    f"{self.frauds:g} of the requests are frauds, and the champion misses {rates[metric]:g} ({metric})",
                    fix=f"raise the fraud rate, or lower the rate of {metric}",
                )
        for name, value in (("loss", self.loss), ("cost of an alert", self.alert_cost)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"the {name} is {value!r}", fix="give an amount of money above 0")
        if not 1 < self.harm < float("inf"):
            raise ConfigError(
                f"the harm is {self.harm!r} times the boundary: that is not harmful", fix="give one above 1, such as 2"
            )

    @property
    def frauds(self) -> float:
        """Share of the requests that are frauds."""
        assert self.fraud_rate is not None
        return self.fraud_rate

    def total_failure(self, guardrail: Guardrail, *, above: bool) -> float:
        """The ratio, or the difference, of a canary that fails wholly: every fraud missed, every request in error."""
        metric, rate = guardrail.metric, self.rates[guardrail.metric]
        if guardrail.quantile is not None:  # of times there is no worst one; all scores may lie above the champion's
            worst = inf if metric is Metric.LATENCY else 1 / (1 - guardrail.quantile)
            return worst if above else 0.0
        if not guardrail.relative:
            return 1 - rate if above else -rate
        if not above:
            return 0.0
        frauds = {Metric.MISSED_FRAUD: self.frauds, Metric.MONEY_LOST: self.frauds}
        return frauds.get(metric, 1 - self.frauds if metric is Metric.FALSE_POSITIVES else 1.0) / rate

    def tolerated(self, guardrail: Guardrail) -> tuple[tuple[float, bool], ...]:
        """Where harm begins, as ratios or differences, and whether what lies above is harmful; the limit is the last.

        At the champion's assumed rate: what is negligible, and the limit, are rates of the canary.
        """
        rate = self.rates[guardrail.metric]
        negligible = (guardrail.negligible or 0.0) / rate
        made = [(max(found, negligible) if above else found, above) for found, above in boundaries(guardrail)]
        return (*made, (guardrail.limit / rate, True)) if guardrail.limit is not None else tuple(made)

    def harmful(self, guardrail: Guardrail) -> float:
        """The ratio, or the difference, of the harmful canary: no more than that of a total failure."""
        found, above = self.tolerated(guardrail)[0]
        if above and guardrail.limit is not None:
            found = min(found, guardrail.limit / self.rates[guardrail.metric])
        worst = self.total_failure(guardrail, above=above)
        if above:
            return min(worst, found * self.harm)
        return max(worst, found / self.harm if guardrail.relative else found * self.harm)


@dataclass(frozen=True)
class Seen:
    """What a step has seen.

    Attributes:
        step: The step.
        weight: Of the canary, in basis points.
        requests: Of the canary, those that the guardrail counts: matured ones where it needs labels.
        pairs: Requests that both versions scored, of the same age.
    """

    step: int
    weight: int
    requests: float
    pairs: float


@dataclass(frozen=True)
class Question:
    """One guardrail of a plan, asked about a canary.

    Attributes:
        guardrail: The guardrail.
        assumed: What is assumed of the traffic.
        alone: A plan with this guardrail alone, at its share of alpha.
        harm: The canary's ratio, or its difference.
        reviewed: Share of the alerts that get a label, in [0, 1].
    """

    guardrail: Guardrail
    assumed: Assumptions
    alone: Plan
    harm: float
    reviewed: float = 1.0

    @classmethod
    def of(
        cls, plan: Plan, guardrail: Guardrail, assumed: Assumptions, harm: float | None = None, reviewed: float = 1.0
    ) -> Question:
        """A question about a plan's guardrail.

        Args:
            plan: The plan.
            guardrail: One of its guardrails.
            assumed: What is assumed of the traffic.
            harm: The canary's ratio, or its difference; None for a canary like the champion.
            reviewed: Share of the alerts that get a label.
        """
        alone = Plan(
            [to_percent(plan.weights[-1])],
            guardrails=[guardrail],
            alpha=plan.alpha_each,
            label_maturity=plan.label_maturity,
            test=plan.test,
        )
        same = 1.0 if guardrail.relative else 0.0
        return cls(guardrail, assumed, alone, same if harm is None else harm, reviewed)

    @property
    def metric(self) -> Metric:
        """The guardrail's metric."""
        return self.guardrail.metric

    @property
    def rate(self) -> float:
        """The champion's."""
        return self.assumed.rates[self.metric]

    def answer(self, seen: Iterable[Seen]) -> Status:
        """What the judge says of the counts that are to be expected of what was seen, step by step."""
        listed = list(seen)
        same = 1.0 if self.guardrail.relative else 0.0
        tallies: list[Tally] = []
        for each in listed:
            champions = each.requests * (FULL - each.weight) / each.weight if each.weight else each.pairs
            arms = ((Variant.CHAMPION, round(champions), same), (Variant.CANARY, round(each.requests), self.harm))
            tallies += [self._tally(variant, each, keys, harm) for variant, keys, harm in arms if keys]
        kind = self.metric.kind
        pairs = {} if kind is None else {kind: pairs_added(self._pairs(round(each.pairs)) for each in listed)}
        evidence = Evidence(terms=self.alone.terms, as_of=START, tallies=tuple(tallies), pairs=pairs)
        last = listed[-1]
        rollout = Rollout("check", 1, 2, self.alone, last.weight, last.step, START)
        return judge(evidence, rollout, detail=False).verdicts[1].status

    def _pairs(self, requests: int) -> Pairs:
        """Of two versions that agree on four of five of the champion's events."""
        requests = round(requests * self.reviewed) if self.metric.needs_labels else requests
        champion, canary = round(self.rate * requests), round(min(1.0, self.rate * self.harm) * requests)
        both = min(round(0.8 * self.rate * requests), champion, canary)
        apart = champion - both, canary - both
        neither = max(0, requests - both - sum(apart))
        return Pairs(both=both, champion_only=apart[0], canary_only=apart[1], neither=neither)

    def _firsts(self, keys: int, harm: float, typical: int) -> dict[int, int]:
        """First requests by fine bins, normal around a typical one.

        Harmful are latencies `harm` times as long, and `harm` times as many scores in the last hundredth and beyond:
        those above the quantile that is asked for.
        """
        quantile = self.guardrail.quantile
        if quantile is None:
            return {}
        bins = np.arange(4 * typical)
        moved = min(80.0, OCTAVE * log2(harm)) if self.metric is Metric.LATENCY else 0.0
        shares = np.diff([0.5 * (1 + erf((b - typical - 0.5 - moved) / (4 * sqrt(2)))) for b in (*bins, len(bins))])
        if self.metric is Metric.SCORE_SHIFT:
            beyond = np.cumsum(shares) > quantile
            shares[beyond] *= harm
            shares[~beyond] *= (1 - shares[beyond].sum()) / shares[~beyond].sum()
        counts = np.diff(np.round(keys * np.cumsum(shares)), prepend=0.0)
        return {int(b): int(count) for b, count in zip(bins, counts, strict=True) if count}

    def _tally(self, variant: Variant, seen: Seen, keys: int, harm: float) -> Tally:
        metric = self.metric
        events: dict[EventKind, int] = {}
        alerts = reviewed = false = 0
        losses = np.zeros(LOSS_BINS, dtype=np.int64)
        if metric is Metric.ALERT_PRECISION:
            alerts = round(keys * self.assumed.rates[Metric.ALERT_RATE])
            reviewed = round(alerts * self.reviewed)
            false = round(reviewed * (1 - min(1.0, max(0.0, self.rate + harm))))
        elif metric.kind is not None or metric is Metric.MONEY_LOST:
            kind = metric.kind or EventKind.MISSED_FRAUD
            events[kind] = min(keys, round(keys * self.rate * harm))
            if metric is Metric.FALSE_POSITIVES:
                alerts = events[kind]
                events[kind] = reviewed = false = round(alerts * self.reviewed)
            losses[loss_bins(np.array([self.assumed.loss]))] = events.get(EventKind.MISSED_FRAUD, 0)
        labelled = keys - alerts + reviewed if metric.needs_labels else 0
        return Tally(
            variant=variant,
            step=seen.step,
            weight=seen.weight,
            requests=keys,
            keys=keys,
            events=events,
            scores=_scores(keys, self.rate, harm) if metric is Metric.SCORE_SHIFT else (),
            losses=tuple(losses.tolist()),
            latency_firsts=self._firsts(keys, harm, _TYPICAL_LATENCY),
            score_firsts=self._firsts(keys, harm, _TYPICAL_SCORE),
            known_alerts={self.reviewed: KnownAlerts(alerts, reviewed, reviewed, false)} if self.reviewed < 1 else {},
            matured=keys if metric.needs_labels else 0,
            labelled=labelled,
            passed_genuine=labelled - reviewed - events.get(EventKind.MISSED_FRAUD, 0),
            matured_requests=keys if metric.needs_labels else 0,
            matured_alerts=alerts,
            reviewed_alerts=reviewed,
            false_alerts=false,
        )


_TYPICAL_LATENCY = 80
"""Fine bin of a median latency of about 16 ms; a standard deviation is half an octave."""

_TYPICAL_SCORE = 38
"""Fine bin of a median score of about 0.01; a standard deviation is 1 of the log odds."""

_SPREAD = ((0.0, 0.0), (0.2, 0.92), (1.0, 1.0))
"""Scores of a fraud model, and the share below them: nine of ten below 0.2, the others over all. Their mean is 0.14."""


def _scores(keys: int, mean: float, shift: float) -> tuple[int, ...]:
    """Scores of a fraud model of this mean, in bins; `shift` takes some of them to 0, or to 1."""
    at, share = np.array(_SPREAD).T
    counts = np.diff(np.interp(np.linspace(0, 1, SCORE_BINS + 1), at * min(1.0, mean / MEAN_SCORE), share))
    above = max(0.0, (mean - MEAN_SCORE) / (1 - MEAN_SCORE))
    for moved, place in ((above, -1), (max(0.0, shift) / (1 - mean), -1), (max(0.0, -shift) / mean, 0)):
        counts *= 1 - min(1.0, moved)
        counts[place] += min(1.0, moved)
    return tuple(int(count) for count in np.round(counts * keys))
