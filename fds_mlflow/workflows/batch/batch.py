"""Scores a file's rows into Parquet: in this process and bounded memory, or on Spark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data import readers
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.single import LABELS
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.table import compute_file
from fds_mlflow.model import ManagedModel
from fds_mlflow.runtime.output import require_place
from fds_mlflow.runtime.text_file import TEXT_SUFFIXES
from fds_mlflow.serving.batch import ANSWER, BatchRouter, recorded
from fds_mlflow.workflows.batch.versions import TRANSACTION, Choice, Versions, to_compute

Engine = Literal["local", "spark"]
Progress = Callable[[float], None]

AT_ONCE = 16_384
"""Rows that are scored at a time: they, and what is made of them, fit into a processor's cache."""


@dataclass
class Scored:
    """What became of a batch.

    Attributes:
        output: Where the answers are.
        rows: How many there are.
        flagged: How many of them reach their version's threshold.
        by_version: How many rows each version answered.
        failed: How many rows of the canary the champion answered.
        recorded: Outcomes that were new to the store; None where none were to be recorded.
        refused: Outcomes that no store takes; the log says why.
    """

    output: str
    rows: int = 0
    flagged: int = 0
    by_version: dict[int, int] = field(default_factory=dict)
    failed: int = 0
    recorded: int | None = None
    refused: int = 0

    def add(self, answer: pa.RecordBatch) -> None:
        """Count the rows of an answer."""
        self.rows += answer.num_rows
        self.flagged += pc.sum(answer.column("flagged")).as_py() or 0
        self.failed += answer.num_rows - answer.column("error").null_count
        self.by_version = dict(Counter(self.by_version) + Counter(answer.column("version").to_pylist()))


def score(
    model: ManagedModel,
    source: str | Path,
    output: str | Path,
    *,
    choice: Choice,
    key: str = TRANSACTION,
    transaction: str | None = None,
    record: bool = False,
    engine: Engine = "local",
    progress: Progress | None = None,
) -> Scored:
    """Score the rows of a file, or of a folder of files, into Parquet with the columns of `serving.batch.ANSWER`.

    The rows have the features of the versions, or are raw transactions in the schema that each declares: then its
    features are computed from these rows alone, as a batch has them.

    Args:
        model: The model.
        source: Parquet or text, as `load` takes it.
        output: With the engine `local` a Parquet file, with `spark` a folder of them. It appears when it is complete;
            one that is there is replaced.
        choice: Which version scores a row.
        key: Name of the routing key's column.
        transaction: Name of the column of the transaction's id, by which labels are joined and outcomes are counted
            once; None for `transaction_id` where there is one, else for the key.
        record: Write an outcome for each row to the model's store, too: once for each transaction in this trial,
            however often it is scored. Outcomes of a rollout's split are evidence, as those of a router; outcomes of a
            version or an alias belong to no rollout, and are none.
        engine: `local` for this process, `spark` for the session that is active, or one that is made.
        progress: Is told the share of the source that was read, from 0 to 1; not by Spark.

    Raises:
        DataError: The source cannot be read, lacks columns, has rows without a key, or the champion cannot score one.
        RefusedError: A version may not be used; or the output is the source, or in it.
        NotFoundError: There is no such version or alias.
        ConfigError: The output has no folder to be in; or the engine's package is not installed.
        UnavailableError: The registry or the store is away.
    """
    if engine == "spark":
        from fds_mlflow.workflows.batch.spark_files import score_files

        return score_files(model, str(source), str(output), choice, key=key, transaction=transaction, record=record)
    target = Path(output)
    _require_file(target, source)
    outcomes = model.outcomes if record else None  # which says, before the work, where none can be kept
    with TemporaryDirectory(prefix=".scores-", dir=target.parent) as folder:
        versions = Versions(model, choice)
        routed, tables = opened(
            versions, source, Path(folder), key=key, transaction=transaction, record=record, progress=progress
        )
        done, path = Scored(str(target)), Path(folder) / "scores.parquet"
        _write(path, routed.each(chain.from_iterable(map(_batches, rebatched(tables, AT_ONCE)))), done)
        path.replace(target)
    if outcomes is not None:
        told = [recorded(outcomes, answer) for answer in _stored(target)]
        done.recorded, done.refused = (sum(one[name] for one in told) for name in ("new", "refused"))
    return done


def _require_file(target: Path, source: str | Path) -> None:
    require_place(target, source)
    if target.is_dir():
        raise ConfigError(f"{target} is a folder", fix="name a file, or remove it")


def opened(
    versions: Versions,
    source: str | Path,
    folder: Path,
    *,
    key: str,
    transaction: str | None,
    record: bool,
    progress: Progress | None = None,
) -> tuple[BatchRouter, Iterator[pa.Table]]:
    """A router and the rows that it takes, which are read as they are asked for.

    Args:
        versions: The versions.
        source: As for `score`.
        folder: For what is computed on the way.
        key: As for `score`.
        transaction: As for `score`.
        record: As for `score`.
        progress: As for `score`.
    """
    form = versions.form_of(Path(source))
    columns = readers.column_names(Path(source), form)
    router = versions.router(key, transaction_of(columns, transaction, record), text=is_text(Path(source)))
    declared = to_compute(router, columns, str(source))
    rows = readers.every_column(
        source, separator=form.separator, encoding=form.encoding, sheet=form.sheet, progress=progress
    )
    if not declared:
        return router, rows
    features = [_features(source, one, columns, folder / f"{place}.parquet") for place, one in enumerate(declared)]
    hidden = hidden_by(declared, columns)
    router = replace(
        router,
        key=hidden.get(key, key),
        transaction=None if router.transaction is None else hidden.get(router.transaction, router.transaction),
        text=False,
        key_text=router.text,
    )
    return router, _beside(source, rows, features, hidden)


def transaction_of(columns: list[str], transaction: str | None, record: bool) -> str | None:
    """The column of the transaction's id; None for the key.

    Raises:
        DataError: Outcomes are to be recorded, and nothing would tell which were already.
    """
    if transaction is not None:
        return transaction
    if TRANSACTION in columns:
        return TRANSACTION
    if record:
        raise DataError(
            f"the rows have no column {TRANSACTION!r}: an outcome that is recorded twice could not be told from two",
            fix="name the column of their id: --transaction COLUMN, in Python transaction=",
        )
    return None


def hidden_by(declared: Iterable[Declared], columns: Iterable[str]) -> dict[str, str]:
    """The raw columns whose names features have, each with the name that it has beside them."""
    names = {name for one in declared for name in one.spec.names}
    return {name: f"{name} of the transaction" for name in columns if name in names}


def readable(declared: Declared, columns: list[str]) -> Schema:
    """The schema of a declaration for rows that may lack what is known later: labels no feature counts, arrivals."""
    later = () if declared.spec.uses_labels else LABELS
    if declared.schema.arrived_at not in columns:
        later = (*later, "arrived_at")
    values = declared.schema.model_dump(mode="json", exclude_defaults=True)
    return Schema.of(**{name: value for name, value in values.items() if name not in later})


def rebatched(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows, so many at a time; fewer at the end, and before rows of other columns or types.

    Files of a folder may differ: what one lacks is no gap in it, and what is text in one is none in another.
    """
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        if waiting and table.schema != waiting[0].schema:
            if rows:
                yield pa.concat_tables(waiting)
            waiting, rows = [], 0
        waiting.append(table)
        rows += len(table)
        while rows >= size:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, size)
            waiting, rows = [whole.slice(size)], rows - size
    if rows:
        yield pa.concat_tables(waiting)


def _taken(tables: Iterator[pa.Table], waiting: list[pa.Table], rows: int) -> pa.Table | None:
    """The next so many rows of tables, of which some were read and wait; None where there are fewer."""
    while sum(map(len, waiting)) < rows:
        table = next(tables, None)
        if table is None:
            return None
        waiting.append(table)
    whole = pa.concat_tables(waiting)
    waiting[:] = [whole.slice(rows)]
    return whole.slice(0, rows)


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    return list(table.combine_chunks().to_batches())


def is_text(source: Path) -> bool:
    """Whether a file, or what is in a folder, is text by its name."""
    files = [file.name for file in source.rglob("*")] if source.is_dir() else [source.name]
    return any(name.lower().endswith(TEXT_SUFFIXES) for name in files)


def _features(source: str | Path, declared: Declared, columns: list[str], path: Path) -> Path:
    return compute_file(source, readable(declared, columns), declared.spec, path, every_row=True).path


def _beside(
    source: str | Path, raw: Iterable[pa.Table], features: list[Path], hidden: dict[str, str]
) -> Iterator[pa.Table]:
    """Raw rows with their features beside them; a raw column is hidden where a feature has its name.

    Raises:
        DataError: Empty rows were left out of the features, so that nothing says which row has which.
    """
    computed = [(_stored_tables(path), list[pa.Table]()) for path in features]
    for given in rebatched(raw, AT_ONCE):
        found: dict[str, pa.ChunkedArray] = {}
        for stored, waiting in computed:
            table = _taken(stored, waiting, len(given))
            if table is None:
                raise DataError(f"{source} has empty rows", fix="remove them: there is nothing to score")
            found |= dict(zip(table.column_names, table.columns, strict=True))
        named = {hidden.get(name, name): column for name, column in zip(given.column_names, given.columns, strict=True)}
        yield pa.table({**found, **named})


def _stored_tables(path: Path) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch]) for batch in _stored(path))


def _stored(path: Path) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=AT_ONCE)


def _write(path: Path, answers: Iterable[pa.RecordBatch], done: Scored) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(path, ANSWER, compression="zstd") as writer:
        for answer in answers:
            writer.write_batch(answer)
            done.add(answer)
    if not done.rows:
        raise DataError("there are no rows to score", fix="give a file that has some")
