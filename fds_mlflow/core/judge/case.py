"""One guardrail, and what is known about it: its verdict, with the reason in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from fds_mlflow.core.evidence.arms import Arms, Counts
from fds_mlflow.core.evidence.evidence import Tally, Terms
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.harm import Own, Rate, boundaries, fails, own_rate, passes
from fds_mlflow.core.judge.labels import coverage, label_fault, own_fault, pairs_fault
from fds_mlflow.core.judge.measure import Measure, Paired, measure
from fds_mlflow.core.judge.quantiles import OwnQuantile, Tails
from fds_mlflow.core.judge.values import approximate, compared_values, exposed, value_of
from fds_mlflow.core.lifecycle.verdict import Status, Verdict
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.sequential import Trials
from fds_mlflow.core.statistics.wealth import log_threshold
from fds_mlflow.core.text.numbers import percent, ratio


@dataclass(frozen=True)
class Case:
    """One guardrail, and what is known about it.

    Attributes:
        guardrail: What is asked.
        plan: Of the rollout.
        both: Both variants' outcomes.
        step: Those of the current step, for display.
        pairs: Shadow evidence by the hour; None where the split traffic is judged.
        split: Whether keys split as the weights say.
        recent: Counts outcomes and pairs of late, which may contradict a PASS; None where nobody asks.
        alpha: What its test may spend.
        answers: Whether the canary answers any request.
    """

    guardrail: Guardrail
    plan: Plan
    both: Counts
    step: Arms
    pairs: tuple[Pairs, ...] | None
    split: Verdict
    recent: Callable[[], tuple[Counts, tuple[Pairs, ...] | None]] | None
    alpha: float
    answers: bool = True

    @property
    def terms(self) -> Terms:
        """On which it was counted."""
        return self.plan.terms

    def verdict(self, *, detail: bool) -> Verdict:
        """What the evidence says; `detail` as of `judge`."""
        if not self.answers and self.pairs is None:
            metric = self.guardrail.metric
            said = f"{metric.words}: nothing is asked of it before the canary answers"
            return Verdict(Status.INCONCLUSIVE, metric.value, said, self.guardrail, threshold=log_threshold(self.alpha))
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
        if self.guardrail.quantile is not None:
            return Tails(self.guardrail.metric, self.guardrail.quantile, self.step.weight, known.by_hour)
        return measure(self.guardrail.metric, known, self.step.weight, self.guardrail.bound, self.terms)

    def _own(self, known: Counts) -> Own:
        """Events of the treatment, at whatever weight."""
        metric = self.guardrail.metric
        if self.guardrail.quantile is not None:
            return OwnQuantile(self.guardrail.quantile, known.own)
        kind = metric.kind
        if kind is None:
            return Rate(())
        if self.pairs is not None and not self.answers:
            seen = () if self._late else self.pairs  # only pairs with a label are counted then: a share of these
            return Rate([Trials(each.both + each.canary_only, each.seen, each.hour) for each in seen])
        if self.terms.hourly:
            return own_rate(metric, known)
        keys = exposed(metric, known.whole.treatment, self.terms)
        return Rate([Trials(min(keys, known.whole.treatment.events.get(kind, 0)), keys)])

    def _contradicted(self) -> bool:
        """Whether a test of the evidence of late alone shows harm."""
        if self.recent is None:
            return False
        known, pairs = self.recent()
        harm = fails(self.guardrail, self._measured(known, pairs), self._own(known), later=False)
        return harm.evidence >= log_threshold(self.plan.alpha)

    def _fault(self) -> str | None:
        """Why the comparison with the control, or with a fixed rate, cannot be trusted."""
        if self._late and self.terms.hourly and (self.guardrail.limit or self.guardrail.negligible):
            fault = own_fault(self.guardrail.metric, self.both)
            if fault:
                return fault
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
            if any(each.seen for each in self.pairs):
                return None
            if self._late and self.terms.hourly and not (whole.treatment.matured or whole.control.matured):
                return Status.INCONCLUSIVE, _IMMATURE
            return Status.NODATA, "0 requests were scored by both versions, at least 1 is needed"
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
        one = self.guardrail
        return value_of(one.metric, arms.of(variant), self.terms, one.bound, one.quantile)

    def _approximate(self, arms: Arms, variant: Variant) -> bool:
        if self.guardrail.quantile is not None:
            return False
        return approximate(self.guardrail.metric, arms.of(variant), self.guardrail.bound)

    def _reason(self, verdict: Verdict, why: str | None) -> str:
        """One sentence: what speaks for the status, then both numbers of the whole rollout."""
        guardrail, metric, whole = self.guardrail, self.guardrail.metric, self.both.whole
        row = guardrail.row
        values = compared_values(metric, self.both, self.terms, guardrail.bound, guardrail.quantile)
        both = ", ".join(
            f"{tally.variant} {row.describe(value, approximate=self._approximate(whole, tally.variant))}"
            f" of {exposed(metric, tally, self.terms, guardrail.quantile):,}"
            for tally, value in zip((whole.treatment, whole.control), values, strict=True)
        )
        both += f" {row.among if self.terms.hourly else row.among.replace('requests', 'keys')}"
        parts = [f"{why} ({both})" if why else both]
        if why is None:
            parts += [self._compared(verdict)] if guardrail.margin is not None else []
            rates = (("limit", guardrail.limit), ("negligible below", guardrail.negligible))
            parts += [f"{name} {row.describe(rate)}" for name, rate in rates if rate is not None]
        if verdict.coverage is not None:
            among = "alerts reviewed" if metric.row.among_alerts else "matured keys labelled"
            parts.append(f"{percent(verdict.coverage)} of {among}")
        return f"{metric.words}: {'; '.join(parts)}"

    def _compared(self, verdict: Verdict) -> str:
        name = "ratio" if self.guardrail.relative else "difference"
        if self.guardrail.quantile is not None and self.guardrail.metric is Metric.SCORE_SHIFT:
            name = f"ratio of the shares above the control's {self.guardrail.row.column}"
        limits = " or ".join(f"{ratio(b)}" for b, _ in boundaries(self.guardrail))
        found = "unknown" if verdict.estimate is None else ratio(verdict.estimate)
        if verdict.interval is not None:
            found += f" (between {ratio(verdict.interval.low)} and {ratio(verdict.interval.high)})"
        return f"{name} {found} against {limits} allowed"


_IMMATURE = "no label has reached its maturity yet"
_CONTRADICTED = "a PASS of the whole that the evidence of late contradicts"


def _missing_labels(metric: Metric, sides: Sequence[Tally]) -> tuple[Status, str] | None:
    if any(not tally.matured for tally in sides):
        return Status.INCONCLUSIVE, _IMMATURE
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
