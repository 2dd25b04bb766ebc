"""One row's reasons, beside its score: the milliseconds of CPU of each, as a worker of `fds serve` asks for them.

    python -m benchmarks.reasons --json      # a minute

Both algorithms of `fds train` as it trains them, on the simulator's transactions with all features. The contributions
of every row must add up to its raw score. Scores and reasons take turns, row after row.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from benchmarks.report import report

ROWS = 400


def measured(algorithm: str, data: Any) -> dict[str, float]:
    """Milliseconds of CPU of a row, and how far the contributions are off at most."""
    from fds_mlflow.scoring.compiled import Column, CompiledModel
    from fds_mlflow.scoring.convert import of_pipeline
    from fds_mlflow.scoring.loaded import Loaded
    from fds_mlflow.training.algorithms import gradient_boosting, isolation_forest

    fit = {"lightgbm": gradient_boosting.fit, "isolation_forest": isolation_forest.fit}[algorithm]
    fitted = fit(data, {}, 42)
    frame = data.test.x
    inputs = {name: "string" if name in data.train.categorical else "double" for name in frame.columns}
    compiled: CompiledModel | None
    if fitted.flavor == "lightgbm":
        columns = [Column(name) for name in frame.columns]
        compiled = CompiledModel(columns, range(len(columns)), fitted.model.model_to_string())
    else:
        compiled = of_pipeline(fitted.model, frame.head(5), inputs)
    assert compiled is not None
    loaded = Loaded(1, inputs, 0.5, 1.0, compiled=compiled)
    rows = list(frame.head(ROWS).itertuples(index=False, name=None))
    taken: dict[str, list[float]] = {"score": [], "reasons": []}
    worst = 0.0
    for row in rows:
        began = time.thread_time()
        score = loaded.row(row)
        scored = time.thread_time()
        told = loaded.reasons([row], "all")[0]
        taken["score"].append(scored - began)
        taken["reasons"].append(time.thread_time() - scored)
        if algorithm == "lightgbm":
            raw = told.base + sum(one.contribution for one in told.reasons)
            worst = max(worst, abs(raw - np.log(score / (1 - score))))
    return {
        "features": len(inputs),
        "trees": fitted.trees,
        "score_p50_ms": 1e3 * float(np.median(taken["score"])),
        "reasons_p50_ms": 1e3 * float(np.median(taken["reasons"])),
        "reasons_p99_ms": 1e3 * float(np.quantile(taken["reasons"], 0.99)),
        "largest_difference": worst,
    }


def main() -> None:
    """Measure both algorithms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as JSON as well")
    arguments = parser.parse_args()
    from fds_mlflow.workflows import Source, prepare

    data = prepare(Source("simulator:20000"))
    result = {algorithm: measured(algorithm, data) for algorithm in ("lightgbm", "isolation_forest")}
    rows = [["algorithm", *result["lightgbm"]], *([name, *one.values()] for name, one in result.items())]
    report("Reasons of one row", rows, result, arguments.json)


if __name__ == "__main__":
    main()
