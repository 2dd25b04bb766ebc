"""The judge: one severity order, both numbers in every reason, and harm that never helps a canary."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.evidence.bins import SCORE_BINS
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally, Terms
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import SEVERITY, SPLIT, Judgement, Status, Verdict, judge, worst
from fds_mlflow.core.lifecycle.controller import Action, next_step
from fds_mlflow.core.plan.plan import GUARDRAILS, Guardrail, Metric, Plan
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.wealth import log_threshold
from fds_mlflow.errors import ConfigError
from tests.support.effort import at_most
from tests.support.golden_cases import case, cases
from tests.support.trials import CANARY, CHAMPION, FINE, NOON, evidence, guardrail, labelled, rollout, tally

LABELS = {"label_maturity": "30d"}


def only(guardrail: Guardrail, *tallies: Tally, pairs: dict[EventKind, Pairs] | None = None, **options: Any) -> Verdict:
    """The verdict of a plan's one guardrail."""
    plan = Plan(guardrails=[guardrail], **{**(LABELS if guardrail.metric.needs_labels else {}), **options})
    (split, verdict) = judge(evidence(plan, tallies, pairs), rollout(plan)).verdicts
    assert split.check == SPLIT
    return verdict


@pytest.mark.parametrize("name", cases("judge"))
def test_golden_verdicts(name: str) -> None:
    """The counts of a golden case lead to exactly its verdicts, numbers, overall verdict and action."""
    values = case("judge", name)
    plan = Plan.from_dict(values["plan"])
    tallies = [tally(Variant(row.pop("variant")), row.pop("keys"), **row) for row in values["tallies"]]
    at = rollout(plan, step=values.get("step", 0), percent=values["percent"])
    made = judge(evidence(plan, tallies), at)
    assert {verdict.check: verdict.status.value for verdict in made.verdicts} == values["statuses"]
    numbers = {verdict.check: [verdict.champion, verdict.canary] for verdict in made.verdicts}
    assert {check: numbers[check] for check in values["numbers"]} == values["numbers"]
    assert made.overall.status.value == values["overall"]
    assert next_step(at, made, NOON).action.value == values["action"]


# --- severity --------------------------------------------------------------------------------------------------------


def test_severity_orders_every_status_once() -> None:
    """One tuple orders all statuses, from harmless to harmful."""
    assert SEVERITY == (Status.PASS, Status.INCONCLUSIVE, Status.NODATA, Status.ERROR, Status.FAIL)
    assert set(SEVERITY) == set(Status)


@given(st.lists(st.sampled_from(SEVERITY), min_size=1, max_size=6))
def test_the_worst_is_the_most_severe_and_the_latest_of_equals(statuses: list[Status]) -> None:
    """One bad check decides; of equally bad ones the later says more."""
    verdicts = [Verdict(status, str(i), "") for i, status in enumerate(statuses)]
    found = worst(verdicts)
    assert SEVERITY.index(found.status) == max(map(SEVERITY.index, statuses))
    assert found.check == str(max(i for i, status in enumerate(statuses) if status is found.status))


@pytest.mark.parametrize("status", Status)
def test_only_a_failure_of_an_optional_guardrail_matters(status: Status) -> None:
    """Completion does not wait for an optional guardrail, but its FAIL is a FAIL."""
    optional = Verdict(status, "x", "", guardrail=Guardrail(Metric.ERROR_RATE, margin=1.0, required=False))
    overall = Judgement((Verdict(Status.PASS, SPLIT, ""), optional), 1, 1).overall
    assert overall.status is (Status.FAIL if status is Status.FAIL else Status.PASS)


# --- the split -------------------------------------------------------------------------------------------------------


def test_a_split_that_is_not_the_weight_breaks_the_evidence() -> None:
    """Twice the canary's share of keys is no chance: nothing is judged by comparison, and both shares are told."""
    plan = Plan()
    made = judge(evidence(plan, [tally(CHAMPION, 900, error=9), tally(CANARY, 200, error=100)]), rollout(plan))
    assert {verdict.status for verdict in made.verdicts} == {Status.ERROR}
    assert "18.18 %" in made.verdicts[0].reason
    assert "10.00 %" in made.verdicts[0].reason
    assert all("the split is broken" in verdict.reason for verdict in made.verdicts[1:])


def test_a_limit_holds_even_where_the_split_is_broken() -> None:
    """The canary's own rate needs no champion: half of the requests failing is a FAIL under any split."""
    broken = tally(CHAMPION, 900), tally(CANARY, 200, error=100)
    assert only(Guardrail(Metric.ERROR_RATE, margin=1.0, limit=0.1), *broken).status is Status.FAIL
    assert only(Guardrail(Metric.ERROR_RATE, limit=0.1), *broken).status is Status.FAIL


def test_the_weight_is_the_one_recorded_with_the_outcome() -> None:
    """Outcomes of an earlier step are compared under the weight they were routed by, not today's."""
    plan = Plan()
    steps = [tally(CHAMPION, 9_000), tally(CANARY, 1_000)]
    later = [tally(CHAMPION, 5_000, step=1, percent=50), tally(CANARY, 5_000, step=1, percent=50)]
    made = judge(evidence(plan, [*steps, *later]), rollout(plan, step=1, percent=50))
    assert made.verdicts[0].status is Status.PASS
    relabelled = [replace(t, weight=5_000) for t in steps]
    made = judge(evidence(plan, [*relabelled, *later]), rollout(plan, step=1, percent=50))
    assert made.verdicts[0].status is Status.ERROR


# --- each metric -----------------------------------------------------------------------------------------------------

HARMFUL = {
    Metric.ERROR_RATE: tally(CANARY, 10_000, error=400),
    Metric.ALERT_RATE: tally(CANARY, 10_000, alert=400),
    Metric.LATENCY: tally(CANARY, 10_000, slow=400),
    Metric.SCORE_SHIFT: tally(CANARY, 10_000, score=0.4),
    Metric.MISSED_FRAUD: labelled(CANARY, 10_000, alerts=100, reviewed=100, false=50, missed=400),
    Metric.FALSE_POSITIVES: labelled(CANARY, 10_000, alerts=400, reviewed=400, false=350, missed=100),
    Metric.ALERT_PRECISION: labelled(CANARY, 10_000, alerts=100, reviewed=100, false=95, missed=100),
    Metric.MONEY_LOST: labelled(CANARY, 10_000, alerts=100, reviewed=100, false=50, missed=400),
}


@pytest.mark.parametrize("metric", Metric)
def test_every_metric_passes_a_good_canary_and_fails_a_harmful_one(metric: Metric) -> None:
    """Equal numbers pass with enough evidence, four times the harm fails; both numbers and the ratio are told."""
    champion, good = FINE[metric]
    passed, failed = only(guardrail(metric), champion, good), only(guardrail(metric), champion, HARMFUL[metric])
    assert (passed.status, failed.status) == (Status.PASS, Status.FAIL)
    for verdict in (passed, failed):
        assert verdict.champion is not None
        assert verdict.canary is not None
        assert verdict.estimate is not None
        assert verdict.interval is not None
        assert verdict.interval.low <= verdict.estimate <= verdict.interval.high
        assert verdict.threshold == log_threshold(0.05)
        assert len(re.findall(r"\d+(?:\.\d+)?", verdict.reason)) >= 4, verdict.reason
        assert (verdict.coverage is not None) == metric.needs_labels
    assert passed.pass_evidence is not None
    assert passed.threshold is not None
    assert passed.pass_evidence >= passed.threshold
    assert failed.fail_evidence is not None
    assert failed.threshold is not None
    assert failed.fail_evidence >= failed.threshold


@pytest.mark.parametrize("metric", Metric)
def test_every_metric_is_undecided_on_little_evidence_and_says_how_long_it_will_be(metric: Metric) -> None:
    """A tenth of a per mille of the evidence decides nothing, and the wait it names is about what it then takes."""
    champion, good = FINE[metric]
    few = [_scaled(champion, 100), _scaled(good, 100)]
    verdict = only(guardrail(metric), *few)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.requests_to_go is not None
    factor = (1.15 * verdict.requests_to_go + few[1].keys) / few[1].keys
    later = [_scaled(t, 1 / factor) for t in few]
    assert only(guardrail(metric), *later).status is Status.PASS
    assert only(guardrail(metric), *few).requests_to_go == verdict.requests_to_go


def _scaled(made: Tally, by: float) -> Tally:
    """A tally with all its counts divided."""
    counts = {
        name: round(getattr(made, name) / by)
        for name in (
            *("requests", "keys", "matured", "labelled", "matured_requests", "passed_genuine"),
            *("matured_alerts", "reviewed_alerts", "false_alerts"),
        )
    }
    return replace(
        made,
        **counts,
        events={kind: round(count / by) for kind, count in made.events.items()},
        scores=tuple(round(count / by) for count in made.scores),
        losses=tuple(round(count / by) for count in made.losses),
    )


@pytest.mark.parametrize("side", ["higher", "lower", "both"])
@pytest.mark.parametrize("metric", [Metric.ALERT_RATE, Metric.SCORE_SHIFT])
def test_a_side_decides_which_deviation_harms(metric: Metric, side: Any) -> None:
    """Alerts that double or halve, and scores that rise or fall, fail on the side that was named."""
    more = HARMFUL[metric]
    fewer = tally(CANARY, 10_000, alert=20, score=0.0)
    champion = tally(CHAMPION, 90_000, alert=900, score=0.1)
    found = {
        name: only(guardrail(metric, side=side), champion, canary).status
        for name, canary in (("higher", more), ("lower", fewer))
    }
    assert found == {name: Status.FAIL if side in (name, "both") else Status.PASS for name in ("higher", "lower")}


def test_no_errors_at_all_pass_where_few_are_negligible() -> None:
    """Without a single event no ratio is known; with a negligible rate, enough requests without one pass."""
    nothing = tally(CHAMPION, 45_000), tally(CANARY, 5_000)
    assert only(Guardrail(Metric.ERROR_RATE, margin=1.0), *nothing).status is Status.INCONCLUSIVE
    assert only(Guardrail(Metric.ERROR_RATE, margin=1.0), *nothing).requests_to_go is None
    assert only(Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.002), *nothing).status is Status.PASS


def test_a_negligible_rate_is_no_harm_whatever_the_ratio() -> None:
    """Ten times the champion's errors do not fail a canary while they stay below what is negligible."""
    rare = tally(CHAMPION, 900_000, error=9), tally(CANARY, 100_000, error=30)
    assert only(Guardrail(Metric.ERROR_RATE, margin=1.0), *rare).status is Status.FAIL
    assert only(Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.002), *rare).status is Status.PASS


def test_a_limit_fails_whatever_the_champion_does() -> None:
    """A canary as bad as its champion still fails above the absolute limit, and must be shown below it to pass."""
    bad = tally(CHAMPION, 9_000, error=1_800), tally(CANARY, 1_000, error=200)
    assert only(Guardrail(Metric.ERROR_RATE, margin=1.0), *bad).status is Status.PASS
    failed = only(Guardrail(Metric.ERROR_RATE, margin=1.0, limit=0.1), *bad)
    assert failed.status is Status.FAIL
    assert "canary 20.00 %" in failed.reason
    assert "limit 10.00 %" in failed.reason
    near = only(Guardrail(Metric.ERROR_RATE, margin=1.0, limit=0.21), *bad)
    assert near.status is Status.INCONCLUSIVE
    assert only(Guardrail(Metric.ERROR_RATE, limit=0.3), bad[1]).status is Status.PASS


def test_numbers_restart_with_the_step_and_evidence_does_not() -> None:
    """The displayed rates are the step's; a canary that failed before is still failing."""
    plan = Plan(guardrails=[Guardrail(Metric.ERROR_RATE, margin=1.0)])
    first = [tally(CHAMPION, 9_000, error=90), tally(CANARY, 1_000, error=100)]
    second = [tally(CHAMPION, 300, step=1, percent=25, error=3), tally(CANARY, 100, step=1, percent=25, error=1)]
    before = judge(evidence(plan, first), rollout(plan)).verdicts[1]
    after = judge(evidence(plan, [*first, *second]), rollout(plan, step=1)).verdicts[1]
    assert (before.champion, before.canary) == (0.01, 0.1)
    assert (after.champion, after.canary) == (0.01, 0.01)
    assert after.status is Status.FAIL
    assert judge(evidence(plan, second), rollout(plan, step=1)).verdicts[1].status is Status.INCONCLUSIVE


def test_all_traffic_has_no_control() -> None:
    """At 100 % nothing is added to a comparison; the evidence of the steps before stays as it was."""
    plan = Plan(guardrails=[Guardrail(Metric.ERROR_RATE, margin=1.0)])
    before = [tally(CHAMPION, 9_000, error=90), tally(CANARY, 1_000, error=10)]
    alone = tally(CANARY, 5_000, step=3, percent=100, error=5_000)
    first = judge(evidence(plan, before), rollout(plan)).verdicts[1]
    then = judge(evidence(plan, [*before, alone]), rollout(plan, step=3)).verdicts[1]
    assert (then.fail_evidence, then.pass_evidence, then.estimate) == (
        first.fail_evidence, first.pass_evidence, first.estimate,
    )  # fmt: skip
    assert (then.champion, then.canary) == (None, 1.0)
    made = judge(evidence(plan, [alone]), rollout(plan, step=3))
    assert {verdict.status for verdict in made.verdicts} == {Status.NODATA}


def test_a_watch_judges_the_champion_by_its_control() -> None:
    """In a watch the roles swap: a champion worse than the small control fails, a bad control fails nobody."""
    plan = Plan([10], guardrails=[Guardrail(Metric.ERROR_RATE, margin=1.0)])
    worse = [tally(CHAMPION, 9_000, error=900), tally(CANARY, 1_000, error=10)]
    made = judge(evidence(plan, worse), rollout(plan, is_watch=True)).verdicts[1]
    assert made.status is Status.FAIL
    assert (made.champion, made.canary, round(made.estimate or 0)) == (0.1, 0.01, 10)
    better = [tally(CHAMPION, 9_000, error=90), tally(CANARY, 1_000, error=100)]
    assert judge(evidence(plan, better), rollout(plan, is_watch=True)).verdicts[1].status is Status.PASS


# --- shadows ---------------------------------------------------------------------------------------------------------


def test_a_paired_guardrail_reads_the_pairs_and_nothing_else() -> None:
    """Whether shadow evidence counts is decided by the plan in advance, never by what looks better."""
    unequal = {EventKind.ALERT: Pairs(both=100, champion_only=5, canary_only=300, neither=9_000)}
    fine = tally(CHAMPION, 90_000, alert=900), tally(CANARY, 10_000, alert=100)
    paired, split = (Guardrail(Metric.ALERT_RATE, margin=1.0, paired=on) for on in (True, False))
    assert only(paired, *fine, pairs=unequal).status is Status.FAIL
    assert only(split, *fine, pairs=unequal).status is Status.PASS
    assert only(paired, *fine).status is Status.NODATA
    broken = tally(CHAMPION, 900), tally(CANARY, 200)
    equal = {EventKind.ALERT: Pairs(both=900, champion_only=20, canary_only=20, neither=9_000)}
    assert only(paired, *broken, pairs=equal).status is Status.PASS, "pairs do not depend on the split"


def test_a_paired_watch_swaps_the_pairs_too() -> None:
    """More errors of the champion than of its control, on the same requests, fail the champion."""
    plan = Plan([10], guardrails=[Guardrail(Metric.ERROR_RATE, margin=1.0, paired=True)])
    pairs = {EventKind.ERROR: Pairs(both=0, champion_only=300, canary_only=5, neither=900)}
    tallies = [tally(CHAMPION, 900), tally(CANARY, 100)]
    assert judge(evidence(plan, tallies, pairs), rollout(plan, is_watch=True)).verdicts[1].status is Status.FAIL


# --- silence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("silent", ["nobody", "champion", "canary"])
def test_without_outcomes_nothing_passes(metric: Metric, silent: str) -> None:
    """No outcomes of one variant, or of both, are NODATA, and soon a broken split, however good the other looks."""
    tallies = [t for t in FINE[metric] if silent not in ("nobody", t.variant)]
    few = only(guardrail(metric), *(_scaled(t, t.keys) for t in tallies))
    assert few.status is Status.NODATA
    assert re.search(r"\b0 outcomes", few.reason)
    many = only(guardrail(metric), *tallies)
    assert many.status is (Status.NODATA if silent == "nobody" else Status.ERROR)


def test_requests_without_a_score_are_no_scores() -> None:
    """A canary that never scored anything has not shifted its scores: it is NODATA."""
    silent = replace(tally(CANARY, 1_000, error=1_000), scores=(0,) * SCORE_BINS)
    assert only(guardrail(Metric.SCORE_SHIFT), tally(CHAMPION, 9_000), silent).status is Status.NODATA


@pytest.mark.parametrize("metric", [metric for metric in Metric if metric.needs_labels])
def test_labels_that_have_not_matured_are_waited_for_and_missing_ones_are_missing(metric: Metric) -> None:
    """Before the maturity nobody knows; when it has come and no label has, that is NODATA and not "no fraud"."""
    young = [tally(CHAMPION, 9_000, alert=90), tally(CANARY, 1_000, alert=10)]
    waiting = only(guardrail(metric), *young)
    assert (waiting.status, waiting.coverage) == (Status.INCONCLUSIVE, None)
    assert "no label has reached its maturity" in waiting.reason
    silent = [replace(t, matured=t.keys, matured_alerts=t.events[EventKind.ALERT]) for t in young]
    missing = only(guardrail(metric), *silent)
    assert (missing.status, missing.coverage) == (Status.NODATA, 0.0)


def test_evidence_on_other_terms_is_refused() -> None:
    """Counts at another maturity or latency bound answer another question."""
    plan = Plan()
    other = Evidence(terms=Terms(latency_bound=5.0), as_of=rollout(plan).since)
    with pytest.raises(ConfigError, match="counted on"):
        judge(other, rollout(plan))


def test_what_a_step_has_seen_is_no_more_than_distinct_keys() -> None:
    """Retries of one key are no evidence, and returning customers are: the smaller of requests and keys counts."""
    plan = Plan()
    retries = judge(evidence(plan, [tally(CANARY, 5, requests=500)]), rollout(plan))
    assert (retries.outcomes, retries.keys) == (5, 5)
    known = [tally(CANARY, 300), tally(CANARY, 0, step=1, percent=25, requests=200)]
    returning = judge(evidence(plan, known), rollout(plan, step=1))
    assert (returning.outcomes, returning.keys) == (200, 300)


# --- laws ------------------------------------------------------------------------------------------------------------

HIGHER = (
    Guardrail(Metric.ERROR_RATE, margin=0.5),
    Guardrail(Metric.ERROR_RATE, margin=0.5, limit=0.3),
    Guardrail(Metric.ERROR_RATE, margin=0.5, negligible=0.02),
    Guardrail(Metric.ERROR_RATE, limit=0.1),
)
keys = st.integers(0, 3_000)


@st.composite
def tallies(draw: st.DrawFn) -> list[Tally]:
    """Outcomes of a few steps, each variant under one or two weights."""
    made = []
    for step, percent in draw(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([5, 10, 50, 100])), max_size=4)):
        for variant in (CHAMPION, CANARY):
            count = draw(keys)
            errors, alerts = draw(st.integers(0, count)), draw(st.integers(0, count))
            score = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
            made.append(tally(variant, count, step=step, percent=percent, error=errors, alert=alerts, score=score))
    return made


@given(tallies(), st.sampled_from(HIGHER), st.integers(1, 400), st.data())
@at_most(60)
def test_more_harm_never_improves_a_verdict(
    made: list[Tally], asked: Guardrail, more: int, data: st.DataObject
) -> None:
    """More of the canary's keys with an error, all else equal: the verdict is as severe as before or more."""
    plan = Plan(guardrails=[asked])
    canaries = [place for place, t in enumerate(made) if t.variant is CANARY and t.keys]
    if not canaries:
        return
    place = data.draw(st.sampled_from(canaries))
    errors = min(made[place].keys, made[place].events[EventKind.ERROR] + more)
    worse = [*made]
    worse[place] = replace(made[place], events={**made[place].events, EventKind.ERROR: errors})
    before, after = (
        judge(evidence(plan, each), rollout(plan), detail=False).verdicts[1].status for each in (made, worse)
    )
    assert SEVERITY.index(after) >= SEVERITY.index(before)


@given(tallies(), st.randoms(use_true_random=False))
@at_most(30)
def test_the_order_of_tallies_means_nothing(made: list[Tally], random: Any) -> None:
    """A judgement is a function of what was counted, not of how it is listed."""
    shuffled = [*made]
    random.shuffle(shuffled)
    plan = Plan()
    assert judge(evidence(plan, shuffled), rollout(plan), detail=False) == judge(
        evidence(plan, made), rollout(plan), detail=False
    )


@given(tallies(), st.integers(2, 7))
@at_most(30)
def test_splitting_a_tally_changes_nothing(made: list[Tally], by: int) -> None:
    """Counting in portions gives the judgement of counting at once."""
    plan = Plan()
    parts = []
    for each in made:
        part = _scaled(each, by)
        rest = replace(
            each,
            requests=each.requests - part.requests,
            matured_requests=each.matured_requests - part.matured_requests,
            keys=each.keys - part.keys,
            events={kind: count - part.events[kind] for kind, count in each.events.items()},
            scores=tuple(a - b for a, b in zip(each.scores, part.scores, strict=True)),
            losses=tuple(a - b for a, b in zip(each.losses, part.losses, strict=True)),
        )
        parts += [part, rest]
    assert judge(evidence(plan, parts), rollout(plan), detail=False) == judge(
        evidence(plan, made), rollout(plan), detail=False
    )


@given(tallies())
@at_most(30)
def test_detail_changes_no_verdict(made: list[Tally]) -> None:
    """Intervals and waiting times are told beside a verdict; they never make one."""
    plan = Plan(guardrails=[*GUARDRAILS])
    quick = judge(evidence(plan, made), rollout(plan), detail=False)
    full = judge(evidence(plan, made), rollout(plan))
    assert [v.status for v in quick.verdicts] == [v.status for v in full.verdicts]
    assert [v.fail_evidence for v in quick.verdicts] == [v.fail_evidence for v in full.verdicts]


def test_a_shadow_step_is_judged_by_what_both_versions_scored() -> None:
    """At 0 % the canary answers nobody: it advances by pairs, fails by pairs, and nothing else is asked of it."""
    plan = Plan([0, 10, 100], shadow=10)
    seen = tally(CHAMPION, 90_000, percent=0, alert=900)
    for extra, status, action in ((0, Status.INCONCLUSIVE, Action.ADVANCE), (300, Status.FAIL, Action.ABORT)):
        pairs = {
            EventKind.ERROR: Pairs(neither=9_000),
            EventKind.ALERT: Pairs(both=85, champion_only=5, canary_only=5 + extra, neither=8_905 - extra),
        }
        found = judge(evidence(plan, [seen], pairs), rollout(plan))
        assert found.overall.status is status
        assert found.outcomes == 9_000
        assert next_step(rollout(plan), found, NOON).action is action
    assert "before the canary answers" in found.verdicts[-1].reason


def test_a_shadow_step_without_shadows_waits() -> None:
    """Without any request that both versions scored, nobody knows anything of the canary."""
    plan = Plan([0, 10, 100], shadow=10)
    found = judge(evidence(plan, [tally(CHAMPION, 90_000, percent=0)]), rollout(plan))
    assert next_step(rollout(plan), found, NOON).action is Action.WAIT
    with pytest.raises(ConfigError, match="do not rise from above 0"):
        Plan([0, 10, 100])


@pytest.mark.parametrize(("paired", "status"), [(None, Status.FAIL), (False, Status.INCONCLUSIVE)])
def test_shadows_judge_alerts_where_a_plan_has_them(paired: bool | None, status: Status) -> None:
    """With a shadow, alerts are judged by pairs unless the guardrail says otherwise: they see more."""
    alerts = Guardrail(Metric.ALERT_RATE, margin=0.5, paired=paired)
    plan = Plan([10, 100], shadow=10, guardrails=[alerts])
    known = [tally(CHAMPION, 90_000, alert=90), tally(CANARY, 10_000, alert=11)]
    pairs = {EventKind.ALERT: Pairs(both=10, canary_only=60, neither=8_930)}
    assert judge(evidence(plan, known, pairs), rollout(plan)).verdicts[1].status is status


def test_an_interval_holds_its_estimate_where_no_one_ratio_fits() -> None:
    """Ten times the losses under one weight and a tenth under another are shown as one estimate within its interval."""
    plan = Plan([10, 50, 100], guardrails=[guardrail(Metric.MONEY_LOST)], label_maturity="1d")
    frauds = {(0, 10.0): (900, 1_000), (1, 50.0): (900, 90)}
    tallies = [
        labelled(
            v, 100_000, step=step, percent=weight, alerts=100, reviewed=100, false=50, missed=missed, genuine=1_000
        )
        for (step, weight), both in frauds.items()
        for v, missed in zip((CHAMPION, CANARY), both, strict=True)
    ]
    verdict = judge(evidence(plan, tallies), rollout(plan, step=1)).verdicts[1]
    assert verdict.interval is not None
    assert verdict.estimate is not None
    assert verdict.interval.low <= verdict.estimate <= verdict.interval.high
