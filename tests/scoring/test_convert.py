"""Whatever scikit-learn or LightGBM model is registered, whatever types its columns have: pyfunc's scores, sooner."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from fds_mlflow.errors import DataError
from fds_mlflow.scoring.convert import array_model, convert
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.scorer import Scorer, accelerated
from fds_mlflow.scoring.served import Prepared
from fds_mlflow.serving.disk.version_cache import describe, model_folder
from tests.scoring.test_compiled import kinds_of
from tests.support.effort import graded

RANDOM = np.random.default_rng(3)
ROWS = pd.DataFrame(
    {
        "amount": RANDOM.lognormal(3, 1, 600),
        "ratio": RANDOM.random(600).astype(np.float32),
        "count": RANDOM.integers(0, 50, 600),
        "hour": RANDOM.integers(0, 24, 600).astype(np.int32),
        "foreign": RANDOM.random(600) < 0.3,
    }
)
FRAUD = ((ROWS["amount"] > 30) & (ROWS["ratio"] > 0.1 * ROWS["foreign"] + 0.3)).astype(np.float64)


def booster() -> Any:
    """LightGBM's own model."""
    return lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(ROWS, FRAUD), 20)


def forest() -> Any:
    """A scaled random forest."""
    return make_pipeline(StandardScaler(), RandomForestRegressor(20, random_state=0)).fit(ROWS, FRAUD)


def by_name() -> Any:
    """A pipeline that asks for its columns by name."""
    chosen = ColumnTransformer([("chosen", FunctionTransformer(), ["ratio", "amount"])])
    return Pipeline([("chosen", chosen), ("trees", RandomForestRegressor(5, random_state=0))]).fit(ROWS, FRAUD)


def saved(model: Any, folder: Path) -> Any:
    """The model as MLflow logs it, loaded as pyfunc."""
    flavor = mlflow.lightgbm if isinstance(model, lightgbm.Booster) else mlflow.sklearn
    options: dict[str, Any] = {"pip_requirements": [], "input_example": ROWS.head(20)}
    if flavor is mlflow.sklearn:
        options["serialization_format"] = "cloudpickle"
    flavor.save_model(model, folder, signature=infer_signature(ROWS, FRAUD.to_numpy()), **options)
    return mlflow.pyfunc.load_model(str(folder))


def cached(model: Any, folder: Path) -> tuple[Loaded, Any]:
    """The version as a worker has it in memory, and pyfunc's form of it."""
    loaded = saved(model, model_folder(folder))
    inputs = kinds_of(loaded)
    native = convert(str(model_folder(folder)), loaded, ROWS.head(20), inputs)
    arrays = array_model(loaded, ROWS.head(20), inputs)
    if native is not None:
        native.save(folder)
    describe(folder, inputs, compiled=native is not None, arrays=arrays is not None)
    return Loaded.load(Prepared(1, "one", folder, inputs, native is not None, arrays is not None), 0.5, 30.0), loaded


@pytest.mark.parametrize(
    ("make", "native", "framed"), graded([(booster, True, True), (forest, False, False), (by_name, False, True)])
)
def test_every_type_of_column_is_scored_as_pyfunc_scores_it(
    tmp_path: Path, make: Callable[[], Any], native: bool, framed: bool
):
    """Doubles, floats, whole numbers and booleans give pyfunc's scores, singly and together, by the quickest form."""
    there, loaded = cached(make(), tmp_path)
    assert (there.compiled is not None, there._framed) == (native, framed)
    expected = np.asarray(loaded.predict(ROWS), dtype=np.float64)
    # What arrives in JSON are Python's numbers, with more digits than a float keeps.
    rows = [tuple(row) for row in ROWS.astype({"ratio": "float64"}).to_numpy(dtype=object).tolist()]
    assert np.abs(there.rows(rows) - expected).max() <= 1e-12
    assert np.abs(np.array([there.row(row) for row in rows[:50]]) - expected[:50]).max() <= 1e-12


def test_a_float_with_more_digits_is_rounded_as_mlflow_rounds_it(tmp_path: Path):
    """A value between two floats is scored as the float that MLflow makes of it."""
    there, loaded = cached(booster(), tmp_path)
    more = ROWS.assign(ratio=ROWS["ratio"].astype(np.float64) * (1 + 2e-8))
    expected = loaded.predict(more.astype({"ratio": "float32"}))
    rows = [tuple(row) for row in more.to_numpy(dtype=object).tolist()]
    assert np.abs(there.rows(rows) - expected).max() <= 1e-12
    assert np.abs(np.array([there.row(row) for row in rows]) - expected).max() <= 1e-12


NOT_EXACT = {
    "a gap among booleans": {"foreign": None},
    "a gap among whole numbers": {"count": None},
    "a fraction": {"count": 2.5},
    "a whole number out of range": {"hour": 3e9},
    "an endless number": {"count": float("inf")},
}


@pytest.fixture(scope="module", params=graded([booster, forest]))
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A version in memory, in its compiled scorer or by arrays."""
    return cached(request.param(), tmp_path_factory.mktemp("there"))[0]


@pytest.mark.parametrize("name", NOT_EXACT)
def test_what_is_not_of_its_columns_type_is_refused(there: Loaded, name: str):
    """A gap, a fraction or a number out of range gets no score where its type has no room for it."""
    row = tuple({**ROWS.iloc[0].to_dict(), **NOT_EXACT[name]}.values())
    with pytest.raises(DataError, match="could not score"):
        there.row(row)
    with pytest.raises(DataError, match="could not score"):
        there.rows([row] * 20)


@pytest.mark.tested(1)
@pytest.mark.parametrize("make", graded([booster, forest]))
def test_those_who_embed_a_version_are_refused_the_same(tmp_path: Path, make: Callable[[], Any]):
    """A single transaction with a value that is not of its type is refused by a scorer, a number in quotes included."""
    loaded = saved(make(), tmp_path / "model")
    scorer = accelerated(
        Scorer(1, 0.5, kinds_of(loaded), ROWS.head(20), loaded.predict, str(tmp_path / "model"), loaded)
    )
    assert scorer.compiled is not None
    for wrong in ({"amount": "12.5"}, {"count": "3"}, *NOT_EXACT.values()):
        with pytest.raises(DataError, match="could not score a transaction"):
            scorer.row({**ROWS.iloc[0].to_dict(), **wrong})


def test_a_single_float_is_rounded_like_a_column_of_them(tmp_path: Path):
    """A transaction whose float has more digits scores as the frame that MLflow makes of it."""
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(ROWS, FRAUD)
    loaded = saved(model, tmp_path / "model")
    scorer = accelerated(
        Scorer(1, 0.5, kinds_of(loaded), ROWS.head(20), loaded.predict, str(tmp_path / "model"), loaded)
    )
    assert scorer.compiled is not None
    frame = ROWS.head(50).assign(ratio=np.float32(0.7))
    expected = loaded.predict(frame)
    chosen = [place for place in range(50) if 0 <= expected[place] <= 1]
    assert chosen
    singly = [scorer.row({**frame.iloc[place].to_dict(), "ratio": 0.7}) for place in chosen]
    assert np.abs(np.array(singly) - expected[chosen]).max() <= 1e-12


_SIDE_BY_SIDE = """
import sys, threading
import numpy as np
from fds_mlflow.scoring.trees import Trees
text = open(sys.argv[1]).read()
trees = Trees(text)
random = np.random.default_rng(0)
frames = [random.random((rows, trees.columns)) for rows in (40, 60, 16)]
expected = [trees.matrix(frame) for frame in frames]
wrong = []
def ask(frame, scores):
    wrong.extend(1 for _ in range(20_000) if (trees.matrix(frame) != scores).any())
threads = [threading.Thread(target=ask, args=both) for both in zip(frames, expected)]
[thread.start() for thread in threads]
[Trees(text).row([0.5] * trees.columns) for _ in range(100)]
[thread.join() for thread in threads]
sys.exit(min(len(wrong), 100))
"""


@pytest.mark.campaign
@pytest.mark.slow
def test_frames_of_any_size_may_be_scored_at_once(tmp_path: Path):
    """Threads that score frames of all sizes, while versions are loaded, get their scores, and the process survives."""
    booster().save_model(tmp_path / "trees.txt")
    done = subprocess.run([sys.executable, "-c", _SIDE_BY_SIDE, str(tmp_path / "trees.txt")], check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_those_who_embed_a_pipeline_get_its_scores_without_a_frame(tmp_path: Path):
    """A scorer of a scikit-learn pipeline answers frames and single transactions by arrays, with pyfunc's scores."""
    loaded = saved(forest(), tmp_path / "model")
    slow = Scorer(1, 0.5, kinds_of(loaded), ROWS.head(20), loaded.predict, str(tmp_path / "model"), loaded)
    fast = accelerated(slow)
    assert fast.compiled is not None
    assert (fast.score(ROWS) == slow.score(ROWS)).all()
    assert fast.row(ROWS.iloc[7].to_dict()) == slow.score(ROWS)[7]
    with pytest.raises(DataError, match="could not score a transaction"):
        fast.row({**ROWS.iloc[7].to_dict(), "amount": "much"})


def test_a_model_that_answers_otherwise_without_names_keeps_its_frame(tmp_path: Path):
    """Where a matrix gives other scores than a frame, the frame stays."""

    class ByName(IsotonicRegression):
        def predict(self, rows: Any) -> Any:
            return np.full(len(rows), 0.25 if isinstance(rows, pd.DataFrame) else 0.75)

    loaded = saved(ByName(out_of_bounds="clip").fit(ROWS[["amount"]], FRAUD), tmp_path / "model")
    assert array_model(loaded, ROWS.head(20), kinds_of(loaded)) is None


def test_texts_stay_in_a_frame(tmp_path: Path):
    """A model with a column of texts is asked with a frame."""
    loaded = saved(forest(), tmp_path / "model")
    assert array_model(loaded, ROWS.head(20), {**kinds_of(loaded), "channel": "string"}) is None
