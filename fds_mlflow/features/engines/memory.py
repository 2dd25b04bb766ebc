"""The windows of a frame in memory: one kernel over all of it, a role at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.kernel import Kernel, Past
from fds_mlflow.features.meaning import Floats
from fds_mlflow.features.spec import FeatureSpec


def windows(past: Past, spec: FeatureSpec, threads: int | None = None) -> dict[str, Floats]:
    """Every window and gap feature, in input order.

    Args:
        past: The transactions, at least one.
        spec: The features.
        threads: So many roles are computed at once; as many as there are cores by default.
    """
    values = {name: np.full(len(past.time), nothing) for name, nothing in meaning.over_nothing(spec).items()}
    kernel = Kernel(past, spec)

    def fill(role: str) -> None:
        rows, features = kernel.features(role)
        for name, found in features:
            values[name][rows] = found

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, meaning.roles(spec)))
    return values
