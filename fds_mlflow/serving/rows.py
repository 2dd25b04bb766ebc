"""The rows of a request, as whoever reads them hands them to whoever scores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fds_mlflow.errors import DataError


class RequestError(DataError):
    """A request that a model raised at, and may well have: whoever sent it is to change it."""


@dataclass(frozen=True)
class Batch:
    """What MLflow reads in one request.

    Attributes:
        data: A frame, an array or a list of rows, or arrays by name.
        whole: It is one row, which cannot be divided.
    """

    data: Any
    whole: bool = False

    def __len__(self) -> int:
        if self.whole:
            return 1
        return min(map(len, self.data.values()), default=0) if isinstance(self.data, dict) else len(self.data)

    def taken(self, places: Sequence[int]) -> Any:
        """Some of its rows, in the same form."""
        if self.whole:
            return self.data
        if isinstance(self.data, dict):
            return {name: values[list(places)] for name, values in self.data.items()}
        if isinstance(self.data, list):
            return [self.data[place] for place in places]
        return self.data.iloc[list(places)] if hasattr(self.data, "iloc") else self.data[list(places)]

    def column(self, name: str) -> list[Any]:
        """The values of a column; None in each row where there is none."""
        if isinstance(self.data, list):
            return [row.get(name) if isinstance(row, dict) else None for row in self.data]
        there = isinstance(self.data, dict) or hasattr(self.data, "iloc")
        values = self.data[name] if there and name in self.data else None
        if values is None:
            return [None] * len(self)
        return [values] if self.whole else list(values.tolist())


@dataclass(frozen=True)
class Piece:
    """One row of a batch."""

    batch: Batch
    place: int


Row = Sequence[Any] | Piece
"""Values in the order of a state's columns, or a row of a request that MLflow has read."""


@dataclass
class Requests:
    """The rows of one call.

    Attributes:
        rows: Values, one per column of the state each, UNSET for a column that no row of the call has; or pieces.
        keys: Routing key of each row; None where it has none.
        transactions: What labels are joined on; None where there is nothing.
    """

    rows: list[Any] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    transactions: list[str | None] = field(default_factory=list)
