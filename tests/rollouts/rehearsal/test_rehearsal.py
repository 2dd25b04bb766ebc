"""Rehearsals: replays count as the store does, good canaries are spared, harmful ones caught, and costs told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from fds_mlflow.core.evidence.bins import loss_bins
from fds_mlflow.core.evidence.evidence import EventKind
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.routing.routing import bucket
from fds_mlflow.errors import DataError
from fds_mlflow.rollouts.rehearsal.cell import Arm
from fds_mlflow.rollouts.rehearsal.history import read_history
from fds_mlflow.rollouts.rehearsal.rehearsal import Columns, Rehearsal, rehearse
from fds_mlflow.rollouts.rehearsal.replay import Replay, Traffic, hashed, replay

PLAN = Plan(
    [10, 50, 100],
    guardrails=[Guardrail(Metric.ALERT_RATE, margin=1.0), Guardrail(Metric.MISSED_FRAUD, margin=3.0, required=False)],
    label_maturity="1d",
)


def history(rows: int = 6_000, *, days: float = 10, alerts: float = 0.05, seed: int = 7) -> pd.DataFrame:
    """Requests that both versions have scored: at a threshold of 0.5 the champion flags 5 % of the genuine ones."""
    random = np.random.default_rng(seed)
    fraud = random.random(rows) < 0.05
    champion = np.where(random.random(rows) < np.where(fraud, 0.7, 0.05), 0.9, 0.1)
    canary = np.where(random.random(rows) < np.where(fraud, 0.7, alerts), 0.9, 0.1)
    return pd.DataFrame(
        {
            "transaction_id": [f"T{number}" for number in range(rows)],
            "time": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(rows) * days / rows, unit="D"),
            "label": np.where(random.random(rows) < 0.9, fraud, np.nan),
            "amount": np.round(random.lognormal(4, 1, rows), 2),
            "champion_score": champion,
            "canary_score": canary,
        }
    )


def rehearsed(frame: pd.DataFrame, plan: Plan = PLAN, **options: Any) -> Rehearsal:
    """A short rehearsal."""
    return rehearse(frame, plan, (0.5, 0.5), **{"replays": 20, "looks": 10, "horizon": 2.0, **options})


# --- one replay ------------------------------------------------------------------------------------------------------


def test_a_replay_counts_what_a_recount_of_every_request_counts() -> None:
    """With customers as keys, each key and each first event of a kind counts once, where the routing hash put it."""
    random = np.random.default_rng(3)
    rows, customers, day = 2_000, 300, 86_400.0
    arms = {
        variant: Arm(
            errors=random.random(rows) < 0.05,
            flagged=random.random(rows) < 0.3,
            scores=random.integers(0, 64, rows),
            labels=random.integers(-1, 2, rows),
            amounts=random.lognormal(4, 2, rows),
            chances=np.full(rows, 2 / 3),
            fine=random.integers(0, 100, rows),
        )
        for variant in Variant
    }
    key = random.integers(0, customers, rows)
    traffic = Traffic(np.sort(random.random(rows)) * 9 * day, [f"C{n}" for n in range(customers)], key, 10 * day, 10)
    guardrails = [
        Guardrail(Metric.FALSE_POSITIVES, margin=1.0),
        Guardrail(Metric.SCORE_SHIFT, margin=20, quantile=0.99),
    ]
    plan = Plan([30], guardrails=guardrails, label_maturity="2d", min_outcomes=10**6)
    played = Replay(traffic, arms, plan, hashed(traffic, "R"), 10 * day)
    assert played.run().action is Action.WAIT
    counted = {tally.variant: tally for tally in played.evidence(10 * day).tallies}

    matured = int(np.searchsorted(traffic.seconds, 8 * day))  # two days before the last look
    for variant, arm in arms.items():
        wanted = _recount(variant, arm, traffic, matured)
        tally = counted[variant]
        found = {
            **{name: getattr(tally, name) for name in ("requests", "keys", "matured", "labelled")},
            **{name: getattr(tally, name) for name in ("matured_alerts", "reviewed_alerts", "false_alerts")},
            **{kind.value: tally.events[kind] for kind in EventKind if kind is not EventKind.SLOW},
            "scored": sum(tally.scores),
            "fine": sum((place + 1) * count for place, count in tally.score_firsts.items()),
            "losses": sum(place * count for place, count in enumerate(tally.losses)),
        }
        assert found == {name: wanted[name] for name in found}


def _recount(variant: Variant, arm: Arm, traffic: Traffic, matured: int) -> Counter[str]:
    found: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()

    def first(kind: str, name: str) -> int:
        new = (kind, name) not in seen
        seen.add((kind, name))
        return int(new)

    for row in range(traffic.rows):
        name = traffic.keys[traffic.key[row]]
        if (bucket("R", name) < 3_000) != (variant is Variant.CANARY):
            continue
        label, alert = int(arm.labels[row]), bool(arm.flagged[row])
        found["requests"] += 1
        found["keys"] += first("key", name)
        if arm.errors[row]:
            found["error"] += first("error", name)
        else:
            scored = first("scored", name)
            found["scored"] += scored
            found["fine"] += scored * (int(arm.fine[row]) + 1)
        first_alert = first("alert", name) if alert else 0
        found["alert"] += first_alert
        if row >= matured:
            continue
        new = first("matured", name)
        found["matured"] += new
        found["labelled"] += new * (label >= 0)
        found["matured_alerts"] += first_alert
        found["reviewed_alerts"] += first_alert * (label >= 0)
        found["false_alerts"] += first_alert * (label == 0)
        if label == 1 and not alert and first("missed", name):
            found["missed_fraud"] += 1
            found["losses"] += int(loss_bins(arm.amounts[[row]])[0])
        if label == 0 and alert:
            found["false_positive"] += first("false", name)
    return found


def test_a_replay_goes_through_the_steps_of_its_plan() -> None:
    """A canary that passes goes from step to step at the looks, and completes from the last one below 100 %."""
    rows = 4_000
    flags = np.arange(rows) % 10 == 0
    nothing = np.zeros(rows, dtype=np.bool_)
    zeros = np.zeros(rows, dtype=np.int64)
    arm = Arm(nothing, flags, zeros, zeros, np.zeros(rows))
    traffic = Traffic(
        np.arange(rows, dtype=np.float64), [str(n) for n in range(rows)], np.arange(rows), float(rows), 20
    )
    plan = Plan([10, 50, 100], guardrails=[Guardrail(Metric.ALERT_RATE, margin=1.0)], bake_time="401s", min_outcomes=10)
    course = replay(traffic, arm, arm, plan, bucket=hashed(traffic, "R"), horizon=1e6)
    assert course.action is Action.COMPLETE
    assert [step.weight for step in course.steps] == [1_000, 5_000]
    assert course.steps[0].seconds == 600, "three looks of 200 s: the bake time is over at the third"
    assert course.requests == sum(step.requests for step in course.steps)
    assert abs(course.steps[0].requests - 60) < 30


# --- the rehearsal ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_equal_canary_completes_and_is_not_aborted() -> None:
    """A canary like the champion comes through in most replays; the champion as its own is hardly ever failed."""
    found = rehearsed(history())
    assert found.false_abort <= 0.1
    assert found.outcomes.get(Action.COMPLETE, 0.0) >= 0.8
    assert found.outcomes.get(Action.ABORT, 0.0) <= 0.1
    assert [step.percent for step in found.steps] == [10, 50]
    assert found.steps[0].reached == 1.0
    assert all(step.days is not None and step.days_90 is not None and step.days <= step.days_90 for step in found.steps)
    assert (found.rows, round(found.days)) == (6_000, 10)
    assert found.lost[0] > 0


@pytest.mark.slow
def test_a_canary_that_alerts_far_too_often_is_aborted_and_the_cause_is_told() -> None:
    """Five times the false alarms are caught in every replay, by the guardrail that counts them."""
    found = rehearsed(history(alerts=0.3))
    assert found.outcomes == {Action.ABORT: 1.0}
    assert found.causes == {"alert_rate": 1.0}
    assert found.false_abort <= 0.1, "the champion as its own canary has nothing to do with it"


@pytest.mark.slow
def test_the_smallest_regression_that_is_caught_is_found() -> None:
    """Regressions within the margin are not tried; the chance rises with the harm; the first with 90 % is told."""
    found = rehearsed(history())
    alerts = next(catch for catch in found.catches if catch.metric is Metric.ALERT_RATE)
    assert min(alerts.caught) > 2.0
    assert list(alerts.caught.values()) == sorted(alerts.caught.values())
    assert alerts.smallest == max(alerts.caught)
    assert alerts.caught[alerts.smallest] >= 0.9
    assert alerts.requests is not None
    assert alerts.days is not None
    assert alerts.lost is None, "alerts lose no money"
    missed = next(catch for catch in found.catches if catch.metric is Metric.MISSED_FRAUD)
    assert missed.smallest is not None
    assert missed.lost is not None
    assert missed.lost > 0


@pytest.mark.campaign
@pytest.mark.slow
def test_a_rehearsal_can_be_repeated() -> None:
    """The same history, plan and seed give the same figures."""
    assert rehearsed(history(), seed=1) == rehearsed(history(), seed=1)


@pytest.mark.slow
def test_what_a_history_cannot_tell_is_left_out_and_said() -> None:
    """Latencies are in no history: the guardrail is named, and the others keep the alpha they had."""
    latency = Guardrail(Metric.LATENCY, margin=1.0, bound=50)
    plan = Plan([10, 50], guardrails=[latency, Guardrail(Metric.ALERT_RATE, margin=1.0)])
    found = rehearsed(history(), plan)
    assert found.left_out == ("latency",)
    assert found.plan.alpha_each == plan.alpha_each
    with pytest.raises(DataError, match="no guardrail that a history"):
        rehearsed(history(), Plan(guardrails=[latency]))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda frame: frame.drop(columns="label"), "no column label"),
        (lambda frame: frame.assign(label=2.0), "other values than 0 and 1"),
        (lambda frame: frame.assign(canary_score=1.5), "no scores"),
        (lambda frame: frame.assign(champion_score=np.nan), "no scores"),
        (lambda frame: frame.iloc[::-1], "not in order of time"),
        (lambda frame: frame.head(500), "fewer than 100"),
        (lambda frame: frame.assign(time=frame["time"].iloc[0]), "one time"),
    ],
)
def test_a_history_that_does_not_fit_is_refused(spoil: Any, says: str) -> None:
    """Every defect is named before anything is replayed."""
    with pytest.raises(DataError, match=says):
        rehearsed(spoil(history()))


def test_paired_guardrails_are_rehearsed_with_every_request_shadowed() -> None:
    """A plan that judges by pairs gets the pairs that shadows of all requests would give."""
    plan = Plan([10, 50], guardrails=[Guardrail(Metric.ALERT_RATE, margin=1.0, paired=True)])
    good, bad = rehearsed(history(), plan), rehearsed(history(alerts=0.3), plan)
    assert good.outcomes.get(Action.ABORT, 0.0) == 0.0
    assert bad.outcomes == {Action.ABORT: 1.0}


@pytest.mark.campaign
@pytest.mark.slow
def test_the_command_line_tells_plots_and_refuses(tmp_path: Path) -> None:
    """`canary rehearse` reads two score columns, prints JSON or tables, and writes the plot."""
    plan, data, plot = tmp_path / "plan.yaml", tmp_path / "history.csv", tmp_path / "plot.png"
    plan.write_text("steps: [20, 100]\nguardrails: {alert_rate: {margin: 1.0}}\n")
    history(3_000).rename(columns={"canary_score": "new"}).to_csv(data, index=False)
    base = ["canary", "rehearse", "--plan", str(plan), "--data", str(data), "--scores", "champion_score,new"]
    made = CliRunner().invoke(main, [*base, "--replays", "20", "--plot", str(plot), "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["replays"] == 20
    assert plot.read_bytes().startswith(b"\x89PNG")
    shown = CliRunner().invoke(main, [*base, "--replays", "20"])
    assert "smallest caught" in shown.stdout
    assert CliRunner().invoke(main, [*base, "--thresholds", "a,b"]).exit_code == 2
    assert CliRunner().invoke(main, [*base, "--model", "fraud"]).exit_code == 2
    assert CliRunner().invoke(main, [*base[:-1], "one"]).exit_code == 2
    missing = CliRunner().invoke(main, [*base[:5], str(tmp_path / "none.csv"), "--json"])
    assert (missing.exit_code, json.loads(missing.stdout)["type"]) == (1, "DataError")
    assert Columns().amount == "amount"


def test_a_history_in_which_blocked_frauds_have_no_label_is_refused() -> None:
    """A canary that lets a blocked fraud pass misses it, though the history does not say so."""
    frame = history()
    frame["label"] = np.where(frame["champion_score"] >= 0.5, np.nan, frame["label"])
    with pytest.raises(DataError, match="that the champion flags have a label"):
        rehearsed(frame)


@pytest.mark.slow
def test_explored_rows_stand_for_those_that_are_blocked() -> None:
    """With one blocked row in five let pass, a canary that misses more frauds does so in the rehearsal too."""
    random = np.random.default_rng(5)
    frame = history(rows=60_000)
    blind = frame["canary_score"].where(random.random(len(frame)) < 0.3, 0.1)
    frame = frame.assign(canary_score=blind, label=(frame["label"] == 1).astype(float))
    blocked = frame["champion_score"] >= 0.5
    explored = random.random(len(frame)) < 0.2
    selective = frame.assign(label=frame["label"].where(~blocked | explored), propensity=np.where(blocked, 0.2, np.nan))
    plan = Plan([10, 50, 100], guardrails=[Guardrail(Metric.MISSED_FRAUD, margin=0.5)], label_maturity="1d")
    for known in (frame, selective):
        found = rehearsed(known, plan, horizon=4.0)
        assert Action.COMPLETE not in found.outcomes or not found.outcomes[Action.COMPLETE]


def _explored(propensity: Callable[[Any], Any]) -> Any:
    """A history in which one blocked row in five was let pass, with propensities made from the frame."""
    random = np.random.default_rng(5)
    frame = history(rows=20_000)
    chance = np.asarray(propensity(frame))
    hidden = (frame["champion_score"] >= 0.5) & ~(random.random(len(frame)) < np.nan_to_num(chance))
    return frame.assign(label=frame["label"].where(~hidden), propensity=chance)


def test_rows_above_the_cap_of_exploration_are_left_out_whoever_flags_them() -> None:
    """Where no block would show its truth, neither the champion's misses nor a canary's count in a rehearsal."""
    frame = _explored(lambda f: np.where(np.arange(len(f)) % 2, 0.2, 0.0))
    plan = Plan([50, 100], guardrails=[Guardrail(Metric.MISSED_FRAUD, margin=0.5)], label_maturity="1d")
    for arm in read_history(frame, Columns(), (0.5, 0.5), 20, needs_labels=True)[1]:
        assert (arm.labels[::2] == -1).all()
        assert not arm.missed[::2].any()
    assert rehearsed(frame, plan) is not None


def test_a_history_that_was_explored_for_a_part_of_its_time_is_refused() -> None:
    """Before exploration began, what a canary misses among blocked rows is hidden, and what it finds is not."""
    frame = _explored(lambda f: np.where(np.arange(len(f)) > len(f) * 0.8, 0.2, np.nan))
    with pytest.raises(DataError, match="rows that the champion flags: what either version did"):
        read_history(frame, Columns(), (0.5, 0.5), 20, needs_labels=True)


def test_a_replay_begins_in_the_shadow_where_the_plan_does() -> None:
    """At 0 % the canary meets nobody and is judged beside the champion; then the steps are as ever."""
    rows = 6_000
    flags = np.arange(rows) % 10 == 0
    nothing, zeros = np.zeros(rows, dtype=np.bool_), np.zeros(rows, dtype=np.int64)
    same, worse = (Arm(nothing, f, zeros, zeros, np.zeros(rows)) for f in (flags, np.arange(rows) % 10 < 4))
    traffic = Traffic(np.arange(rows, dtype=np.float64), [str(n) for n in range(rows)], np.arange(rows), 6e3, 20)
    plan = Plan([0, 50, 100], shadow=20, guardrails=[Guardrail(Metric.ALERT_RATE, margin=1.0)], min_outcomes=400)
    course, stopped = (
        replay(traffic, same, arm, plan, bucket=hashed(traffic, "R"), horizon=1e6) for arm in (same, worse)
    )
    assert course.action is Action.COMPLETE
    assert [(step.weight, step.requests > 0) for step in course.steps] == [(0, False), (5_000, True)]
    assert (stopped.action, stopped.requests) == (Action.ABORT, 0)
