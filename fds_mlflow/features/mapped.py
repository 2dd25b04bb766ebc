"""A feature table larger than memory: its numeric features lie in files, and are looked at through the page cache."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyarrow import parquet

from fds_mlflow.data.transactions import as_schema
from fds_mlflow.features.meaning import Floats
from fds_mlflow.features.table import FeatureFile, FeatureTable, compute_file

if TYPE_CHECKING:
    from fds_mlflow.data.schema import Schema
    from fds_mlflow.features.spec import FeatureSpec

_BLOCK = 200_000  # rows read, and rows copied, at a time
_KEYS = ("time", "arrived_at", "customer", "label", "label_known_at", "label_propensity")


@dataclass(frozen=True)
class MappedTable(FeatureTable):
    """A feature table whose numeric features are arrays over files without a name, which go when they do.

    Of the key columns it has the times, the customer and what is known of labels.

    Attributes:
        folder: Where the files are.
    """

    folder: Path = field(kw_only=True)

    def where(self, mask: Any) -> MappedTable:
        """See `FeatureTable`; rows that follow each other are looked at where they are, others go to files anew."""
        rows = np.flatnonzero(np.asarray(mask, dtype=bool))
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return replace(self, frame=self.frame.iloc[rows[0] : rows[-1] + 1].reset_index(drop=True))
        columns: dict[str, Any] = {}
        for name, column in self.frame.items():
            if name not in self.features or name in self.categorical:
                columns[str(name)] = column.iloc[rows].reset_index(drop=True)
                continue
            values, kept = column.to_numpy(), _array(self.folder, len(rows))
            for block in _blocks(len(rows)):
                kept[block] = values[rows[block]]
            columns[str(name)] = kept
        return replace(self, frame=pd.DataFrame(columns, copy=False))

    def matrix(self, transform: Callable[[pd.DataFrame], Floats]) -> Floats:
        """See `FeatureTable`; it lies in a file as well."""
        parts = ((block, transform(self.x.iloc[block])) for block in _blocks(len(self)))
        made: Floats | None = None
        for block, part in parts:
            made = _array(self.folder, len(self), part.shape[1]) if made is None else made
            made[block] = part
        return transform(self.x) if made is None else made


def compute_mapped(
    path_in: str | Path,
    schema: Schema | str | Path,
    spec: FeatureSpec,
    folder: str | Path,
    *,
    memory_limit: str = "1GB",
    progress: Callable[[float], None] | None = None,
) -> MappedTable:
    """Compute features of a file for a training in bounded memory.

    Args:
        path_in: As for `compute_file`.
        schema: As for `compute_file`.
        spec: The features.
        folder: Where there is room: about a kilobyte for each row, given back with the table.
        memory_limit: As for `compute_file`. Beside it a row takes the bytes of its keys and categories.
        progress: As for `compute_file`.

    Returns:
        The features, equal to those of `compute`.

    Raises:
        ConfigError: As for `compute_file`.
        DataError: As for `compute_file`.
        OSError: There is no room in the folder.
    """
    with tempfile.TemporaryDirectory(prefix=".features-", dir=folder) as beside:
        target = Path(beside) / "features.parquet"
        made = compute_file(path_in, schema, spec, target, memory_limit=memory_limit, progress=progress)
        return _mapped(made, as_schema(schema), Path(folder))


def _mapped(made: FeatureFile, schema: Schema, folder: Path) -> MappedTable:
    with parquet.ParquetFile(made.path) as file:
        there = set(file.schema_arrow.names)
        kept = [name for name in (*_KEYS, *made.categorical) if name in there]
        frame = file.read(kept).to_pandas()
        if "label" in frame:
            frame = frame.assign(label=frame["label"].astype(np.int8))
        values = {name: _array(folder, made.rows) for name in made.features if name not in made.categorical}
        first = 0
        for batch in file.iter_batches(_BLOCK, columns=list(values)):
            for name, column in values.items():
                column[first : first + batch.num_rows] = batch.column(name).to_numpy(zero_copy_only=False)
            first += batch.num_rows
    columns = {name: frame[name] for name in kept if name not in made.categorical}
    columns |= {name: values.get(name, frame.get(name)) for name in made.features}
    return MappedTable(
        pd.DataFrame(columns, copy=False),
        made.features,
        made.categorical,
        made.spec,
        made.digest,
        made.source,
        made.period,
        made.notes,
        schema,
        folder=folder,
    )


def _array(folder: Path, *shape: int) -> Floats:
    size = max(math.prod(shape), 1) * 8
    with tempfile.TemporaryFile(dir=folder) as file:  # what is mapped outlives its name and its file object
        file.truncate(size)
        if sys.platform == "linux":
            try:  # where the disk has no room, a value that is put into the array would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(folder)) from None
        return np.memmap(file, dtype=np.float64, mode="r+", shape=shape)


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(first, first + _BLOCK) for first in range(0, rows, _BLOCK))
