"""Labels are not missing at random: each kind is compared with its like, and told when that is not to be had."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from fds_mlflow.core.evidence.arms import counts
from fds_mlflow.core.evidence.evidence import EventKind, KnownAlerts, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import Status, judge
from fds_mlflow.core.judge.labels import coverage, label_fault, pairs_fault
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan
from fds_mlflow.core.statistics.paired import Pairs
from tests.support.effort import graded
from tests.support.trials import CANARY, CHAMPION, evidence, labelled, rollout

AMONG_ALERTS = (Guardrail(Metric.FALSE_POSITIVES, margin=0.5), Guardrail(Metric.ALERT_PRECISION, margin=0.2))
AMONG_PASSED = (Guardrail(Metric.MISSED_FRAUD, margin=0.5), Guardrail(Metric.MONEY_LOST, margin=0.5, bound=1_000))


@dataclass(frozen=True)
class Version:
    """How a version decides, and how its transactions get their labels.

    Attributes:
        recall: Share of frauds that it flags.
        false_positives: Share of genuine transactions that it flags.
        reviewed: Share of its alerts that somebody reviews; the others stay blocked without a truth.
        audited: Share of the genuine transactions it did not flag that are labelled too.
        declared: Whether the labels of alerts say with what chance they were reviewed.
    """

    recall: float = 0.7
    false_positives: float = 0.02
    reviewed: float = 0.6
    audited: float = 0.05
    declared: bool = True


FRAUD, WEIGHT, BATCH, LOOKS = 0.01, 0.2, 4_000, 15


def looks(champion: Version, canary: Version, seed: int, guardrails: tuple[Guardrail, ...]) -> list[dict[str, Status]]:
    """The statuses at each look while traffic goes on and labels mature."""
    random = np.random.default_rng(seed)
    plan = Plan([20, 100], guardrails=guardrails, label_maturity="30d")
    sums: dict[Variant, dict[str, int]] = {CHAMPION: {}, CANARY: {}}
    found = []
    for _ in range(LOOKS):
        canaries = random.binomial(BATCH, WEIGHT)
        for variant, version, keys in ((CHAMPION, champion, BATCH - canaries), (CANARY, canary, canaries)):
            for name, count in _batch(random, version, int(keys)).items():
                sums[variant][name] = sums[variant].get(name, 0) + count
        versions = {CHAMPION: champion, CANARY: canary}
        tallies = [_tally(variant, versions[variant], sums[variant]) for variant in sums]
        made = judge(evidence(plan, tallies), rollout(plan), detail=False)
        found.append({verdict.check: verdict.status for verdict in made.verdicts})
    return found


def _batch(random: np.random.Generator, version: Version, keys: int) -> dict[str, int]:
    frauds = random.binomial(keys, FRAUD)
    caught, false = random.binomial(frauds, version.recall), random.binomial(keys - frauds, version.false_positives)
    reviewed = random.binomial([caught, false], version.reviewed)
    genuine = random.binomial(keys - frauds - false, version.audited)
    counts = {
        "keys": keys,
        "alerts": caught + false,
        "reviewed": int(reviewed.sum()),
        "false": reviewed[1],
        "missed": frauds - caught,
        "genuine": genuine,
    }
    return {name: int(count) for name, count in counts.items()}


def _tally(variant: Variant, version: Version, counts: dict[str, int]) -> Tally:
    reviewed, false = counts["reviewed"], counts["false"]
    known = {version.reviewed: KnownAlerts(reviewed, reviewed, reviewed, false)} if version.declared else {}
    return labelled(variant, **counts, percent=20, known_alerts=known)


@pytest.mark.slow
@pytest.mark.parametrize("guardrails", [AMONG_ALERTS, AMONG_PASSED], ids=["alerts", "passed"])
@pytest.mark.parametrize("reviewed", graded([0.6, 0.1, 1.0]))
def test_labels_that_are_missing_alike_bias_nothing(guardrails: tuple[Guardrail, ...], reviewed: float) -> None:
    """Blocked transactions without a truth, and few reviews, fail no good canary where their chance is declared."""
    same, fewer = Version(reviewed=reviewed), Version(reviewed=0.5 * reviewed)
    for seed in range(4):
        for look in (*looks(same, same, seed, guardrails), *looks(same, fewer, seed, guardrails)):
            assert not {Status.FAIL, Status.ERROR} & set(look.values()), (seed, look)


@pytest.mark.slow
@pytest.mark.parametrize("reviewed", graded([0.6, 1.0]))
def test_reviewing_the_canary_more_is_an_error_and_no_failure(reviewed: float) -> None:
    """Alerts of the canary that are all looked at seem more false: the reason says why, before anybody fails."""
    less, more = (Version(reviewed=share * reviewed, declared=False) for share in (0.3, 1.0))
    for seed in range(4):
        found = looks(less, more, seed, AMONG_ALERTS)
        assert all(look["false_positives"] is not Status.FAIL for look in found), seed
        assert found[-1]["false_positives"] is Status.ERROR, seed
        assert found[-1]["alert_precision"] is Status.ERROR, seed


@pytest.mark.slow
def test_a_canary_that_alerts_more_still_fails_where_reviews_keep_pace() -> None:
    """Three times the false positives under the same review policy are a FAIL; the missed frauds are not touched."""
    for seed in range(4):
        found = looks(Version(), Version(false_positives=0.06), seed, (*AMONG_ALERTS, *AMONG_PASSED))
        assert found[-1]["false_positives"] is Status.FAIL, seed
        assert found[-1]["missed_fraud"] is not Status.FAIL, seed
        assert found[-1]["missed_fraud"] is not Status.ERROR, seed


def test_missed_frauds_are_found_though_nobody_audits_what_passes() -> None:
    """Where only disputed frauds are ever labelled, a coverage that differs is the harm itself, and no fault."""
    for seed in range(4):
        found = looks(Version(audited=0.0), Version(audited=0.0, recall=0.1), seed, AMONG_PASSED)
        assert found[-1]["missed_fraud"] is Status.FAIL, seed


def test_auditing_what_only_the_champion_let_pass_is_an_error() -> None:
    """Genuine transactions that were not flagged are labelled alike, or the labels know the variant."""
    for seed in range(4):
        found = looks(Version(audited=0.05), Version(audited=0.01), seed, AMONG_PASSED)
        assert all(look["missed_fraud"] is not Status.FAIL for look in found), seed
        assert found[-1]["missed_fraud"] is Status.ERROR, seed


def test_a_fault_says_both_coverages() -> None:
    """The reason names the two shares, and the verdict the canary's own coverage."""
    plan = Plan([20, 100], guardrails=AMONG_ALERTS, label_maturity="30d")
    tallies = [
        labelled(CHAMPION, 80_000, alerts=1_000, reviewed=300, false=100, missed=10, percent=20),
        labelled(CANARY, 20_000, alerts=250, reviewed=200, false=60, missed=3, percent=20),
    ]
    explored = [
        replace(each, known_alerts={0.5: KnownAlerts(each.matured_alerts, each.matured_alerts, each.reviewed_alerts)})
        for each in tallies
    ]
    for known in (explored, tallies):
        terms = plan.terms if known is explored else replace(plan.terms, hourly=False)
        found = label_fault(Metric.FALSE_POSITIVES, counts(evidence(plan, known), is_watch=False), terms)
        assert found is not None
        assert "80.00 % of 250" in found
        assert "30.00 % of 1,000" in found
    assert coverage(Metric.ALERT_PRECISION, tallies[1]) == 0.8
    assert coverage(Metric.MISSED_FRAUD, tallies[1]) == 203 / 20_000


def test_alerts_that_are_reviewed_by_an_unknown_chance_say_nothing() -> None:
    """Where some alerts have labels and nobody knows why these, false positives and precision are no numbers."""
    plan = Plan([20, 100], guardrails=AMONG_ALERTS, label_maturity="30d")
    tallies = [
        labelled(CHAMPION, 80_000, alerts=1_000, reviewed=300, false=100, missed=10, percent=20),
        labelled(CANARY, 20_000, alerts=250, reviewed=75, false=25, missed=3, percent=20),
    ]
    found = judge(evidence(plan, tallies), rollout(plan)).verdicts[1:]
    assert {verdict.status for verdict in found} == {Status.ERROR}
    assert all("nobody knows with what chance" in verdict.reason for verdict in found)


def test_a_blocked_fraud_is_no_fraud_that_the_canary_caught() -> None:
    """Pairs say nothing of missed frauds where what the champion flags is blocked, and nobody sees its truth."""
    paired = Guardrail(Metric.MISSED_FRAUD, margin=0.5, paired=True)
    plan = Plan([20, 100], guardrails=[paired], label_maturity="30d")
    tallies = [
        labelled(CHAMPION, 80_000, alerts=1_000, reviewed=0, false=0, missed=300, percent=20),
        labelled(CANARY, 20_000, alerts=0, reviewed=0, false=0, missed=250, percent=20),
    ]
    pairs = {EventKind.MISSED_FRAUD: Pairs(both=300, neither=79_700)}
    (found,) = judge(evidence(plan, tallies, pairs), rollout(plan)).verdicts[1:]
    assert found.status is Status.ERROR
    assert "0.00 % of 1,000 alerts" in found.reason


@pytest.mark.parametrize(("caught", "status"), [(0.0, Status.FAIL), (0.7, Status.PASS)])
def test_explored_alerts_stand_for_those_that_are_blocked(caught: float, status: Status) -> None:
    """One alert in twenty let pass tells a canary that catches no fraud from one that catches the champion's."""
    paired = Guardrail(Metric.MISSED_FRAUD, margin=0.5, paired=True)
    plan = Plan([20, 100], guardrails=[paired], label_maturity="30d")
    frauds, chance = 20_000, 0.05
    alerts = round(0.7 * frauds)
    explored, missed = round(chance * alerts), round(0.3 * frauds)
    alone = round(chance * (0.7 - caught) * frauds)
    tallies = [
        replace(
            labelled(CHAMPION, 800_000, alerts=alerts, reviewed=explored, false=0, missed=missed, percent=20),
            known_alerts={chance: KnownAlerts(alerts, explored, explored, 0)},
        ),
        labelled(CANARY, 200_000, alerts=0, reviewed=0, false=0, missed=0, percent=20),
    ]
    known = {
        1.0: (Pairs(both=missed, neither=800_000),),
        chance: (Pairs(canary_only=alone, neither=explored - alone),),
    }
    shown = replace(evidence(plan, tallies), hours=tuple(tallies), known_pairs={EventKind.MISSED_FRAUD: known})
    (found,) = judge(shown, rollout(plan)).verdicts[1:]
    assert found.status is status, found.reason
    assert found.estimate == pytest.approx((0.3 + 0.7 - caught) / 0.3, rel=0.01)
    assert found.interval is not None
    assert found.interval.low < found.estimate < found.interval.high


@pytest.mark.parametrize(
    ("chances", "status"),
    [
        ({0.05: KnownAlerts(4_000, 200, 200, 195)}, Status.FAIL),
        ({0.05: KnownAlerts(3_000, 150, 150, 145), 0.5: KnownAlerts(500, 500, 500, 490)}, Status.FAIL),
        ({}, Status.ERROR),
        ({0.0: KnownAlerts(1_000), 0.05: KnownAlerts(3_000, 200, 0, 0)}, Status.PASS),
    ],
    ids=["explored", "several", "unknown", "none_false"],
)
def test_a_limit_on_false_positives_counts_those_nobody_looked_at(
    chances: dict[float, KnownAlerts], status: Status
) -> None:
    """One false positive that was explored stands for many: a limit of 1 % is not kept by exploring a twentieth."""
    shown, false = (sum(each[at] for each in chances.values()) if chances else 200 for at in (2, 3))
    alerts = {"alerts": 4_000, "reviewed": max(1, shown), "false": false, "missed": 50, "genuine": 1_000}
    plan = Plan([50, 100], guardrails=[Guardrail(Metric.FALSE_POSITIVES, limit=0.01)], label_maturity="30d")
    tallies = [labelled(v, 100_000, percent=50, known_alerts=chances, **alerts) for v in (CHAMPION, CANARY)]
    assert judge(evidence(plan, tallies), rollout(plan), detail=False).verdicts[1].status is status


def test_pairs_from_before_exploration_began_are_no_evidence() -> None:
    """What the champion blocked then is hidden, and what it missed is not: a canary that misses all looks its equal."""
    plan = Plan([10, 100], guardrails=[Guardrail(Metric.MISSED_FRAUD, margin=0.5, paired=True)], label_maturity="1d")
    explored = {0.05: KnownAlerts(1_000, 50, 50, 25)}
    late, always = (
        [
            labelled(v, 100_000, percent=10, alerts=alerts, reviewed=50, false=25, missed=90, known_alerts=explored)
            for v in (CHAMPION, CANARY)
        ]
        for alerts in (8_000, 1_000)
    )
    faults = [pairs_fault(Metric.MISSED_FRAUD, counts(evidence(plan, each), is_watch=False)) for each in (late, always)]
    assert "12.50 % of 8,000 alerts of the canary have a known chance" in (faults[0] or "")
    assert faults[1] is None


def test_a_canary_whose_servers_do_not_explore_is_not_compared_with_a_champion_whose_do() -> None:
    """Its false positives stay hidden, the champion's show: that is said, and passes nothing."""
    plan = Plan([50, 100], guardrails=[Guardrail(Metric.FALSE_POSITIVES, margin=0.5)], label_maturity="1d")
    explored = {0.05: KnownAlerts(4_000, 200, 200, 195)}
    for theirs, status in (({}, Status.ERROR), (explored, Status.PASS)):
        tallies = [
            labelled(v, 100_000, percent=50, alerts=4_000, reviewed=200, false=195, missed=9, known_alerts=known)
            for v, known in ((CHAMPION, explored), (CANARY, theirs))
        ]
        assert judge(evidence(plan, tallies), rollout(plan), detail=False).verdicts[1].status is status
