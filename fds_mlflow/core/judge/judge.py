"""Evidence + rollout -> verdicts. A judge does no I/O, may be asked at any time, and every verdict says both numbers.

One verdict per guardrail, and before them one on the evidence itself: do keys split as the weights say? Alpha is split
evenly over the guardrails for the whole rollout; evidence carries over from step to step, and only the displayed
numbers restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import isfinite

from fds_mlflow.core.evidence.arms import Arms, Counts, arms_of_step, counts, over_hours
from fds_mlflow.core.evidence.evidence import Evidence, Tally, Terms
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.harm import Rate, boundaries, fails, passes
from fds_mlflow.core.judge.labels import coverage, label_fault, pairs_fault
from fds_mlflow.core.judge.measure import Measure, Paired, measure
from fds_mlflow.core.judge.values import approximate, compared_values, exposed, value_of
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.lifecycle.verdict import SEVERITY, Judgement, Status, Verdict, worst
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import SRM_ALPHA, Plan
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.sequential import Segment, Trials, srm_evidence
from fds_mlflow.core.statistics.wealth import log_threshold
from fds_mlflow.core.text.numbers import percent, ratio
from fds_mlflow.errors import ConfigError

__all__ = ["SEVERITY", "SPLIT", "Judgement", "Status", "Verdict", "judge", "worst"]

SPLIT = "split"
"""The check that comes first: whether keys split as the weights say."""


def judge(evidence: Evidence, rollout: Rollout, *, detail: bool = True) -> Judgement:
    """Judge a rollout by everything that is known about it.

    Args:
        evidence: Counted on the terms of the rollout's plan.
        rollout: Its plan, and where it stands.
        detail: Also find estimates, intervals and the estimated requests remaining, which take most of the time.

    Raises:
        ConfigError: The evidence was counted on other terms.
    """
    plan = rollout.plan
    if evidence.terms != plan.terms:
        raise ConfigError(
            f"the evidence was counted on {evidence.terms}, the plan asks for {plan.terms}",
            fix="ask for the evidence with the plan's own terms",
        )
    both = counts(evidence, is_watch=rollout.is_watch)
    step = arms_of_step(evidence, rollout.step, rollout.weight, is_watch=rollout.is_watch)
    split = _split(both)
    cases = [
        _Case(
            guardrail,
            plan,
            both,
            step,
            _pairs(evidence, guardrail, is_watch=rollout.is_watch),
            split,
            _recent(evidence, rollout, guardrail) if plan.terms.hourly else None,
            plan.alpha_each,
        )
        for guardrail in plan.guardrails
    ]
    verdicts = (split, *(case.verdict(detail=detail) for case in cases), *_segments(evidence, rollout, detail=detail))
    canary = [tally for tally in evidence.tallies if tally.variant is Variant.CANARY]
    keys = sum(tally.keys for tally in canary)
    requests = sum(tally.requests for tally in canary if tally.step == rollout.step)
    matured = sum(tally.matured for tally in canary)
    return Judgement(verdicts, min(requests, keys), keys, matured, _silent(evidence, rollout))


def _segments(evidence: Evidence, rollout: Rollout, *, detail: bool) -> list[Verdict]:
    """Verdicts of the segments in which the canary is shown to be harmful."""
    plan, found = rollout.plan, []
    for name, hours in evidence.segments.items():
        alpha = plan.alpha_of(name)
        if not alpha or plan.segments is None:
            continue
        alone = replace(evidence, tallies=over_hours(hours), hours=hours, segments={})
        both = counts(alone, is_watch=rollout.is_watch)
        step = arms_of_step(alone, rollout.step, rollout.weight, is_watch=rollout.is_watch)
        split = _split(both)
        for guardrail in plan.guardrails:
            case = _Case(guardrail, plan, both, step, None, split, None, alpha)
            if case.verdict(detail=False).status is not Status.FAIL:
                continue
            verdict = case.verdict(detail=detail)
            where = f"{plan.segments.column} {name}"
            found.append(
                replace(
                    verdict,
                    check=f"{verdict.check} in {where}",
                    segment=name,
                    reason=f"in {where}, {verdict.reason}",
                )
            )
    return found


def _silent(evidence: Evidence, rollout: Rollout) -> str:
    """Whether the canary has no outcomes of late although the champion's show that it has traffic."""
    if not rollout.plan.terms.hourly or rollout.is_watch:
        return ""
    late = _late(evidence, rollout).by_weight
    champion = sum(arms.control.keys for arms in late)
    expected = sum(arms.control.keys * arms.weight / (1 - arms.weight) for arms in late)
    if expected < rollout.plan.min_outcomes or any(arms.treatment.requests for arms in late):
        return ""
    if srm_evidence([Segment(arms.weight, 0, arms.control.keys) for arms in late]) < log_threshold(SRM_ALPHA):
        return ""
    return f"no outcome of the canary beside {champion:,} keys of the champion: it never answers, or they are lost"


def _split(both: Counts) -> Verdict:
    """Whether the keys of both variants are as many as the recorded weights say."""
    compared = both.by_weight
    segments = [Segment(each.weight, each.treatment.keys, each.control.keys) for each in compared]
    treatment, keys = sum(s.canary for s in segments), sum(s.canary + s.champion for s in segments)
    threshold = log_threshold(SRM_ALPHA)
    if not keys:
        return Verdict(Status.NODATA, SPLIT, "0 keys under a weight above 0 % and below 100 %", threshold=threshold)
    expected = sum(s.weight * (s.canary + s.champion) for s in segments) / keys
    evidence = srm_evidence(segments)
    variant, share = compared[0].treatment.variant, percent(treatment / keys)
    said = f"{share} of {keys:,} keys went to the {variant} where the weights say {percent(expected)}"
    canary_share, canary_expected = treatment / keys, expected
    if variant is Variant.CHAMPION:
        canary_share, canary_expected = 1 - canary_share, 1 - canary_expected
    broken = evidence >= threshold
    return Verdict(
        Status.ERROR if broken else Status.PASS,
        SPLIT,
        f"{said}, and not by chance: outcomes are lost, or routed otherwise" if broken else said,
        champion=1 - canary_share,
        canary=canary_share,
        estimate=canary_share / canary_expected,
        fail_evidence=evidence,
        threshold=threshold,
    )


def _pairs(evidence: Evidence, guardrail: Guardrail, *, is_watch: bool) -> tuple[Pairs, ...] | None:
    """Shadow evidence of a paired guardrail by the hour, the treatment as the canary; None where it is not paired."""
    kind = guardrail.metric.kind
    if not guardrail.paired or kind is None:
        return None
    pairs = evidence.paired_hours.get(kind) or (evidence.pairs.get(kind, Pairs()),)
    known = evidence.known_pairs.get(kind)
    if known is not None and any(chance > 0 for tally in evidence.hours for chance in tally.known_alerts):
        least = min((*known, *(c for tally in evidence.hours for c in tally.known_alerts if c > 0)))
        pairs = tuple(replace(each, worth=least / chance) for chance, hours in known.items() for each in hours)
    if not is_watch:
        return pairs
    return tuple(replace(each, canary_only=each.champion_only, champion_only=each.canary_only) for each in pairs)


RECENT = timedelta(hours=24)
"""No PASS stands that the evidence of this time, or of the step where that is shorter, contradicts."""


def _recent(evidence: Evidence, rollout: Rollout, guardrail: Guardrail) -> tuple[Counts, tuple[Pairs, ...] | None]:
    """The evidence of late: for labels, of what has matured last."""
    maturity = rollout.plan.label_maturity
    if guardrail.metric.needs_labels and maturity is not None:
        since = evidence.as_of - maturity - RECENT
    else:
        since = max(evidence.as_of - RECENT, rollout.since)
    pairs = _pairs(evidence, guardrail, is_watch=rollout.is_watch)
    hour = int(since.timestamp()) // 3600
    return _since(evidence, hour, rollout), None if pairs is None else tuple(p for p in pairs if p.hour >= hour)


def _late(evidence: Evidence, rollout: Rollout) -> Counts:
    """What has been counted of late: in the last full hours of the step, at most of the last `RECENT`."""
    since = max(evidence.as_of - RECENT, rollout.since)
    return _since(evidence, int(since.timestamp()) // 3600, rollout)


def _since(evidence: Evidence, hour: int, rollout: Rollout) -> Counts:
    kept = tuple(tally for tally in evidence.hours if tally.hour >= hour)
    return counts(replace(evidence, tallies=kept, hours=kept), is_watch=rollout.is_watch)


@dataclass(frozen=True)
class _Case:
    """One guardrail, and what is known about it."""

    guardrail: Guardrail
    plan: Plan
    both: Counts
    step: Arms
    pairs: tuple[Pairs, ...] | None
    split: Verdict
    recent: tuple[Counts, tuple[Pairs, ...] | None] | None
    alpha: float

    @property
    def terms(self) -> Terms:
        """On which it was counted."""
        return self.plan.terms

    def verdict(self, *, detail: bool) -> Verdict:
        measured, own = self._measured(self.both, self.pairs), self._own(self.both)
        fault, missing = self._fault(), self._missing()
        trusted = None if fault or (missing and missing[0] is Status.NODATA) else measured
        harm = fails(self.guardrail, trusted, own, later=self.terms.hourly)
        assurance = passes(self.guardrail, trusted, own)
        threshold = log_threshold(self.alpha)
        harmful, harmless = harm.evidence, assurance.evidence
        if harmful >= threshold:
            status = Status.FAIL
        elif fault:
            status = Status.ERROR
        elif missing:
            status = missing[0]
        else:
            status = Status.PASS if harmless >= threshold else Status.INCONCLUSIVE
            if status is Status.PASS and self._contradicted():
                status, missing = Status.INCONCLUSIVE, (Status.INCONCLUSIVE, _CONTRADICTED)
        estimate = measured.estimate() if detail else None
        interval = measured.interval(self.alpha) if detail else None
        wait: int | None = None
        if detail and status is Status.INCONCLUSIVE and not missing:
            waits = [test.until(self.alpha) for test in (harm, assurance)]
            wait = min((w for w in waits if w is not None), default=None)
        made = Verdict(
            status=status,
            check=self.guardrail.metric.value,
            reason="",
            guardrail=self.guardrail,
            champion=self._number(self.step, Variant.CHAMPION),
            canary=self._number(self.step, Variant.CANARY),
            estimate=estimate,
            interval=interval,
            fail_evidence=harmful if isfinite(harmful) else None,
            pass_evidence=harmless if isfinite(harmless) else None,
            threshold=threshold,
            requests_to_go=wait,
            coverage=coverage(self.guardrail.metric, self.both.whole.treatment) if self._late else None,
            approximate=any(
                self._approximate(arms, variant) for arms in (self.step, self.both.whole) for variant in Variant
            ),
        )
        why = fault if status is Status.ERROR else missing[1] if missing and status is missing[0] else None
        return replace(made, reason=self._reason(made, why))

    @property
    def _late(self) -> bool:
        return self.guardrail.metric.needs_labels

    def _measured(self, known: Counts, pairs: tuple[Pairs, ...] | None) -> Measure:
        if pairs is not None:
            return Paired(pairs)
        return measure(self.guardrail.metric, known, self.step.weight, self.guardrail.bound, self.terms)

    def _own(self, known: Counts) -> Rate:
        """Events of the treatment, at whatever weight."""
        metric = self.guardrail.metric
        kind = metric.kind
        if kind is None:
            return Rate(())
        if self.terms.hourly:
            return Rate([Trials(each.events.get(kind, 0), each.at_risk(kind), each.hour) for each in known.own])
        keys = exposed(metric, known.whole.treatment, self.terms)
        return Rate([Trials(min(keys, known.whole.treatment.events.get(kind, 0)), keys)])

    def _contradicted(self) -> bool:
        """Whether a test of the evidence of late alone shows harm."""
        if self.recent is None:
            return False
        known, pairs = self.recent
        harm = fails(self.guardrail, self._measured(known, pairs), self._own(known), later=False)
        return harm.evidence >= log_threshold(self.plan.alpha)

    def _fault(self) -> str | None:
        """Why the comparison with the control cannot be trusted."""
        if self.guardrail.margin is None:
            return None
        if self.split.status is Status.ERROR and self.pairs is None:
            return f"the split is broken: {self.split.reason.partition(', and')[0]}"
        if not self._late:
            return None
        if self.pairs is not None and self.terms.hourly:
            return pairs_fault(self.guardrail.metric, self.both)
        return label_fault(self.guardrail.metric, self.both, self.terms)

    def _missing(self) -> tuple[Status, str] | None:
        """What keeps anybody from judging, and how severe that is: waiting is no fault, silence is."""
        metric, whole = self.guardrail.metric, self.both.whole
        if self.pairs is not None:
            return (
                None
                if any(each.seen for each in self.pairs)
                else (Status.NODATA, "0 requests were scored by both versions, at least 1 is needed")
            )
        compared = self.both.compared
        sides = [compared.treatment, compared.control] if self.guardrail.margin is not None else [whole.treatment]
        for tally in sides:
            if not tally.requests:
                return Status.NODATA, f"the {tally.variant} has 0 outcomes, at least 1 is needed"
            if metric is Metric.SCORE_SHIFT and not sum(tally.scores):
                return Status.NODATA, f"the {tally.variant} has 0 scores in {tally.requests:,} requests"
        return _missing_labels(metric, sides) if self._late else None

    def _number(self, arms: Arms, variant: Variant) -> float | None:
        """One variant's number."""
        return value_of(self.guardrail.metric, arms.of(variant), self.terms, self.guardrail.bound)

    def _approximate(self, arms: Arms, variant: Variant) -> bool:
        return approximate(self.guardrail.metric, arms.of(variant), self.guardrail.bound)

    def _reason(self, verdict: Verdict, why: str | None) -> str:
        """One sentence: what speaks for the status, then both numbers of the whole rollout."""
        guardrail, metric, whole = self.guardrail, self.guardrail.metric, self.both.whole
        values = compared_values(metric, self.both, self.terms, guardrail.bound)
        both = ", ".join(
            f"{tally.variant} {metric.describe(value, approximate=self._approximate(whole, tally.variant))}"
            f" of {exposed(metric, tally, self.terms):,}"
            for tally, value in zip((whole.treatment, whole.control), values, strict=True)
        )
        both += f" {metric.row.among if self.terms.hourly else metric.row.among.replace('requests', 'keys')}"
        parts = [f"{why} ({both})" if why else both]
        if why is None:
            parts += [self._compared(verdict)] if guardrail.margin is not None else []
            rates = (("limit", guardrail.limit), ("negligible below", guardrail.negligible))
            parts += [f"{name} {metric.describe(rate)}" for name, rate in rates if rate is not None]
        if verdict.coverage is not None:
            among = "alerts reviewed" if metric.row.among_alerts else "matured keys labelled"
            parts.append(f"{percent(verdict.coverage)} of {among}")
        return f"{metric.words}: {'; '.join(parts)}"

    def _compared(self, verdict: Verdict) -> str:
        name = "ratio" if self.guardrail.relative else "difference"
        limits = " or ".join(f"{ratio(b)}" for b, _ in boundaries(self.guardrail))
        found = "unknown" if verdict.estimate is None else ratio(verdict.estimate)
        if verdict.interval is not None:
            found += f" (between {ratio(verdict.interval.low)} and {ratio(verdict.interval.high)})"
        return f"{name} {found} against {limits} allowed"


_CONTRADICTED = "a PASS of the whole that the evidence of late contradicts"


def _missing_labels(metric: Metric, sides: Sequence[Tally]) -> tuple[Status, str] | None:
    if any(not tally.matured for tally in sides):
        return Status.INCONCLUSIVE, "no label has reached its maturity yet"
    if metric.row.among_alerts:
        for tally in sides:
            if tally.matured_alerts and not tally.reviewed_alerts:
                return (
                    Status.NODATA,
                    f"0 of {tally.matured_alerts:,} matured alerts of the {tally.variant} are reviewed",
                )
    if not any(tally.labelled for tally in sides):
        return Status.NODATA, f"0 of {sum(tally.matured for tally in sides):,} matured keys are labelled"
    return None
