"""Adopting a model that is there already: its scores, its threshold, its version; what was there stays as it was."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.cli import main
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError, DataError, FdsError, NotFoundError, RefusedError
from fds_mlflow.features import declaration
from fds_mlflow.features.spec import handbook_spec
from fds_mlflow.registry import tags
from fds_mlflow.registry.doubts import ADOPTION, TRAINING, warnings_of
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.prepare import prepare
from fds_mlflow.training.evaluation import choose_threshold
from fds_mlflow.workflows import adopt
from tests.support import foreign_models, tiny_models
from tests.support.foreign_models import COLUMNS, fitted, rows

FRAUD = "fraud"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        yield


@pytest.fixture(scope="module")
def classifier() -> Any:
    """A logistic regression on the rows."""
    return foreign_models.pipeline()[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, classifier: Any) -> dict[str, Path]:
    """Models on disk, saved once: with signature and example, without, and one that is a scorer already."""
    from sklearn.ensemble import IsolationForest
    from sklearn.linear_model import LinearRegression
    from sklearn.svm import LinearSVC

    folder = tmp_path_factory.mktemp("foreign")
    models = {
        "margins": LinearSVC(),
        "outliers": IsolationForest(n_estimators=5),
        "amounts": LinearRegression(),
    }
    made = {name: foreign_models.save(folder / name, "sklearn", fitted(model)) for name, model in models.items()}
    made["three"] = foreign_models.save(
        folder / "three", "sklearn", fitted(foreign_models.forest()[1], lambda y: y + (np.arange(len(y)) % 2))
    )
    made["letters"] = foreign_models.save(
        folder / "letters", "sklearn", fitted(foreign_models.forest()[1], lambda y: np.where(y == 1, "A", "B"))
    )
    made["plain"] = foreign_models.save(folder / "plain", "sklearn", classifier)
    made["bare"] = foreign_models.save(folder / "bare", "sklearn", classifier, bare=True)
    made["probabilities"] = foreign_models.save(
        folder / "probabilities", "sklearn", classifier, pyfunc_predict_fn="predict_proba"
    )
    made["whole numbers"] = foreign_models.save(folder / "whole", "pyfunc", "(p > 0.5).astype(int)")
    made["scorer"] = foreign_models.save(folder / "scorer", "pyfunc", "p")
    return made


@pytest.fixture
def model(mlflow_uri: str) -> ManagedModel:
    """The model that is adopted into."""
    return ManagedModel(FRAUD, actor="ann", outcomes="sqlite://", trust=True)


def register(path: Path, **more: Any) -> int:
    """The next version, without a threshold."""
    return tiny_models.register(FRAUD, path, **{"threshold": None, "digest": False, **more})


def contents(path: Path) -> dict[str, str]:
    """What the files of a folder hold."""
    return {
        str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in path.rglob("*") if p.is_file()
    }


def expected(classifier: Any, frame: pd.DataFrame) -> Any:
    """The classifier's own probabilities of fraud."""
    return pytest.approx(classifier.predict_proba(frame[COLUMNS])[:, 1], abs=1e-9)


def test_a_classifier_is_adopted_promoted_routed_and_rolled_back(
    model: ManagedModel, saved: dict[str, Path], classifier: Any
) -> None:
    """A classifier that was logged in the plain way serves its probabilities; it is promoted and rolled back to."""
    before = contents(saved["plain"])
    first = adopt(model, register(saved["plain"]), data=rows(seed=1))
    assert (first.version, first.created, first.wrapped, first.positive) == (1, False, False, 1)
    assert first.warnings == ()
    assert model.promote(1).warnings == ()
    second = adopt(model, register(saved["probabilities"]), data=rows(seed=1))
    model.promote(second.version)
    model.rollback.emergency(reason="try it")
    router = model.router(record=False)
    frame = rows(20, seed=2).assign(transaction_id=[f"T{i}" for i in range(20)])
    answer = router.predict(frame)
    assert answer["score"].to_numpy() == expected(classifier, frame)
    assert set(answer["version"]) == {1}
    assert router.score(frame.iloc[0].to_dict()).score == pytest.approx(answer["score"][0])
    assert model.compare(1, 2, data=rows(seed=3)).advice is not None
    assert contents(saved["plain"]) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "bare", "probabilities", "whole numbers"])
def test_what_answers_no_scores_gets_no_traffic_before_it_is_adopted(
    model: ManagedModel, saved: dict[str, Path], name: str
) -> None:
    """Promote and start refuse class labels and pairs of probabilities, and name what fixes it."""
    adopt(model, register(saved["scorer"]), threshold=0.5)
    model.promote(1)
    version = register(saved[name], threshold="0.5")
    for operation in (model.promote, model.canary.start):
        with pytest.raises(RefusedError) as refused:
            operation(version)
        assert f"fds adopt MODEL {version}" in refused.value.fix
    if name != "whole numbers":
        adopt(model, version)
        model.canary.start(version, plan=Plan(steps=[10, 100]))


@pytest.mark.slow
def test_a_server_scores_an_adopted_version_as_the_model_does(
    model: ManagedModel, saved: dict[str, Path], classifier: Any, tmp_path: Path
) -> None:
    """What a server keeps on its disk answers the adopted scores; adopted otherwise, it is fetched again."""
    version = adopt(model, register(saved["plain"]), threshold=0.5).version
    cache = VersionCache(tmp_path / "cache", FRAUD, "here")
    frame = rows(5, seed=2)

    def served() -> Any:
        identity = model.session.version(version).identity
        assert cache.prepared(version, identity) is None
        with cache.preparing(version, identity) as folder:
            prepare(model.session.store, FRAUD, version, folder)
        kept = cache.prepared(version, identity)
        assert kept is not None
        loaded = Loaded.load(kept, 0.5, 60)
        values = frame[COLUMNS].to_numpy().tolist()
        assert loaded.rows(values) == pytest.approx([loaded.row(one) for one in values])
        return loaded.rows(values)

    assert served() == expected(classifier, frame)
    adopt(model, version, positive_class=0)
    assert 1 - served() == expected(classifier, frame)


@pytest.mark.slow
def test_what_lacks_is_inferred_into_a_version_that_wraps_it(
    model: ManagedModel, saved: dict[str, Path], classifier: Any
) -> None:
    """Without signature and example, but with data, a new version wraps a copy; MLflow's own load answers scores."""
    register(saved["bare"])
    made = adopt(model, 1, data=rows(seed=1).assign(note="x"), label="label")
    assert (made.version, made.created, made.wrapped) == (2, True, True)
    assert model.promote(2).warnings == ()
    frame = rows(20, seed=2)
    loaded = mlflow.pyfunc.load_model(f"models:/{FRAUD}/2")
    assert loaded.predict(frame[COLUMNS]) == expected(classifier, frame)
    assert model.scorer(2).score(frame) == expected(classifier, frame)
    assert loaded.metadata.get_input_schema().input_names() == COLUMNS
    flavor = loaded.metadata.flavors["python_function"]
    assert (flavor["loader_module"], flavor.get("code")) == ("fds_mlflow.scoring.wrapped", None)
    assert adopt(model, 1, data=rows(seed=1)).version == 2
    turned = rows(seed=1).assign(label=lambda frame: 1 - frame["label"])
    other = adopt(model, 1, data=turned, positive_class=0)
    assert (other.version, 1 - model.scorer(3).score(frame)) == (3, expected(classifier, frame))
    assert tags.SCORE not in model.session.version(1).tags
    metrics = model.session.metrics(2)
    assert metrics["average_precision"] == pytest.approx(made.metrics["average_precision"])


@pytest.mark.slow
def test_without_data_what_lacks_is_a_warning_that_stays(model: ManagedModel, saved: dict[str, Path]) -> None:
    """What could not be checked is kept with the version, and told again when it gets traffic."""
    made = adopt(model, register(saved["bare"]), threshold=0.4)
    said = " ".join(made.warnings)
    assert all(word in said for word in ("signature", "input example", "checked on no data"))
    told = model.promote(made.version).warnings
    assert set(made.warnings) <= set(told)
    assert any(warning.startswith("not checked: scores its example") for warning in told)


@pytest.mark.slow
def test_the_threshold_is_chosen_as_training_chooses_it(
    model: ManagedModel, saved: dict[str, Path], classifier: Any
) -> None:
    """On labelled data the threshold is that of the target rate; rows whose truth is not known are left out."""
    data = rows(seed=1)
    scores = classifier.predict_proba(data[COLUMNS])[:, 1]
    made = adopt(model, register(saved["plain"]), data=data, target_fpr=0.05)
    assert made.threshold == choose_threshold(data["label"], scores, 0.05)
    half = data.assign(label=data["label"].where(data.index < 200))
    made = adopt(model, 1, data=half)
    assert made.threshold == choose_threshold(data["label"][:200], scores[:200], 0.02)
    words = data.drop(columns="label").assign(is_fraud=np.where(data["label"] == 1, "True", "False"))
    assert adopt(model, 1, data=words, target_fpr=0.05).threshold == choose_threshold(data["label"], scores, 0.05)


@pytest.mark.slow
def test_a_threshold_that_is_there_stays(model: ManagedModel, saved: dict[str, Path]) -> None:
    """Adopting a version that has a threshold leaves it, unless another is given."""
    assert adopt(model, register(saved["plain"], threshold="0.37")).threshold == 0.37
    assert adopt(model, 1, threshold=0.4).threshold == 0.4


@pytest.mark.slow
def test_adopting_twice_changes_nothing_and_other_settings_say_so(model: ManagedModel, saved: dict[str, Path]) -> None:
    """The same again writes nothing; another positive class is written, and said."""
    adopt(model, register(saved["plain"]), threshold=0.5)
    before = model.session.version(1)
    again = adopt(model, 1, threshold=0.5)
    assert not again.changed
    assert "before" in again.message
    assert model.session.version(1) == before
    assert adopt(model, 1).threshold == 0.5
    assert model.session.version(1) == before
    other = adopt(model, 1, positive_class="0")
    assert other.changed
    assert any("0.5" in warning for warning in other.warnings)
    assert [event.kind for event in model.history()] == [Kind.STAGE]


@pytest.mark.slow
def test_a_version_in_a_rollout_keeps_its_scores(model: ManagedModel, saved: dict[str, Path]) -> None:
    """What a rollout's evidence was gathered with may not change before the rollout has ended."""
    for name in ("scorer", "plain"):
        adopt(model, register(saved[name]), threshold=0.5)
    model.promote(1)
    model.canary.start(2, plan=Plan(steps=[10, 100]))
    for version in (1, 2):
        with pytest.raises(RefusedError, match="rollout"):
            adopt(model, version, threshold=0.6)
    model.canary.abort(reason="done")
    assert adopt(model, 2, threshold=0.6).changed


REFUSED = {
    "margins": ("predict_proba", "CalibratedClassifierCV"),
    "outliers": ("outlier detector", "decision_function"),
    "amounts": (r"not scores in \[0, 1\]", "regressor"),
    "three": ("3 classes", "two classes"),
    "letters": ("'A' and 'B'", "--positive-class"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_scores_is_refused_and_says_how_to_log_it(
    model: ManagedModel, saved: dict[str, Path], name: str
) -> None:
    """Labels without probabilities, margins, several classes: refused, with the fix, and nothing is written."""
    what, fix = REFUSED[name]
    version = register(saved[name])
    with pytest.raises(RefusedError, match=what) as refused:
        adopt(model, version, data=rows(seed=1))
    assert fix in refused.value.fix
    assert model.session.version(version).tags == {}
    assert model.history() == []


@pytest.mark.slow
def test_arguments_that_say_nothing_are_refused(model: ManagedModel, saved: dict[str, Path]) -> None:
    """Two thresholds, none where nothing says one, a target without data, a column that is not there: clear errors."""
    version, scorer = register(saved["plain"]), register(saved["scorer"])
    frame = rows(seed=1)
    wrong: list[tuple[type[FdsError], dict[str, Any]]] = [
        (ConfigError, {"threshold": 0.5, "target_fpr": 0.02}),
        (ConfigError, {"threshold": 1.5}),
        (ConfigError, {"threshold": float("nan")}),
        (ConfigError, {"target_fpr": 0.02}),
        (ConfigError, {"target_fpr": 0.0, "data": frame}),
        (ConfigError, {"label": "label"}),
        (RefusedError, {"positive_class": "nobody"}),
        (DataError, {"data": frame, "label": "nobody"}),
        (DataError, {"data": frame.drop(columns="hour")}),
        (DataError, {"data": frame.head(0)}),
        (DataError, {"data": frame.assign(label=7)}),
        (ConfigError, {"data": frame.drop(columns="label").assign(is_fraud=0, fraud=1)}),
    ]
    for kind, given in wrong:
        with pytest.raises(kind):
            adopt(model, version, **given)
    with pytest.raises(ConfigError, match="--threshold"):
        adopt(model, scorer)
    assert model.history() == []


def test_a_ranking_that_stands_on_its_head_is_refused(model: ManagedModel, saved: dict[str, Path]) -> None:
    """Scores that rank frauds below genuine rows are of another class: refused, and the option is named."""
    version = register(saved["plain"])
    with pytest.raises(RefusedError, match="below genuine") as refused:
        adopt(model, version, data=rows(seed=1), positive_class=0)
    assert "--positive-class" in refused.value.fix


@pytest.mark.slow
def test_data_without_labels_choose_by_all_rows_and_say_so(model: ManagedModel, saved: dict[str, Path]) -> None:
    """Without labels the threshold flags a share of all rows, and nobody claims that it was checked."""
    made = adopt(model, register(saved["plain"]), data=rows(seed=1)[COLUMNS], target_fpr=0.1)
    assert made.metrics == {}
    assert any("no labels" in warning for warning in made.warnings)


@pytest.mark.slow
def test_everything_that_names_a_model_is_adopted(model: ManagedModel, saved: dict[str, Path], classifier: Any) -> None:
    """A run, its addresses, another model's version by number and alias, a logged model and a folder all work."""
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            classifier, name="model", pip_requirements=[], input_example=rows()[COLUMNS].head()
        )
    client = MlflowClient()
    client.create_registered_model("other")
    client.create_model_version("other", info.model_uri, run.info.run_id)
    client.set_registered_model_alias("other", "best", "1")
    before = client.get_run(run.info.run_id).to_dictionary()
    run_id = run.info.run_id
    same = [run_id, f"runs:/{run_id}/model", info.model_uri]
    made = [adopt(model, source, threshold=0.5) for source in same]
    assert [one.version for one in made] == [1, 1, 1]
    assert [one.changed for one in made] == [True, False, False]
    assert model.session.version(1).source == info.model_uri
    others = [adopt(model, source, threshold=0.5).version for source in ("models:/other/1", "models:/other@best")]
    assert len(set(others)) == 1
    assert adopt(model, str(saved["plain"]), threshold=0.5).version == 3 - (others[0] == 1)
    model.promote(1)
    assert client.get_run(run_id).to_dictionary() == before
    assert client.get_model_version("other", "1").tags == {}
    client.delete_run(run_id)
    assert adopt(model, 1, threshold=0.6).changed


def test_what_names_no_model_is_refused(model: ManagedModel, saved: dict[str, Path], tmp_path: Path) -> None:
    """A version, run, alias or folder that is not there is a clear error, and so is a run without a model."""
    register(saved["plain"])
    with mlflow.start_run() as run:
        pass
    with pytest.raises(NotFoundError):
        adopt(model, 7)
    for source in ("0" * 32, run.info.run_id, "models:/fraud@nobody", "models:/nobody/1", str(tmp_path / "no"), " "):
        with pytest.raises(FdsError) as refused:
            adopt(model, source, threshold=0.5)
        assert refused.value.fix


@pytest.mark.slow
def test_the_command_adopts_and_promote_prints_its_warnings(
    model: ManagedModel, saved: dict[str, Path], tmp_path: Path
) -> None:
    """`fds adopt` reads files, answers JSON, and refuses two thresholds; `fds promote` prints the warnings."""
    register(saved["plain"])
    halves = [rows(seed=1).iloc[:200], rows(seed=1).iloc[200:]]
    halves[0].to_csv(tmp_path / "a.csv", index=False)
    halves[1].to_csv(tmp_path / "b.csv", index=False)
    data = ["--data", str(tmp_path / "a.csv"), "--data", str(tmp_path / "b.csv")]
    said = json.loads(CliRunner().invoke(main, ["adopt", FRAUD, "1", *data, "--json"]).stdout)
    assert (said["version"], said["positive"], said["warnings"]) == (1, 1, [])
    assert said["threshold"] == adopt(model, 1, data=rows(seed=1)).threshold
    wrong = CliRunner().invoke(main, ["adopt", FRAUD, "1", "--threshold", "0.5", "--target-fpr", "0.1"])
    assert wrong.exit_code == 2
    CliRunner().invoke(main, ["adopt", FRAUD, "1", "--threshold", "0.5"])
    promoted = CliRunner().invoke(main, ["promote", FRAUD, "1"])
    assert "Warning: the threshold 0.5 was given and checked on no data" in promoted.stdout


def test_warnings_are_read_whoever_wrote_them() -> None:
    """Warnings of training and adoption are told together; one that cannot be parsed is told as it stands."""
    assert warnings_of({}) == ()
    assert warnings_of({TRAINING: '["a"]', ADOPTION: '["b"]'}) == ("a", "b")
    assert warnings_of({ADOPTION: "nonsense"}) == ("nonsense",)


@pytest.mark.parametrize(("name", "wraps"), [("bare", True), ("scorer", False)])
def test_what_is_adopted_declares_what_it_declared(
    model: ManagedModel, saved: dict[str, Path], tmp_path: Path, name: str, wraps: bool
) -> None:
    """Features and schema among the original's files are the adopted version's too, wrapped or not."""
    folder = tmp_path / "declared"
    shutil.copytree(saved[name], folder)
    digest = declaration.write(folder, handbook_spec(), Schema.load("handbook"))
    described = mlflow.models.Model.load(str(folder))
    described.metadata = {declaration.KEY: digest}
    described.save(str(folder / "MLmodel"))
    made = adopt(model, str(folder), data=rows(seed=1))
    assert made.wrapped == wraps
    assert model.declared(made.version) == (handbook_spec(), Schema.load("handbook"), digest)
    assert model.session.version(made.version).tags[declaration.KEY] == digest
