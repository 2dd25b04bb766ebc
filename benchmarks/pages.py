"""How long each page takes on a model with 5,000 events and 200 versions, and how often it asks the registry.

    python -m benchmarks.pages --json

In one process, without a server: what a server adds is MLflow's own. Every page is read once before it is measured.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from benchmarks.registry_load.clients import Client
from benchmarks.registry_load.scale import laid_down, long_history
from benchmarks.report import report
from fds_mlflow.core.lifecycle.events import Kind, Rollout
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.rollouts.record.run import Point, RolloutRuns
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id

if TYPE_CHECKING:
    from flask.testing import FlaskClient

MODEL = "fraud"
EVENTS, VERSIONS = 5_000, 200
TICKS = 2_700
"""Looks that are logged of a rollout of two weeks."""

PLAN = Plan(
    [10, 25, 50, 100],
    guardrails=[
        Guardrail(Metric.ERROR_RATE, margin=1.0),
        Guardrail(Metric.ALERT_RATE, margin=0.5),
        Guardrail(Metric.SCORE_SHIFT, margin=0.05),
    ],
)


def prepared(uri: str, *, events: int, versions: int, ticks: int) -> Rollout:
    """A registry with the model, its history, its versions, and a rollout under way with all its ticks."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    client.create_registered_model(MODEL)
    run = client.create_run("0")
    for name in ("average_precision", "recall", "roc_auc"):
        client.log_metric(run.info.run_id, name, 0.5)
    threshold = {"fds.threshold": "0.5"}
    for _ in range(versions):
        client.create_model_version(
            MODEL, "s3://nowhere/model", run.info.run_id, tags=threshold, await_creation_for=None
        )
    laid_down(Client(uri, model=MODEL), *long_history(events))
    transactions = Transactions(MlflowStore(uri, uri), SystemClock(), new_id)
    for number in (versions - 1, versions - 2):
        transactions.run(MODEL, Request(Kind.PROMOTE, number), actor="benchmark", reason="")
    start = Request(Kind.START, versions, plan=PLAN, rollout_id=new_id(), now=SystemClock().now())
    started = transactions.run(MODEL, start, actor="benchmark", reason="").event
    if started is None or started.rollout is None:
        raise RuntimeError("the rollout was not started")
    runs = RolloutRuns(MODEL, uri)
    points = [_point(started.rollout.since, place) for place in range(ticks)]
    verdicts = {f"fds.verdict.{guardrail.metric}": "INCONCLUSIVE: so far" for guardrail in PLAN.guardrails}
    runs.log(runs.open(started.rollout, started), points, {"fds.verdict": "INCONCLUSIVE: so far", **verdicts})
    return started.rollout


def _point(since: datetime, place: int) -> Point:
    names = ("champion", "canary", "fail_evidence", "pass_evidence")
    values = {f"{g.metric}/{name}": (place % 97) / 100 for g in PLAN.guardrails for name in names}
    return Point(since + timedelta(minutes=place), values)


@contextmanager
def counted() -> Iterator[list[int]]:
    """How often the registry is asked meanwhile, in one number that grows."""
    plain, calls = MlflowStore._call, [0]

    def call(store: MlflowStore, *given: Any, **named: Any) -> Any:
        calls[0] += 1
        return plain(store, *given, **named)

    MlflowStore._call = call  # type: ignore[method-assign, assignment]
    try:
        yield calls
    finally:
        MlflowStore._call = plain  # type: ignore[method-assign]


def measured(client: FlaskClient, rollout: Rollout, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each page, the median, and its calls to the registry.

    Raises:
        RuntimeError: A page was not shown.
    """
    last = rollout.canary
    pages = {
        "models": "/fds",
        "model": f"/fds/model?name={MODEL}",
        "model_oldest": f"/fds/model?name={MODEL}&events=9999&versions=9999",
        "rollout": f"/fds/rollout?name={MODEL}&id={rollout.id}",
        "compare": f"/fds/compare?name={MODEL}&a={last - 1}&b={last}",
        "rollback": f"/fds/rollback?name={MODEL}",
        "action": f"/fds/action?name={MODEL}&do=advance",
    }
    found = {}
    for name, address in pages.items():
        took = []
        for _ in range(rounds + 1):
            with counted() as calls:
                began = time.perf_counter()
                answer = client.get(address)
                took.append(1_000 * (time.perf_counter() - began))
            if answer.status_code != 200:
                raise RuntimeError(f"{address} answered {answer.status_code}: {answer.text[:500]}")
        found[name] = {"median_ms": round(median(took[1:]), 1), "registry_calls": float(calls[0])}
    return found


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(1), help="How often each page is read.")
@click.option("--events", default=EVENTS, show_default=True, type=click.IntRange(10), help="Events of the history.")
@click.option("--versions", default=VERSIONS, show_default=True, type=click.IntRange(10), help="Versions.")
@click.option("--ticks", default=TICKS, show_default=True, type=click.IntRange(1), help="Looks logged of the rollout.")
def main(as_json: bool, rounds: int, events: int, versions: int, ticks: int) -> None:
    """Build the model, then measure."""
    from flask import Flask

    from fds_mlflow.ui import app

    with tempfile.TemporaryDirectory(prefix="fds-pages-") as folder:
        uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
        os.environ["_MLFLOW_SERVER_FILE_STORE"] = uri
        rollout = prepared(uri, events=events, versions=versions, ticks=ticks)
        made = Flask("pages")
        app.add_pages(made)
        result = measured(made.test_client(), rollout, rounds)
    rows = [(name, told["median_ms"], told["registry_calls"]) for name, told in result.items()]
    report("The page", [("page", "ms", "registry calls"), *rows], {"pages": result}, as_json)


if __name__ == "__main__":
    main()
