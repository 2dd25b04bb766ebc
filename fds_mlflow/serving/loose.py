"""Requests for models whose columns are not all of plain types, read as MLflow's own server reads them.

Dates, bytes, arrays and objects in columns, tensors, and models without a signature: what such a request means is up to
MLflow, so its functions read it and check it against the signature. A request is then split by row, as any other.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fds_mlflow.errors import DataError
from fds_mlflow.serving.rows import Batch, Piece, Requests

if TYPE_CHECKING:
    from fds_mlflow.serving.names import Names
    from fds_mlflow.serving.state import State


class LooseFormats:
    """Reads requests for one state with MLflow's own functions; the methods of `formats.Formats`.

    Args:
        state: It says what the signature is.
        names: Writes routing keys and transactions.
        limit: Rows one call may have.
    """

    def __init__(self, state: State, names: Names, *, limit: int = 10_000) -> None:
        self._schema = (state.champion if state.champion.loose else state.canary or state.champion).schema
        self._names = names
        self._limit = limit

    def one(self, body: bytes) -> tuple[Any, str | None, str | None]:
        """One transaction as a JSON object.

        Raises:
            DataError: It does not fit the signature.
        """
        found = self.invocation(b'{"dataframe_records":[' + body + b"]}")
        if len(found.rows) != 1:
            raise DataError("the request is not one JSON object", fix="send one transaction, or ask /invocations")
        return found.rows[0], found.keys[0], found.transactions[0]

    def invocation(self, body: bytes) -> Requests:
        """A call in one of MLflow's JSON formats.

        Raises:
            DataError: It does not fit the signature, or has too many rows.
        """
        from mlflow.pyfunc import scoring_server

        def read() -> Any:
            data, params = scoring_server._split_data_and_params(body.decode("utf-8-sig"))
            if params:
                raise ValueError("it has params, which no version takes here")
            return scoring_server.infer_and_parse_data(data, self._schema)

        return self._split(read)

    def text(self, body: bytes) -> Requests:
        """Rows of comma-separated values under a line of column names.

        Raises:
            DataError: As `invocation`.
        """
        from mlflow.pyfunc import scoring_server

        from fds_mlflow.csv_text import records

        def read() -> Any:
            text = body.decode("utf-8-sig")
            for _ in records(io.StringIO(text, newline=""), "the request")[1]:
                pass  # pandas lets pass what is not well-formed
            return scoring_server.parse_csv_input(io.StringIO(text), self._schema)

        return self._split(read)

    def parquet(self, body: bytes) -> Requests:
        """Rows of a Parquet file.

        Raises:
            DataError: As `invocation`.
        """
        from mlflow.pyfunc import scoring_server

        return self._split(lambda: scoring_server.parse_parquet_input(io.BytesIO(body)))

    def _split(self, read: Callable[[], Any]) -> Requests:
        from mlflow.models.utils import _enforce_schema

        try:
            data = read()
            if self._schema is not None:
                _enforce_schema(data, self._schema)  # what a model raises after this is its own
            batch = self._batch(data)
            rows = len(batch)
        except DataError:
            raise
        except Exception as error:  # whatever MLflow, pandas and NumPy say of a request that they do not take
            raise DataError(
                f"the request does not fit: {getattr(error, 'message', error)}"[:1_000],
                fix="the signature of the model is at /openapi.json",
            ) from None
        if not 0 < rows <= self._limit:
            raise DataError(f"the request has {rows:,} rows", fix=f"send 1 to {self._limit:,} at a time")
        keys, transactions = (batch.column(name) for name in self._names.columns)
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
            return Batch(data, whole=nested or any(getattr(value, "ndim", 0) == 0 for value in data.values()))
        return Batch(data, whole=getattr(data, "ndim", 1) == 0 or not hasattr(data, "__len__"))
