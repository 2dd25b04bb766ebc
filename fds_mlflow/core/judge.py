"""Evidence + plan -> verdict. A judge does no I/O, and every verdict says both numbers.

The rule here is a plain one: enough outcomes, a success rate above the plan's threshold, and not too far below the
champion's under the same rollout and step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fds_mlflow.core.evidence import VariantCounts
from fds_mlflow.core.plan import FULL, Plan


class Status(StrEnum):
    """What a verdict says."""

    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    NODATA = "NODATA"
    ERROR = "ERROR"
    FAIL = "FAIL"


SEVERITY = (Status.PASS, Status.INCONCLUSIVE, Status.NODATA, Status.ERROR, Status.FAIL)
"""From harmless to harmful; every worst-of goes through this tuple."""


ROUNDING = 1e-12
"""Floating-point slack of a difference of rates: exactly at a limit passes."""


@dataclass(frozen=True)
class Verdict:
    """What the evidence says about one question.

    Attributes:
        status: The answer.
        check: The question.
        reason: One sentence with both numbers.
    """

    status: Status
    check: str
    reason: str


def worst(verdicts: list[Verdict]) -> Verdict:
    """The most severe verdict; the last of those that are equally severe, since later checks say more."""
    return max(reversed(verdicts), key=lambda verdict: SEVERITY.index(verdict.status))


def judge(champion: VariantCounts, canary: VariantCounts, plan: Plan, weight: int) -> list[Verdict]:
    """Judge the canary by its outcomes in the step and the champion's in the same step.

    Args:
        champion: The champion's outcomes in the step.
        canary: The canary's outcomes in the step.
        plan: What is asked of it.
        weight: The weight in force, in basis points. At 10000 there is no champion to compare with.

    Returns:
        One verdict per check; `worst` gives the overall one.
    """
    enough = _enough(canary, plan)
    if enough.status is not Status.PASS:
        return [enough]
    verdicts = [enough, _threshold(canary, plan)]
    if weight < FULL:
        verdicts.append(_drop(champion, canary, plan))
    return verdicts


def _enough(canary: VariantCounts, plan: Plan) -> Verdict:
    check = "outcomes"
    if canary.keys == 0:
        return Verdict(Status.NODATA, check, f"the canary has 0 outcomes in this step, {plan.min_outcomes} are needed")
    if canary.keys < plan.min_outcomes:
        reason = f"the canary has {canary.keys} outcomes in this step < {plan.min_outcomes} needed"
        return Verdict(Status.INCONCLUSIVE, check, reason)
    reason = f"the canary has {canary.keys} outcomes in this step >= {plan.min_outcomes}, {canary.labelled} labelled"
    return Verdict(Status.PASS, check, reason)


def _threshold(canary: VariantCounts, plan: Plan) -> Verdict:
    check = "success rate"
    rate, least = canary.success_rate or 0.0, plan.min_success_rate
    if rate < least - ROUNDING:
        reason = f"the canary succeeds on {_percent(rate)} of {canary.keys} keys < threshold {_percent(least)}"
        return Verdict(Status.FAIL, check, reason)
    return Verdict(Status.PASS, check, f"the canary succeeds on {_percent(rate)} >= threshold {_percent(least)}")


def _drop(champion: VariantCounts, canary: VariantCounts, plan: Plan) -> Verdict:
    check = "success rate against the champion"
    if champion.keys < plan.min_outcomes:
        status = Status.NODATA if champion.keys == 0 else Status.INCONCLUSIVE
        reason = f"the champion has {champion.keys} outcomes in this step < {plan.min_outcomes} needed to compare"
        return Verdict(status, check, reason)
    theirs, ours = champion.success_rate or 0.0, canary.success_rate or 0.0
    least = theirs - plan.max_success_drop
    both = (
        f"canary {_percent(ours)} of {canary.keys} keys ({canary.labelled} labelled),"
        f" champion {_percent(theirs)} of {champion.keys} ({champion.labelled} labelled)"
    )
    if ours < least - ROUNDING:
        return Verdict(Status.FAIL, check, f"{both}: {_percent(ours)} < limit {_percent(least)}")
    return Verdict(Status.PASS, check, f"{both}: {_percent(ours)} >= limit {_percent(least)}")


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"
