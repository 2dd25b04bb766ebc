"""One pass over a source: counts over all rows, and rows spread evenly over it to look at value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data.inference.sketch import Sketch, all_different, hashes_of

MOST_ROWS = 200_000
MOST_CELLS = 8_000_000
FEW = 60
"""Up to so many different values are counted one by one."""
_MEASURED = r"^\s*[^\d\s]{0,3}\s*\d[\d ]*[.,]\d+\s*[^\d\s]{0,3}\s*$"


@dataclass
class ColumnSurvey:
    """What is known of one column over all rows.

    Attributes:
        name: Its name.
        kind: Its type; a text in text files.
        missing: Rows without a value.
        values: How often each value occurs, where there are few; None where there are many.
        sketch: How many different values there are, and how often each occurs, among `sketched` rows.
        sketched: Rows that were counted so: all, but for measured numbers.
    """

    name: str
    kind: pa.DataType
    missing: int = 0
    values: Counter[str] | None = field(default_factory=Counter)
    sketch: Sketch = field(default_factory=Sketch)
    sketched: int = 0
    _hashes: list[np.ndarray[Any, np.dtype[np.uint64]]] | None = field(default_factory=list)
    _measured: bool = False

    def update(self, column: pa.ChunkedArray) -> None:
        """Add a stretch of the column."""
        if pa.types.is_null(self.kind):
            self.kind = column.type
        present = column.filter(filled(column))
        self.missing += len(column) - len(present)
        if not len(present) or self._measured:
            return
        texts = as_text(present)
        if self.values is not None:
            counted = pc.value_counts(texts)
            counted = counted.combine_chunks() if isinstance(counted, pa.ChunkedArray) else counted
            if len(counted) <= FEW:
                few, counts = counted.field(0).to_pylist(), counted.field(1).to_numpy()
                self.values.update(dict(zip(few, counts.tolist(), strict=True)))
                self._add(hashes_of(few), counts)
                self.values = None if len(self.values) > FEW else self.values
                return
            self.values = None
        self._add(hashes_of(texts.to_numpy(zero_copy_only=False)), None)
        self._measured = _is_measured(texts)
        self._hashes = None if self._measured else self._hashes

    def _add(
        self, hashes: np.ndarray[Any, np.dtype[np.uint64]], counts: np.ndarray[Any, np.dtype[np.int64]] | None
    ) -> None:
        self.sketch.update(hashes, counts)
        self.sketched += len(hashes) if counts is None else int(counts.sum())
        if self._hashes is not None:
            self._hashes.append(hashes)
            self._hashes = None if self.sketch.repeated else self._hashes

    def is_unique(self) -> bool:
        """Whether each row has a value of its own, over all rows."""
        if self.missing or not self._hashes:
            return False
        return all_different(self._hashes)

    @property
    def repetition(self) -> float:
        """Rows a value, on average."""
        return self.sketched / max(1, self.sketch.distinct)


@dataclass
class Survey:
    """What one pass found.

    Attributes:
        rows: Rows that hold anything.
        empty: Rows that hold nothing.
        columns: By name.
        sample: Rows spread evenly over the source, as they were read.
    """

    rows: int
    empty: int
    columns: dict[str, ColumnSurvey]
    sample: pa.Table

    def texts(self, name: str) -> pa.ChunkedArray:
        """The values of a column in the sample as text; missing and blank ones are null."""
        column = self.sample[name]
        text = as_text(column)
        some = pc.and_(filled(column), pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(text), ""), fill_value=False))
        return pc.if_else(some, text, pa.scalar(None, pa.string()))


class _Spread:
    """Every n-th row, n a power of two: as many as there is room for, evenly over what has come by."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._stride = 1
        self._next = 0
        self._rows = 0
        self._kept: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        end = self._next + table.num_rows
        first = -(-self._next // self._stride) * self._stride
        chosen = table.take(np.arange(first - self._next, end - self._next, self._stride)) if first < end else None
        self._next = end
        if chosen is None:
            return
        self._kept.append(chosen)
        self._rows += chosen.num_rows
        while self._rows > self._most:
            whole = self.table()
            halved = whole.take(np.arange(0, whole.num_rows, 2))
            self._kept, self._rows, self._stride = [halved], halved.num_rows, self._stride * 2

    def table(self) -> pa.Table:
        return concatenated(self._kept)


def concatenated(tables: list[pa.Table]) -> pa.Table:
    """Join stretches, whose types differ where a database gives nothing but gaps in one of them."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.concat_tables([pa.table({c: as_text(t[c]) for c in t.column_names}) for t in tables])


def survey(tables: Iterable[pa.Table]) -> Survey:
    """Look at a source once, from its first row to its last; memory does not grow with the rows."""
    columns: dict[str, ColumnSurvey] = {}
    spread: _Spread | None = None
    rows = empty = 0
    for whole in tables:
        if spread is None:
            columns = {name: ColumnSurvey(name, whole[name].type) for name in whole.column_names}
            spread = _Spread(max(1_000, min(MOST_ROWS, MOST_CELLS // max(1, len(columns)))))
        table = _without_empty(whole)
        rows, empty = rows + table.num_rows, empty + whole.num_rows - table.num_rows
        for name, column in columns.items():
            column.update(table[name])
        spread.add(table)
    return Survey(rows, empty, columns, spread.table() if spread is not None and rows else pa.table({}))


def _without_empty(table: pa.Table) -> pa.Table:
    some = None
    for name in table.column_names:
        here = filled(table[name])
        some = here if some is None else pc.or_(some, here)
        if pc.all(some).as_py():
            return table
    return table if some is None else table.filter(some)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of text, or a dictionary of texts."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where a column has a value: neither null, nor NaN, nor an empty text."""
    kind = column.type
    if pa.types.is_floating(kind):
        return pc.and_(pc.is_valid(column), pc.invert(pc.fill_null(pc.is_nan(column), fill_value=False)))
    if is_text(kind):
        return pc.fill_null(pc.not_equal(column.cast(pa.string()), ""), fill_value=False)
    return pc.is_valid(column)


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column's values as text: whole numbers in floats without a fraction."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_text(column.cast(kind.value_type))
    if pa.types.is_floating(kind):
        values = column.to_numpy()
        whole = np.isnan(values) | ((values == np.floor(values)) & (np.abs(values) < 2.0**53))
        if whole.all():
            return pa.chunked_array([pc.cast(pc.cast(pa.array(values, from_pandas=True), pa.int64()), pa.string())])
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.chunked_array([pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())])


def _is_measured(texts: pa.ChunkedArray) -> bool:
    some = texts.slice(0, 1_000)
    return bool(np.mean(np.asarray(pc.match_substring_regex(some, _MEASURED))) > 0.9)
