"""Dagster: retrain, rehearse, start the canary, wait for its end, report. `dagster dev -f dagster_job.py` shows it."""

from collections.abc import Iterator
from pathlib import Path

from dagster import Definitions, Failure, MetadataValue, Out, Output, RetryPolicy, ScheduleDefinition, job, op

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


@op(out=Out(int, is_required=False), retry_policy=RetryPolicy(max_retries=3, delay=300))
def retrained() -> Iterator[Output[int]]:
    """The version put forward; without one, all that follows is skipped."""
    made = retrain(ManagedModel(MODEL), DATA)
    if made.staged is not None and not made.repeated:
        yield Output(made.staged)


@op
def rehearsed(version: int) -> int:
    """The same version, unless most replays of the transactions would abort it."""
    model = ManagedModel(MODEL)
    history = featurised_for(model, [model.overview().champion or version, version], DATA.read())
    found = model.canary.rehearse(version, data=history, plan=load_plan(PLAN), replays=40)
    if found.outcomes.get("abort", 0) >= 0.5:
        raise Failure(f"version {version} would be aborted", metadata={"causes": dict(found.causes)})
    return version


@op
def started(version: int) -> int:
    """The same version, on trial."""
    ManagedModel(MODEL).canary.start(version, plan=load_plan(PLAN), reason="nightly release")
    return version


@op
def ended(version: int) -> str:
    """What became of it, whoever carried it through."""
    model = ManagedModel(MODEL)
    if not model.canary.wait(timeout=12 * 3600).ended:
        return "under way"
    return "champion" if model.overview().champion == version else "aborted"


@op
def reported(end: str) -> None:
    """The page about it; a canary that was aborted fails the run."""
    REPORT.write_text(report.render(RolloutRecorder(ManagedModel(MODEL).session).story()), encoding="utf-8")
    if end == "aborted":
        raise Failure("the canary was aborted", metadata={"report": MetadataValue.path(str(REPORT))})


@job
def release_fraud() -> None:
    """One release, if there is anything to release."""
    reported(ended(started(rehearsed(retrained()))))


definitions = Definitions(
    jobs=[release_fraud], schedules=[ScheduleDefinition(job=release_fraud, cron_schedule="17 2 * * *")]
)
