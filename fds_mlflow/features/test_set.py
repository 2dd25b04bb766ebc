"""The labelled test rows of a run, kept with it: a later version is compared with it on the very rows it was tested on.

Imports MLflow late.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.features.table import FeatureTable

FILE = "test_set.parquet"
"""The artifact of a training run: features and `label`, and its chance where it has one, no keys, no times."""

MOST_ROWS = 25_000
"""Rows that are kept of a larger test part, drawn at random: a comparison before a promotion takes about a second."""


def log_test_set(table: FeatureTable, seed: int) -> None:
    """Log the labelled rows of a test part to the active run."""
    import mlflow

    rows = table.xy.assign(**{name: table.frame[name] for name in ("label_propensity",) if name in table.frame})
    if len(rows) > MOST_ROWS:
        kept = np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False)
        rows = rows.iloc[np.sort(kept)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        rows.to_parquet(path, index=False, compression="zstd")
        mlflow.log_artifact(str(path))


def read_test_set(client: Any, run_id: str) -> pd.DataFrame | None:
    """The rows that `log_test_set` kept with a run; None where there are none.

    Args:
        client: An `MlflowClient` of the run's tracking server.
        run_id: The run.
    """
    import pandas as pd

    if FILE not in {item.path for item in client.list_artifacts(run_id)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return pd.read_parquet(client.download_artifacts(run_id, FILE, folder))


def learned_from(client: Any, run_id: str, other: str) -> str | None:
    """Whether one run learned from transactions of the time of another run's test set.

    Two runs of one split are fair to each other: what one is tested on, none has seen.

    Args:
        client: An `MlflowClient` of the tracking server.
        run_id: The run whose training rows are asked about.
        other: The run whose test set is asked about.

    Returns:
        What is known of the overlap, for people; None where there is none, or the runs do not say.
    """
    mine, theirs = (_parts(client.get_run(run)) for run in (run_id, other))
    if not {"training", "testing"} <= mine.keys() or "testing" not in theirs:
        return None
    (test_digest, (begin, _)), (_, (_, learned)) = theirs["testing"], mine["training"]
    if mine["testing"][0] == test_digest or learned < begin:
        return None
    return f"it learned from transactions up to {learned} (UTC), and these rows begin at {begin}"


def _parts(run: Any) -> dict[str, tuple[str, tuple[str, str]]]:
    """Digest and period of each part that a run logged, by MLflow's context."""
    found = {}
    for given in run.inputs.dataset_inputs:
        tags = {tag.key: tag.value for tag in given.tags}
        first, slash, last = tags.get("period", "").partition("/")
        if slash:
            found[tags.get("mlflow.data.context", "")] = (given.dataset.digest, (first, last))
    return found
