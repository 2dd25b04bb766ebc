"""The demo: what a newcomer sees first is so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.cli import demo, demo_serving
from fds_mlflow.core.comparison import Advice
from fds_mlflow.core.judge.judge import judge
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.rollouts import canary
from fds_mlflow.workflows.skew import skew
from fds_mlflow.workflows.source import Source
from tests.support.street_files import Written, bare, hours


@pytest.mark.campaign
@pytest.mark.slow
def test_the_demo_tells_a_true_story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The good canary is better than its champion by every metric, labels take part in its PASS, the bad one fails."""
    ids = iter(("01JD0000000000000000000001", "01JD0000000000000000000002", "01JD0000000000000000000003"))
    monkeypatch.setattr(canary, "new_id", lambda: next(ids))  # the salt of the split, so that it is the same each time
    monkeypatch.chdir(tmp_path)
    demo.run(Path("demo"))
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    uri = f"sqlite:///{tmp_path / 'demo' / 'mlflow.db'}"
    outcomes = f"sqlite:///{tmp_path / 'demo' / 'outcomes.db'}"
    model = ManagedModel("fraud", tracking_uri=uri, registry_uri=uri, outcomes=outcomes)
    told = list(reversed(model.history()))
    assert [(e.kind, e.to_version) for e in told if e.kind not in (Kind.STAGE, Kind.ADVANCE)] == [
        (Kind.PROMOTE, 2),
        (Kind.START, 3),
        (Kind.COMPLETE, 3),
        (Kind.START, 4),
        (Kind.ABORT, 4),
        (Kind.EMERGENCY, 2),
        (Kind.START, 3),
        (Kind.ABORT, 3),
    ]
    assert not any(event.forced for event in told)
    assert {e.actor for e in told[:-1] if e.kind in (Kind.COMPLETE, Kind.ABORT)} == {"autopilot of demo"}

    rows = _test_set(model, 3)
    compared = model.compare(2, 3, data=rows, n_boot=100)
    assert compared.advice is Advice.PROMOTE
    assert compared.ranking.low > 0
    assert compared.reason.endswith("nothing got worse")

    good = next(event.rollout for event in told if event.kind is Kind.COMPLETE)
    assert good is not None
    evidence = model.outcomes.evidence("fraud", good.id, good.plan.terms)
    missed = next(v for v in judge(evidence, good).verdicts if v.check == "missed_fraud")
    assert (missed.status, missed.coverage) == (Status.PASS, 1.0)

    served = {one.version: one.history for one in skew(model, source=Source("demo/transactions.parquet", "simulator"))}
    assert {version: beside and beside.mismatched for version, beside in served.items()} == {2: 0, 3: 0}
    assert sum(beside.compared for beside in served.values() if beside) == demo_serving.REQUESTS
    model.outcomes.close()


def _test_set(model: ManagedModel, version: int) -> object:
    from fds_mlflow.features.test_set import read_test_set

    run_id = model.session.version(version).run_id
    assert run_id is not None
    return read_test_set(mlflow.MlflowClient(model.session.tracking_uri), run_id)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("write", [bare, hours])
def test_the_demo_runs_on_files_of_the_street(
    write: Callable[[Path, int], Written], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a schema, an id, an amount or a time, and on few rows, the story is told to its end."""
    monkeypatch.chdir(tmp_path)
    source, _ = write(tmp_path, 700)
    demo.run(Path("demo"), data=source, label="isFraud" if write is hours else None)
    assert (tmp_path / "demo" / "inferred.schema.yaml").stat().st_size
    uri = f"sqlite:///{tmp_path / 'demo' / 'mlflow.db'}"
    model = ManagedModel("fraud", tracking_uri=uri, registry_uri=uri)
    assert model.overview().champion is not None
