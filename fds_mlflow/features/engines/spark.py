"""Features on Spark: the one kernel, dealt to as many processes as there are. Imports PySpark late.

Spark moves tables as bytes from step to step (`fds_mlflow.features.engines.dealt`), a stretch of rows in one value, and
looks at none of their values: no time is shifted by a session's zone, nothing overflows in its arithmetic, and what it
costs beside the kernel is small. What has to be known of all rows (what does not fit, repeated ids, which entities have
too many rows) is found in a pass of its own, whose canonical rows Spark keeps meanwhile.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fds_mlflow.data import readers
from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.pieces import Piece, pieces
from fds_mlflow.data.request import Request
from fds_mlflow.data.transactions import Schema, as_schema, period
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features import meaning
from fds_mlflow.features.engines import dealt
from fds_mlflow.features.engines.dealt import Plan
from fds_mlflow.features.engines.file import FeatureFile
from fds_mlflow.features.engines.reading import Noticed
from fds_mlflow.features.engines.repeated import refuse_repeated
from fds_mlflow.features.engines.spark_rows import (
    STAGED,
    Batches,
    as_bytes,
    as_table,
    checked,
    hashes,
    one_row,
    pairs,
    staged,
)
from fds_mlflow.features.fit import kinds_of
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.runtime.output import put, require_folder
from fds_mlflow.runtime.spark import grouped, mapped, quoted, session, told

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

_STRETCH = 100_000  # rows of one value
_SHARE = 100_000  # rows that are computed at a time, as from file to file
_SHARES = 1_000  # of a role, about: each pair of a share and a stretch is a value that Spark moves
_MOST = 500_000  # rows of a share that is not cut
_SAMPLES = 512  # times of so many rows say where to cut
_IDS = 2_000_000  # that are sorted at once


def compute_spark(
    frame: DataFrame,
    schema: Schema | str | Path | Mapping[str, Any],
    spec: FeatureSpec,
    *,
    order: str | None = None,
    every_row: bool = False,
) -> DataFrame:
    """Compute features of a Spark DataFrame.

    The rows are read once, here, and what does not fit is refused as in memory. Their canonical form stays on the
    executors' disks as long as what is returned (in the checkpoint directory, where the session has one).

    Args:
        frame: Transactions, in the columns of the schema.
        schema: The schema, in any form that `load` takes. It has to name an id: rows of a DataFrame have no numbers.
        spec: The features.
        order: A column of whole numbers that orders transactions of equal time; without one, and where it is equal,
            their ids do, in the order of their Unicode characters. In memory it is the order of the rows.
        every_row: Give rows without a label, too: they are to be scored, and not to be learned from.

    Returns:
        One row per transaction that has a label, or every transaction where there are no labels, in no order. Columns:
        those of `FeatureTable.frame` in its order, times as TIMESTAMP_NTZ in UTC, null where a feature is missing.

    Raises:
        ConfigError: The schema or the specification is not valid, or do not fit together or the frame.
        DataError: The data does not fit the schema.
    """
    found = as_schema(schema)
    if found.transaction_id is None:
        raise ConfigError(
            "the schema numbers the rows (transaction_id: null), and those of a Spark DataFrame have no order",
            fix="name a column that identifies a transaction, or compute from file",
        )
    source = "the Spark DataFrame"
    wanted = Request.of(source, found).wanted(frame.columns)
    kinds = dict(frame.dtypes)
    if order is not None and kinds.get(order) not in ("tinyint", "smallint", "int", "bigint"):
        has = f"is of type {kinds[order]}" if order in kinds else f"is not in {source}"
        raise ConfigError(f"the column {order!r} that gives the order {has}", fix="name one of whole numbers")
    columns = dict.fromkeys([*wanted, *([order] if order is not None else [])])
    chosen = frame.select(*map(quoted, columns))
    roles, size = meaning.roles(spec), _STRETCH

    def read(batches: Batches) -> Batches:
        from pyspark import TaskContext

        context = TaskContext.get()
        base = (context.partitionId() if context is not None else 0) << 40
        tables = checked(batches, source, order)
        yield from staged(tables, Noticed(Canonical(found, source, first=None), roles), base, size, order)

    work = _Work(found, spec, source, ordered=False, given=order is not None, every_row=every_row)
    with told():
        work.stage(mapped(chosen, read, STAGED))
        return work.joined(_schema(spec, work.kinds))


def compute_spark_file(
    path_in: str | Path,
    schema: Schema | str | Path | Mapping[str, Any],
    spec: FeatureSpec,
    path_out: str | Path,
    *,
    every_row: bool = False,
) -> FeatureFile:
    """Compute features from a file or a folder into a folder of Parquet files, in the active session or a local one.

    Args:
        path_in: A file or a folder of files, as `load` takes them. All executors have to see it under this path.
        schema: Its schema, in any form that `load` takes.
        spec: The features.
        path_out: The folder to write, which all executors have to see. It appears when it is complete; one that holds
            such files and nothing else is replaced. Read in the order of their names, the files are in input order.
        every_row: As for `compute_spark`.

    Returns:
        What was written: the same numbers as `compute` on the same file.

    Raises:
        ConfigError: The schema or the specification is not valid; PySpark or Java is missing.
        DataError: The data does not fit the schema.
        UnexpectedError: A process of Spark's failed, as where a disk is full.
        RefusedError: There is something else at `path_out`, or the source.
    """
    target, found = Path(path_out).absolute(), as_schema(schema)  # other processes have other working directories
    require_folder(target, path_in)
    source, roles, size = readers.describe(path_in, None, None), meaning.roles(spec), _STRETCH
    parts = pieces(path_in if readers.is_url(path_in) else Path(path_in).absolute(), found)

    def read(batches: Batches) -> Batches:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                piece: Piece = parts[number]
                noticed = Noticed(Canonical(found, source, first=piece.first), roles)
                yield from staged(piece.tables(found), noticed, piece.first, size)

    work = _Work(found, spec, source, ordered=True, given=False, every_row=every_row)
    spark = session()
    with told(), tempfile.TemporaryDirectory(prefix=".features-", dir=target.parent) as folder:
        Path(folder).chmod(0o755)
        work.stage(mapped(spark.range(0, len(parts), 1, len(parts)), read, STAGED))
        made = Path(folder) / "made"
        made.mkdir()
        rows = work.written(made)
        put(made, target, Path(folder) / "replaced")
    return FeatureFile(
        path=Path(path_out),
        rows=rows,
        features=spec.names,
        categorical=list(spec.categorical),
        spec=spec,
        digest=work.noticed.digest.hex(),
        source=source,
        period=period(work.noticed.times),
        notes=work.notes,
    )


class _Work:
    """One computation: what was noticed of its rows, and how they are dealt."""

    def __init__(self, schema: Schema, spec: FeatureSpec, source: str, **how: bool) -> None:
        self.schema = schema
        self.spec = spec
        self.source = source
        self.how = how
        self.kinds = kinds_of(schema)
        self.notes: tuple[str, ...] = ()
        spec.check(self.kinds, where=source)

    def stage(self, frame: DataFrame) -> None:
        """Have the rows read and kept, and look at what was noticed."""
        self.rows = _kept(frame)
        told = self.rows.where("noticed is not null").select("block", "noticed").collect()
        for row in sorted(told, key=lambda row: int(row.block)):
            if row.block < 0:
                what, fix = pickle.loads(row.noticed)  # noqa: S301 - of our own workers
                raise DataError(what, fix=fix)
        found = [pickle.loads(row.noticed) for row in sorted(told, key=lambda row: int(row.block))]  # noqa: S301
        self.noticed: Noticed = found[0]
        for other in found[1:]:
            self.noticed.add(other)
        self.notes = self.noticed.canonical.finish()
        self.rows = self.rows.where("noticed is null")
        if self.schema.transaction_id is not None:
            self._refuse_repeated()
        genuine, known = self.noticed.genuine
        timed = period(self.noticed.times) is not None
        self.spec.check_rows(timed=timed, genuine=genuine, genuine_known=known, where=self.source)
        self.plan = self._planned()

    def _refuse_repeated(self) -> None:
        parts = 1 + self.noticed.rows // _IDS

        def deal(batches: Batches) -> Batches:
            for ids in hashes(batches):
                part = ids % np.uint64(parts)
                for number in range(parts):
                    yield one_row(part=number, ids=ids[part == number].tobytes())

        def twice(table: pa.Table) -> pa.Table:
            ids = np.sort(np.concatenate(list(hashes(table.to_batches()))))
            return pa.table({"ids": [np.unique(ids[1:][ids[1:] == ids[:-1]]).tobytes()]})

        found = mapped(self.rows.select("ids"), deal, "part long, ids binary")
        rows = grouped(found, "part", twice, "ids binary").collect()
        repeated = np.concatenate([np.frombuffer(row.ids, dtype=np.uint64) for row in rows])
        if not len(repeated):
            return

        def named(batches: Batches) -> Batches:
            for batch in batches:
                for block, rows, ids in zip(*(batch.column(i).to_pylist() for i in range(3)), strict=True):
                    found = np.isin(np.frombuffer(ids, dtype=np.uint64), repeated)
                    yield one_row(block=block, ids=pickle.dumps(as_table(rows).column("c0").filter(found).to_pylist()))

        told = mapped(self.rows.select("block", "rows", "ids"), named, "block long, ids binary").collect()
        told.sort(key=lambda row: int(row.block))
        texts = [text for row in told for text in pickle.loads(row.ids)]  # noqa: S301
        refuse_repeated(pd.Series(texts, dtype="str"), self.noticed.rows, self.schema, self.source)

    def _planned(self) -> Plan:
        size = max(_SHARE, self.noticed.rows // _SHARES)
        most = max(_MOST, 2 * size)
        plan = dealt.planned(self.spec, self.kinds, self.noticed.counts, size=size, most=most, **self.how)
        if not any(role.edges for role in plan.roles.values()):
            return plan
        every = max(1, most // _SAMPLES)

        def sample(batches: Batches) -> Batches:
            for batch in batches:
                for rows in batch.column(0).to_pylist():
                    for number, times in plan.sampled(as_table(rows), every):
                        yield one_row(part=number, times=times.tobytes())

        told = mapped(self.rows.select("rows"), sample, "part long, times binary").collect()
        return plan.cut([(row.part, np.frombuffer(row.times, dtype=np.int64)) for row in told], every, most)

    def _features(self) -> DataFrame:
        """The rows' stretches (part -1), and their features."""
        plan = self.plan

        def deal(batches: Batches) -> Batches:
            for batch in batches:
                for block, rows in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                    for part, found in plan.deal(as_table(rows)):
                        yield one_row(part=part, block=block, rows=as_bytes(found))

        def compute(table: pa.Table) -> pa.Table:
            part = table.column("part")[0].as_py()
            given = [(block, as_table(rows)) for block, rows in pairs(table, "block")]
            found = [(block, as_bytes(rows)) for block, rows in plan.compute(part, given)]
            columns = [[block for block, _ in found], [part] * len(found), [rows for _, rows in found]]
            return pa.table([pa.array(one, kind) for one, kind in zip(columns, _KINDS, strict=True)], _NAMES)

        stretches = self.rows.selectExpr("block", "-1L as part", "rows")
        if not plan.roles:
            return stretches
        given = mapped(self.rows.select("block", "rows"), deal, "part long, block long, rows binary")
        return stretches.union(grouped(given, "part", compute, "block long, part long, rows binary"))

    def joined(self, schema: StructType) -> DataFrame:
        """The features as a DataFrame."""
        plan = self.plan

        def join(table: pa.Table) -> pa.Table:
            return _joined(plan, table)

        return grouped(self._features(), "block", join, schema)

    def written(self, folder: Path) -> int:
        """Write the features into files of a folder; returns how many rows."""
        plan = self.plan

        def write(table: pa.Table) -> pa.Table:
            from pyarrow import parquet

            block, made = table.column("block")[0].as_py(), _joined(plan, table)
            if made.num_rows:
                # Under a name of its own: Spark may run a task twice, at the same time too.
                handle, path = tempfile.mkstemp(prefix=f".{block}-", dir=folder)
                os.close(handle)
                texts = [one.name for one in made.schema if pa.types.is_string(one.type)]
                parquet.write_table(made, path, compression="zstd", use_dictionary=texts)
                Path(path).chmod(0o644)
                Path(path).replace(folder / f"part-{block:015}.parquet")
            return pa.table({"rows": [made.num_rows]})

        told = grouped(self._features(), "block", write, "rows long").collect()
        for unfinished in folder.glob(".*"):  # of tasks that were killed
            unfinished.unlink()
        return sum(row.rows for row in told)


_NAMES, _KINDS = ["block", "part", "rows"], [pa.int64(), pa.int64(), pa.binary()]


def _joined(plan: Plan, table: pa.Table) -> pa.Table:
    given = dict(pairs(table, "part"))
    rows = as_table(given.pop(-1))
    return plan.joined(rows, [(part, as_table(found)) for part, found in given.items()])


def _kept(frame: DataFrame) -> DataFrame:
    """Computed once and kept, where the session says, or else on the executors' disks."""
    from pyspark import StorageLevel
    from pyspark.sql.utils import is_remote

    spark = frame.sparkSession
    if spark.conf.get("spark.checkpoint.dir", None) or (not is_remote() and spark.sparkContext.getCheckpointDir()):
        return frame.checkpoint()
    return frame.localCheckpoint(storageLevel=StorageLevel.DISK_ONLY)


def _schema(spec: FeatureSpec, kinds: Mapping[str, str]) -> StructType:
    """The columns of the result, in order."""
    from pyspark.sql import types

    times = ("time", "arrived_at", "label_known_at")
    of: Callable[[str], Any] = lambda name: (  # noqa: E731
        types.TimestampNTZType()
        if name in times
        else types.ByteType()
        if name == "label"
        else types.StringType()
        if name == "transaction_id" or kinds.get(name) in ("entity", "categorical")
        else types.DoubleType()
    )
    keys = [name for name, kind in kinds.items() if kind in ("key", "entity", "label")]
    return types.StructType([types.StructField(name, of(name)) for name in dict.fromkeys([*keys, *spec.names])])
