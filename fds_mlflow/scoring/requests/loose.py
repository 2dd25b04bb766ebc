"""Requests for models whose columns are not all of plain types, read as MLflow's own server reads them.

Dates, bytes, arrays and objects in columns, tensors, and models without a signature: what such a request means is up to
MLflow, so its functions read it and check it against the signature. A request is then split by row, as any other.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fds_mlflow.errors import DataError
from fds_mlflow.runtime.csv_text import records
from fds_mlflow.scoring.columns import from_text
from fds_mlflow.scoring.requests.framing import describe
from fds_mlflow.scoring.requests.parquet import check_parquet
from fds_mlflow.scoring.requests.rows import Batch, Piece, Requests

if TYPE_CHECKING:
    from fds_mlflow.scoring.requests.names import NameReader
    from fds_mlflow.scoring.state import ServingState


class LooseFormats:
    """Reads requests for one state with MLflow's own functions; the methods of `formats.Formats`.

    Args:
        state: It says what the signature is.
        names: Writes routing keys and transactions.
        limit: Rows one call may have.
    """

    def __init__(self, state: ServingState, names: NameReader, *, limit: int = 10_000) -> None:
        self._schema = state.champion.schema
        self._names = names
        self._limit = limit

    def one(self, body: bytes, *, remember: bool = False) -> tuple[Any, str | None, str | None]:  # noqa: ARG002
        """One transaction as a JSON object.

        Raises:
            DataError: It does not fit the signature.
        """
        sent = body.removeprefix(codecs.BOM_UTF8)
        found = self.invocation(b'{"dataframe_records":[' + sent + b"]}")
        if len(found.rows) != 1:
            raise DataError("the request is not one JSON object", fix="send one transaction, or ask /invocations")
        return found.rows[0], found.keys[0], found.transactions[0]

    plain = one

    def invocation(self, body: bytes) -> Requests:
        """A call in one of MLflow's JSON formats.

        Raises:
            DataError: It does not fit the signature, or has too many rows.
        """
        from mlflow.pyfunc import scoring_server

        def read() -> tuple[Any, Callable[[str], list[Any] | None]]:
            data, params = scoring_server._split_data_and_params(body.decode("utf-8-sig"))
            if params:
                raise ValueError("it has params, which no version takes here")
            return scoring_server.infer_and_parse_data(data, self._schema), partial(_of_json, data)

        return self._split(read)

    def text(self, body: bytes) -> Requests:
        """Rows of comma-separated values under a line of column names.

        Raises:
            DataError: As `invocation`.
        """
        from mlflow.pyfunc import scoring_server

        def read() -> tuple[Any, Callable[[str], list[Any] | None]]:
            text = body.decode("utf-8-sig")
            names, rows = records(io.StringIO(text, newline=""), "the request")
            known = set(self._names.columns) & set(names)
            kept = [{name: from_text(row[name], "string") for name in known} for _, row in rows]

            def column(name: str) -> list[Any] | None:
                return [row[name] for row in kept] if name in known else None

            return scoring_server.parse_csv_input(io.StringIO(text), self._schema), column

        return self._split(read)

    def parquet(self, body: bytes) -> Requests:
        """Rows of a Parquet file.

        Raises:
            DataError: As `invocation`.
        """
        from mlflow.pyfunc import scoring_server

        check_parquet(body, self._limit)
        return self._split(lambda: (scoring_server.parse_parquet_input(io.BytesIO(body)), lambda _: None))

    def _split(self, read: Callable[[], tuple[Any, Callable[[str], list[Any] | None]]]) -> Requests:
        from mlflow.models.utils import _enforce_schema

        try:
            data, raw = read()
            if self._schema is not None:
                _enforce_schema(data, self._schema)  # what a model raises after this is its own
            batch = self._batch(data)
            # A frame is a frame of floats where another row has a gap: keys are taken as they were written.
            keys, transactions = (raw(name) or batch.column(name) for name in self._names.columns)
            rows = len(batch)
            if not len(keys) == len(transactions) == rows:
                raise ValueError("there are more or fewer keys than rows")
        except DataError:
            raise
        except Exception as error:  # whatever MLflow, pandas and NumPy say of a request that they do not take
            raise DataError(
                f"the request does not fit: {describe(error)}", fix="the signature of the model is at /openapi.json"
            ) from None
        if not 0 < rows <= self._limit:
            raise DataError(f"the request has {rows:,} rows", fix=f"send 1 to {self._limit:,} at a time")
        return Requests(
            [Piece(batch, place) for place in range(rows)],
            list(map(self._names.key, keys)),
            list(map(self._names.transaction, transactions)),
        )

    def _batch(self, data: Any) -> Batch:
        """The data by rows; where MLflow takes arrays by name for one row, so do we."""
        if isinstance(data, dict):
            from mlflow.types.schema import Array, Object

            schema = self._schema
            columns = [] if schema is None or schema.is_tensor_spec() else schema.inputs
            nested = any(isinstance(one.type, (Array, Object)) for one in columns)
            whole = nested or any(getattr(value, "ndim", 0) == 0 for value in data.values())
            if not whole and len({len(value) for value in data.values()}) > 1:
                raise ValueError("its columns are not of one length")
            return Batch(data, whole=whole)
        if hasattr(data, "columns") and data.columns.has_duplicates:
            raise ValueError("it names a column twice")
        return Batch(data, whole=getattr(data, "ndim", 1) == 0 or not hasattr(data, "__len__"))


def _of_json(data: dict[str, Any], name: str) -> list[Any] | None:
    """A column of a call as it was written; None where it cannot be told from outside."""
    (value,) = data.values()
    if isinstance(value, dict) and "data" in value and "columns" in value:  # dataframe_split
        columns = list(map(str, value["columns"]))
        return [row[columns.index(name)] for row in value["data"]] if name in columns else None
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return [row.get(name) for row in value]
    if isinstance(value, dict) and isinstance(value.get(name), list):
        return list(value[name])
    return None
