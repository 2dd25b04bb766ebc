"""A profile of transactions: what a person wants to know of a file before training on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.data import readers
from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.inference.sketch import Sketch, all_different, hashes_of
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import as_schema
from fds_mlflow.features.defaults import default_features
from fds_mlflow.workflows.source import Source, recognise

_SPANS = ("hour", "day", "week", "month", "quarter", "year")
_PERIODS = {"day": "D", "week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}
_MOST_SPANS = 26
_GAPS = 5
_FEW_FRAUDS = 100
"""Fewer leave validation and test with some twenty or less."""


@dataclass(frozen=True)
class Span:
    """What happened in one stretch of time.

    Attributes:
        start: Its beginning, UTC.
        rows: Transactions.
        labelled: Those with a label.
        frauds: Those that are frauds.
    """

    start: datetime
    rows: int
    labelled: int
    frauds: int

    @property
    def rate(self) -> float | None:
        """Frauds among the labelled; None where none is."""
        return self.frauds / self.labelled if self.labelled else None


@dataclass(frozen=True)
class Gap:
    """A time without any transaction.

    Attributes:
        start: Hour of the last transaction before it, UTC.
        end: Hour of the first one after it, UTC.
    """

    start: datetime
    end: datetime


@dataclass(frozen=True)
class EntityProfile:
    """How often the values of an entity come again; from 65,536 different ones on within 1 %.

    Attributes:
        role: The entity's role.
        column: Its column.
        distinct: Different values.
        mean: Rows a value on average.
        median: Rows of the value in the middle.
        repeated: Share of the values that occur more than once.
        missing: Share of the rows without one.
    """

    role: str
    column: str
    distinct: int
    mean: float
    median: float
    repeated: float
    missing: float


@dataclass(frozen=True)
class Profile:
    """What a source holds, read by a schema.

    Attributes:
        source: What it is of, for people.
        schema: The schema.
        rows: Rows that are not empty.
        notes: What was left out, a sentence each.
        period: First and last time, UTC; None without a time.
        labelled: Rows with a label.
        frauds: Rows that are frauds.
        span: How long each of `spans` is: hour, day, week, month, quarter or year.
        spans: Rows and frauds over time.
        gaps: The longest times without transactions, the longest first.
        number_of_gaps: How many there are.
        repeated_rows: Rows that another row equals in every column but the id.
        repeated_ids: Whether an id occurs more than once; None where the rows are numbered.
        entities: How often each entity comes again.
        missing: Canonical column -> share of the rows without a value, where there are any.
        features: Kind -> features that `fds train` will make.
        impossible: Features that it cannot make, and why.
        warnings: What may spoil a training.
    """

    source: str
    schema: Schema
    rows: int
    notes: tuple[str, ...]
    period: tuple[datetime, datetime] | None
    labelled: int
    frauds: int
    span: str | None
    spans: tuple[Span, ...]
    gaps: tuple[Gap, ...]
    number_of_gaps: int
    repeated_rows: int
    repeated_ids: bool | None
    entities: tuple[EntityProfile, ...]
    missing: dict[str, float]
    features: dict[str, tuple[str, ...]]
    impossible: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def rate(self) -> float | None:
        """Frauds among the labelled; None where none is."""
        return self.frauds / self.labelled if self.labelled else None


def describe(
    source: str | Path | pd.DataFrame,
    schema: Schema | str | Path,
    *,
    table: str | None = None,
    query: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Profile:
    """Profile transactions: rows, period, fraud over time, gaps, duplicates, entities, and the features they allow.

    They are read a stretch of rows at a time; what is kept of a row are two hashes of 64 bits.

    Args:
        source: As `fds_mlflow.data.transactions.load` takes it.
        schema: The schema, its file, or a shipped one's name.
        table: For a URL: the table.
        query: For a URL: a query instead.
        progress: Is told the share that was read, from 0 to 1.

    Raises:
        ConfigError: The schema is not valid.
        DataError: The data does not fit it.
    """
    found = as_schema(schema)
    name = readers.describe(source, table, query)
    reading, tally = Canonical(found, name), _Tally(found)
    for stretch in readers.chunks(source, found, table=table, query=query, progress=progress):
        frame = reading.frame(stretch)
        if frame is not None:
            tally.add(frame)
    return tally.profile(name, reading.finish())


def of(source: Source) -> Profile:
    """Profile a source that has its schema; of a simulation, of the rows that are made.

    Raises:
        ConfigError: It has no schema, or an invalid one.
        DataError: The data does not fit it.
    """
    made = source.simulated()
    if made is not None:
        return describe(made, "simulator")
    schema = source.schema or recognise(source.data)
    return describe(source.data, schema, table=source.table, query=source.query, progress=source.progress)


class _Tally:
    """Counts over the stretches of a source."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rows = self.labelled = self.frauds = 0
        self._first: Any = pd.NaT
        self._last: Any = pd.NaT
        self._hours: dict[str, Counter[int]] = {"rows": Counter(), "labelled": Counter(), "frauds": Counter()}
        self._missing: Counter[str] = Counter()
        self._sketches = {role: Sketch() for role in schema.entities}
        self._hashes: list[Any] = []
        self._ids: list[Any] = []

    def add(self, frame: pd.DataFrame) -> None:
        """Count a stretch."""
        self.rows += len(frame)
        content = frame.drop(columns=["transaction_id"])
        self._hashes.append(pd.util.hash_pandas_object(content, index=False).to_numpy())
        if self.schema.transaction_id is not None:
            self._ids.append(hashes_of(frame["transaction_id"].to_numpy()))
        for column, count in content.isna().sum().items():
            self._missing[str(column)] += int(count)
        for role, sketch in self._sketches.items():
            sketch.update(hashes_of(frame[role].dropna().to_numpy()))
        masks = {"rows": np.ones(len(frame), dtype=bool)}
        if "label" in frame:
            masks["labelled"] = frame["label"].notna().to_numpy()
            masks["frauds"] = (frame["label"] == 1).fillna(value=False).to_numpy(dtype=bool)
            self.labelled += int(masks["labelled"].sum())
            self.frauds += int(masks["frauds"].sum())
        if self.schema.time is not None:
            self._first, self._last = _outer(self._first, self._last, frame["time"])
            hours = frame["time"].to_numpy().astype("datetime64[h]").astype(np.int64)
            for what, mask in masks.items():
                values, counts = np.unique(hours[mask], return_counts=True)
                self._hours[what].update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def profile(self, source: str, notes: tuple[str, ...]) -> Profile:
        """What was counted."""
        schema, (span, spans) = self.schema, self._spans()
        longest = sorted(gaps(sorted(self._hours["rows"])), key=lambda gap: gap.start - gap.end)
        spec, impossible = default_features(schema)
        windows = [name for item in spec.windows for name in map(item.feature, item.windows)]
        features = {
            "numbers": spec.numeric,
            "categories": spec.categorical,
            "flags": tuple(flag.feature for flag in spec.flags),
            "windows": tuple(windows),
            "gaps": tuple(gap.feature for gap in spec.gaps),
        }
        hashes = np.sort(np.concatenate(self._hashes))
        return Profile(
            source=source,
            schema=schema,
            rows=self.rows,
            notes=notes,
            period=None if schema.time is None else (_moment(self._first), _moment(self._last)),
            labelled=self.labelled,
            frauds=self.frauds,
            span=span,
            spans=spans,
            gaps=tuple(longest[:_GAPS]),
            number_of_gaps=len(longest),
            repeated_rows=int((hashes[1:] == hashes[:-1]).sum()),
            repeated_ids=not all_different(self._ids) if self._ids else None,
            entities=tuple(self._entity(role, column) for role, column in schema.entities.items()),
            missing={c: n / self.rows for c, n in self._missing.items() if n and c not in ("label_known_at", "time")},
            features={kind: names for kind, names in features.items() if names},
            impossible=impossible,
            warnings=tuple(self._warnings()),
        )

    def _spans(self) -> tuple[str | None, tuple[Span, ...]]:
        """The counts by hour, day, week, ..., whichever is the shortest that gives few."""
        if self.schema.time is None:
            return None, ()
        hours = pd.DataFrame({what: pd.Series(counter) for what, counter in self._hours.items()}).fillna(0).sort_index()
        index = pd.DatetimeIndex(hours.index.to_numpy().astype("datetime64[h]").astype("datetime64[us]"))
        for span in _SPANS:
            starts = index if span == "hour" else index.to_period(_PERIODS[span]).start_time
            first, last = starts.min(), starts.max()
            step = pd.Timedelta("1h") if span == "hour" else None
            length = (
                (last - first) / step if step is not None else len(pd.period_range(first, last, freq=_PERIODS[span]))
            )
            if length <= _MOST_SPANS or span == _SPANS[-1]:
                break
        summed = hours.groupby(starts).sum().astype(int)
        return span, tuple(
            Span(_moment(start), *map(int, row))
            for start, row in zip(summed.index, summed.to_numpy().tolist(), strict=True)
        )

    def _entity(self, role: str, column: str) -> EntityProfile:
        sketch, missing = self._sketches[role], self._missing[role]
        mean = (self.rows - missing) / max(1, sketch.distinct)
        return EntityProfile(
            role, column, sketch.distinct, mean, sketch.typical, sketch.repeated, missing / max(1, self.rows)
        )

    def _warnings(self) -> Iterable[str]:
        if self.schema.label is None:
            yield "the schema names no label: only an isolation forest can be trained"
            return
        if self.frauds < _FEW_FRAUDS:
            yield f"{self.frauds:,} frauds in all: validation and test would see so few that their figures say little"
        if self.labelled and self.frauds > self.labelled / 2:
            yield "most rows are frauds: see that label_values does not name the wrong one"


def _outer(first: Any, last: Any, times: pd.Series[Any]) -> tuple[Any, Any]:
    low, high = times.min(), times.max()
    return (low, high) if pd.isna(first) else (min(first, low), max(last, high))


def _moment(value: Any) -> datetime:
    made: datetime = pd.Timestamp(value).tz_localize("UTC").to_pydatetime()
    return made


def gaps(hours: list[int]) -> list[Gap]:
    """Times without a transaction that are longer than a day and a half, and than five usual pauses."""
    if len(hours) < 3:
        return []
    pauses = np.diff(np.array(hours))
    long = max(36.0, 5.0 * float(np.median(pauses)))
    return [Gap(_hour(hours[place]), _hour(hours[place + 1])) for place in np.flatnonzero(pauses > long).tolist()]


def _hour(number: int) -> datetime:
    return _moment(np.datetime64(number, "h"))
