"""Prefect 3: retrain, rehearse, start the canary, wait for its end, report. `python prefect_flow.py` serves it."""

from pathlib import Path

from prefect import flow, task
from prefect.states import Completed, Failed, State

from fds_mlflow import ManagedModel
from fds_mlflow.rollouts.plan.file import load_plan
from fds_mlflow.rollouts.record.recorder import RolloutRecorder
from fds_mlflow.rollouts.report import report
from fds_mlflow.workflows import Source, retrain
from fds_mlflow.workflows.preparation import featurised_for

MODEL = "fraud"
DATA = Source("/var/lib/fds/transactions.parquet")
PLAN = Path("/var/lib/fds/plan.yaml")
REPORT = Path("/var/lib/fds/report.html")


@task(retries=3, retry_delay_seconds=300)
def retrained() -> int | None:
    """The version put forward; None where nothing is new, or nothing better."""
    made = retrain(ManagedModel(MODEL), DATA)
    return None if made.repeated else made.staged


@task
def rehearsed(version: int) -> float:
    """The share of replays of the transactions that would abort it."""
    model = ManagedModel(MODEL)
    history = featurised_for(model, [model.overview().champion or version, version], DATA.read())
    return model.canary.rehearse(version, data=history, plan=load_plan(PLAN), replays=40).outcomes.get("abort", 0.0)


@task
def started(version: int) -> None:
    """Put it on trial."""
    ManagedModel(MODEL).canary.start(version, plan=load_plan(PLAN), reason="nightly release")


@task
def ended(version: int) -> str:
    """What became of it, whoever carried it through."""
    model = ManagedModel(MODEL)
    if not model.canary.wait(timeout=12 * 3600).ended:
        return "under way"
    return "champion" if model.overview().champion == version else "aborted"


@task
def reported() -> None:
    """The page about it."""
    REPORT.write_text(report.render(RolloutRecorder(ManagedModel(MODEL).session).story()), encoding="utf-8")


@flow(name="release-fraud")
def release() -> State:
    """One release, if there is anything to release."""
    version = retrained()
    if version is None:
        return Completed(message="nothing new")
    if rehearsed(version) >= 0.5:
        return Failed(message=f"version {version} would be aborted")
    started(version)
    end = ended(version)
    reported()
    return (Failed if end == "aborted" else Completed)(message=f"version {version}: {end}; {REPORT}")


if __name__ == "__main__":
    release.serve(name="nightly", cron="17 2 * * *", limit=1)
