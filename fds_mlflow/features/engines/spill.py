"""Rows that wait in a file, a stretch at a time, in Arrow's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

_PACKED = pa.ipc.IpcWriteOptions(compression="lz4")
"""Features are counts and zeros for the most part: half of the bytes, for a twentieth of the time."""


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
            self._writer = pa.ipc.new_file(self._path, rows.schema, options=_PACKED)
        self._writer.write_batch(rows)
        self.sizes.append(rows.num_rows)

    def close(self) -> None:
        """No more stretches: from now on they can be read."""
        if self._writer is not None:
            self._writer.close()

    def remove(self) -> None:
        """Nobody reads it any more."""
        Path(self._path).unlink(missing_ok=True)

    def open(self) -> pa.ipc.RecordBatchFileReader:
        """Open it, to read stretches in any order."""
        return pa.ipc.open_file(pa.OSFile(self._path))

    def stretches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read some columns of every stretch, one stretch after the other."""
        with pa.OSFile(self._path) as file:
            names = pa.ipc.open_file(file).schema.names
            wanted = pa.ipc.IpcReadOptions(included_fields=sorted(names.index(name) for name in columns))
            reader = pa.ipc.open_file(file, options=wanted)
            for number in range(len(self.sizes)):
                yield reader.get_batch(number)

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Read some columns of all of it."""
        return pa.Table.from_batches(list(self.stretches(columns)))
