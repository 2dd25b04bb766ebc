"""Transactions in: a file, a frame or a database becomes one canonical frame."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data import readers
from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.coded import Coded, Codes, Hashes
from fds_mlflow.data.problems import Problem
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError

__all__ = ["Digest", "Schema", "Transactions", "as_schema", "digest", "load"]

_STRETCH = 500_000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Transactions:
    """Transactions in canonical columns.

    Attributes:
        frame: One row per transaction, in the source's order (which decides ties in time). Columns:
            ``transaction_id`` (str), ``time`` (datetime64[us], UTC, naive), ``arrived_at`` (the same; NaT = then) where
            the schema gives it, ``amount`` (float64, currency units), one str column per entity role, ``label`` (int8,
            1 = fraud; pandas' Int8 where some rows have none) and ``label_known_at`` (datetime64[us], NaT = never)
            where the schema gives them, ``label_propensity`` (float64, 1 where nothing is said) likewise, numeric
            extras (float64), categorical extras (str). Without a time in the schema `time` is NaT; without an amount
            there is none.
        schema: The schema it was read with.
        source: Where it came from, for people; without password.
        digest: 32 hex digits that stand for the content, whatever the row order or file format.
        period: First and last time (UTC, aware); None without a time.
        notes: What was left out, a sentence each.
    """

    frame: pd.DataFrame
    schema: Schema
    source: str
    digest: str
    period: tuple[datetime, datetime] | None
    notes: tuple[str, ...] = ()
    _coded: dict[str, Coded] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.frame)

    def codes(self, role: str) -> Codes:
        """An entity role's column in numbers from 0, -1 where there is none: those that the digest was made with."""
        if role not in self._coded:
            self._coded[role] = Coded.of(self.frame[role])
        return self._coded[role].codes

    def relabelled(self, frame: pd.DataFrame, schema: Schema) -> Transactions:
        """The same transactions with other labels.

        Args:
            frame: Its rows in its order, with the columns of the labels changed and no other.
            schema: The schema, which may name a label now.
        """
        made = replace(self, frame=frame, schema=schema, digest=digest(frame, self._coded))
        made._coded.update(self._coded)
        return made


def load(
    source: str | Path | pd.DataFrame,
    schema: Schema | str | Path | Mapping[str, Any] | None = None,
    *,
    table: str | None = None,
    query: str | None = None,
    progress: Callable[[float], None] | None = None,
    labelled: bool = True,
    **roles: Any,
) -> Transactions:
    """Read transactions from a text file, a Parquet file or a folder of them, a workbook, a DataFrame, or a database.

    The source is read and converted a stretch of rows at a time; beside the frame that is returned, one stretch is in
    memory.

    Args:
        source: Path of a ``.csv``, ``.tsv`` or ``.txt`` file (also compressed: ``.gz``, ``.bz2``, ``.xz``), of a
            ``.parquet`` or ``.xlsx`` file or of a folder of such files, a DataFrame, or a SQLAlchemy URL.
        schema: A `Schema`, the name of a shipped one, the path of a YAML file, or a mapping.
        table: With a URL: the table to read, ordered by time and id.
        query: With a URL: the query to run instead; its order decides ties in time.
        progress: Is told the share of the source that was read, from 0 to 1.
        labelled: Labels come from the source, if it has any; else from elsewhere, and none of its rows needs one.
        **roles: The schema as keyword arguments, instead of `schema`.

    Returns:
        The transactions, in the source's order.

    Raises:
        ConfigError: The schema is not valid.
        DataError: The data does not fit it; the message names the column, the row count and the fix.
    """
    found = as_schema(schema, roles)
    name = readers.describe(source, table, query)
    reading = Canonical(found, name)
    ids: list[pd.Series[str]] = []
    frames: list[pd.DataFrame] = []
    for stretch in readers.chunks(source, found, table=table, query=query, progress=progress):
        frame = reading.frame(stretch)
        if frame is not None:
            frames.append(frame)
            ids.append(frame["transaction_id"])
        if reading.problems:
            frames.clear()
    notes = reading.finish(_repeated(ids, found), labelled=labelled)
    whole = _whole(frames)
    coded = {role: Coded.of(whole[role]) for role in found.entities}
    made = Transactions(whole, found, name, digest(whole, coded), period(whole["time"]), notes)
    made._coded.update(coded)
    return made


def as_schema(schema: Schema | str | Path | Mapping[str, Any] | None, roles: Mapping[str, Any] | None = None) -> Schema:
    """Accept a schema in any of the forms that `load` takes.

    Raises:
        ConfigError: None or two are given, or it is not valid.
    """
    if (schema is None) != bool(roles):
        raise ConfigError(
            "give the schema once: as `schema`, or as keyword arguments",
            fix="load(source, 'simulator') or load(source, transaction_id='id', time='t', amount='a', ...)",
        )
    if schema is None:
        return Schema.of(**(roles or {}))
    if isinstance(schema, Schema):
        return schema
    return Schema.of(**schema) if isinstance(schema, Mapping) else Schema.load(schema)


def period(time: pd.Series[Any]) -> tuple[datetime, datetime] | None:
    """First and last time of a non-empty datetime64 column, as aware UTC datetimes; None where all are missing."""
    first, last = time.min(), time.max()
    if pd.isna(first):
        return None
    return first.to_pydatetime().replace(tzinfo=UTC), last.to_pydatetime().replace(tzinfo=UTC)


class Digest:
    """The digest of canonical content, fed a stretch of rows at a time.

    Each row is hashed to 64 bits (pandas' column hash, folded over the columns); the digest is made of the number of
    rows, the sum of the row hashes and the sum of a mix of them, modulo 2**64: sums, because they do not depend on
    the order of the rows. It notices any accidental change; it is no protection against a forger.
    """

    def __init__(self) -> None:
        self._names: list[str] | None = None
        self._rows = 0
        self._sums = [0, 0]

    def update(self, frame: pd.DataFrame, hashes: Mapping[str, Hashes] | None = None) -> None:
        """Add rows in canonical columns, always the same columns in the same order.

        Args:
            frame: The rows.
            hashes: What `column_hash` gives of some columns, where it is known.
        """
        self._names = list(frame.columns)
        self._rows += len(frame)
        rows = np.zeros(len(frame), dtype=np.uint64)
        for name in frame.columns:
            hashed = hashes[name] if hashes is not None and name in hashes else column_hash(frame[name])
            rows = _mix(rows + _GOLDEN) ^ hashed
        rows = _mix(rows)
        for i, values in enumerate((rows, _mix(rows ^ _GOLDEN))):
            self._sums[i] = (self._sums[i] + int(values.sum(dtype=np.uint64))) % 2**64

    def add(self, other: Digest) -> None:
        """Add the rows that another one was fed, of the same columns."""
        self._names = self._names or other._names
        self._rows += other._rows
        self._sums = [(a + b) % 2**64 for a, b in zip(self._sums, other._sums, strict=True)]

    def hex(self) -> str:
        """The digest so far: 32 hex digits."""
        text = json.dumps([self._names, self._rows, self._sums])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def digest(frame: pd.DataFrame, coded: Mapping[str, Coded] | None = None) -> str:
    """The digest of one canonical frame, of which some columns may be coded already; see `Digest`."""
    result = Digest()
    for start in range(0, max(1, len(frame)), _STRETCH):  # hashing makes Python's objects of all texts at hand
        rows = slice(start, start + _STRETCH)
        result.update(frame.iloc[rows], {name: one.hashed(rows) for name, one in (coded or {}).items()})
    return result.hex()


def column_hash(column: pd.Series[Any]) -> Hashes:
    """A number of 64 bits for each value of a canonical column; equal values have equal ones."""
    if column.dtype == "Int8":  # labels of which some are missing
        column = column.fillna(-1).astype(np.int8)
    elif column.dtype.kind == "M":
        column = column.astype("datetime64[us]").astype("int64")
    elif column.dtype.kind == "f":
        column = column + 0.0
    # Numbering texts of which nearly every row has its own costs more than it spares.
    number = column.name != "transaction_id" or column.hasnans
    hashes: Hashes = pd.util.hash_pandas_object(column, index=False, categorize=number).to_numpy().astype(np.uint64)
    return hashes


def _mix(values: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _whole(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Join stretches column by column, so that no column is there twice for longer than that takes."""
    if len(frames) == 1:
        return frames[0]
    names = list(frames[0].columns)
    return pd.DataFrame({name: pd.concat([frame.pop(name) for frame in frames], ignore_index=True) for name in names})


def _repeated(ids: list[pd.Series[str]], schema: Schema) -> Problem | None:
    rows = sum(map(len, ids))
    if rows == pc.count_distinct(pa.chunked_array([pa.array(part) for part in ids], pa.large_string())).as_py():
        return None
    whole = pd.concat(ids, ignore_index=True)
    repeated = whole.duplicated()
    subject = f"column {schema.transaction_id!r} (transaction_id)"
    fix = "remove the repeated rows, or name the column that identifies a transaction; null numbers the rows"
    return Problem(subject, "ids", fix, int(repeated.sum()), f" (first: {whole[repeated].iloc[0]!r})", verb="repeats")
