"""A source's columns become the canonical columns, or errors that name the column, the rows and the fix.

Everything is converted in Arrow, column by column and role by role, because a detour through pandas' inference
changes values silently: integer codes with one missing value become floats, ``"007"`` becomes 7, ``"NA"`` (Namibia)
becomes missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.data.codes import codes
from fds_mlflow.data.column import Column, empty, plain
from fds_mlflow.data.labels import chances, labels
from fds_mlflow.data.numbers import numbers
from fds_mlflow.data.problems import Problem, Problems, Refused
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.times import mixed, times
from fds_mlflow.errors import DataError
from fds_mlflow.runtime.text_column import text_column


class Canonical:
    """Turns the stretches of one source into canonical frames; what does not fit is collected to the end.

    Args:
        schema: Which column plays which role.
        source: What messages call the source.
        first: The number of its first row, where others read those before; None where its rows have no order.

    Attributes:
        problems: What did not fit so far.
        unlabelled: Rows without a label so far.
        kept: Which rows of the last stretch are in its frame: those that are not empty.
    """

    def __init__(self, schema: Schema, source: str, *, first: int | None = 0) -> None:
        self.schema = schema
        self.source = source
        self.problems = Problems(source)
        self.kept: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._first = first
        self._rows = self._empty = self.unlabelled = 0
        self._aware: dict[str, set[bool]] = {role: set() for role in ("time", "arrived_at", "label_known_at")}

    def frame(self, table: pa.Table) -> pd.DataFrame | None:
        """Turn one stretch of rows into the canonical frame.

        Args:
            table: The next rows; the source's columns, at least those that the schema names.

        Returns:
            One row per row that is not empty, in the same order: ``transaction_id`` (str), ``time`` (datetime64[us],
            UTC, naive; NaT where the schema has none), ``arrived_at`` (datetime64[us]) and ``amount`` (float64) where
            the schema has them, one str column per entity role, ``label`` (int8, or Int8 where some have none) and
            ``label_known_at`` (datetime64[us], NaT = never) where the schema has them, ``label_propensity`` (float64,
            above 0 where there is a label) likewise, numeric extras (float64), categorical extras (str). None where
            there is no such row, or something does not fit.
        """
        begin = -1 if self._first is None else self._first + self._rows
        rows = np.arange(begin, begin + table.num_rows) if begin >= 0 else np.full(table.num_rows, -1)
        self._rows += table.num_rows
        wanted = self.schema.columns()
        data = {name: plain(table[name]) for name in wanted}
        blank = self._blank(data, len(rows))
        if blank.any():
            self._empty += int(blank.sum())
            kept = pa.array(~blank)
            data, rows = {name: values.filter(kept) for name, values in data.items()}, rows[~blank]
        self.kept = np.flatnonzero(~blank)
        return self._converted(data, rows) if len(rows) else None

    def _blank(self, data: dict[str, pa.ChunkedArray], rows: int) -> npt.NDArray[np.bool_]:
        """Rows that say nothing at all."""
        blank = np.ones(rows, dtype=bool)
        for values in data.values():
            if not blank.any():
                break
            blank &= empty(values, self.schema)
        return blank

    def _converted(self, data: dict[str, pa.ChunkedArray], rows: npt.NDArray[np.int64]) -> pd.DataFrame | None:
        schema, out = self.schema, dict[str, Any]()
        steps: dict[str, Callable[[Column], Any]] = {
            "transaction_id": _ids,
            "time": partial(_required_times, aware=self._aware["time"]),
            "arrived_at": partial(times, aware=self._aware["arrived_at"]),
            "amount": partial(numbers, required=True),
            **dict.fromkeys(schema.entities, _codes),
            "label": labels,
            "label_known_at": partial(times, aware=self._aware["label_known_at"]),
            "label_propensity": chances,
            **dict.fromkeys(schema.numeric, partial(numbers, required=False)),
        }
        if schema.transaction_id is None:
            out["transaction_id"] = text_column(pa.array(rows).cast(pa.string()))
        if schema.time is None:
            out["time"] = pd.Series(np.full(len(rows), np.datetime64("NaT", "us")))
        misfit = False
        for role, names in schema.roles().items():
            column = Column(" ".join(names), role, _joined([data[name] for name in names]), schema, rows)
            try:
                out[role] = steps.get(role, _codes)(column)
            except Refused as refused:
                self.problems.add(refused.problem)
                misfit = True
        if misfit or ("label" in out and not (self._date_labels(out, rows, data) and self._weighable(out, rows, data))):
            return None
        first = ("transaction_id", "time", "arrived_at", "amount", *schema.entities)
        first += ("label", "label_known_at", "label_propensity")
        return pd.DataFrame({name: out[name] for name in dict.fromkeys((*first, *out)) if name in out})

    def _date_labels(self, out: dict[str, Any], rows: npt.NDArray[np.int64], data: dict[str, Any]) -> bool:
        """Fill in when labels became known, and count them; False where one was known too early."""
        schema, label = self.schema, out["label"]
        there = label.notna().to_numpy()
        self.unlabelled += int((~there).sum())
        if schema.label_delay is not None:
            known = out["time"] + np.timedelta64(parse_duration(schema.label_delay))
        elif schema.label_known_at is not None:
            known = out["label_known_at"]
            early = (known < out["time"]).to_numpy()
            if early.any():
                column = Column(schema.label_known_at, "label_known_at", data[schema.label_known_at], schema, rows)
                self.problems.add(
                    column.refused(
                        early,
                        "labels known before their transaction took place",
                        "check the two columns' time zones, or leave the label's time empty where it is not known",
                    ).problem
                )
                return False
            if schema.labels_mature is not None:
                silent = known.isna() & (label == 0).fillna(False)
                known = known.mask(silent, out["time"] + np.timedelta64(parse_duration(schema.labels_mature)))
        else:
            return True
        out["label_known_at"] = known.where(there)
        return True

    def _weighable(self, out: dict[str, Any], rows: npt.NDArray[np.int64], data: dict[str, Any]) -> bool:
        """Whether no label came with a chance of 0: nobody knows how many it stands for."""
        name = self.schema.label_propensity
        if name is None:
            return True
        never = out["label"].notna().to_numpy() & (out["label_propensity"] == 0)
        if never.any():
            column = Column(name, "label_propensity", data[name], self.schema, rows)
            fix = "leave their label empty: they stay the past of others, and are left out of training"
            self.problems.add(column.refused(never, "labels of a chance of 0", fix).problem)
        return not never.any()

    @property
    def rows(self) -> int:
        """How many rows were read so far, the empty ones apart."""
        return self._rows - self._empty

    @property
    def begin(self) -> int:
        """How many rows were read so far, the empty ones included."""
        return self._rows

    def add(self, other: Canonical) -> None:
        """Take over what another one noticed, which read later rows of the same source."""
        for problem in other.problems:
            self.problems.add(problem)
        self._rows += other._rows
        self._empty += other._empty
        self.unlabelled += other.unlabelled
        for role, columns in self.schema.roles().items():
            aware = self._aware.get(role, set())
            aware |= other._aware.get(role, set())
            if len(aware) > 1:
                subject = Column(" ".join(columns), role, pa.chunked_array([], pa.string()), self.schema, other.kept)
                self.problems.add(mixed(subject).problem)

    def finish(self, repeated: Problem | None = None, *, labelled: bool = True) -> tuple[str, ...]:
        """See to it that all fitted.

        Args:
            repeated: What is wrong with the ids of all stretches together.
            labelled: Labels come from here; else rows without any are as good as others.

        Returns:
            What was left out, a sentence each.

        Raises:
            DataError: Something did not fit; names all that did not. Or there is no row, or no label.
        """
        if repeated is not None:
            self.problems.add(repeated)
        self.problems.raise_any(self._rows)
        left = self.rows
        if left == 0:
            empty = f", only {self._empty:,} empty ones" if self._empty else ""
            raise DataError(
                f"{self.source} has no rows{empty}", fix="check the file, the table or the query's condition"
            )
        if labelled and self.unlabelled == left:
            raise DataError(
                f"column {self.schema.label!r} (label) of {self.source} has no label in {left:,} rows",
                fix="name another column, or leave 'label' out of the schema",
            )
        notes = []
        if self._empty:
            notes.append(f"{_count(self._empty, 'empty row')} of {self._rows:,} left out")
        if labelled and self.unlabelled:
            notes.append(
                f"{_count(self.unlabelled, 'row')} of {left:,} without a label left out of training; they count as "
                "the past of others"
            )
        return tuple(notes)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _joined(data: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """One column as it is; several as text with a space between, null where one is missing."""
    if len(data) == 1:
        return data[0]
    texts = [
        pc.utf8_trim_whitespace(_as_text(one if not pa.types.is_timestamp(one.type) else _dates(one))) for one in data
    ]
    gap = pa.scalar(None, pa.string())
    filled = [pc.if_else(pc.equal(text, ""), gap, text) for text in texts]
    return pc.binary_join_element_wise(*filled, " ")


def _as_text(data: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(data.type):  # whole numbers with gaps
        data = pc.cast(pa.chunked_array([pa.array(data.to_numpy(), from_pandas=True)]), pa.int64(), safe=False)
    return pc.cast(data, pa.string())


def _dates(data: pa.ChunkedArray) -> pa.ChunkedArray:
    """Days that were stored as their midnights, beside a column with the time of day."""
    return pc.cast(pc.cast(data, pa.date32(), safe=False), pa.string())


def _codes(column: Column) -> pd.Series[str]:
    return text_column(codes(column))


def _ids(column: Column) -> pd.Series[str]:
    found = codes(column)
    missing = np.asarray(pc.is_null(found))
    if missing.any():
        raise column.refused(
            missing,
            "missing ids",
            "give every transaction an id, or set transaction_id: null to number the rows",
        )
    return text_column(found)


def _required_times(column: Column, aware: set[bool]) -> pd.Series[pd.Timestamp]:
    found = times(column, aware)
    missing = found.isna().to_numpy()
    if missing.any():
        raise column.refused(missing, "missing times", "fill in the times, or leave those rows out")
    return found
