"""Features from file to file, for what does not fit into memory: the same queries, on a DuckDB file of its own.

The source is read a stretch of rows at a time and canonicalised by the same code as in memory. Each query's result is
kept ordered by row, so that the last step joins and writes a stretch at a time too. DuckDB sorts and spills within its
memory limit in between.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from fds_mlflow.data import readers
from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.transactions import Digest, Schema, as_schema, period
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features import expressions
from fds_mlflow.features.engines import duckdb_sql
from fds_mlflow.features.engines.staging import column_kinds, keys, plain_features, staged
from fds_mlflow.features.spec import FeatureSpec, genuine_labels

if TYPE_CHECKING:
    import duckdb

_STRETCH = 200_000  # rows joined and written at a time
_MEMORY = re.compile(r"^\d+(\.\d+)? ?(MB|GB|TB|MiB|GiB|TiB)$")


@dataclass(frozen=True)
class FeatureFile:
    """A Parquet file of features, in the columns of `FeatureTable.frame`.

    Attributes:
        path: Where it is.
        rows: How many rows it has, in input order; rows without a label are left out.
        features: Names of the features, in the order in which a model takes them.
        categorical: Those of them that are categorical.
        spec: What they were computed from.
        digest: Digest of the transactions, equal to that of `load` on the same source.
        source: Where the transactions came from, for people.
        period: First and last time of the transactions (UTC, aware); None without a time.
        notes: What was left out, a sentence each.
    """

    path: Path
    rows: int
    features: list[str]
    categorical: list[str]
    spec: FeatureSpec
    digest: str
    source: str
    period: tuple[datetime, datetime] | None
    notes: tuple[str, ...] = ()


def compute_file(
    path_in: str | Path,
    schema: Schema | str | Path | Mapping[str, Any],
    spec: FeatureSpec,
    path_out: str | Path,
    *,
    memory_limit: str = "1GB",
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> FeatureFile:
    """Compute features from a CSV or Parquet file into a Parquet file, in bounded memory.

    Args:
        path_in: A file, or a folder of files, as `load` takes them.
        schema: Its schema, in any form that `load` takes.
        spec: The features.
        path_out: The Parquet file to write. It appears when it is complete; one that is there is replaced.
        memory_limit: Memory for DuckDB, such as ``500MB`` or ``4GB``; the rest of the process needs some 500 MB more.
            What does not fit goes to a temporary folder beside `path_out`, about ten times the source's size.
        threads: Threads for DuckDB; as many as there are cores by default.
        progress: Is told the share of the source that was read, from 0 to 1.

    Returns:
        What was written: the same numbers as `compute` on the same file.

    Raises:
        ConfigError: The schema, the specification or the memory limit is not valid.
        DataError: The data does not fit the schema, or the memory limit is too small.
    """
    import duckdb

    if not _MEMORY.match(memory_limit):
        raise ConfigError(f"memory_limit is {memory_limit!r}", fix="write a number and a unit, such as '2GB'")
    target, found = Path(path_out), as_schema(schema)
    if not target.parent.is_dir():
        raise ConfigError(f"there is no folder {target.parent} to write to", fix="create it, or give another path")
    with tempfile.TemporaryDirectory(prefix=".features-", dir=target.parent) as folder:
        with duckdb.connect(f"{folder}/work.duckdb") as connection:
            connection.execute(f"SET memory_limit = '{memory_limit}'")
            if threads is not None:
                connection.execute(f"SET threads = {threads}")
            connection.execute("SET preserve_insertion_order = false")  # every table has its row numbers
            work = _Work(connection, str(path_in), found, spec, progress)
            try:
                result = work.run(Path(folder) / "features.parquet")
            except duckdb.OutOfMemoryException as error:
                raise DataError(
                    f"{memory_limit} of memory do not suffice for {path_in}: {str(error).splitlines()[0]}",
                    fix="raise memory_limit, or lower threads: each needs its share",
                ) from None
        (Path(folder) / "features.parquet").replace(target)
    return FeatureFile(path=target, **result)


class _Work:
    """One computation: its database, and what it learns on the way."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        source: str,
        schema: Schema,
        spec: FeatureSpec,
        progress: Callable[[float], None] | None,
    ) -> None:
        self.connection = connection
        self.progress = progress
        self.source = source
        self.schema = schema
        self.spec = spec
        self.keys: list[str] = []
        self.columns: list[str] = []  # of the table kept, in the order k0, k1, ...
        self.computed: dict[str, str] = {}  # feature -> its expression in the last join
        self.tables: list[str] = []
        self.unlabelled = 0

    def run(self, path: Path) -> dict[str, Any]:
        """Read, compute, write; returns what `FeatureFile` tells."""
        rows, digest, span, notes = self._read()
        self._refuse_duplicates(rows)
        self._compute()
        self._write(path, rows)
        return {
            "rows": rows - self.unlabelled,
            "features": self.spec.names,
            "categorical": list(self.spec.categorical),
            "spec": self.spec,
            "digest": digest,
            "source": self.source,
            "period": span,
            "notes": notes,
        }

    def _read(self) -> tuple[int, str, tuple[datetime, datetime] | None, tuple[str, ...]]:
        """Fill the tables kept (what goes to the output as it is) and given (what the queries need)."""
        rows, mark, reading = 0, Digest(), Canonical(self.schema, self.source)
        spans, genuine, genuine_known = [], 0, 0
        for table in readers.chunks(self.source, self.schema, progress=self.progress):
            frame = reading.frame(table)
            if frame is None or reading.problems:
                continue
            kinds = column_kinds(frame, self.schema, self.spec)
            if rows == 0:
                self.spec.check(kinds, where=self.source)
            mark.update(frame)
            genuine, genuine_known = map(sum, zip((genuine, genuine_known), genuine_labels(frame), strict=True))
            spans.append(frame["time"].agg(["min", "max"]))
            given = staged(frame, self.spec, rows)
            self.keys = keys(kinds)
            plain = {name: frame[name] for name in self.keys} | plain_features(frame, self.spec)
            self.columns = list(plain)
            kept = {f"k{i}": pa.array(values, from_pandas=True) for i, values in enumerate(plain.values())}
            self._insert("given", given, create=rows == 0)
            self._insert("kept", pa.table({"row": given["row"], **kept}), create=rows == 0)
            rows += len(frame)
        notes = reading.finish()
        self.unlabelled = reading.unlabelled
        span = period(pd.concat(spans))
        self.spec.check_rows(timed=span is not None, genuine=genuine, genuine_known=genuine_known, where=self.source)
        return rows, mark.hex(), span, notes

    def _insert(self, name: str, rows: pa.Table, *, create: bool) -> None:
        self.connection.register("stretch", rows)
        statement = f"CREATE TABLE {name} AS" if create else f"INSERT INTO {name}"
        self.connection.execute(f"{statement} SELECT * FROM stretch")
        self.connection.unregister("stretch")

    def _refuse_duplicates(self, rows: int) -> None:
        column = f"k{self.columns.index('transaction_id')}"
        repeated = self.connection.execute(
            f"SELECT sum(n - 1), any_value({column}) FROM "
            f"(SELECT {column}, count(*) AS n FROM kept GROUP BY {column} HAVING n > 1)"
        ).fetchone()
        if repeated is not None and repeated[0] is not None:
            raise DataError(
                f"column {self.schema.transaction_id!r} (transaction_id) repeats {int(repeated[0]):,} ids in "
                f"{rows:,} rows of {self.source} (for example {repeated[1]!r})",
                fix="remove the repeated rows, or name the column that identifies a transaction",
            )

    def _compute(self) -> None:
        """One table per query, ordered by row."""
        self.connection.execute(f"CREATE TABLE tx AS {duckdb_sql.keyed('given')}")
        self.connection.execute("DROP TABLE given")
        most = self.connection.execute("SELECT max(tie) FROM tx").fetchone()
        stride = duckdb_sql.stride(most[0] if most else 0)
        defaults = duckdb_sql.defaults(self.spec)
        for role in duckdb_sql.entities(self.spec):
            for names, query in duckdb_sql.queries(self.spec, role, "tx", stride):
                table = f"q{len(self.tables)}"
                self.connection.execute(f"CREATE TABLE {table} AS SELECT * FROM ({query}) ORDER BY row")
                self.tables.append(table)
                for i, name in enumerate(names):
                    column = f"{table}.f{i}"
                    self.computed[name] = f"coalesce({column}, 0)" if defaults[name] == 0 else column
        self.connection.execute("DROP TABLE tx")

    def _write(self, path: Path, rows: int) -> None:
        """Join and write a stretch of rows at a time."""
        from pyarrow import parquet

        kept = {name: f"kept.k{i}" for i, name in enumerate(self.columns)}
        names = list(dict.fromkeys([*self.keys, *self.spec.names]))  # an entity may be a category too
        given = [
            name
            for name in dict.fromkeys([*names, *self.spec.computed, *self.spec.inputs])
            if name in kept or name in self.computed
        ]
        select = ", ".join(f"{self.computed.get(name) or kept[name]} AS o{i}" for i, name in enumerate(given))
        labelled = f" AND k{self.columns.index('label')} IS NOT NULL" if "label" in self.columns else ""
        writer = None
        try:
            for start in range(0, rows, _STRETCH):
                span = f"row >= {start} AND row < {start + _STRETCH}"
                joins = "".join(
                    f" LEFT JOIN (SELECT * FROM {table} WHERE {span}) AS {table} USING (row)" for table in self.tables
                )
                query = (
                    f"SELECT {select} FROM (SELECT * FROM kept WHERE {span}{labelled}) AS kept{joins} ORDER BY kept.row"
                )
                table = self.connection.sql(query).to_arrow_table().rename_columns(given)
                table = _extended(table, self.spec).select(names)
                writer = writer or parquet.ParquetWriter(path, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


def _extended(table: pa.Table, spec: FeatureSpec) -> pa.Table:
    """A stretch with the values of the expressions; the features that are missing are null in a file."""
    read = {found.name for node in spec.nodes.values() for found in expressions.names_in(node)}
    columns = {name: table[name].to_numpy() for name in read if name in table.column_names}
    made = expressions.extended(columns, spec.nodes)
    for name in spec.nodes:
        table = table.append_column(name, pa.array(made[name], from_pandas=True))
    return table
