"""The windows of a frame in memory: one kernel over all of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fds_mlflow.features import meaning
from fds_mlflow.features.engines.arrival import computing
from fds_mlflow.features.kernel import Past
from fds_mlflow.features.meaning import Floats
from fds_mlflow.features.spec import FeatureSpec


def windows(past: Past, spec: FeatureSpec, threads: int | None = None) -> dict[str, Floats]:
    """Every window and gap feature, in input order.

    Args:
        past: The transactions, at least one.
        spec: The features.
        threads: So many roles are computed at once; as many as there are cores by default.
    """
    kernel = computing(past, spec)
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda role: list(kernel.features(role)), meaning.roles(spec))
        return dict(feature for features in found for feature in features)
