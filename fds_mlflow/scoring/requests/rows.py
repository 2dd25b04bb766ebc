"""The rows of a request, as whoever reads them hands them to whoever scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fds_mlflow.errors import DataError


class RequestError(DataError):
    """A request that a model raised at, and may well have: whoever sent it is to change it."""


class UnfitError(RequestError):
    """A row that does not fit the columns of one version; that version is not to blame."""


@dataclass(frozen=True)
class Batch:
    """What MLflow reads in one request.

    Attributes:
        data: A frame, an array or a list of rows, or arrays by name.
        whole: It is one row, which cannot be divided.
    """

    data: Any
    whole: bool = False
    _columns: dict[str, list[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        if self.whole:
            return 1
        return len(next(iter(self.data.values()), ())) if isinstance(self.data, dict) else len(self.data)

    def taken(self, places: Sequence[int]) -> Any:
        """Some of its rows, in the same form."""
        if self.whole:
            return self.data
        if isinstance(self.data, dict):
            return {name: values[list(places)] for name, values in self.data.items()}
        if isinstance(self.data, list):
            return [self.data[place] for place in places]
        return self.data.iloc[list(places)] if hasattr(self.data, "iloc") else self.data[list(places)]

    def column(self, name: str, absent: Any = None) -> list[Any]:
        """The values of a column; `absent` in each row where there is none."""
        if isinstance(self.data, list):
            return [row.get(name, absent) if isinstance(row, dict) else absent for row in self.data]
        there = isinstance(self.data, dict) or hasattr(self.data, "iloc")
        if not there or name not in self.data:
            return [absent] * len(self)
        if name not in self._columns:  # each row asks for its own value
            values = self.data[name]
            self._columns[name] = [values] if self.whole else list(values.tolist())
        return self._columns[name]


@dataclass(frozen=True)
class Piece:
    """One row of a batch."""

    batch: Batch
    place: int


class FeaturedRow(list[Any]):
    """Values in the order of columns, some of which were computed here.

    Attributes:
        raw: The transaction that they were computed from, by column.
        degraded: Whether that was done without the state that they rest on.
    """

    __slots__ = ("degraded", "raw")

    def __init__(self, raw: Mapping[str, Any], *, degraded: bool = False) -> None:
        super().__init__()
        self.raw = raw
        self.degraded = degraded


Row = Sequence[Any] | Piece | dict[str, Any]
"""Values in the order of columns, a row of a request that MLflow has read, or values by column for MLflow to read."""


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
