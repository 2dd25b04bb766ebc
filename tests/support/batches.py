"""Batch routers over small versions: no registry, no training, scores that can be told by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from fds_mlflow.serving.batch import BatchRouter, Here
from fds_mlflow.serving.disk.version_cache import VersionCache
from tests.support.version_caches import put, table


def batch_router(folder: Path, *, weight: int | None = 5_000, **more: Any) -> BatchRouter:
    """Version 1 scores 0.1 up to an amount of 100, else 0.9; with a weight, version 2 scores 0.2 or 0.8."""
    for version, low, high in ((1, 0.1, 0.9), (2, 0.2, 0.8)):
        put(VersionCache(folder / f"identity{version}", "fraud", ""), version, low=low, high=high)
    now = table(weight=weight)
    values: dict[str, Any] = {"key": "transaction_id", "transaction": "transaction_id", **more}
    return BatchRouter("fraud", now.routing, now.versions, place=Here(folder), **values)


def rows(size: int, **columns: Any) -> pa.RecordBatch:
    """Rows of which every other one has an amount above 100."""
    given: dict[str, Any] = {
        "transaction_id": [f"TX{number}" for number in range(size)],
        "amount": [50.0 + 100.0 * (number % 2) for number in range(size)],
        "hour": [float(number % 24) for number in range(size)],
        "channel": ["web"] * size,
    }
    return pa.RecordBatch.from_pydict({**given, **columns})


def without(router: BatchRouter, version: int) -> BatchRouter:
    """The same where one version's files are gone."""
    gone = tuple(replace(one, identity="gone") if one.version == version else one for one in router.versions)
    return replace(router, versions=gone)
