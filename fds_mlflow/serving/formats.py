"""From the bytes of a request to rows: MLflow's scoring protocol, and one transaction as it is.

Every value is checked against the signature while it is decoded; an error names the column.
Source: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ (the formats of `/invocations`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fds_mlflow.errors import DataError
from fds_mlflow.serving.request import LONGEST_KEY
from fds_mlflow.serving.state import State

Row = Sequence[Any]

_PLACE = re.compile(r"`\$\[(\d+)\]\[(\d+)\]`")

_FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class _Split(msgspec.Struct):
    columns: list[str]
    data: msgspec.Raw


class _Invocation(msgspec.Struct):
    dataframe_split: _Split | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_invocation = msgspec.json.Decoder(_Invocation).decode


@dataclass
class Requests:
    """The rows of one call.

    Attributes:
        rows: Values, one per column of the state each.
        keys: Routing key of each row; None where it has none.
        transactions: What labels are joined on; None where there is nothing.
    """

    rows: list[Row] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    transactions: list[str | None] = field(default_factory=list)


class Formats:
    """Reads requests for one state.

    Args:
        state: It says which columns there are.
        limit: Rows one call may have.
    """

    def __init__(self, state: State, *, limit: int = 10_000) -> None:
        self._state = state
        self._limit = limit
        self._records = msgspec.json.Decoder(list[state.row_type]).decode  # type: ignore[name-defined]
        self._by_columns: dict[tuple[str, ...], Callable[[Any], Requests]] = {}
        names = [f.encode_name for f in msgspec.structs.fields(state.row_type)]
        self._key = names.index(state.key) if state.key in names else None
        self._transaction = names.index(state.transaction) if state.transaction in names else None
        self._width = state.width

    def one(self, body: bytes) -> tuple[Row, str | None, str | None]:
        """One transaction as a JSON object: its values, its key, and what labels are joined on.

        Raises:
            DataError: It is no object, lacks a column, or a value does not fit.
        """
        try:
            row = msgspec.structs.astuple(self._state.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _refused(error) from None
        key = self._named(row, self._key)
        return row[: self._width], key, key if self._transaction == self._key else self._named(row, self._transaction)

    def invocation(self, body: bytes) -> Requests:
        """A call in one of MLflow's JSON formats.

        Raises:
            DataError: It is none of them, has too many rows, lacks a column, or a value does not fit.
        """
        try:
            call = _invocation(body)
            given = [name for name in _FORMATS if getattr(call, name) is not msgspec.UNSET]
            if len(given) != 1:
                raise DataError(
                    f"the request has {', '.join(given) or 'none'} of {', '.join(_FORMATS)}", fix="send exactly one"
                )
            value = getattr(call, given[0])
            if isinstance(value, _Split):
                return self._split(value)
            if given[0] == "dataframe_records":
                return self._of(self._records(value))
            return self._loose(msgspec.json.decode(value), given[0])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _refused(error) from None

    def text(self, body: bytes) -> Requests:
        """Rows of comma-separated values under a line of column names; an empty field is missing.

        Raises:
            DataError: As `invocation`.
        """
        try:
            lines = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"the rows do not read: {error}", fix="send UTF-8 with a line of column names") from None
        return self._converted(
            [{name: value or None for name, value in line.items() if name is not None} for line in lines], strict=False
        )

    def _loose(self, value: Any, name: str) -> Requests:
        if isinstance(value, dict):  # columns by name, each a list
            lengths = {len(column) if isinstance(column, list) else None for column in value.values()}
            if len(lengths) != 1 or None in lengths:
                raise DataError(
                    f"the columns of {name} are not lists of one length", fix="send one value per row in each"
                )
            value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
        if not isinstance(value, list):
            raise DataError(f"{name} is no list of rows", fix="send a list of objects, or of lists in signature order")
        if value and isinstance(value[0], list):
            names = self._state.names
            if any(not isinstance(row, list) or len(row) != len(names) for row in value):
                raise DataError(
                    f"the rows of {name} do not have {len(names)} values each",
                    fix=f"send them in this order: {', '.join(names)}",
                )
            value = [dict(zip(names, row, strict=True)) for row in value]
        return self._converted(value)

    def _converted(self, rows: list[Any], *, strict: bool = True) -> Requests:
        try:
            return self._of(msgspec.convert(rows, list[self._state.row_type], strict=strict))  # type: ignore[name-defined]
        except msgspec.ValidationError as error:
            raise _refused(error) from None

    def _of(self, rows: list[Any]) -> Requests:
        self._check(len(rows))
        tuples = [msgspec.structs.astuple(row) for row in rows]
        return Requests(
            [row[: self._width] for row in tuples],
            [self._named(row, self._key) for row in tuples],
            [self._named(row, self._transaction) for row in tuples],
        )

    def _named(self, row: Row, place: int | None) -> str | None:
        if place is None or row[place] is None or row[place] is msgspec.UNSET:
            return None
        name = str(row[place])
        if len(name) > LONGEST_KEY:
            raise DataError(f"a key has {len(name):,} characters > {LONGEST_KEY}", fix="shorten it")
        if "\0" in name:
            raise DataError("a key has the character NUL", fix="leave it out")
        return name

    def _check(self, rows: int) -> None:
        if not 0 < rows <= self._limit:
            raise DataError(f"the request has {rows:,} rows", fix=f"send 1 to {self._limit:,} at a time")

    # --- columns in any order -----------------------------------------------------------------------------

    def _split(self, split: _Split) -> Requests:
        columns = tuple(split.columns)
        read = self._by_columns.get(columns)
        if read is None:
            if len(self._by_columns) > 100:  # clients that never send the same columns twice must not fill the memory
                self._by_columns.clear()
            read = self._by_columns[columns] = self._reader(columns)
        return read(split.data)

    def _reader(self, columns: tuple[str, ...]) -> Callable[[Any], Requests]:
        """A function that decodes the data of a frame with these columns."""
        fields = {f.encode_name: f for f in msgspec.structs.fields(self._state.row_type)}
        missing = [name for name, f in fields.items() if f.required and name not in columns]
        if missing:
            raise DataError(
                f"the request lacks the column {', '.join(missing)}", fix="send every column of the signature"
            )
        if len(set(columns)) != len(columns):
            raise DataError("the request names a column twice", fix="send each column once")
        row = msgspec.defstruct(
            "Row",
            [(f"c{i}", fields[name].type if name in fields else Any) for i, name in enumerate(columns)],
            rename={f"c{i}": name for i, name in enumerate(columns)},
            array_like=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        decode = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
        places = [columns.index(name) if name in columns else None for name in self._state.names]
        key = columns.index(self._state.key) if self._state.key in columns else None
        transaction = columns.index(self._state.transaction) if self._state.transaction in columns else None
        straight = places == list(range(self._width))
        left_out = [self._state.default(name) for name in self._state.names]

        def read(data: Any) -> Requests:
            try:
                rows = [msgspec.structs.astuple(one) for one in decode(data)]
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise _refused(error, columns) from None
            self._check(len(rows))
            return Requests(
                [one[: self._width] for one in rows]
                if straight
                else [[b if p is None else one[p] for p, b in zip(places, left_out, strict=True)] for one in rows],
                [self._named(one, key) for one in rows],
                [self._named(one, transaction) for one in rows],
            )

        return read


def _refused(error: Exception, columns: Sequence[str] = ()) -> DataError:
    """What does not fit; a place in an array is told by the column's name."""
    said = str(error)
    found = _PLACE.search(said)
    if found is not None and int(found[2]) < len(columns):
        said = f"{said[: found.start()]}row {found[1]}, column `{columns[int(found[2])]}`"
    fix = "the signature of the model is at /openapi.json"
    if "malformed" in said:  # Python writes NaN where JSON has no such word
        fix = "send JSON, in which a missing number is null and not NaN"
    return DataError(f"the request does not fit: {said}", fix=fix)
