"""Evidence + rollout -> verdicts. A judge does no I/O, may be asked at any time, and every verdict says both numbers.

One verdict per guardrail, and before them one on the evidence itself: do keys split as the weights say? Alpha is split
evenly over the guardrails for the whole rollout; evidence carries over from step to step, and only the displayed
numbers restart.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from fds_mlflow.core.evidence.arms import Counts, arms_of_step, counts, over_hours
from fds_mlflow.core.evidence.evidence import EventKind, Evidence
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.case import Case
from fds_mlflow.core.judge.labels import pairs_fault
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.lifecycle.verdict import SEVERITY, Judgement, Status, Verdict, worst
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import SRM_ALPHA
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.sequential import Segment, srm_evidence
from fds_mlflow.core.statistics.wealth import log_threshold
from fds_mlflow.core.text.numbers import percent
from fds_mlflow.core.weight import FULL
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
    split = _split(both) if rollout.weight else replace(_NO_SPLIT, threshold=log_threshold(SRM_ALPHA))

    def case(guardrail: Guardrail) -> Case:
        pairs = _pairs(evidence, guardrail, rollout, both)
        recent = partial(_recent, evidence, rollout, guardrail, pairs) if plan.terms.hourly else None
        return Case(guardrail, plan, both, step, pairs, split, recent, plan.alpha_each, answers=rollout.weight > 0)

    whole = (case(guardrail).verdict(detail=detail) for guardrail in plan.guardrails)
    verdicts = (split, *whole, *_segments(evidence, rollout, detail=detail))
    canary = [tally for tally in evidence.tallies if tally.variant is Variant.CANARY]
    keys = sum(tally.keys for tally in canary)
    requests = sum(tally.requests for tally in canary if tally.step == rollout.step)
    outcomes = min(requests, keys) if rollout.weight else evidence.pairs.get(EventKind.ERROR, Pairs()).seen
    matured = sum(tally.matured for tally in canary)
    return Judgement(verdicts, outcomes, keys, matured, _silent(evidence, rollout))


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
            case = Case(guardrail, plan, both, step, None, split, None, alpha)
            verdict = case.verdict(detail=False)
            if verdict.status is not Status.FAIL:
                continue
            if detail:
                verdict = case.verdict(detail=True)
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
    kept = _since(evidence, max(evidence.as_of - RECENT, rollout.since)) if evidence.hours else evidence
    if any(t.requests for t in kept.tallies if t.variant is Variant.CANARY and 0 < t.weight < FULL):
        return ""
    late = counts(kept, is_watch=False).by_weight
    champion = sum(arms.control.keys for arms in late)
    expected = sum(arms.control.keys * arms.weight / (1 - arms.weight) for arms in late)
    starts = [arms.control.first for arms in late if arms.control.first is not None]
    if starts and evidence.as_of - min(starts) < LAG:
        return ""
    if expected < rollout.plan.min_outcomes:
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


_NO_SPLIT = Verdict(Status.INCONCLUSIVE, SPLIT, "nothing is routed to the canary yet")


def _is_paired(evidence: Evidence, guardrail: Guardrail, rollout: Rollout, both: Counts) -> bool:
    """Whether a guardrail is judged by requests that both versions scored."""
    metric = guardrail.metric
    if guardrail.paired or not metric.row.can_be_paired:
        return bool(guardrail.paired)
    if not rollout.weight:
        return True  # there is nothing else
    # Errors are made while answering, too: a shadow does not show them all.
    asked = guardrail.paired is None and rollout.plan.shadow > 0 and metric is not Metric.ERROR_RATE
    if not asked or not rollout.plan.terms.hourly or metric.kind not in evidence.pairs:
        return False
    return not metric.needs_labels or pairs_fault(metric, both) is None


def _pairs(evidence: Evidence, guardrail: Guardrail, rollout: Rollout, both: Counts) -> tuple[Pairs, ...] | None:
    """Shadow evidence of a paired guardrail by the hour, the treatment as the canary; None where it is not paired."""
    kind = guardrail.metric.kind
    if kind is None or not _is_paired(evidence, guardrail, rollout, both):
        return None
    pairs = evidence.paired_hours.get(kind) or (evidence.pairs.get(kind, Pairs()),)
    known = evidence.known_pairs.get(kind)
    if known is not None and both.least_chance is not None:
        least = min(*known, both.least_chance)
        pairs = tuple(replace(each, worth=least / chance) for chance, hours in known.items() for each in hours)
    if not rollout.is_watch:
        return pairs
    return tuple(replace(each, canary_only=each.champion_only, champion_only=each.canary_only) for each in pairs)


RECENT = timedelta(hours=24)
"""No PASS stands that the evidence of this time, or of the step where that is shorter, contradicts."""


def _recent(
    evidence: Evidence, rollout: Rollout, guardrail: Guardrail, pairs: tuple[Pairs, ...] | None
) -> tuple[Counts, tuple[Pairs, ...] | None]:
    """The evidence of late, and what of these pairs is: for labels, of what has matured last."""
    maturity = rollout.plan.label_maturity
    if guardrail.metric.needs_labels and maturity is not None:
        since = evidence.as_of - maturity - RECENT
    else:
        since = max(evidence.as_of - RECENT, rollout.since)
    late = None if pairs is None else tuple(p for p in pairs if p.hour >= _hour(since))
    return counts(_since(evidence, since), is_watch=rollout.is_watch), late


LAG = timedelta(minutes=10)
"""By so much the canary's outcomes may come later than the champion's: servers write theirs in batches."""


def _since(evidence: Evidence, since: datetime) -> Evidence:
    """What was counted in the hours from a time on."""
    kept = tuple(tally for tally in evidence.hours if tally.hour >= _hour(since))
    return replace(evidence, tallies=kept, hours=kept)


def _hour(time: datetime) -> int:
    return int(time.timestamp()) // 3600
