"""Simulated transactions in a file, however many, in little memory."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from fds_mlflow.simulator import simulate

AT_ONCE = 1_000_000


def simulated(rows: int, path: Path) -> None:
    """Write transactions to a Parquet file, a million at a time: all of one period, and with ids of their own.

    Args:
        rows: How many.
        path: The file.
    """
    writer: parquet.ParquetWriter | None = None
    for number, first in enumerate(range(0, rows, AT_ONCE)):
        frame: pd.DataFrame = simulate.transactions(min(AT_ONCE, rows - first), seed=42 + number)
        frame["transaction_id"] = f"{number}-" + frame["transaction_id"].astype(str)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if writer is None:
            writer = parquet.ParquetWriter(path, table.schema)
        writer.write_table(table.cast(writer.schema))
        del frame, table
    if writer is not None:
        writer.close()


def main() -> None:
    """Parse and write; a process of its own frees its memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int)
    parser.add_argument("path", type=Path)
    options = parser.parse_args()
    simulated(options.rows, options.path)


if __name__ == "__main__":
    main()
