"""From the bytes of a request to rows: MLflow's scoring protocol, and one transaction as it is.

A request that is plainly typed is decoded and checked in one go. What is not (a number in quotes, NaN, whole numbers
written 1.0, CSV, Parquet, ...) is read value by value, as `columns.cell` takes them; an error names row and column.
Source: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ (the formats of `/invocations`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from fds_mlflow.errors import DataError
from fds_mlflow.runtime.csv_text import records
from fds_mlflow.scoring.columns import cell, from_text
from fds_mlflow.scoring.requests.loose import LooseFormats
from fds_mlflow.scoring.requests.names import NameReader
from fds_mlflow.scoring.requests.parquet import parquet_rows
from fds_mlflow.scoring.requests.rows import FeaturedRow, Lack, Requests, Row
from fds_mlflow.scoring.state import ServingState

_FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")

_NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the quick way says of a request that is to be read value by value."""


class Featured(Protocol):
    """Gives raw rows their features."""

    def __call__(
        self, state: ServingState, row: Mapping[str, Any], *, remember: bool
    ) -> tuple[Mapping[str, Any], Lack]:
        """A row with what the versions of a state take, as it is where it has that; and what is amiss with it."""
        ...


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str | int]
    data: msgspec.Raw
    index: list[Any] | None = None


class _Invocation(msgspec.Struct):
    dataframe_split: _Split | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    params: Any = None


_invocation = msgspec.json.Decoder(_Invocation).decode


class Formats:
    """Reads requests for one state whose columns are all of plain types.

    Args:
        state: It says which columns there are.
        limit: Rows one call may have.
        featured: Gives a raw row its features, and may remember it; None where all rows have them.
    """

    def __init__(self, state: ServingState, *, limit: int = 10_000, featured: Featured | None = None) -> None:
        self._state = state
        self._featured = featured
        self._limit = limit
        self._records = msgspec.json.Decoder(list[state.row_type]).decode  # type: ignore[name-defined]
        self._by_columns: dict[tuple[str, ...], Callable[[Any], Requests]] = {}
        self._names = NameReader(state)
        names = [f.encode_name for f in msgspec.structs.fields(state.row_type)]
        self._key = names.index(state.key)
        self._transaction = names.index(state.transaction)
        self._width = state.width
        self._optional = [place for place, name in enumerate(state.champion.names) if name not in state.required]

    def plain(self, body: bytes) -> tuple[Row, str | None, str | None]:
        """As `one`, where all is plainly typed.

        Raises:
            Exception: It is not.
        """
        row = msgspec.structs.astuple(self._state.decode(body))
        key = self._names.key(row[self._key])
        return row[: self._width], key, key if self._names.same else self._names.transaction(row[self._transaction])

    def one(self, body: bytes, *, remember: bool = False) -> tuple[Row, str | None, str | None]:
        """One transaction as a JSON object: its values, its key, and what labels are joined on.

        Raises:
            DataError: It is no object, lacks a column, or a value does not fit.
        """
        try:
            return self.plain(body)
        except _NOT_PLAIN:
            requests = self._cells([_parsed(body)], alone=True, remember=remember)
            return requests.rows[0], requests.keys[0], requests.transactions[0]

    def invocation(self, body: bytes, *, remember: bool = False) -> Requests:
        """A call in one of MLflow's JSON formats.

        Raises:
            DataError: It is none of them, has too many rows, lacks a column, or a value does not fit.
        """
        try:
            call = _invocation(body)
            given = _the_format([name for name in _FORMATS if getattr(call, name) is not msgspec.UNSET], call.params)
            value = getattr(call, given)
            if not isinstance(value, _Split):
                return self._of(self._records(value))
            if self._featured is None or self._state.required <= set(map(str, value.columns)):
                return self._split(value)
        except _NOT_PLAIN:
            pass
        sent = _parsed(body)
        if not isinstance(sent, dict):
            raise DataError("the request is no JSON object", fix=f"send one with {' or '.join(_FORMATS)}")
        given = _the_format([name for name in _FORMATS if name in sent], sent.get("params"))
        return self._cells(self._loose(sent[given], given), remember=remember)

    def text(self, body: bytes) -> Requests:
        """Rows of comma-separated values under a line of column names; a field that pandas takes for missing is so.

        Raises:
            DataError: As `invocation`; names the line.
        """
        try:
            lines = io.StringIO(body.decode("utf-8-sig"), newline="")
        except UnicodeDecodeError as error:
            raise DataError(f"the rows are no UTF-8: {error}", fix="send UTF-8 with a line of column names") from None
        _, rows = records(lines, "the request")
        kinds = self._state.read_as
        return self._cells(
            {name: from_text(text, kinds.get(name, "string")) for name, text in row.items()} for _, row in rows
        )

    def parquet(self, body: bytes) -> Requests:
        """Rows of a Parquet file, as `pandas.DataFrame.to_parquet` writes it.

        Raises:
            DataError: As `invocation`.
        """
        known = {*self._state.kinds, *self._names.columns}
        return self._cells(parquet_rows(body, known if self._featured is None else None, self._limit))

    # --- value by value -----------------------------------------------------------------------------------

    def _loose(self, value: Any, given: str) -> list[Any]:
        """Rows by column of one of MLflow's formats."""
        if given == "dataframe_split":
            return _of_split(value)
        if isinstance(value, dict) and given != "dataframe_records":  # columns by name, each a list, or one value
            if not any(isinstance(column, list) for column in value.values()):
                return [value]
            lengths = {len(column) if isinstance(column, list) else None for column in value.values()}
            if len(lengths) != 1 or None in lengths:
                raise DataError(
                    f"the columns of {given} are not lists of one length", fix="send one value per row in each"
                )
            return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
        if not isinstance(value, list):
            raise DataError(f"{given} is no list of rows", fix="send a list of objects, or of lists in signature order")
        if not value or isinstance(value[0], dict) or given == "dataframe_records":
            return value
        names = self._state.signature
        if len(names) == 1 and not any(isinstance(row, list) for row in value):  # one column needs no rows
            return [{names[0]: one} for one in value]
        if any(not isinstance(row, list) or len(row) != len(names) for row in value):
            raise DataError(
                f"the rows of {given} do not have {len(names)} values each",
                fix=f"send them in this order: {', '.join(names)}",
            )
        return [dict(zip(names, row, strict=True)) for row in value]

    def _cells(self, rows: Iterable[Any], *, alone: bool = False, remember: bool = False) -> Requests:
        """Every value of rows by column looked at on its own."""
        requests, state = Requests(), self._state
        for place, row in enumerate(rows):
            where = "" if alone else f"row {place}, "
            if not isinstance(row, dict):
                raise DataError(f"{where or 'the request, '}{str(row)[:50]!r} is no object", fix="send column: value")
            self._check(place + 1)
            key, transaction = map(row.get, self._names.columns)
            # What no store takes as a key is refused before the state takes the transaction in.
            requests.keys.append(self._names.key(key))
            requests.transactions.append(self._names.transaction(transaction))
            values: list[Any] = []
            if self._featured is not None:
                raw = row
                row, lack = self._featured(state, raw, remember=remember)  # noqa: PLW2901 - the same with more
                values = values if row is raw else FeaturedRow(raw, lack)
            for name, kind in state.read_as.items():
                if name not in row:
                    if name in state.required:
                        raise DataError(f"{where}the column {name} is missing", fix=_FIX)
                    values.append(msgspec.UNSET)
                    continue
                try:
                    values.append(cell(row[name], kind) if name in state.champion.inputs else row[name])
                except ValueError as error:
                    raise DataError(f"{where}column `{name}` ({state.kinds[name]}): {error}", fix=_FIX) from None
            requests.rows.append(values)
        self._check(len(requests.rows))
        return self._filled(requests)

    def _of(self, rows: list[Any]) -> Requests:
        self._check(len(rows))
        tuples = [msgspec.structs.astuple(row) for row in rows]
        return self._filled(
            Requests(
                [row[: self._width] for row in tuples],
                [self._names.key(row[self._key]) for row in tuples],
                [self._names.transaction(row[self._transaction]) for row in tuples],
            )
        )

    def _filled(self, requests: Requests) -> Requests:
        """A column that only some rows of a call have is a gap in the others, as in a frame of them."""
        if len(requests.rows) == 1:
            return requests
        for place in self._optional:
            lacking = [number for number, row in enumerate(requests.rows) if row[place] is msgspec.UNSET]
            if not lacking or len(lacking) == len(requests.rows):
                continue
            name = self._state.names[place]
            try:
                gap = cell(None, self._state.kinds[name])
            except ValueError as error:
                raise DataError(f"row {lacking[0]}, column `{name}`: {error}", fix=_FIX) from None
            for number in lacking:
                if isinstance(requests.rows[number], tuple):
                    requests.rows[number] = list(requests.rows[number])
                row = requests.rows[number]
                row[place] = gap
        return requests

    def _check(self, rows: int) -> None:
        if not 0 < rows <= self._limit:
            raise DataError(f"the request has {rows:,} rows", fix=f"send 1 to {self._limit:,} at a time")

    # --- columns in any order -----------------------------------------------------------------------------

    def _split(self, split: _Split) -> Requests:
        columns = tuple(map(str, split.columns))
        read = self._by_columns.get(columns)
        if read is None:
            if len(self._by_columns) > 100:  # clients that never send the same columns twice must not fill the memory
                self._by_columns.clear()
            read = self._by_columns[columns] = self._reader(columns)
        requests = read(split.data)
        if split.index is not None:
            _check_index(split.index, len(requests.rows))
        return requests

    def _reader(self, columns: tuple[str, ...]) -> Callable[[Any], Requests]:
        """A function that decodes the data of a frame with these columns."""
        fields = {f.encode_name: f for f in msgspec.structs.fields(self._state.row_type)}
        missing = [name for name in self._state.names if name in self._state.required and name not in columns]
        if missing:
            raise DataError(f"the request lacks the column {', '.join(missing)}", fix=_FIX)
        _check_columns(columns)
        row = msgspec.defstruct(
            "Row",
            [(f"c{i}", fields[name].type if name in fields else Any) for i, name in enumerate(columns)],
            array_like=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        decode = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
        places = [columns.index(name) if name in columns else None for name in self._state.names]
        key = columns.index(self._state.key) if self._state.key in columns else None
        transaction = columns.index(self._state.transaction) if self._state.transaction in columns else None
        straight = places == list(range(self._width))

        def read(data: Any) -> Requests:
            rows = [msgspec.structs.astuple(one) for one in decode(data)]
            self._check(len(rows))
            return Requests(
                [one[: self._width] for one in rows]
                if straight
                else [[msgspec.UNSET if p is None else one[p] for p in places] for one in rows],
                [None if key is None else self._names.key(one[key]) for one in rows],
                [None if transaction is None else self._names.transaction(one[transaction]) for one in rows],
            )

        return read


def formats(state: ServingState, *, limit: int, featured: Featured | None = None) -> Formats | LooseFormats:
    """What reads requests for a state."""
    if state.loose:
        return LooseFormats(state, NameReader(state), limit=limit)
    return Formats(state, limit=limit, featured=featured)


_FIX = "the signature of the model is at /openapi.json"


def _parsed(body: bytes) -> Any:
    """JSON as Python and MLflow's server read it: with NaN and infinities, and numbers beyond float64 infinite.

    Raises:
        DataError: It is none; names line and column.
    """
    try:
        return json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        what = f"it is no UTF-8: {error}"
    except json.JSONDecodeError as error:
        what = f"line {error.lineno} column {error.colno}: {error.msg}"
    except (ValueError, RecursionError):  # a number of thousands of digits
        what = "it is nested too deeply, or has a number of thousands of digits"
    raise DataError(f"the request is no JSON: {what}", fix="send JSON in UTF-8")


def _the_format(given: Sequence[str], params: Any) -> str:
    if len(given) != 1:
        raise DataError(
            f"the request has {', '.join(given) or 'none'} of {', '.join(_FORMATS)}", fix="send exactly one"
        )
    if params:
        raise DataError("the request has params, which no version takes here", fix="leave them out")
    return given[0]


def _of_split(value: Any) -> list[dict[str, Any]]:
    """Rows by column of a frame that names its columns once."""
    if not isinstance(value, dict) or not {"data"} <= value.keys() <= {"columns", "data", "index"}:
        raise DataError("dataframe_split does not have data, and columns and index at most", fix="send just these")
    data = value["data"]
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], list) else []
    columns = value.get("columns", list(range(len(first))))  # as a frame without names has them
    if not isinstance(columns, list) or not isinstance(data, list):
        raise DataError("columns and data of dataframe_split are not both lists", fix="send a list of rows")
    names = [str(name) for name in columns]
    _check_columns(names)
    for place, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            had = f"{len(row)} values" if isinstance(row, list) else "no list"
            raise DataError(f"row {place} has {had} for {len(names)} columns", fix="send a value for each column")
    if value.get("index") is not None:
        _check_index(value["index"], len(data))
    return [dict(zip(names, row, strict=True)) for row in data]


def _check_columns(columns: Sequence[str]) -> None:
    if len(set(columns)) != len(columns):
        raise DataError("the request names a column twice", fix="send each column once")


def _check_index(index: Any, rows: int) -> None:
    if not isinstance(index, list) or len(index) != rows:
        had = f"{len(index):,} entries" if isinstance(index, list) else "no list"
        raise DataError(f"the index of dataframe_split has {had} for {rows:,} rows", fix="send one for each row")
