"""The parts of a split as MLflow dataset inputs: name, digest, source, period and schema, no rows.

Imports MLflow at the top: import this module late.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import PandasDataset
from mlflow.types.schema import ColSpec, Schema

from fds_mlflow.data.transactions import period

if TYPE_CHECKING:
    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.training.split import Split

_CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}


def input_schema(table: FeatureTable) -> Any:
    """MLflow's schema of the feature columns: strings for categories, doubles for all else."""
    return Schema([ColSpec("string" if name in table.categorical else "double", name) for name in table.features])


class _FeatureDataset(PandasDataset):  # type: ignore[misc]
    """A pandas dataset whose schema is declared: MLflow infers it cell by cell, seconds per 100,000 rows."""

    def __init__(self, table: FeatureTable, name: str, digest: str, *, labelled: bool) -> None:
        self._table = table
        self._labelled = labelled
        frame = table.xy if labelled else table.x
        super().__init__(
            frame,
            source=CodeDatasetSource({"source": table.source, "digest": table.digest}),
            targets="label" if labelled else None,
            name=name,
            digest=digest,
        )

    @cached_property
    def schema(self) -> Any:
        """The feature columns, then the label."""
        label = [ColSpec("integer", "label")] if self._labelled else []
        return Schema([*input_schema(self._table).inputs, *label])


def log_parts(split: Split) -> dict[str, Any]:
    """Log each part as an input of the run, tagged with source, whole-data digest and, if it has any, its period.

    Returns:
        MLflow datasets by part, to attach metrics to.
    """
    import mlflow

    datasets = {}
    for name, part in split.parts.items():
        # MLflow knows a dataset by name and digest, 36 characters at most: parts of one file differ by the cut.
        cut = hashlib.sha256(json.dumps([name, part.digest, sorted(split.facts.items())]).encode()).hexdigest()
        datasets[name] = _FeatureDataset(part, name, cut[:32], labelled=split.labelled)
        details = {"source": part.source[:500], "digest": part.digest}
        span = period(part.frame["time"])
        if span is not None:
            details["period"] = f"{span[0]:%Y-%m-%dT%H:%M:%S}/{span[1]:%Y-%m-%dT%H:%M:%S}"
        mlflow.log_input(datasets[name], context=_CONTEXTS[name], tags=details)
    return datasets
