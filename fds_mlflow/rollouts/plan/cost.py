"""What a plan means, in words, and what its margins cost: requests and days until a good canary passes.

The price is found by asking the judge itself about the counts that are to be expected after so many requests. So it is
about the mean over many rollouts, and single ones take less or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import erf, log2, sqrt

import numpy as np

from fds_mlflow.core.evidence.bins import LOSS_BINS, OCTAVE, SCORE_BINS
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally, Terms
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.harm import boundaries
from fds_mlflow.core.judge.judge import Status, judge
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric, Row
from fds_mlflow.core.plan.plan import COVERAGE_ALPHA, SRM_ALPHA, Plan, Undecided
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.search import smallest
from fds_mlflow.core.statistics.sequential import Side
from fds_mlflow.core.text.duration import from_duration
from fds_mlflow.core.text.numbers import percent
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

DEAREST = 2**36
"""Canary requests beyond which a price is called endless."""

_NOON = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Price:
    """What one guardrail costs.

    Attributes:
        metric: Its metric.
        rate: The champion's rate that is assumed; None for scores.
        passes: Canary requests until a canary like the champion passes, at the last step below 100 %; None for never.
        pass_days: How many days these take, label maturity included; None for never, or without traffic.
        harm: How much worse the harmful canary is: its ratio, or its difference.
        fails: Canary requests until it fails, at the first step; None for never.
        fail_days: How many days these take.
        required: Whether completion waits for its PASS.
        row: How its values and harms read.
    """

    metric: Metric
    rate: float | None
    passes: int | None
    pass_days: float | None
    harm: float
    fails: int | None
    fail_days: float | None
    required: bool
    row: Row


@dataclass(frozen=True)
class PlanCheck:
    """A plan explained.

    Attributes:
        plan: The plan.
        words: What it means, one sentence each.
        prices: One per guardrail.
        warnings: What can never happen, or not in the given time.
    """

    plan: Plan
    words: tuple[str, ...]
    prices: tuple[Price, ...]
    warnings: tuple[str, ...]


def check_plan(plan: Plan, *, traffic: float | None = None, rates: Mapping[Metric, float] | None = None) -> PlanCheck:
    """Explain a plan.

    Args:
        plan: The plan.
        traffic: Requests per second, both variants together; None to leave days out.
        rates: The champion's rates, where they are known; `RATES` for the others.

    Raises:
        ConfigError: The traffic is not positive, or a rate is not in (0, 1).
    """
    if traffic is not None and not 0 < traffic < float("inf"):
        raise ConfigError(f"the traffic is {traffic!r} requests per second", fix="give a rate such as 50/s or 2000/m")
    known = {**RATES, **(rates or {})}
    for metric, rate in known.items():
        if not 0 < rate < 1:
            raise ConfigError(f"the rate of {metric} is {rate!r}, not in (0, 1)", fix="give a share such as 0.002")
    prices = tuple(_price(plan, guardrail, known.get(guardrail.metric), traffic) for guardrail in plan.guardrails)
    return PlanCheck(plan, tuple(_words(plan)), prices, tuple(_warnings(plan, prices)))


# --- prices ----------------------------------------------------------------------------------------------------------


def _price(plan: Plan, guardrail: Guardrail, rate: float | None, traffic: float | None) -> Price:
    compared = [weight for weight in plan.weights if weight < FULL] or [FULL]
    first, last = compared[0], compared[-1]
    worst = _harm(guardrail)
    same, worse = (1.0, 2.0 if guardrail.margin is None else worst) if guardrail.relative else (0.0, worst)
    passes = _until(_Setting(plan, guardrail, rate, last), same, Status.PASS)
    fails = _until(_Setting(plan, guardrail, rate, first), worse, Status.FAIL)

    def days(requests: int | None, weight: int) -> float | None:
        if requests is None or traffic is None:
            return None
        wait = plan.label_maturity if guardrail.metric.needs_labels else None
        return requests / (traffic * weight / FULL) / 86_400 + (wait or timedelta(0)) / timedelta(days=1)

    return Price(
        metric=guardrail.metric,
        rate=rate if guardrail.quantile is None else None,
        passes=passes,
        pass_days=days(passes, last),
        harm=worse,
        fails=fails,
        fail_days=days(fails, first),
        required=guardrail.required,
        row=guardrail.row,
    )


def _harm(guardrail: Guardrail) -> float:
    """A harm to look for: twice the champion's rate, or twice what is tolerated where that is more."""
    margin = guardrail.margin or 0.0
    if guardrail.relative:
        return 2.0 if margin < 1 else 2 * (1 + margin)
    return -2 * margin if guardrail.harms is Side.LOWER else 2 * margin


@dataclass(frozen=True)
class _Setting:
    """One guardrail at one weight, in basis points, and the champion's rate."""

    plan: Plan
    guardrail: Guardrail
    rate: float | None
    weight: int

    @property
    def metric(self) -> Metric:
        """The guardrail's metric."""
        return self.guardrail.metric


def _until(setting: _Setting, harm: float, status: Status) -> int | None:
    """Canary requests until the judge says so of the counts to be expected."""
    plan, weight = setting.plan, setting.weight
    alone = Plan(
        [to_percent(weight)],
        guardrails=[setting.guardrail],
        alpha=plan.alpha_each,
        label_maturity=plan.label_maturity,
        test=plan.test,
    )
    rollout = Rollout("check", 1, 2, alone, weight, 0, _NOON)

    def reached(requests: int) -> bool:
        evidence = _expected(setting, alone.terms, harm, requests)
        return judge(evidence, rollout, detail=False).verdicts[1].status is status

    return smallest(reached, most=DEAREST, start=32, precision=0.01)


def _expected(setting: _Setting, terms: Terms, harm: float, requests: int) -> Evidence:
    metric = setting.metric
    champions = round(requests * (FULL - setting.weight) / setting.weight)
    canary = _tally(setting, Variant.CANARY, requests, harm)
    same = 1.0 if setting.guardrail.relative else 0.0
    champion = _tally(setting, Variant.CHAMPION, champions, same)
    pairs = {}
    if metric.kind is not None and setting.rate is not None:
        pairs[metric.kind] = _expected_pairs(requests, setting.rate, harm)
    return Evidence(terms=terms, as_of=_NOON, tallies=(champion, canary), pairs=pairs)


def _expected_pairs(requests: int, rate: float, ratio: float) -> Pairs:
    """Of two versions that agree on four of five of the champion's events."""
    champion, canary = round(rate * requests), round(min(1.0, rate * ratio) * requests)
    both = min(round(0.8 * rate * requests), champion, canary)
    apart = champion - both, canary - both
    return Pairs(both=both, champion_only=apart[0], canary_only=apart[1], neither=max(0, requests - both - sum(apart)))


def _tally(setting: _Setting, variant: Variant, keys: int, harm: float) -> Tally:
    metric, share = setting.metric, setting.rate or 0.0
    events: dict[EventKind, int] = {}
    reviewed = false = 0
    losses = np.zeros(LOSS_BINS, dtype=np.int64)
    if metric is Metric.ALERT_PRECISION:
        reviewed = round(keys * RATES[Metric.ALERT_RATE])
        false = round(reviewed * (1 - min(1.0, max(0.0, share + harm))))
    elif metric.kind is not None or metric is Metric.MONEY_LOST:
        kind = metric.kind or EventKind.MISSED_FRAUD
        events[kind] = min(keys, round(keys * share * harm))
        losses[_TYPICAL_LOSS] = events.get(EventKind.MISSED_FRAUD, 0)
        if metric is Metric.FALSE_POSITIVES:
            reviewed = false = events[kind]
    labelled = keys if metric.needs_labels else 0
    return Tally(
        variant=variant,
        step=0,
        weight=setting.weight,
        requests=keys,
        keys=keys,
        events=events,
        scores=_scores(keys, harm if metric is Metric.SCORE_SHIFT else 0.0),
        losses=tuple(losses.tolist()),
        latency_firsts=_firsts(setting, keys, harm, _TYPICAL_LATENCY),
        score_firsts=_firsts(setting, keys, harm, _TYPICAL_SCORE),
        matured=labelled,
        labelled=labelled,
        passed_genuine=labelled - reviewed - events.get(EventKind.MISSED_FRAUD, 0),
        matured_requests=labelled,
        matured_alerts=reviewed,
        reviewed_alerts=reviewed,
        false_alerts=false,
    )


_TYPICAL_LOSS = 14
"""Bin of a loss of about 110."""

_TYPICAL_LATENCY = 80
"""Fine bin of a median latency of about 16 ms; a standard deviation is half an octave."""

_TYPICAL_SCORE = 38
"""Fine bin of a median score of about 0.01; a standard deviation is 1 of the log odds."""


def _firsts(setting: _Setting, keys: int, harm: float, typical: int) -> dict[int, int]:
    """First requests by fine bins, normal around a typical one.

    Harmful are latencies `harm` times as long, and `harm` times as many scores in the last hundredth and beyond: those
    above the quantile that is asked for.
    """
    if setting.guardrail.quantile is None:
        return {}
    bins = np.arange(4 * typical)
    moved = min(80.0, OCTAVE * log2(harm)) if setting.metric is Metric.LATENCY else 0.0
    shares = np.diff([0.5 * (1 + erf((b - typical - 0.5 - moved) / (4 * sqrt(2)))) for b in (*bins, len(bins))])
    if setting.metric is Metric.SCORE_SHIFT:
        beyond = np.cumsum(shares) > setting.guardrail.quantile
        shares[beyond] *= harm
        shares[~beyond] *= (1 - shares[beyond].sum()) / shares[~beyond].sum()
    counts = np.diff(np.round(keys * np.cumsum(shares)), prepend=0.0)
    return {int(b): int(count) for b, count in zip(bins, counts, strict=True) if count}


def _scores(keys: int, shift: float) -> tuple[int, ...]:
    """Scores of a fraud model: nine of ten spread below 0.2, the others over all; `shift` moves their mean."""
    low = round(0.2 * SCORE_BINS)
    counts = np.full(SCORE_BINS, 0.1 * keys / SCORE_BINS)
    counts[:low] += 0.9 * keys / low
    if shift:
        moved = min(0.9, abs(shift) / 0.7)  # from the middle of the low ones up to 0.8
        counts *= 1 - moved
        counts[round(0.8 * SCORE_BINS)] += moved * keys
    return tuple(int(count) for count in np.round(counts))


# --- words -----------------------------------------------------------------------------------------------------------


def _words(plan: Plan) -> list[str]:
    steps = ", ".join(f"{step:g}" for step in plan.steps if step < 100)
    made = [f"The canary gets {steps} % of the traffic, and then becomes champion." if steps else "No step."]
    each = ", ".join(_tolerated(guardrail) for guardrail in plan.guardrails)
    made.append(f"It fails when it is shown to be harmful: {each}.")
    made.append(
        f"A good canary is ever failed with a chance of at most {percent(plan.alpha)}: {percent(plan.alpha_each)} for"
        f" each of {len(plan.guardrails)} guardrails, however often somebody looks. On top of it the split is called"
        f" broken by chance in at most {percent(SRM_ALPHA)} of the rollouts"
        + (f", and the labels' coverage in {percent(COVERAGE_ALPHA)}" if plan.label_maturity else "")
        + ": then a person looks."
    )
    bake = f" and {from_duration(plan.bake_time)}" if plan.bake_time else ""
    made.append(
        f"A step goes on without a FAIL after {plan.min_outcomes:,} outcomes{bake}; completion needs the PASS of"
        f" {', '.join(g.metric.value for g in plan.guardrails if g.required) or 'nothing: no guardrail is required'}."
    )
    what = "waits for a person" if plan.undecided is Undecided.HOLD else "is aborted"
    for limit, name in (
        (plan.max_step_time and from_duration(plan.max_step_time), "in one step"),
        (plan.max_canary_keys and f"{plan.max_canary_keys:,} keys", "with the canary"),
    ):
        if limit:
            made.append(f"Undecided after {limit} {name}, it {what}.")
    if plan.gated:
        made.append(f"At {', '.join(f'{gate:g} %' for gate in plan.gates)} it waits for a person in any case.")
    if plan.label_maturity:
        made.append(f"Labels count {from_duration(plan.label_maturity)} after their transaction.")
    if plan.watch:
        after = "and is rolled back to by itself" if plan.watch.rollback else "and nothing is rolled back by itself"
        made.append(
            f"After the completion the former champion keeps {plan.watch.control:g} % for"
            f" {from_duration(plan.watch.duration)} as a control, {after} if the new one is worse."
        )
    return made


def _tolerated(guardrail: Guardrail) -> str:
    metric, row = guardrail.metric, guardrail.row
    bound = f" ({row.describe_bound(guardrail.bound)})" if row.bounded else ""
    parts = [row.describe_harm(boundary) for boundary, _ in boundaries(guardrail)]
    said = f"{metric.words}{f' {row.column}' if guardrail.quantile is not None else ''}{bound}"
    if parts:
        said += f" beyond {' or '.join(parts)}" + (" the champion's" if guardrail.relative else "")
    if guardrail.negligible is not None:
        said += f" unless below {row.describe(guardrail.negligible)}"
    if guardrail.limit is not None:
        said += f"{' or' if parts else ''} above {row.describe(guardrail.limit)}"
    return said + (" (paired)" if guardrail.paired else "")


def _warnings(plan: Plan, prices: tuple[Price, ...]) -> list[str]:
    made = []
    if plan.weights[0] == FULL:
        made.append("there is no step below 100 %, so nothing is ever compared and nothing can pass")
    longest = plan.max_step_time
    if longest is not None and plan.label_maturity is not None and longest <= plan.label_maturity:
        made.append(
            f"a step lasts at most {from_duration(longest)}, and labels count only after"
            f" {from_duration(plan.label_maturity)}: what waits for labels cannot pass in the first step"
        )
    for price in prices:
        if price.passes is None:
            if price.required:
                made.append(f"{price.metric} never passes at the assumed rate: completion will need a person")
        elif price.required and plan.max_canary_keys is not None and price.passes > plan.max_canary_keys:
            made.append(
                f"{price.metric} passes after about {price.passes:,} canary requests, and only"
                f" {plan.max_canary_keys:,} keys may meet the canary"
            )
        if price.required and longest is not None and price.pass_days is not None:
            allowed = longest / timedelta(days=1) * len([weight for weight in plan.weights if weight < FULL])
            if price.pass_days > allowed:
                made.append(
                    f"{price.metric} passes after about {price.pass_days:.1f} days, and all steps together last at most"
                    f" {allowed:.1f}"
                )
        if price.fails is None:
            made.append(f"{price.metric} never fails a canary whose harm is {price.row.describe_harm(price.harm)}")
    return made
