"""One training, as MLflow shows it afterwards, and as another process loads it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features import test_set
from fds_mlflow.features.test_set import read_test_set
from fds_mlflow.training import evaluation
from fds_mlflow.training.pipeline import ALGORITHMS, Trained, train
from fds_mlflow.training.split import Split, by_time
from tests.support.tables import table

pytestmark = pytest.mark.slow  # MLflow gets runs, models and plots; tests/integration has the short proof
QUICK: dict[str, dict[str, object]] = {"lightgbm": {"n_estimators": 40}, "isolation_forest": {"n_estimators": 20}}


@dataclass(frozen=True)
class Done:
    """Two trainings on one split, read-only for the tests of this module."""

    uri: str
    split: Split
    trained: dict[str, Trained]

    @property
    def client(self) -> Any:
        """A client of their MLflow."""
        return mlflow.MlflowClient(self.uri, self.uri)


@pytest.fixture(scope="module")
def done(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """Both algorithms, numeric and categorical features, trained once and registered."""
    folder = tmp_path_factory.mktemp("pipeline")
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.MlflowClient().create_experiment("fds/fraud", artifact_location=(folder / "artifacts").as_uri())
    split = by_time(table(categorical=True))
    numeric = by_time(table())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=r"mlflow\.")  # its own, with pandas 3
        trained = {
            "lightgbm": train(numeric, params=QUICK["lightgbm"], model_name="fraud", tags={"team": "risk"}),
            "isolation_forest": train(
                split, algorithm="isolation_forest", params=QUICK["isolation_forest"], model_name="fraud"
            ),
            "pipeline": train(split, params=QUICK["lightgbm"], model_name="fraud"),
        }
    yield Done(uri, split, trained)
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["lightgbm", "isolation_forest", "pipeline"])
def test_loaded_model_scores_by_the_contract(done: Done, name: str):
    """Loaded from the registry, predict gives the very scores the metrics and the threshold came from."""
    mlflow.set_tracking_uri(done.uri)
    trained = done.trained[name]
    model = mlflow.pyfunc.load_model(f"models:/fraud/{trained.version}")
    scores = model.predict(done.split.test.x)
    assert scores.dtype == np.float64
    assert scores.shape == (len(done.split.test),)
    figures = evaluation.metrics(done.split.test.y, scores, trained.threshold)
    assert figures["average_precision"] == trained.metrics["average_precision"]
    assert figures["recall"] == trained.metrics["recall"]


def test_a_version_loads_where_neither_pickle_nor_skops_may(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trained here is read as numbers, whatever MLflow refuses; its scores are its flavor's."""
    mlflow.set_tracking_uri(done.uri)
    mlflow.set_registry_uri(done.uri)
    frame = done.split.test.x
    by_flavor = {name: mlflow.pyfunc.load_model(one.model_uri).predict(frame) for name, one in done.trained.items()}
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    for name, one in done.trained.items():
        assert one.version is not None
        scorer = ManagedModel("fraud", outcomes="sqlite://").scorer(one.version)
        assert scorer.files is not None
        assert (scorer.files.code, scorer.files.recorded.digest) == (None, scorer.files.digest)
        np.testing.assert_allclose(scorer.score(frame), by_flavor[name], rtol=0, atol=1e-9)
        if name != "lightgbm":
            with pytest.raises(mlflow.MlflowException, match="MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
                mlflow.pyfunc.load_model(one.model_uri)


@pytest.mark.campaign
def test_scores_without_this_package(done: Done, tmp_path: Path):
    """A process in which fds_mlflow cannot be imported loads every model and scores the same."""
    frame = done.split.test.x.head(50)
    frame.to_json(tmp_path / "rows.json", orient="split")
    code = f"""
import sys
sys.modules["fds_mlflow"] = sys.modules["fds_mlflow_plugins"] = None
import io, json, warnings
warnings.simplefilter("ignore")
import mlflow, pandas
mlflow.set_tracking_uri({done.uri!r})
frame = pandas.read_json({str(tmp_path / "rows.json")!r}, orient="split", dtype=False, precise_float=True)
frame[["amount", "velocity_1h", "noise"]] = frame[["amount", "velocity_1h", "noise"]].astype(float)
print(json.dumps([
    mlflow.pyfunc.load_model(uri).predict(frame).tolist()
    for uri in {[trained.model_uri for trained in done.trained.values()]!r}
]))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert answer.returncode == 0, answer.stderr
    mlflow.set_tracking_uri(done.uri)
    for scores, trained in zip(json.loads(answer.stdout), done.trained.values(), strict=True):
        np.testing.assert_allclose(scores, mlflow.pyfunc.load_model(trained.model_uri).predict(frame), rtol=1e-12)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["lightgbm", "isolation_forest", "pipeline"])
def test_nothing_is_pickled(done: Done, name: str):
    """The model's folder holds text, JSON and skops: no pickle, no cloudpickle."""
    mlflow.set_tracking_uri(done.uri)
    folder = Path(mlflow.artifacts.download_artifacts(done.trained[name].model_uri))
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not [file for file in files if file.endswith((".pkl", ".pickle", ".cloudpickle"))]
    assert files & {"model.lgb", "model.skops"}


@pytest.mark.campaign
def test_run_shows_what_people_look_for(done: Done):
    """Parameters, metrics of both parts, curves, plots, importance, declaration and datasets are there."""
    trained = done.trained["lightgbm"]
    run = done.client.get_run(trained.run_id)
    assert run.info.status == "FINISHED"
    assert done.client.get_experiment(run.info.experiment_id).name == "fds/fraud"
    assert run.data.params["learning_rate"] == "0.05"
    assert run.data.params["split_train_rows"] == "2400"
    assert run.data.params["target_fpr"] == "0.02"
    for name in ("accuracy", "precision", "recall", "f1", "roc_auc", "average_precision", "card_precision_at_100"):
        assert 0 <= run.data.metrics[name] <= 1
        assert 0 <= run.data.metrics[f"val_{name}"] <= 1
    assert {key: run.data.metrics[key] for key in trained.metrics} == trained.metrics
    curve = done.client.get_metric_history(trained.run_id, "curve_val_average_precision")
    assert [point.step for point in curve] == list(range(1, len(curve) + 1))
    artifacts = {item.path for item in done.client.list_artifacts(trained.run_id)}
    assert {"features.json", "importance.json", "plots"} <= artifacts
    plots = {item.path for item in done.client.list_artifacts(trained.run_id, "plots")}
    names = ("precision_recall", "roc", "score_distribution", "calibration", "importance")
    assert plots == {f"plots/{name}.png" for name in names}
    contexts = {}
    for item in run.inputs.dataset_inputs:
        tags = {tag.key: tag.value for tag in item.tags}
        contexts[tags["mlflow.data.context"]] = tags
        assert json.loads(item.dataset.profile)["num_rows"] in (2400, 800)
    assert set(contexts) == {"training", "validation", "testing"}
    assert contexts["testing"]["digest"] == done.split.test.digest
    assert contexts["testing"]["period"] > contexts["training"]["period"]


@pytest.mark.campaign
def test_version_carries_what_serving_needs(done: Done):
    """Threshold, algorithm, digest, schema and target travel with the version, and people find a description."""
    trained = done.trained["lightgbm"]
    version = done.client.get_model_version("fraud", str(trained.version))
    assert float(version.tags["fds.threshold"]) == trained.threshold
    assert version.tags["fds.algorithm"] == "lightgbm"
    assert version.tags["fds.digest"] == done.split.train.digest
    assert version.tags["fds.target_fpr"] == "0.02"
    assert len(version.tags["fds.schema"]) == 16
    assert version.tags["team"] == "risk"
    assert version.run_id == trained.run_id
    assert "average precision" in version.description
    tags = done.client.get_run(trained.run_id).data.tags
    assert {key: tags[key] for key in version.tags} == dict(version.tags)
    assert "fds.git_commit" in tags or "fds.package_version" in tags


@pytest.mark.campaign
def test_threshold_is_chosen_on_validation_for_the_target(done: Done):
    """The threshold is the one that flags at most 2 % of the genuine validation rows; the test rows had no say."""
    mlflow.set_tracking_uri(done.uri)
    trained, validation = done.trained["pipeline"], done.split.validation
    scores = mlflow.pyfunc.load_model(trained.model_uri).predict(validation.x)
    assert trained.threshold == evaluation.choose_threshold(validation.y, scores, 0.02)
    for one in done.trained.values():
        assert 0 < one.metrics["val_false_positive_rate"] <= 0.02


@pytest.mark.campaign
def test_signature_and_example(done: Done):
    """The signature is doubles and strings in, one double per row out, and the example has five rows."""
    mlflow.set_tracking_uri(done.uri)
    info = mlflow.models.get_model_info(done.trained["pipeline"].model_uri)
    kinds = {column.name: column.type.name for column in info.signature.inputs.inputs}
    assert kinds == {"amount": "double", "velocity_1h": "double", "noise": "double", "channel": "string"}
    assert info.signature.outputs.inputs[0].shape == (-1,)
    model = mlflow.pyfunc.load_model(done.trained["pipeline"].model_uri)
    assert len(model.input_example) == 5
    assert len(model.predict(model.input_example)) == 5


@pytest.mark.campaign
def test_same_split_same_figures(mlflow_uri: str):
    """Trained again in the same process, every figure is the same to the last digit."""
    split = by_time(table())
    first = train(split, params=QUICK["lightgbm"])
    again = train(split, params=QUICK["lightgbm"])
    assert first.metrics == again.metrics
    assert first.run_id != again.run_id
    assert first.version is None


@pytest.mark.campaign
def test_a_failure_marks_the_run_and_leaves_none_active(mlflow_uri: str):
    """A training that fails ends its run as FAILED, and the next one starts cleanly."""
    split = by_time(table())
    with pytest.raises(ConfigError, match="num_leafs"):
        train(split, params={"num_leafs": 4}, experiment="broken")
    assert mlflow.active_run() is None
    runs = mlflow.search_runs(experiment_names=["broken"], output_format="list")
    assert [run.info.status for run in runs] == ["FAILED"]


@pytest.mark.campaign
def test_an_active_run_becomes_the_parent(mlflow_uri: str):
    """Inside a retraining's run the training is its child, in the same experiment, and the parent stays active."""
    experiment = mlflow.MlflowClient().create_experiment("retraining")
    with mlflow.start_run(experiment_id=experiment) as parent:
        trained = train(by_time(table(labelled=False)), algorithm="isolation_forest", params={"n_estimators": 10})
        assert mlflow.active_run().info.run_id == parent.info.run_id
    child = mlflow.get_run(trained.run_id)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.experiment_id == experiment
    assert set(trained.metrics) == {"threshold", "flagged_rate", "val_flagged_rate"}


def test_a_run_handed_over_by_mlflow_run_is_filled(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch):
    """`mlflow run` creates the run beforehand: it gets the training, and what was asked for in it stays."""
    client = mlflow.MlflowClient()
    given = client.create_run(client.create_experiment("project")).info.run_id
    client.log_param(given, "n_estimators", "''")  # as an entry point's parameter that nobody gave
    client.log_param(given, "target_fpr", "0.02")
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    trained = train(by_time(table(labelled=False)), algorithm="isolation_forest", params={"n_estimators": 10})
    assert trained.run_id == given
    made = client.get_run(given).data
    assert "fds.digest" in made.tags
    said = {name: made.params.get(name) for name in ("n_estimators", "chosen_n_estimators", "target_fpr", "trees")}
    assert said == {"n_estimators": "''", "chosen_n_estimators": "10", "target_fpr": "0.02", "trees": "10"}
    assert "chosen_target_fpr" not in made.params


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"algorithm": "oracle"}, "lightgbm, isolation_forest"), ({"target_fpr": 2.0}, "0.02 is 2 %")],
)
def test_wrong_arguments_start_no_run(mlflow_uri: str, arguments: dict[str, Any], words: str):
    """An unknown algorithm or an impossible target is refused before anything is written."""
    with pytest.raises(ConfigError) as caught:
        train(by_time(table(500)), experiment="untouched", **arguments)
    assert words in str(caught.value)
    assert mlflow.MlflowClient().get_experiment_by_name("untouched") is None


@pytest.mark.campaign
def test_a_deleted_experiment_is_explained(mlflow_uri: str):
    """Training into a deleted experiment says what to do instead of MLflow's stack."""
    client = mlflow.MlflowClient()
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(ConfigError, match="was deleted"):
        train(by_time(table(500)), experiment="gone")


@pytest.mark.campaign
def test_parts_of_different_tables_are_refused(mlflow_uri: str):
    """Parts with different features cannot be one training."""
    split = by_time(table())
    other = replace(split, test=replace(split.test, features=["amount"]))
    with pytest.raises(DataError, match="different features"):
        train(other)


def test_algorithms_are_the_two_of_the_house():
    """The names people pass are these."""
    assert set(ALGORITHMS) == {"lightgbm", "isolation_forest"}


@pytest.mark.campaign
def test_the_labelled_test_rows_are_kept_with_the_run(done: Done) -> None:
    """Features and label of the very rows that the test figures come from, without keys and times."""
    mlflow.set_tracking_uri(done.uri)
    for name, trained in done.trained.items():
        rows = read_test_set(done.client, trained.run_id)
        assert rows is not None
        scores = mlflow.pyfunc.load_model(trained.model_uri).predict(rows.drop(columns="label"))
        found = evaluation.metrics(rows["label"].to_numpy(), np.asarray(scores).ravel(), trained.threshold)
        assert found["average_precision"] == pytest.approx(trained.metrics["average_precision"]), name
        assert set(rows.columns) == {*done.split.test.features, "label"} - (
            set(done.split.test.categorical) if name == "lightgbm" else set()
        )


@pytest.mark.campaign
def test_no_more_test_rows_are_kept_than_a_promotion_can_wait_for(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a larger test part a sample is kept, the same for the same seed; a run without one has none."""
    monkeypatch.setattr(test_set, "MOST_ROWS", 50)
    part, kept = by_time(table()).test, []
    for seed in (1, 1, 2):
        with mlflow.start_run() as run:
            assert read_test_set(mlflow.MlflowClient(), run.info.run_id) is None
            test_set.log_test_set(part, seed)
        rows = read_test_set(mlflow.MlflowClient(), run.info.run_id)
        assert rows is not None
        assert len(rows) == 50
        kept.append(rows)
    assert kept[0].equals(kept[1])
    assert not kept[0].equals(kept[2])
