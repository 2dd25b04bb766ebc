"""Native models: the same scores as MLflow's pyfunc, from plain values and in microseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from fds_mlflow.errors import DataError
from fds_mlflow.scoring.compiled import CompiledModel
from fds_mlflow.scoring.convert import average_path, convert, forest_text
from fds_mlflow.scoring.scorer import Scorer, accelerated
from fds_mlflow.scoring.trees import Trees
from fds_mlflow.training.algorithms import gradient_boosting, isolation_forest
from fds_mlflow.training.fitted import FittedScorer
from fds_mlflow.training.split import by_time
from tests.support.tables import table

FITTERS = {"lightgbm": gradient_boosting.fit, "isolation_forest": isolation_forest.fit}
TOLERANCE = {"lightgbm": 1e-12, "isolation_forest": 1e-9}


class Logged:
    """A model as MLflow has it, and rows to ask it about."""

    def __init__(self, folder: Path, algorithm: str, *, categorical: bool) -> None:
        import mlflow

        rows = table(3_000, categorical=categorical)
        self.frame = rows.x
        self.tolerance = TOLERANCE[algorithm]
        fitted = FITTERS[algorithm](by_time(rows), {}, 42)
        self.folder = folder / f"{algorithm}-{categorical}"
        _save(fitted, self.frame.head(5).reset_index(drop=True), self.folder)
        self.loaded = mlflow.pyfunc.load_model(str(self.folder))
        self.kinds = kinds_of(self.loaded)

    def convert(self) -> CompiledModel | None:
        """Its compiled scorer."""
        return convert(str(self.folder), self.loaded, self.frame.head(5), self.kinds)


def kinds_of(loaded: Any) -> dict[str, str]:
    """Columns and MLflow's names of their types."""
    return {column.name: column.type.name for column in loaded.metadata.signature.inputs.inputs}


def _save(fitted: FittedScorer, example: pd.DataFrame, folder: Path) -> None:
    import mlflow

    options: dict[str, Any] = {"signature": infer_signature(example), "input_example": example}
    if fitted.flavor == "lightgbm":
        mlflow.lightgbm.save_model(fitted.model, folder, pip_requirements=[], **options)
    else:
        mlflow.sklearn.save_model(
            fitted.model,
            folder,
            serialization_format="skops",
            skops_trusted_types=list(fitted.trusted_types),
            pip_requirements=[],
            **options,
        )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, categorical), marks=() if (name, categorical) == ("lightgbm", True) else pytest.mark.slow)
        for name in FITTERS
        for categorical in (False, True)
    ],
)
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Each algorithm, with and without categories."""
    name, categorical = request.param
    return Logged(tmp_path_factory.mktemp("logged"), name, categorical=categorical)


def _random_rows(frame: pd.DataFrame, count: int = 500) -> pd.DataFrame:
    random = np.random.default_rng(7)
    rows = {}
    for name in frame.columns:
        values = frame[name].to_numpy()[random.integers(0, len(frame), count)]
        if frame[name].dtype == np.float64:
            values = values * random.lognormal(0, 1, count)
            values[random.random(count) < 0.1] = np.nan
        else:
            values = np.where(random.random(count) < 0.1, "never seen", values.astype(object))
        rows[name] = values
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_the_scores_are_those_of_pyfunc(logged: Logged):
    """A native model scores random rows, gaps and unseen categories like pyfunc, one by one and all at once."""
    native = logged.convert()
    assert native is not None
    frame = _random_rows(logged.frame)
    expected = logged.loaded.predict(frame)
    columns = [frame[name].to_numpy() for name in native.names]
    assert np.abs(native.matrix(columns) - expected).max() <= logged.tolerance
    rows = [[None if pd.isna(value) else value for value in row] for row in zip(*columns, strict=True)]
    assert np.abs(np.array([native.row(row) for row in rows]) - expected).max() <= logged.tolerance


@pytest.mark.slow
def test_those_who_embed_a_version_get_the_same_scores_sooner(logged: Logged):
    """A scorer with its compiled scorer answers frames and single transactions as the one without."""
    kinds = logged.kinds
    example, folder = logged.frame.head(5), str(logged.folder)
    slow = Scorer(1, 0.5, kinds, example, logged.loaded.predict, folder, logged.loaded, frozenset({"noise"}))
    fast = accelerated(slow)
    assert fast.compiled is not None
    frame = _random_rows(logged.frame)
    expected = slow.score(frame)
    assert np.abs(fast.score(frame) - expected).max() <= logged.tolerance
    singly = np.array([fast.row(row) for row in frame.to_dict("records")])
    assert np.abs(singly - expected).max() <= logged.tolerance
    number = next(name for name, kind in kinds.items() if kind == "double")
    whole = frame.fillna({number: 1.0}).round({number: 0}).astype({number: "int32"})
    assert np.abs(fast.score(whole) - slow.score(whole)).max() == 0
    for scorer in (slow, fast):
        with pytest.raises(DataError):
            scorer.score(frame.assign(**{number: "a text"}))
        with pytest.raises(DataError, match="safely convert int64 to float64"):
            scorer.score(whole.astype({number: "int64"}))
    gap = frame.iloc[0].to_dict() | {"noise": None}
    assert fast.row(gap) == fast.row({name: value for name, value in gap.items() if name != "noise"})
    with pytest.raises(DataError, match=f"needs columns that the transaction does not have: {number}"):
        fast.row({name: value for name, value in frame.iloc[0].items() if name != number})


def test_it_is_read_back_as_it_was_written(logged: Logged, tmp_path: Path):
    """A native model that was written to disk and read by another process gives the same scores."""
    native = logged.convert()
    assert native is not None
    native.save(tmp_path)
    again = CompiledModel.load(tmp_path)
    assert again is not None
    frame = _random_rows(logged.frame)
    columns = [frame[name].to_numpy() for name in native.names]
    assert (again.matrix(columns) == native.matrix(columns)).all()
    assert CompiledModel.load(tmp_path / "nothing here") is None


def test_a_text_where_a_number_belongs_is_refused(logged: Logged):
    """A value that is no number raises, and never becomes a score."""
    native = logged.convert()
    assert native is not None
    with pytest.raises(TypeError):
        native.row(["a text" if column.kind in ("number", "scaled") else "web" for column in native.columns])


def test_no_rows_give_no_scores(logged: Logged):
    """An empty frame is answered with no scores."""
    native = logged.convert()
    assert native is not None
    assert native.matrix([np.empty(0) for _ in native.names]).shape == (0,)


class _Lies:
    """A pyfunc whose scores are not those of its artifacts."""

    def __init__(self, loaded: Any) -> None:
        self.metadata = loaded.metadata
        self.get_raw_model = loaded.get_raw_model
        self._loaded = loaded

    def predict(self, frame: pd.DataFrame) -> Any:
        return self._loaded.predict(frame) + 1e-6


def test_a_native_form_that_disagrees_is_not_used(logged: Logged):
    """Where pyfunc scores differently, for whatever reason, there is no compiled scorer."""
    example = logged.frame.head(5)
    assert convert(str(logged.folder), _Lies(logged.loaded), example, logged.kinds) is None


def test_without_an_example_nothing_is_believed(logged: Logged):
    """A model that was logged without an example is left to pyfunc, since nothing shows that both agree."""
    assert convert(str(logged.folder), logged.loaded, None, logged.kinds) is None


@pytest.mark.parametrize("max_features", [1.0, 0.5])
def test_the_forest_in_lightgbms_format_is_the_forest(max_features: float):
    """A forest written as LightGBM's trees gives scikit-learn's scores, stumps and feature subsets included."""
    from sklearn.ensemble import IsolationForest

    random = np.random.default_rng(3)
    rows = random.normal(size=(600, 6)).astype(np.float32)
    rows[:, 5] = 1.0  # a constant: nothing to split
    forest = IsolationForest(n_estimators=30, max_samples=64, max_features=max_features, random_state=3).fit(rows)
    text, divisor = forest_text(forest)
    sums = Trees(text, raw=True).matrix(rows.astype(np.float64))
    assert -np.exp2(-sums / divisor) == pytest.approx(forest.score_samples(rows), abs=1e-12)


def test_average_path_lengths_are_scikit_learns():
    """c(n) agrees with scikit-learn's own, small numbers of rows included."""
    from sklearn.ensemble._iforest import _average_path_length

    rows = np.arange(1, 3_000)
    assert average_path(rows) == pytest.approx(_average_path_length(rows), rel=1e-14)


def test_what_is_no_model_is_refused():
    """A text that is no LightGBM model is an error that says so."""
    with pytest.raises(DataError, match="LightGBM refused"):
        Trees("not a model")
