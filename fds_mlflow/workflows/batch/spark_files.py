"""Scores files on Spark: as `batch.score` says, from files to a folder of them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fds_mlflow.data import readers
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.model import ManagedModel
from fds_mlflow.runtime.spark import session
from fds_mlflow.runtime.text_file import TEXT_SUFFIXES
from fds_mlflow.workflows.batch.batch import Scored, is_text
from fds_mlflow.workflows.batch.spark import Scorer, address_of, reachable, record_answers, told
from fds_mlflow.workflows.batch.versions import TRANSACTION, Choice

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

    A path without a scheme is on this machine. There the output appears when it is complete; elsewhere, when it holds
    Spark's `_SUCCESS`.
    """
    from pyspark.sql import functions as f

    outcomes = reachable(model.outcomes.engine.url.render_as_string(hide_password=False)) if record else None
    spark = session()
    target = Path(output).absolute() if "://" not in output else None
    unfinished = output if target is None else str(_beside(target))
    with told(), _nanoseconds_as_numbers(spark):
        frame, text = _read(spark, source)
        answers = Scorer(model, choice, key=key, transaction=transaction)(frame, text=text, record=record)
        try:
            answers.write.mode("overwrite").parquet(address_of(unfinished))
            if target is not None:
                _replace(Path(unfinished), target)
        finally:
            if target is not None:
                shutil.rmtree(unfinished, ignore_errors=True)
        stored = spark.read.parquet(address_of(output))
        counts = (f.count("*"), f.sum(f.col("flagged").cast("int")), f.count("error"))
        told_by = {row[0]: row[1:] for row in stored.groupBy("version").agg(*counts).collect()}
    if not told_by:
        raise DataError("there are no rows to score", fix="give a file that has some")
    rows, flagged, failed = (sum(counts) for counts in zip(*told_by.values(), strict=True))
    done = Scored(output, rows, flagged, {version: row[0] for version, row in sorted(told_by.items())}, failed)
    if outcomes is not None:
        done.recorded, done.refused = record_answers(stored, outcomes)
    return done


def _read(spark: SparkSession, source: str) -> tuple[DataFrame, bool]:
    """The rows of files, and whether all their columns are text."""
    text = is_text(Path(source)) if "://" not in source else source.lower().endswith(TEXT_SUFFIXES)
    place = address_of(source)
    if "://" not in source:
        readers.column_names(Path(source))  # which says what is wrong with it
    if not text:
        return spark.read.parquet(place), False
    separator = "\t" if ".tsv" in source.lower() else ","
    return spark.read.csv(place, header=True, sep=separator, escape='"', multiLine=True, mode="FAILFAST"), True


def _beside(target: Path) -> Path:
    """A folder for what becomes the output.

    Raises:
        ConfigError: There is no folder for it to be in, or there is one in its place that Spark did not write.
    """
    if not target.parent.is_dir():
        raise ConfigError(f"there is no folder {target.parent} to write to", fix="create it, or give another path")
    if target.is_dir() and not (target / "_SUCCESS").is_file():
        raise ConfigError(f"{target} is a folder that Spark did not write", fix="give another path, or remove it")
    return target.with_name(f".scores-{uuid.uuid4().hex}")


def _replace(unfinished: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    unfinished.rename(target)


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
