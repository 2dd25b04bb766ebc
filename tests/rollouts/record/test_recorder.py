"""The record of a rollout, whole: autopilot to tracking run and report, events to receivers, MLflow's own webhooks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import standardwebhooks
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from benchmarks.registry_load.clients import prepare
from fds_mlflow import ManagedModel, Plan
from fds_mlflow.cli.main import main
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.notifications.notifier import Hook, Notifier
from fds_mlflow.rollouts.autopilot import Autopilot
from fds_mlflow.rollouts.record.recorder import RolloutRecorder
from fds_mlflow.rollouts.record.run import RolloutRuns
from fds_mlflow.runtime.identity import new_id
from tests.support import tiny_models
from tests.support.receiver import HttpReceiver, http_receiver
from tests.support.registry_model import MODEL
from tests.support.release import MINUTE, Rates, Release
from tests.support.rollout_ticks import Trial
from tests.support.servers import Server

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
MLFLOWS = "any text is a secret to MLflow"
PLAN = Plan(
    [10, 50, 100],
    guardrails=[Guardrail("error_rate", margin=1.0), Guardrail("alert_rate", margin=1.0)],
    min_outcomes=200,
)


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    """A receiver on loopback."""
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to register."""
    return tiny_models.save(tmp_path_factory.mktemp("tiny"), "tiny", tiny_models.GOOD)


@pytest.fixture
def live(mlflow_uri: str, source: Path) -> ManagedModel:
    """A model on MLflow with a champion and a rollout that was started by hand."""
    for _ in range(2):
        tiny_models.register(MODEL, source)
    model = ManagedModel(MODEL, actor="ann")
    model.session.run(Request(Kind.PROMOTE, 1), "first model")
    model.session.run(Request(Kind.START, 2, plan=PLAN, rollout_id=new_id(), now=model.session.now()), "weekly retrain")
    return model


def fds(*words: str) -> Result:
    """A command."""
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


# --- the autopilot's record ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("canary", "decision", "verdict", "said"),
    [
        (Rates(), "passed", "PASS", "Version 2 passed its trial and replaced version 1 as champion."),
        (Rates(error=0.25), "aborted by the judge", "FAIL", "Version 2 was aborted by the judge at 10 %, as harmful;"),
    ],
)
def test_a_rollout_on_autopilot_leaves_a_run_with_curves_and_a_report(
    mlflow_uri: str, canary: Rates, decision: str, verdict: str, said: str
) -> None:
    """From the first look to the end: rates, evidence and weight over time, the verdict, and the decision in words."""
    release = Release({1: Rates(), 2: canary})
    told: list[str] = []
    notifier = Notifier([Hook(lambda notification: told.append(notification.type))])
    model = ManagedModel(
        MODEL,
        store=release.world.store,
        clock=release.street,
        actor="ann",
        outcomes=release.outcomes,
        tracking_uri=mlflow_uri,
        notifier=notifier,
    )
    recorder = RolloutRecorder(model.session)
    release.start(PLAN)
    rollout = model.canary.rollout()
    last = Autopilot(model.session, on_tick=[recorder.on_tick]).run(interval=MINUTE)
    release.outcomes.close()
    assert last.ended
    run = RolloutRuns(MODEL).find(rollout.id)
    assert run is not None
    assert (run.info.status, run.data.tags["fds.decision"]) == ("FINISHED", decision)
    assert run.data.tags["fds.verdict.error_rate"].startswith(verdict)
    series = RolloutRuns(MODEL).series(run)
    for name in ("champion", "canary", "estimate", "interval_low", "fail_evidence", "pass_evidence"):
        assert series[f"error_rate/{name}"], name
    decisive = series[f"error_rate/{verdict.lower()}_evidence"]
    assert decisive[-1][1] >= 1  # relative to the threshold
    page = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/report.html")).read_text()
    assert said in page
    assert "Decided by autopilot of ann" in page
    assert notifier.flush(30)
    assert ("lifecycle.complete" if decision == "passed" else "lifecycle.abort") in told
    assert told[-1] == "rollout.verdict"  # why it ended


# --- the verbs -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_report_of_a_rollout_by_hand_is_made_and_recorded_on_request(live: ManagedModel, tmp_path: Path) -> None:
    """`canary report --record`: the page, the summary, and the tracking run that nobody had made."""
    live.session.run(Request(Kind.ABORT), "flags too many customers")
    page = tmp_path / "report.html"
    answer = json.loads(fds("canary", "report", MODEL, "-o", str(page), "--record", "--json").stdout)
    assert answer["recorded"] == [answer["rollout"]]
    assert (answer["status"], answer["decision"], answer["file"]) == ("aborted", "aborted by hand", str(page))
    assert "flags too many customers" in answer["summary"]
    assert "flags too many customers" in page.read_text(encoding="utf-8")
    run = RolloutRuns(MODEL).find(answer["rollout"])
    assert run is not None
    assert (run.info.status, run.data.tags["fds.decision"]) == ("FINISHED", "aborted by hand")
    again = fds("canary", "report", MODEL, "--rollout", answer["rollout"])
    assert f"The report is in rollout-{answer['rollout']}.html" in again.stdout.replace("\n", " ")


@pytest.mark.slow
def test_the_page_for_a_manager_is_made_and_kept_with_the_run(live: ManagedModel, tmp_path: Path) -> None:
    """`--for manager`, in English and Korean; `--record` brings what the run keeps up to date after the end."""
    live.session.run(Request(Kind.ABORT), "flags too many customers")
    page = tmp_path / "summary.html"
    said = {}
    for language in ("en", "ko"):
        done = fds("canary", "report", MODEL, "-o", str(page), "--for", "manager", "--lang", language, "--record")
        assert done.exit_code == 0
        said[language] = page.read_text(encoding="utf-8")
        assert "flags too many customers" in said[language]
    assert "A person stopped the trial of the new model (version 2)." in said["en"]
    assert "사람이 새 모델(버전 2)의 시험을 중단했습니다." in said["ko"]
    (run,) = RolloutRuns(MODEL).all().values()
    kept = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/summary.ko.html")
    assert "사람이 새 모델(버전 2)의 시험을 중단했습니다." in kept
    MlflowClient().log_text(run.info.run_id, "of an older release", "report.html")
    fds("canary", "report", MODEL, "-o", str(page), "--record")
    assert "aborted by hand" in mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/report.html")
    about = MlflowClient().get_model_version(MODEL, "2").description
    assert f"/runs/{run.info.run_id}/artifacts/summary.html" in about
    assert (
        f"/runs/{run.info.run_id}/artifacts/summary.ko.html" in MlflowClient().get_registered_model(MODEL).description
    )


@pytest.mark.slow
def test_a_rollout_that_does_not_exist_is_named_with_those_that_do(live: ManagedModel) -> None:
    """Exit code 1, and the fix lists what there is."""
    known = live.canary.rollout().id
    refused = fds("canary", "report", MODEL, "--rollout", "nonsense", "--json")
    answer = json.loads(refused.stdout)
    assert (refused.exit_code, answer["type"]) == (1, "NotFoundError")
    assert known in answer["fix"]


@pytest.mark.slow
def test_events_can_be_sent_again_under_their_first_ids(
    live: ManagedModel, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a receiver missed while it was down comes from the history, in order, and doubles can be told by id."""
    refused = fds("notify", "resend", MODEL, "--since", "1")
    assert refused.exit_code == 1
    assert "nobody is to be notified" in refused.stderr
    monkeypatch.setenv("FDS_WEBHOOK_URL", http.url)
    monkeypatch.setenv("FDS_WEBHOOK_SECRET", SECRET)
    assert json.loads(fds("notify", "resend", MODEL, "--since", "2", "--json").stdout)["sent"] == 1
    assert json.loads(fds("notify", "resend", MODEL, "--since", "1", "--json").stdout)["sent"] == 2
    events = list(reversed(live.history()))
    ids = [got.headers["webhook-id"] for got in http.received]
    assert ids == [events[1].operation, events[0].operation, events[1].operation]
    assert json.loads(http.received[1].body)["type"] == "lifecycle.promote"


@pytest.mark.slow
def test_settings_can_be_tried(live: ManagedModel, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """`notify test` says that a receiver took it, or why not, without showing the URL."""
    monkeypatch.setenv("FDS_WEBHOOK_URL", http.url)
    monkeypatch.setenv("FDS_WEBHOOK_SECRET", SECRET)
    assert fds("notify", "test", MODEL).stdout.strip() == "sent 1 to webhook at 127.0.0.1"
    (got,) = http.received
    assert standardwebhooks.Webhook(SECRET).verify(got.body, got.headers)["type"] == "test"
    http.answer(404)
    refused = fds("notify", "test", MODEL)
    assert refused.exit_code == 1
    assert "it answered 404 Not Found" in refused.stderr
    assert "token" not in refused.stderr


@pytest.mark.slow
def test_a_command_tells_the_webhook(live: ManagedModel, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event by hand from the command line reaches the receiver that the environment names."""
    monkeypatch.setenv("FDS_WEBHOOK_URL", http.url)
    monkeypatch.setenv("FDS_WEBHOOK_SECRET", SECRET)
    assert fds("canary", "abort", MODEL, "--reason", "support reports blocked customers").exit_code == 0
    (got,) = http.wait_for(1)
    told = standardwebhooks.Webhook(SECRET).verify(got.body, got.headers)
    assert (told["type"], told["data"]["reason"]) == ("lifecycle.abort", "support reports blocked customers")


# --- on a server ---------------------------------------------------------------------------------------------------


@pytest.mark.campaign
def test_mlflow_s_own_webhooks_fire_for_our_operations(mlflow_with_webhooks: Server, http: HttpReceiver) -> None:
    """Who listens to MLflow hears of every alias we move and every rollout tag; its signature differs in names only."""
    mlflow.set_tracking_uri(mlflow_with_webhooks.url)
    mlflow.set_registry_uri(mlflow_with_webhooks.url)
    client = MlflowClient()
    prepare(mlflow_with_webhooks.url)
    events = ["model_version_alias.created", "model_version_alias.deleted", "model_version_tag.set"]
    client.create_webhook("ours", http.url, events, secret=MLFLOWS)
    model = ManagedModel(MODEL, actor="ann")
    model.session.run(Request(Kind.PROMOTE, 1), "first model")
    model.session.run(Request(Kind.START, 2, plan=PLAN, rollout_id=new_id(), now=model.session.now()), "")
    model.session.run(Request(Kind.ABORT), "heard enough")
    # Champion set, rollout tag, canary set, canary deleted, rollout tag; MLflow promises no order.
    heard = [json.loads(got.body) for got in http.wait_for(5)]
    aliases = {(one["action"], one["data"]["alias"]) for one in heard if one["entity"] == "model_version_alias"}
    assert aliases == {("created", "champion"), ("created", "canary"), ("deleted", "canary")}
    assert [one["data"]["key"] for one in heard if one["entity"] == "model_version_tag"] == ["fds.rollout"] * 2
    got = http.received[0]
    names = {"webhook-id": "delivery-id", "webhook-timestamp": "timestamp", "webhook-signature": "signature"}
    headers = {ours: got.headers[f"x-mlflow-{theirs}"] for ours, theirs in names.items()}
    assert standardwebhooks.Webhook(MLFLOWS.encode()).verify(got.body, headers) == json.loads(got.body)


@pytest.mark.campaign
def test_a_rollout_is_recorded_through_a_server(
    mlflow_with_webhooks: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over HTTP: the run, its report as the server's artifact, and the end; MLflow prints nothing into our output."""
    trial = Trial(tracking_uri=mlflow_with_webhooks.url)
    recorder = RolloutRecorder(trial.model.session)
    recorder.on_tick(trial.later().tick())
    recorder.on_tick(trial.later().ending(Kind.COMPLETE, *[Status.PASS] * 4))
    assert capsys.readouterr().out == ""
    run = recorder.runs.find(trial.model.history()[0].rollout.id)  # type: ignore[union-attr]
    assert run is not None
    assert run.info.status == "FINISHED"
    mlflow.set_tracking_uri(mlflow_with_webhooks.url)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    page = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html")
    assert "Version 4 passed its trial" in page
    plain = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/summary.html")
    place = f"{mlflow_with_webhooks.url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert f'href="{place}/artifacts/report.html' in plain
    assert f'href="{place}?' in plain
    assert f'href="{mlflow_with_webhooks.url}/#/models/{MODEL}/versions/4' in plain
    assert f'href="{place}/artifacts/summary.ko.html' in page
