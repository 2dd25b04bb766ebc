"""Features from file to file, for what does not fit into memory: the same kernel, some of the entities at a time.

1. The source is read a stretch of rows at a time, canonicalised by the same code as in memory, and kept on disk.
2. For each role the rows are dealt into parts by a hash of their entity. An entity's past is in one part, and a part
   fits into memory. Its features are kept on disk, a stretch of rows at a time.
3. Stretch by stretch the features are put beside the rows and written.

Every row is read and written the same number of times however many there are.
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data import readers
from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.transactions import Digest, Schema, as_schema, column_hash, period
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features import meaning
from fds_mlflow.features.engines.arrival import computing
from fds_mlflow.features.engines.repeated import Ids
from fds_mlflow.features.engines.spill import Spill
from fds_mlflow.features.engines.staging import column_kinds, framed, keys, past, plain_features, row_times
from fds_mlflow.features.expressions import extended, names_in
from fds_mlflow.features.meaning import Floats, Ints
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec, genuine_labels
from fds_mlflow.runtime.output import require_place

_STRETCH = 200_000  # rows kept, joined and written at a time
_PART = 100_000  # rows that are computed at a time: more fit into memory, but not into a processor's cache
_PARTS = 100  # unless the memory asks for more: each stretch is dealt into all of them
_MOST_PARTS = 500  # each is an open file
_MEMORY = re.compile(r"^(\d+(?:\.\d+)?) ?(MB|GB|TB|MiB|GiB|TiB)$")
_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_ROW = "row"


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
    every_row: bool = False,
) -> FeatureFile:
    """Compute features from a CSV or Parquet file into a Parquet file, in bounded memory.

    Args:
        path_in: A file, or a folder of files, as `load` takes them.
        schema: Its schema, in any form that `load` takes.
        spec: The features.
        path_out: The Parquet file to write. It appears when it is complete; one that is there is replaced.
        memory_limit: Memory for the windows, such as ``500MB`` or ``4GB``; the rest of the process needs some 500 MB
            more. What does not fit goes to a temporary folder beside `path_out`, about ten times the source's size.
        threads: So many parts are computed at once, within the limit; as many as there are cores by default.
        progress: Is told the share of the source that was read, from 0 to 1.
        every_row: Write rows without a label, too: they are to be scored, and not to be learned from.

    Returns:
        What was written: the same numbers as `compute` on the same file.

    Raises:
        ConfigError: The schema, the specification or the memory limit is not valid.
        RefusedError: The output is the source, or in it.
        DataError: The data does not fit the schema, or what a window reaches back to does not fit into memory.
    """
    size = _MEMORY.match(memory_limit)
    if size is None:
        raise ConfigError(f"memory_limit is {memory_limit!r}", fix="write a number and a unit, such as '2GB'")
    target, found = Path(path_out), as_schema(schema)
    require_place(target, path_in)
    memory = int(float(size[1]) * _UNITS[size[2]])
    with tempfile.TemporaryDirectory(prefix=".features-", dir=target.parent) as folder:
        work = _Work(Path(folder), str(path_in), found, spec, memory=memory, threads=threads or os.cpu_count() or 1)
        work.every_row = every_row
        result = work.run(Path(folder) / "features.parquet", progress)
        (Path(folder) / "features.parquet").replace(target)
    return FeatureFile(path=target, **result)


@dataclass(frozen=True)
class _Found:
    """Features of some rows: names, and columns of their values, after one of the rows' numbers in their stretch."""

    names: list[str]
    rows: Spill


@dataclass(frozen=True)
class _Span:
    """Times of which the features are asked, [first, end), and since when rows or labels are in their windows."""

    first: int = -meaning.NEVER - 1
    end: int = meaning.NEVER
    since: int = -meaning.NEVER - 1


class _Work:
    """One computation: its folder, and what it learns on the way."""

    def __init__(
        self, folder: Path, source: str, schema: Schema, spec: FeatureSpec, *, memory: int, threads: int
    ) -> None:
        self.folder = folder
        self.source = source
        self.schema = schema
        self.spec = spec
        self.memory = memory
        self.threads = threads
        self.every_row = False
        self.rows = Spill(folder / "rows")
        self.kept: dict[str, str] = {}  # what goes to the output as it is -> its column in `rows`
        self.given: dict[str, str] = {}  # what the kernel looks at -> its column in `rows`
        self.keys: list[str] = []
        self._numbers = itertools.count()

    def run(self, path: Path, progress: Callable[[float], None] | None) -> dict[str, Any]:
        """Read, compute, write; returns what `FeatureFile` tells."""
        with Ids(self.folder / "ids", self.memory) as ids:
            told = self._read(ids, progress)
            ids.refuse_repeated(self.rows, self.kept["transaction_id"], self.schema, self.source)
        features = [found for role in meaning.roles(self.spec) for found in self._features(role)]
        return told | {
            "rows": self._write(path, features),
            "features": self.spec.names,
            "categorical": list(self.spec.categorical),
            "spec": self.spec,
            "source": self.source,
        }

    def _read(self, ids: Ids, progress: Callable[[float], None] | None) -> dict[str, Any]:
        """Keep the rows; returns their digest, period and notes."""
        mark, reading = Digest(), Canonical(self.schema, self.source)
        genuine, genuine_known = 0, 0
        spans: list[pd.Series[Any]] = []
        for table in readers.chunks(self.source, self.schema, progress=progress):
            frame = reading.frame(table)
            if frame is None or reading.problems:
                continue
            kinds = column_kinds(frame, self.schema, self.spec)
            if not spans:
                self.spec.check(kinds, where=self.source)
                self.keys = keys(kinds)
            hashes = column_hash(frame["transaction_id"])
            mark.update(frame, {"transaction_id": hashes})
            ids.append(hashes)
            genuine, genuine_known = map(sum, zip((genuine, genuine_known), genuine_labels(frame), strict=True))
            spans.append(frame["time"].agg(["min", "max"]))
            self._keep(frame)
        self.rows.close()
        notes = reading.finish()
        span = period(pd.concat(spans))
        self.spec.check_rows(timed=span is not None, genuine=genuine, genuine_known=genuine_known, where=self.source)
        return {"digest": mark.hex(), "period": span, "notes": notes}

    def _keep(self, frame: pd.DataFrame) -> None:
        """Columns are numbered: a feature may have the name of a column that it was not computed from."""
        kept = {name: frame[name] for name in self.keys} | plain_features(frame, self.spec)
        given = [name for name in meaning.aggregated(self.spec) if name not in self.spec.numeric]
        self.kept = {name: f"k{i}" for i, name in enumerate(kept)}
        self.given = {name: self.kept[name] for name in (*self.keys, *self.spec.numeric)}
        self.given |= {name: f"g{i}" for i, name in enumerate(given)}
        columns = [*kept.values(), *(frame[name] for name in given)]
        first = len(self.rows)
        table = pa.table(
            [pa.array(np.arange(first, first + len(frame))), *(pa.array(one, from_pandas=True) for one in columns)],
            [_ROW, *self.kept.values(), *(f"g{i}" for i in range(len(given)))],
        )
        for stretch in table.combine_chunks().to_batches(max_chunksize=_STRETCH):
            self.rows.append(stretch)

    def _features(self, role: str) -> list[_Found]:
        """Compute the features of one role, a part in each thread."""
        spec = meaning.of_role(self.spec, role)
        most = max(1, self.memory // self.threads // _row_size(spec))
        rows = len(self.rows)
        parts = self._deal(role, spec, min(max(min(rows // _PART, _PARTS), 2 * rows // most, 1), _MOST_PARTS))
        tasks = [(part, span) for part in parts for span in self._spans(part, spec, most)]
        with ThreadPoolExecutor(self.threads) as pool:
            found = list(pool.map(lambda task: self._compute(role, spec, *task, most=most), tasks))
        for part in parts:
            if part is not self.rows:  # the next role deals the rows anew, and the disk may hold but one such copy
                part.remove()
        return found

    def _columns(self, spec: FeatureSpec) -> dict[str, str]:
        """The columns that the kernel looks at, each with its own in `rows`."""
        names = ["time", *meaning.roles(spec), *meaning.counted(spec), *meaning.aggregated(spec)]
        beside = ("arrived_at", "label", "label_known_at") if spec.uses_labels else ("arrived_at",)
        names += [name for name in beside if name in self.given]
        return {name: self.given[name] for name in names}

    def _deal(self, role: str, spec: FeatureSpec, number: int) -> list[Spill]:
        """Deal the rows that have the entity into so many parts, by its hash; one part is all rows, as they are."""
        if number == 1:
            return [self.rows]
        parts = [self._spill() for _ in range(number)]
        for stretch in self.rows.stretches([_ROW, *self._columns(spec).values()]):
            entity = stretch.column(self.given[role]).to_pandas()
            part = (column_hash(entity) % np.uint64(number)).astype(np.uint16)
            part[entity.isna().to_numpy()] = number
            order = np.argsort(part, kind="stable")  # of 16 bits, which NumPy sorts by counting
            dealt, ends = stretch.take(pa.array(order)), np.searchsorted(part[order], np.arange(number + 1))
            for i, kept in enumerate(parts):
                kept.append(dealt.slice(ends[i], ends[i + 1] - ends[i]))
        for kept in parts:
            kept.close()
        return [kept for kept in parts if len(kept)]

    def _spans(self, part: Spill, spec: FeatureSpec, most: int) -> list[_Span]:
        """All time at once; or, where one entity's rows are too many, times of about a quarter of what fits."""
        if len(part) <= most:
            return [_Span()]
        time = np.sort(part.table([self.given["time"]]).column(0).to_numpy().astype(np.int64))
        edges = [int(edge) for edge in np.unique(time[:: max(1, most // 4)])]
        longest = meaning.longest(spec)
        ever = bool(spec.gaps)  # the transaction before may be any time ago
        return [
            _Span(first, end, _Span.since if ever else first - longest)
            for first, end in zip(edges, [*edges[1:], meaning.NEVER], strict=True)
        ]

    def _compute(self, role: str, spec: FeatureSpec, part: Spill, span: _Span, *, most: int) -> _Found:
        """Run the kernel over a part, or a time of it, and keep what it finds by the stretches of the rows."""
        row, frame = self._within(role, spec, part, span, most)
        given = past(frame, spec)
        del frame
        asked = (given.time >= span.first) & (given.time < span.end)
        found = {name: values[asked] for name, values in computing(given, spec).features(role)}
        row, kept = row[asked], self._spill()
        firsts = np.cumsum([0, *self.rows.sizes])
        ends = np.searchsorted(row, firsts)
        for first, start, end in zip(firsts, ends, ends[1:], strict=False):
            values = [(row[start:end] - first).astype(np.int32), *(one[start:end] for one in found.values())]
            kept.append(pa.record_batch([pa.array(one) for one in values], [str(i) for i in range(len(values))]))
        kept.close()
        return _Found(list(found), kept)

    def _within(self, role: str, spec: FeatureSpec, part: Spill, span: _Span, most: int) -> tuple[Ints, pd.DataFrame]:
        """The rows of a span, and those before that its windows look at: their numbers, and what the kernel needs."""
        columns = self._columns(spec)
        stretches, rows = [], 0
        for stretch in part.stretches([_ROW, *columns.values()]):
            table = stretch
            if span != _Span():
                dated = {name: one for name, one in columns.items() if name in ("time", "label", "label_known_at")}
                time, latest = row_times(framed(stretch, dated), spec)
                table = stretch.filter(pa.array((time < span.end) & (latest > span.since)))
            stretches.append(table)
            rows += table.num_rows
            if rows > most:
                self._refuse(role, rows, rows * _row_size(spec) * self.threads)
        whole = pa.Table.from_batches(stretches)
        return whole.column(_ROW).to_numpy(), framed(whole, columns)

    def _refuse(self, role: str, rows: int, size: int) -> None:
        raise DataError(
            f"{rows:,} or more transactions of {self.source} with the same {role}, or one of a few, are in a window's "
            f"reach; they need {size / 2**20:,.0f} MiB, and the limit is {self.memory / 2**20:,.0f} MiB",
            fix="raise memory_limit, or lower threads: each needs its share; if the most frequent "
            f"{role} stands for none, name it under 'missing' in the schema",
        )

    def _expressions(self, values: Mapping[str, Floats], stretch: pa.RecordBatch) -> dict[str, Floats]:
        """The values of the expressions in a stretch, of its windows and of what is kept of it."""
        nodes = self.spec.nodes
        read = {found.name for node in nodes.values() for found in names_in(node)} - {*values, *nodes}
        kept = {name: stretch.column(self.kept[name]).to_numpy(zero_copy_only=False) for name in read}
        made = extended({**values, **kept}, nodes)
        return {name: made[name] for name in nodes}

    def _spill(self) -> Spill:
        return Spill(self.folder / f"spill-{next(self._numbers)}")

    def _write(self, path: Path, features: list[_Found]) -> int:
        """Put features beside rows and write them, a stretch at a time; returns how many rows."""
        from pyarrow import parquet

        nothing = meaning.over_nothing(self.spec)
        names = list(dict.fromkeys([*self.keys, *self.spec.names]))  # an entity may be a category too
        readers = [found.rows.open() if len(features) <= _MOST_PARTS else None for found in features]
        writer, written = None, 0
        try:
            for number, stretch in enumerate(self.rows.stretches([*self.kept.values()])):
                values = {name: np.full(stretch.num_rows, value) for name, value in nothing.items()}
                for found, reader in zip(features, readers, strict=True):
                    batch = (reader or found.rows.open()).get_batch(number)
                    place, *columns = (one.to_numpy() for one in batch.columns)
                    for name, column in zip(found.names, columns, strict=True):
                        values[name][place] = column
                values |= self._expressions(values, stretch)
                table = pa.table(
                    [
                        pa.array(values[name], from_pandas=True) if name in values else stretch.column(self.kept[name])
                        for name in names
                    ],
                    names,
                )
                if "label" in self.keys and not self.every_row:
                    table = table.filter(pc.is_valid(table.column("label")))
                if writer is None:
                    texts = [name for name in names if "string" in str(table.schema.field(name).type)]
                    writer = parquet.ParquetWriter(path, table.schema, compression="zstd", use_dictionary=texts)
                writer.write_table(table)
                written += len(table)
        finally:
            if writer is not None:
                writer.close()
        return written


def _row_size(spec: FeatureSpec) -> int:
    """Bytes of memory that a row takes in the kernel, about."""
    windows = {(window, item.aggregate in LABEL_AGGREGATES) for item in spec.windows for window in item.windows}
    medians = {item.column for item in spec.windows if item.aggregate == "median"}
    arrays = (
        36 + 12 * len(medians) + 2 * len(windows) + 5 * len(meaning.aggregated(spec)) + 4 * len(meaning.counted(spec))
    )
    return 8 * (arrays + len(meaning.over_nothing(spec)))
