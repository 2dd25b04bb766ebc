"""Scores files on Spark: as `batch.score` says, from files to a folder of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from fds_mlflow.data import pieces
from fds_mlflow.data.request import Request
from fds_mlflow.errors import DataError
from fds_mlflow.model import ManagedModel
from fds_mlflow.runtime.output import put, require_folder
from fds_mlflow.runtime.spark import mapped, require_pyspark, session, told
from fds_mlflow.runtime.text_file import TEXT_SUFFIXES
from fds_mlflow.workflows.batch.batch import Scored, is_text
from fds_mlflow.workflows.batch.spark import Scorer, address_of, reachable, record_answers, spark_schema
from fds_mlflow.workflows.batch.versions import TRANSACTION, Choice, Versions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def score_files(
    model: ManagedModel,
    source: str,
    output: str,
    choice: Choice,
    *,
    key: str = TRANSACTION,
    transaction: str | None = None,
    record: bool = False,
) -> Scored:
    """As `batch.score`, with Spark; arguments and errors as there.

    A path without a scheme is on this machine, and its files are read by the same code. There the output appears when
    it is complete; elsewhere, when it holds Spark's `_SUCCESS`.
    """
    outcomes = reachable(model.outcomes.engine.url.render_as_string(hide_password=False)) if record else None
    target = Path(output).absolute() if "://" not in output else None
    if target is not None:
        require_folder(target, source)
    require_pyspark()
    scorer = Scorer(model, choice, key=key, transaction=transaction)
    files = None if "://" in source else _Files.of(Path(source).absolute(), scorer.versions)
    if files is None:
        scorer.versions.router()
    else:
        scorer.chosen(files.schema.names, source, text=files.text, record=record, whole=True)
    spark = session()  # so late, since it takes its time to start
    beside = nullcontext() if target is None else tempfile.TemporaryDirectory(prefix=".scores-", dir=target.parent)
    with told(), _nanoseconds_as_numbers(spark), beside as folder:
        frame, text = _elsewhere(spark, source) if files is None else (files.frame(spark), files.text)
        made, order = output if folder is None else f"{folder}/made", None if files is None else _ROW
        answers = scorer(frame, text=text, record=record, order=order)
        answers.write.mode("overwrite").parquet(address_of(made))
        done = _counted(spark.read.parquet(address_of(made)), output)
        if folder is not None and target is not None:
            put(Path(made), target, Path(folder) / "replaced")
    if outcomes is not None:
        done.recorded, done.refused = record_answers(spark.read.parquet(address_of(output)), outcomes)
    return done


def _counted(answers: DataFrame, output: str) -> Scored:
    """What became of a batch.

    Raises:
        DataError: Nothing: it had no rows.
    """
    from pyspark.sql import functions as f

    counts = (f.count("*"), f.sum(f.col("flagged").cast("int")), f.count("error"))
    by_version = {row[0]: row[1:] for row in answers.groupBy("version").agg(*counts).collect()}
    if not by_version:
        raise DataError("there are no rows to score", fix="give a file that has some")
    rows, flagged, failed = (sum(counts) for counts in zip(*by_version.values(), strict=True))
    return Scored(output, rows, flagged, {version: row[0] for version, row in sorted(by_version.items())}, failed)


def _elsewhere(spark: SparkSession, source: str) -> tuple[DataFrame, bool]:
    """The rows of files that Spark reads, and whether all their columns are text."""
    if not source.lower().endswith(TEXT_SUFFIXES):
        return spark.read.parquet(source), False
    separator = "\t" if ".tsv" in source.lower() else ","
    return spark.read.csv(source, header=True, sep=separator, escape='"', multiLine=True, mode="FAILFAST"), True


@dataclass(frozen=True)
class _Files:
    """Files of this machine, read by the code that reads them without Spark.

    Spark's own would leave out folders in folders, take the 007 of a folder's name for 7, replace what is no UTF-8, and
    refuse times in nanoseconds.

    Attributes:
        parts: What is read at a time.
        form: How they are written.
        schema: Their columns, in types of Spark's.
        text: Whether all columns are text.
    """

    parts: list[pieces.Piece]
    form: Request
    schema: pa.Schema
    text: bool

    @classmethod
    def of(cls, path: Path, versions: Versions) -> Self:
        """Look at the files of a path.

        Raises:
            DataError: There are none, one cannot be read, or they do not go together.
            RefusedError, NotFoundError, UnavailableError: As for `Versions.router`.
        """
        parts, form = pieces.pieces(path, None), versions.form_of(path)
        columns = pieces.columns(parts, form)
        schema = pa.schema([(one.name, _spark_type(one.type)) for one in columns])
        return cls(parts, form, schema, is_text(path))

    def frame(self, spark: SparkSession) -> DataFrame:
        """Their rows, and the order of those."""
        parts, form, schema = self.parts, self.form, self.schema
        ordered = schema.append(pa.field(_ROW, pa.int64()))

        def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for number in batch.column(0).to_pylist():
                    first = number << 40
                    for table in parts[number].tables(form):
                        columns = [_cast(table.column(one.name), one, parts[number].file) for one in schema]
                        rows, first = pa.array(np.arange(first, first + len(table))), first + len(table)
                        yield from pa.table([*columns, rows], schema=ordered).to_batches()

        return mapped(spark.range(0, len(parts), 1, len(parts)), read, spark_schema(ordered))


_ROW = "row of the file"

_SPARK_TYPES = {
    pa.null(): pa.string(),
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
}


def _spark_type(kind: pa.DataType) -> pa.DataType:
    """The type of Spark's that holds all values of another one."""
    if pa.types.is_dictionary(kind):
        return _spark_type(kind.value_type)
    return pa.timestamp("us", kind.tz) if pa.types.is_timestamp(kind) else _SPARK_TYPES.get(kind, kind)


def _cast(column: pa.ChunkedArray, to: pa.Field, file: Path) -> pa.ChunkedArray:
    """A column of a file in the type that all files' have; of times the digits beyond microseconds are cut off."""
    try:
        return column.cast(to.type, safe=not pa.types.is_timestamp(to.type))
    except pa.ArrowException as error:
        raise DataError(
            f"column {to.name!r} of {file} is of the type {column.type}, and of others {to.type}: {error}",
            fix="write the column as one type in all files",
        ) from None


@contextmanager
def _nanoseconds_as_numbers(spark: SparkSession) -> Iterator[None]:
    """Parquet may hold times in nanoseconds, which Spark refuses to read: what scores rows looks at none."""
    name = "spark.sql.legacy.parquet.nanosAsLong"
    before = spark.conf.get(name)
    spark.conf.set(name, "true")
    try:
        yield
    finally:
        spark.conf.set(name, str(before))
