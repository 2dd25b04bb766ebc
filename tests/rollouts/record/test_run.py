"""Each rollout is a tracking run: what is logged, that any process finds it, and that it can stop no rollout."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from fds_mlflow import ManagedModel, OutcomeStore, Plan
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.plan.plan import Watch
from fds_mlflow.errors import UnavailableError
from fds_mlflow.registry.store import SetAlias
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.record.recorder import DENSITY, WAITING, RolloutRecorder
from fds_mlflow.rollouts.record.run import Point, RolloutRuns
from fds_mlflow.rollouts.report.words import frauds
from fds_mlflow.rollouts.tick import Tick
from tests.support.effort import graded
from tests.support.registry_model import MODEL
from tests.support.rollout_ticks import DAY, PLAN, ROLLOUT, SMALL, Trial
from tests.support.samples import case, outcome


@pytest.fixture
def trial(mlflow_uri: str) -> Trial:
    """A rollout in memory, tracked on an MLflow of its own."""
    return Trial(SMALL, tracking_uri=mlflow_uri)


@pytest.fixture
def recorder(trial: Trial) -> RolloutRecorder:
    """What an autopilot hands its ticks to."""
    return RolloutRecorder(trial.model.session)


def found(trial: Trial, rollout_id: str = ROLLOUT) -> Run:
    """The run of a rollout, read anew."""
    run = RolloutRuns(MODEL, trial.model.session.tracking_uri).find(rollout_id)
    assert run is not None
    return run


def history(run: Run, name: str) -> list[tuple[int, float]]:
    """A metric's steps and values."""
    return [(m.step, m.value) for m in MlflowClient().get_metric_history(run.info.run_id, name)]


class Broken:
    """A tracking server that can be switched off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = False
        self.calls: list[str] = []
        for name in ("search_runs", "create_run", "log_batch", "log_text", "set_terminated", "get_metric_history"):
            monkeypatch.setattr(MlflowClient, name, self._watched(name, getattr(MlflowClient, name)))

    def _watched(self, name: str, call: object) -> object:
        def watched(client: MlflowClient, *args: object, **kwargs: object) -> object:
            self.calls.append(name)
            if self.off:
                raise MlflowException("API request failed: connection refused")
            return call(client, *args, **kwargs)  # type: ignore[operator]

        return watched


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Broken:
    """The tracking server, to switch off."""
    return Broken(monkeypatch)


# --- what is logged ------------------------------------------------------------------------------------------------


def test_a_rollout_is_a_run_with_its_plan_as_parameters(trial: Trial, recorder: RolloutRecorder) -> None:
    """Experiment, name, id, time and user say which rollout it is; the plan can be read off, by parts or whole."""
    began = trial.model.session.now()
    recorder.on_tick(trial.later(600).tick())
    run = found(trial)
    experiment = MlflowClient().get_experiment(run.info.experiment_id)
    assert (experiment.name, run.info.run_name, run.info.status) == ("fds/rollouts/fraud", "canary 4 vs 3", "RUNNING")
    assert run.info.start_time == began.timestamp() * 1_000
    assert (run.data.tags["fds.rollout_id"], run.data.tags["mlflow.user"]) == (ROLLOUT, "ann")
    said = run.data.params
    assert (said["champion"], said["canary"]) == ("3", "4")
    assert (said["plan.steps"], said["plan.alpha"]) == ("10, 50, 100", "0.05")
    assert said["guardrail.error_rate"] == "margin 1, negligible 0.002"
    assert said["plan.bake_time"] == "10m"
    assert Plan.from_dict(json.loads(said["plan"])) == SMALL


@pytest.mark.slow
def test_a_tick_is_logged_with_both_rates_interval_evidence_and_weight(mlflow_uri: str) -> None:
    """Step: whole seconds since the start. Evidence: relative to what decides. What is unbounded is left out."""
    trial = Trial(tracking_uri=mlflow_uri)
    RolloutRecorder(trial.model.session).on_tick(trial.later(90.5).tick())
    metrics = found(trial).data.metrics
    alert = {name.removeprefix("alert_rate/"): value for name, value in metrics.items() if name.startswith("alert")}
    assert alert == {
        "champion": 0.02,
        "canary": 0.04,
        "estimate": 2.0,
        "interval_low": 1.0,
        "interval_high": 6.0,
        "fail_evidence": 0.25,
        "pass_evidence": -0.25,
        "requests_to_go": 1_000,
    }
    assert "error_rate/interval_high" not in metrics
    assert metrics["missed_fraud/coverage"] == 0.75
    assert {n.removeprefix("rollout/"): v for n, v in metrics.items() if n.startswith("rollout/")} == {
        "weight": 10,
        "step": 1,
        "champion_requests": 1_800,
        "champion_keys": 1_600,
        "canary_requests": 200,
        "canary_keys": 180,
        **dict.fromkeys(("champion_errors", "champion_alerts", "canary_errors", "canary_alerts"), 0),
    }
    assert history(found(trial), "rollout/weight") == [(90, 10.0)]
    (at,) = MlflowClient().get_metric_history(found(trial).info.run_id, "rollout/weight")
    assert at.timestamp == trial.model.session.now().timestamp() * 1_000


@pytest.mark.slow
def test_verdicts_and_recommendation_are_tags_and_the_description_says_them(
    trial: Trial, recorder: RolloutRecorder
) -> None:
    """Each verdict under its own tag, worst first in `fds.verdict`, and all in words on the run's page."""
    recorder.on_tick(trial.tick(Status.PASS, Status.FAIL, action=Action.ABORT, reason="4 % | 2 %"))
    tags = found(trial).data.tags
    assert tags["fds.verdict"] == "FAIL: alert_rate: 4 % | 2 %"
    assert tags["fds.verdict.error_rate"] == "PASS: error_rate: 4 % | 2 %"
    assert tags["fds.verdict.split"].startswith("PASS: 10.1 %")
    assert tags["fds.recommendation"] == "abort: abort at 10 %: 4 % | 2 %"
    note = tags["mlflow.note.content"]
    assert "**10 %** of the traffic, step 1 of 3" in note
    assert "\n**abort at 10 %: 4 % \\| 2 %**\n" in note
    assert "| alert_rate | **FAIL** | alert_rate: 4 % \\| 2 % |" in note


def test_a_tick_takes_two_requests(trial: Trial, recorder: RolloutRecorder, server: Broken) -> None:
    """One finds the run, one logs everything."""
    recorder.on_tick(trial.tick())
    server.calls.clear()
    recorder.on_tick(trial.later().tick())
    assert server.calls == ["search_runs", "log_batch"]


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["one", "one per tick"])
def test_long_rollouts_log_less_often_but_never_miss_a_change(trial: Trial, processes: str) -> None:
    """Points thin out with age, from cron too: weeks of ticks stay a few thousand. A change is logged at once."""

    class Cron:
        def on_tick(self, tick: Tick) -> None:
            RolloutRecorder(trial.model.session).on_tick(tick)

    recorder = Cron() if processes == "one per tick" else RolloutRecorder(trial.model.session)
    recorder.on_tick(trial.later(10 * DAY).tick())
    apart = 10 * DAY / DENSITY
    recorder.on_tick(trial.later(apart / 2).tick())
    assert len(history(found(trial), "rollout/weight")) == 1
    recorder.on_tick(trial.later(1).tick(Status.PASS))
    assert len(history(found(trial), "rollout/weight")) == 2
    recorder.on_tick(trial.later(apart * 1.1).tick(Status.PASS))
    assert len(history(found(trial), "rollout/weight")) == 3


# --- one run -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_process_finds_the_same_run(trial: Trial, recorder: RolloutRecorder) -> None:
    """After a restart, from another machine or from cron, ticks go to the run that is there."""
    recorder.on_tick(trial.later().tick())
    for _ in range(3):
        RolloutRecorder(trial.model.session).on_tick(trial.later().tick())
    assert len(RolloutRuns(MODEL).running()) == 1
    assert [step for step, _ in history(found(trial), "rollout/weight")] == [30, 60, 90, 120]


@pytest.mark.slow
def test_runs_of_one_rollout_become_one_and_lose_nothing(trial: Trial, server: Broken) -> None:
    """Processes that made one each at once: all agree on the lowest id, and it gets the points of the others."""
    runs, client = RolloutRuns(MODEL), MlflowClient()
    made = [runs.open(trial.rollout, trial.model.session.look().history.events[-1])]
    experiment, began, tags = made[0].info.experiment_id, made[0].info.start_time, {naming.ROLLOUT_ID: ROLLOUT}
    made += [client.create_run(experiment, start_time=began - number, tags=tags) for number in range(1, 5)]
    for number, run in enumerate(made):
        time = trial.model.session.now() + timedelta(seconds=number)
        runs.log(run, [Point(time, {"rollout/weight": float(number), "rollout/step": 1.0})], {})
    kept = found(trial)
    assert kept.info.run_id == min(run.info.run_id for run in made)
    assert [value for _, value in history(kept, "rollout/weight")] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len(RolloutRuns(MODEL).running()) == 1
    stages = [client.get_run(run.info.run_id).info.lifecycle_stage for run in made]
    assert sorted(stages) == ["active", *["deleted"] * 4]
    server.calls.clear()
    assert found(trial).info.run_id == kept.info.run_id
    assert server.calls == ["search_runs"]


@pytest.mark.slow
def test_copying_a_double_twice_adds_nothing(trial: Trial) -> None:
    """A process that dies between copying and deleting, or two that copy at once, leave every point once."""
    runs = RolloutRuns(MODEL)
    run = runs.open(trial.rollout, None)
    double = MlflowClient().create_run(run.info.experiment_id, tags={naming.ROLLOUT_ID: "other"})
    runs.log(double, [Point(trial.model.session.now(), {"rollout/weight": 10.0})], {})
    double = MlflowClient().get_run(double.info.run_id)
    for _ in range(2):
        runs._merge(run, double)
        MlflowClient().restore_run(double.info.run_id)
    assert len(history(run, "rollout/weight")) == 1


@pytest.mark.slow
def test_parameters_that_a_dead_process_did_not_log_are_logged_by_the_next(trial: Trial) -> None:
    """A process killed between making the run and logging its plan leaves nothing missing."""
    runs = RolloutRuns(MODEL)
    experiment = runs._experiment_id()
    MlflowClient().create_run(experiment, tags={naming.ROLLOUT_ID: ROLLOUT})
    RolloutRecorder(trial.model.session).on_tick(trial.tick())
    assert found(trial).data.params["plan.steps"] == "10, 50, 100"


@pytest.mark.slow
def test_another_model_s_rollouts_are_another_experiment(trial: Trial, recorder: RolloutRecorder) -> None:
    """Models do not see each other's runs, and asking makes no experiment."""
    recorder.on_tick(trial.tick())
    assert RolloutRuns("other").find(ROLLOUT) is None
    assert MlflowClient().get_experiment_by_name("fds/rollouts/other") is None


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("kind", "verdicts", "decision"),
    graded(
        [
            (Kind.COMPLETE, [Status.PASS] * 2, "passed"),
            (Kind.ABORT, [Status.PASS, Status.FAIL], "aborted by the judge"),
            (Kind.ABORT, [Status.PASS], "aborted undecided"),
        ]
    ),
)
@pytest.mark.slow
def test_a_run_says_what_was_decided_and_keeps_the_report(
    trial: Trial,
    recorder: RolloutRecorder,
    kind: Kind,
    verdicts: list[Status],
    decision: str,
) -> None:
    """The decision is a tag; the run's status says that the record is whole. Time, actor and reason are the event's."""
    recorder.on_tick(trial.later().tick())
    recorder.on_tick(trial.later().ending(kind, *verdicts, reason="because of 4 % against 2 %"))
    run = found(trial)
    ended = trial.model.session.look().history.events[-1].time
    assert (run.info.status, run.info.end_time) == ("FINISHED", ended.timestamp() * 1_000)
    assert run.data.tags["fds.decision"] == decision
    assert run.data.tags["fds.status"] == ("completed" if kind is Kind.COMPLETE else "aborted")
    assert run.data.tags["fds.ended_by"] == "autopilot of ann"
    assert run.data.tags["fds.reason"] == "because of 4 % against 2 %"
    assert "because of 4 % against 2 %" in run.data.tags["mlflow.note.content"]
    kept = [artifact.path for artifact in MlflowClient().list_artifacts(run.info.run_id)]
    assert kept == ["report.html", "summary.html", "summary.ko.html"]
    for artifact in kept:
        assert f"/artifacts/{artifact}?" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["rollout/weight"] == (100 if kind is Kind.COMPLETE else 0)


@pytest.mark.slow
def test_a_rollout_that_a_person_ended_is_closed_at_the_next_look(trial: Trial, recorder: RolloutRecorder) -> None:
    """An abort by hand is told as one, with that person's name."""
    recorder.on_tick(trial.later().tick())
    trial.run(Request(Kind.PROMOTE, 3), "nothing to do")
    trial.run(Request(Kind.ABORT), "customers complain", actor="bob")
    recorder.on_tick(trial.later().over())
    run = found(trial)
    assert (run.info.status, run.data.tags["fds.ended_by"]) == ("FINISHED", "bob")
    assert run.data.tags["fds.decision"] == "aborted by hand"


@pytest.mark.slow
def test_a_rollout_that_an_emergency_ended_says_so(mlflow_uri: str) -> None:
    """A rollback in the middle of a trial is the decision; the record of it is whole."""
    trial = Trial(SMALL, tracking_uri=mlflow_uri)
    trial.run(Request(Kind.ABORT), "again")
    trial.run(Request(Kind.PROMOTE, 5), "")
    start = Request(Kind.START, 4, plan=SMALL, rollout_id="01M82CR80VRNQ6NZSEN29F2K49", now=trial.model.session.now())
    trial.run(start, "once more")
    recorder = RolloutRecorder(trial.model.session)
    recorder.on_tick(trial.later().tick())
    trial.run(Request(Kind.EMERGENCY), "all is wrong")
    recorder.on_tick(trial.later().over())
    run = found(trial, start.rollout_id or "")
    assert (run.info.status, run.data.tags["fds.decision"]) == ("FINISHED", "rolled back by hand")


@pytest.mark.campaign
@pytest.mark.slow
def test_a_hand_in_the_registry_ends_the_run_too(trial: Trial, recorder: RolloutRecorder) -> None:
    """A champion alias moved in MLflow's UI overtakes the rollout; once the history says so, the run is closed."""
    recorder.on_tick(trial.later().tick())
    trial.world.by_hand(SetAlias("champion", 6))
    trial.model.settle()
    recorder.on_tick(trial.later().over())
    run = found(trial)
    assert (run.info.status, run.data.tags["fds.status"]) == ("FINISHED", "overtaken")
    assert run.data.tags["fds.decision"] == "overtaken"
    assert run.data.tags["fds.ended_by"] == "an out-of-band change, noticed by ann"


@pytest.mark.campaign
@pytest.mark.slow
def test_what_a_process_left_open_the_next_one_closes(trial: Trial, recorder: RolloutRecorder) -> None:
    """The first look of any later process closes runs of rollouts that ended while nobody recorded."""
    recorder.on_tick(trial.later().tick())
    trial.run(Request(Kind.ABORT), "enough")
    start = Request(Kind.START, 5, plan=SMALL, rollout_id="01M82CR80VRNQ6NZSEN29F2K49", now=trial.model.session.now())
    trial.run(start, "the next one")
    RolloutRecorder(trial.model.session).on_tick(trial.later().tick())
    assert found(trial).info.status == "FINISHED"
    assert list(RolloutRuns(MODEL).running()) == [start.rollout_id]


@pytest.mark.slow
def test_rollouts_by_hand_get_their_runs_when_somebody_catches_up(trial: Trial, recorder: RolloutRecorder) -> None:
    """Plan, steps, end and report of a rollout without an autopilot come from the history; asking twice adds none."""
    trial.later(60).run(Request(Kind.ADVANCE, now=trial.model.session.now()), "looks fine")
    trial.later(60).run(Request(Kind.COMPLETE), "fine")
    assert recorder.catch_up() == [ROLLOUT]
    run = found(trial)
    assert run.info.status == "FINISHED"
    assert history(run, "rollout/weight") == [(0, 10.0), (60, 50.0), (120, 100.0)]
    assert recorder.catch_up() == []


@pytest.mark.slow
def test_the_report_tells_what_labels_say_by_now(trial: Trial) -> None:
    """Most labels come after the end: a report that is made later has them, for a rollout by hand too."""
    plan = Plan([10, 100], guardrails=PLAN.guardrails, label_maturity="1h")
    trial = Trial(plan, tracking_uri=trial.model.session.tracking_uri)
    with OutcomeStore("sqlite://") as outcomes:
        model = ManagedModel(
            MODEL,
            store=trial.world.store,
            clock=trial.world.clock,
            outcomes=outcomes,
            tracking_uri=trial.model.session.tracking_uri,
        )
        key = {"key": "K", "rollout_id": ROLLOUT, "assigned": "canary", "time": trial.model.session.now()}
        outcomes.record([outcome(**key)])
        trial.run(Request(Kind.ABORT), "enough")
        assert "is not known" in frauds(RolloutRecorder(model.session).story())[0]
        outcomes.label([case(transaction_id="K", known_at=trial.model.session.now(), loss_amount=12.5)])
        trial.later(DAY)
        assert frauds(RolloutRecorder(model.session).story())[0] == (
            "Canary 4: of 1 key whose labels are due, the truth of 1 is known; it caught 0 frauds; it missed 1 fraud,"
            " which took 12.50; 0 false alarms."
        )
    trial.world.store.delete_version(MODEL, 4)
    facts = RolloutRecorder(trial.model.session).story().versions
    assert facts[4].description == "no longer in the registry"
    assert facts[3].version == 3


@pytest.mark.slow
def test_a_watch_that_ran_its_time_is_finished(mlflow_uri: str) -> None:
    """The run of a watch is named after the champion that is watched, and its planned end is no failure."""
    plan = Plan([5], guardrails=SMALL.guardrails, watch=Watch("7d", 5))
    trial = Trial(plan, tracking_uri=mlflow_uri, is_watch=True)
    recorder = RolloutRecorder(trial.model.session)
    recorder.on_tick(trial.later().tick())
    assert found(trial).info.run_name == "watch of 3 vs 4"
    recorder.on_tick(trial.later().ending(Kind.ABORT, reason="watch ended"))
    assert found(trial).info.status == "FINISHED"


# --- when tracking fails -------------------------------------------------------------------------------------------


def test_ticks_of_an_outage_are_logged_afterwards(
    trial: Trial, recorder: RolloutRecorder, server: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    """While tracking is down every tick is kept and the outage is reported; then all arrive, with their own times."""
    recorder.on_tick(trial.later().tick())
    server.off = True
    for _ in range(3):
        recorder.on_tick(trial.later().tick())
    assert "could not be recorded, and goes on: tracking did not take it: API request failed" in caplog.text
    server.off = False
    recorder.on_tick(trial.later().tick())
    assert [step for step, _ in history(found(trial), "rollout/weight")] == [30, 60, 90, 120, 150]


@pytest.mark.slow
def test_an_end_during_an_outage_is_caught_up(trial: Trial, recorder: RolloutRecorder, server: Broken) -> None:
    """The last tick and the end of a rollout are recorded at a later look, even when nothing is left to judge."""
    recorder.on_tick(trial.later().tick())
    server.off = True
    recorder.on_tick(trial.later().ending(Kind.ABORT, Status.PASS, Status.FAIL))
    server.off = False
    assert found(trial).info.status == "RUNNING"
    recorder.on_tick(trial.later().over())
    run = found(trial)
    assert (run.info.status, run.data.tags["fds.decision"]) == ("FINISHED", "aborted by the judge")
    assert [step for step, _ in history(run, "alert_rate/canary")] == [30, 60]


@pytest.mark.slow
def test_an_end_during_an_outage_is_caught_up_while_the_next_rollout_runs(
    trial: Trial, recorder: RolloutRecorder, server: Broken
) -> None:
    """A process that goes on with another rollout, a watch say, still closes the run that it could not close."""
    recorder.on_tick(trial.later().tick())
    server.off = True
    recorder.on_tick(trial.later().ending(Kind.ABORT))
    server.off = False
    start = Request(Kind.START, 5, plan=SMALL, rollout_id="01M82CR80VRNQ6NZSEN29F2K49", now=trial.model.session.now())
    trial.run(start, "the next one")
    recorder.on_tick(trial.later().tick())
    assert found(trial).info.status == "FINISHED"
    assert list(RolloutRuns(MODEL).running()) == [start.rollout_id]


@pytest.mark.campaign
@pytest.mark.slow
def test_an_outage_that_lasts_keeps_the_newest_ticks_and_counts_the_lost(
    trial: Trial, recorder: RolloutRecorder, server: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is bounded: the oldest ticks are given up, the run says how many, and that it is not whole: FAILED."""
    caplog.set_level(logging.ERROR)
    server.off = True
    tick = trial.tick()
    for _ in range(WAITING + 2):
        waiting = recorder._waiting.get(ROLLOUT)
        if waiting is not None and len(waiting.points) < WAITING:
            waiting.points.extend([Point(tick.time, {"rollout/weight": 10.0})] * (WAITING - len(waiting.points)))
        recorder.on_tick(trial.later(DAY).tick())
        if waiting is not None and waiting.lost == 2:
            break
    server.off = False
    recorder.on_tick(trial.later(DAY).tick())
    assert found(trial).data.tags["fds.ticks_lost"] == "3"
    recorder.on_tick(trial.later(DAY).ending(Kind.ABORT))
    assert found(trial).info.status == "FAILED"


def test_who_asks_is_told_that_tracking_is_down(trial: Trial, recorder: RolloutRecorder, server: Broken) -> None:
    """Catching up on request does not swallow the outage."""
    server.off = True
    with pytest.raises(UnavailableError, match="connection refused"):
        recorder.catch_up()


def test_a_deleted_experiment_is_reported_and_stops_nothing(
    trial: Trial, recorder: RolloutRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody deleted the experiment: the warning names the command that brings it back, and then all is logged."""
    client = MlflowClient()
    experiment = client.create_experiment("fds/rollouts/fraud")
    client.delete_experiment(experiment)
    recorder.on_tick(trial.later().tick())
    assert "the experiment 'fds/rollouts/fraud' was deleted" in caplog.text
    client.restore_experiment(experiment)
    recorder.on_tick(trial.later().tick())
    assert [step for step, _ in history(found(trial), "rollout/weight")] == [30, 60]


# --- who is notified of verdicts ------------------------------------------------------------------------------------


def test_a_changed_verdict_is_told_once(trial: Trial, recorder: RolloutRecorder) -> None:
    """One notification per look that changed anything: what it was, what it is, and why."""
    for statuses in ((), (), (Status.PASS,), (Status.PASS,)):
        recorder.on_tick(trial.later().tick(*statuses, reason="1 of 2"))
    first, second = trial.notifications()
    assert [change["to"] for change in first.data["changes"]] == ["PASS", *["INCONCLUSIVE"] * 2]
    assert second.data["changes"] == [
        {"check": "error_rate", "from": "INCONCLUSIVE", "to": "PASS", "reason": "error_rate: 1 of 2"}
    ]
    assert second.data["overall"]["status"] == "INCONCLUSIVE"
    assert (second.data["canary"], second.data["weight"]) == (4, 10)
    assert [first.id, second.id] == [f"{ROLLOUT}-1", f"{ROLLOUT}-2"]
    json.dumps(second.payload(), allow_nan=False)


def test_a_recommendation_that_changes_is_told(trial: Trial, recorder: RolloutRecorder) -> None:
    """A rollout that begins to wait for a person says so once."""
    recorder.on_tick(trial.later().tick())
    for _ in range(2):
        recorder.on_tick(trial.later().tick(action=Action.HOLD, reason="a person must open 50 %"))
    _, told = trial.notifications()
    assert told.data["changes"] == []
    assert told.data["recommendation"] == {
        "from": "wait",
        "to": "hold",
        "reason": "hold at 10 %: a person must open 50 %",
    }


def test_a_process_that_begins_anew_tells_only_what_is_new(trial: Trial) -> None:
    """Ticks from cron, each a process of its own, find in the run what was told before."""
    for statuses in ((), (), (Status.PASS,), (Status.PASS,)):
        RolloutRecorder(trial.model.session).on_tick(trial.later().tick(*statuses))
    assert [told.id for told in trial.notifications()] == [f"{ROLLOUT}-1", f"{ROLLOUT}-2"]


def test_two_autopilots_tell_a_change_under_one_id(trial: Trial) -> None:
    """Both may see it at the same moment: receivers drop the double by its id."""
    one, other = RolloutRecorder(trial.model.session), RolloutRecorder(trial.model.session)
    one.on_tick(trial.later().tick())
    other.on_tick(trial.tick())
    tick = trial.later().tick(Status.FAIL)
    before = found(trial)
    one.on_tick(tick)
    other._note(tick, before)  # it had read the run before the first one wrote
    assert [told.id for told in trial.notifications()] == [f"{ROLLOUT}-1", f"{ROLLOUT}-2", f"{ROLLOUT}-2"]


@pytest.mark.slow
def test_a_change_during_an_outage_is_told_at_once(trial: Trial, recorder: RolloutRecorder, server: Broken) -> None:
    """Telling does not wait for tracking."""
    recorder.on_tick(trial.later().tick())
    server.off = True
    recorder.on_tick(trial.later().tick(Status.FAIL))
    recorder.on_tick(trial.later().tick(Status.FAIL))
    assert [told.id for told in trial.notifications()] == [f"{ROLLOUT}-1", f"{ROLLOUT}-2"]


def test_what_a_hand_wrote_into_the_memory_of_verdicts_is_ignored() -> None:
    """A tag that cannot be parsed counts as nothing known."""
    for odd in (None, "", "{", "[]", '{"number": 1}', '{"number": "x", "action": "wait", "statuses": {}}', "null"):
        assert naming.LastReported.of({} if odd is None else {naming.KNOWN: odd}) == naming.LastReported()
    for logged in (None, datetime(2026, 1, 1, tzinfo=UTC)):
        known = naming.LastReported(3, "hold", {"error_rate": "PASS"}, logged)
        assert naming.LastReported.of({naming.KNOWN: known.encode()}) == known
        assert naming.LastReported.of({"fds.known": known.encode()}) == known, "as earlier releases named it"


@pytest.mark.slow
def test_what_a_later_release_wrote_beside_it_is_kept(trial: Trial, recorder: RolloutRecorder) -> None:
    """The memory of verdicts in a run's tag goes on with fields that this release does not know."""
    recorder.on_tick(trial.later().tick())
    run = recorder.runs.find(ROLLOUT)
    assert run is not None
    values = json.loads(run.data.tags[naming.KNOWN])
    MlflowClient().set_tag(run.info.run_id, naming.KNOWN, json.dumps({**values, "region": "eu"}))
    MlflowClient().set_tag(run.info.run_id, "fds.region", "eu")
    anew = RolloutRecorder(trial.model.session)
    anew.on_tick(trial.later().tick(Status.FAIL))
    run = anew.runs.find(ROLLOUT)
    assert run is not None
    kept = json.loads(run.data.tags[naming.KNOWN])
    assert (kept["region"], kept["number"]) == ("eu", values["number"] + 1)
    assert run.data.tags["fds.region"] == "eu"
