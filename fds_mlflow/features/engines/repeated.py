"""Ids that come twice, found in bounded memory: by their hashes first, and by themselves where two hashes are equal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import DataError
from fds_mlflow.features.engines.spill import Spill

Hashes = npt.NDArray[np.uint64]
_AT_ONCE = 1_000_000


class Ids:
    """The hashes of all ids, in the order of the rows, in a file.

    Args:
        path: The file, which is not there yet.
        memory: Bytes to use at most, about.
    """

    def __init__(self, path: Path, memory: int) -> None:
        self._file = path.open("w+b", buffering=0)
        self._rounds_of = max(_AT_ONCE, memory // 32)
        self._rows = 0

    def append(self, hashes: Hashes) -> None:
        """Add the ids of the next rows."""
        hashes.tofile(self._file)
        self._rows += len(hashes)

    def refuse_repeated(self, rows: Spill, column: str, schema: Schema, source: str) -> None:
        """See to it that no id comes twice.

        Args:
            rows: The rows, a stretch at a time.
            column: The column of the ids in `rows`.
            schema: Names the source's column for the message.
            source: Names the source.

        Raises:
            DataError: One does; names how many do, and one of them.
        """
        twice = self._twice()
        if not len(twice):
            return
        found: list[pd.Series[str]] = []
        for hashes, stretch in zip(self._read(rows.sizes), rows.stretches([column]), strict=True):
            found.append(stretch.column(column).to_pandas()[np.isin(hashes, twice)])
        refuse_repeated(pd.concat(found, ignore_index=True), len(rows), schema, source)

    def _twice(self) -> Hashes:
        """Hashes that come twice, of which each round sorts a share."""
        rounds = np.uint64(-(-self._rows // self._rounds_of))
        found = []
        for number in range(int(rounds)):
            sizes = [_AT_ONCE] * -(-self._rows // _AT_ONCE)
            share = np.concatenate([part[part % rounds == number] for part in self._read(sizes)])
            share.sort()
            found.append(np.unique(share[1:][share[1:] == share[:-1]]))
        return np.concatenate(found)

    def _read(self, sizes: list[int]) -> Iterator[Hashes]:
        self._file.seek(0)
        for size in sizes:
            yield np.fromfile(self._file, dtype=np.uint64, count=size)

    def __enter__(self) -> Ids:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()


def refuse_repeated(ids: pd.Series[str], rows: int, schema: Schema, source: str) -> None:
    """Refuse ids of which some come twice.

    Args:
        ids: All ids whose hashes come twice, in the order of the rows.
        rows: How many rows there are.
        schema: Names the source's column for the message.
        source: Names the source.

    Raises:
        DataError: One does; names how many do, and one of them.
    """
    repeated = ids[ids.duplicated()]
    if len(repeated):
        raise DataError(
            f"column {schema.transaction_id!r} (transaction_id) repeats {len(repeated):,} ids in {rows:,} "
            f"rows of {source} (for example {repeated.iloc[0]!r})",
            fix="remove the repeated rows, or name the column that identifies a transaction",
        )
