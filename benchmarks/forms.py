"""One row's score, by each form of a model: as MLflow gives it, as its library does, and as `fds serve` asks for it.

    python -m benchmarks.forms --json      # half a minute

LightGBM (200 trees) and this project's Isolation Forest (100 trees) have a compiled scorer, a random forest of
scikit-learn (100 trees) one that takes arrays; 25 features each. A row is a tuple of Python's numbers, as a request's
body gives it.
Every form must give the scores that `pyfunc.predict` gives. The forms take turns, row after row in each; medians.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import report
from benchmarks.serving.model import NAMES, booster, frame, rows, train

ROUNDS = 3
TOLERANCE = 1e-9
Row = tuple[float, ...]
Form = Callable[[Row], float]


def lightgbm(folder: Path) -> dict[str, Form]:
    """The model of the other serving benchmarks."""
    model = train(folder)
    trained = booster(model)
    return {
        "Booster.predict on an array": lambda row: float(trained.predict(np.array([row]), num_threads=1)[0]),
        **forms(model.signed),
    }


def isolation_forest(folder: Path) -> dict[str, Form]:
    """This project's pipeline, fitted on rows without labels."""
    import pandas as pd

    from fds_mlflow.features.table import FeatureSpec, FeatureTable
    from fds_mlflow.training.algorithms import isolation_forest as algorithm
    from fds_mlflow.training.split import by_time

    data = frame(rows(5_000, seed=0)).assign(
        time=pd.date_range("2026-01-01", periods=5_000, freq="5min"), transaction_id=[f"T{n}" for n in range(5_000)]
    )
    period = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    table = FeatureTable(data, list(NAMES), [], FeatureSpec(numeric=NAMES), "0" * 32, "the benchmark", period)
    fitted = algorithm.fit(by_time(table), {"n_estimators": 100}, 0)
    trusted = {"serialization_format": "skops", "skops_trusted_types": list(fitted.trusted_types)}
    return saved(fitted.model, folder, trusted)


def random_forest(folder: Path) -> dict[str, Form]:
    """Any model of scikit-learn."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = rows(2_000, seed=0)
    pipeline = make_pipeline(StandardScaler(), RandomForestRegressor(100, max_depth=8, random_state=0))
    return saved(pipeline.fit(frame(x), x[:, 0] > x[:, 1]), folder, {"serialization_format": "cloudpickle"})


def saved(model: Any, folder: Path, options: dict[str, Any]) -> dict[str, Form]:
    """The forms of a scikit-learn model."""
    import mlflow
    from mlflow.models import infer_signature

    example = frame(rows(50, seed=0))
    common = {"signature": infer_signature(example), "input_example": example, "pip_requirements": ["scikit-learn"]}
    mlflow.sklearn.save_model(model, folder / "model", **common, **options)
    return {
        "scikit-learn on a frame": lambda row: float(model.predict(frame(np.array([row])))[0]),
        **forms(folder / "model"),
    }


def forms(folder: Path) -> dict[str, Form]:
    """A logged model through pyfunc, and in the form in which it is served."""
    import mlflow

    from fds_mlflow.scoring.compiled import CompiledModel
    from fds_mlflow.scoring.convert import compiled

    loaded = mlflow.pyfunc.load_model(str(folder))
    inputs = dict.fromkeys(NAMES, "double")
    example = frame(rows(50, seed=0))
    form = compiled(str(folder), loaded, example, inputs)
    found: dict[str, Form] = {"pyfunc.predict": lambda row: float(loaded.predict(frame(np.array([row])))[0])}
    if form is not None:
        found[f"fds serve, {'native' if isinstance(form, CompiledModel) else 'arrays'}"] = form.row
    return found


def measured(ways: dict[str, Form], count: int) -> dict[str, float]:
    """Microseconds of each way, the median over some rows.

    Raises:
        AssertionError: Two ways do not give the same scores.
    """
    asked = [tuple(row) for row in rows(count, seed=2).tolist()]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    scores: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            for row in asked:
                began = time.perf_counter()
                score = way(row)
                seconds[name].append(time.perf_counter() - began)
                scores[name].append(score)
    expected = np.array(scores["pyfunc.predict"])
    for name, found in scores.items():
        if np.abs(np.array(found) - expected).max() > TOLERANCE:
            raise AssertionError(f"{name} does not give pyfunc's scores")
    return {name: round(1e6 * float(np.median(found)), 1) for name, found in seconds.items()}


def run(count: int) -> dict[str, Any]:
    """Measure; the result that is printed."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    found: dict[str, dict[str, float]] = {}
    models = {"LightGBM": lightgbm, "Isolation Forest": isolation_forest, "random forest": random_forest}
    for name, make in models.items():
        with tempfile.TemporaryDirectory(prefix="fds-forms-") as folder:
            found[name] = measured(make(Path(folder)), count)
    return {"rows": count, "microseconds": found}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--rows", type=int, default=300, help="how many rows are scored by each form")
    options = parser.parse_args()
    result = run(options.rows)
    table: list[list[object]] = [["model", "form", "us a row"]]
    table += [[model, form, us] for model, ways in result["microseconds"].items() for form, us in ways.items()]
    report("One row's score", table, result, options.json)


if __name__ == "__main__":
    main()
