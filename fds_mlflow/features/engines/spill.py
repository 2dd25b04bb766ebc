"""Rows that wait in a file, a stretch at a time, in Arrow's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa


class Spill:
    """Stretches of rows in one file: written one after the other, then read by their numbers.

    Args:
        path: The file, which is not there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self.sizes: list[int] = []
        """Rows of each stretch."""

    def __len__(self) -> int:
        return sum(self.sizes)

    def append(self, rows: pa.RecordBatch) -> None:
        """Write a stretch, of any number of rows."""
        if self._writer is None:
            self._writer = pa.ipc.new_file(self._path, rows.schema)
        self._writer.write_batch(rows)
        self.sizes.append(rows.num_rows)

    def close(self) -> None:
        """No more stretches: from now on they can be read."""
        if self._writer is not None:
            self._writer.close()

    def read(self, number: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Read one stretch, all or some of its columns."""
        return self._batch(columns, number)

    def stretches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read every stretch, one after the other."""
        return (self._batch(columns, number) for number in range(len(self.sizes)))

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all of it."""
        return pa.Table.from_batches(list(self.stretches(columns)))

    def _batch(self, columns: Sequence[str] | None, number: int) -> pa.RecordBatch:
        with pa.OSFile(self._path) as file:
            if columns is None:
                return pa.ipc.open_file(file).get_batch(number)
            names = pa.ipc.open_file(file).schema.names
            wanted = pa.ipc.IpcReadOptions(included_fields=sorted(names.index(name) for name in columns))
            return pa.ipc.open_file(file, options=wanted).get_batch(number)
