"""Keys, transactions and identities of the rows that a router scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fds_mlflow.core.keys import Spelling, spelled
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.records import identity

if TYPE_CHECKING:
    import pandas as pd


def key_of(transaction: Mapping[str, Any], key: str, spelling: Spelling) -> str:
    """The routing key of one transaction.

    Raises:
        DataError: It has none.
    """
    name = spelled(transaction.get(key), spelling)
    if name is None:
        raise DataError(
            f"the transaction has no {key!r} to route by",
            fix=f"add it, or name the routing key with key= (there are: {', '.join(map(str, transaction))})",
        )
    return name


def keys_of(frame: pd.DataFrame, key: str, spelling: Spelling = Spelling.CANONICAL) -> list[str]:
    """The routing key of each row.

    Raises:
        DataError: The column is missing or there twice, or has gaps.
    """
    if key not in frame.columns:
        raise DataError(
            f"the {len(frame):,} rows have no column {key!r} to route by",
            fix=f"add it, or name the routing key's column with key= (there are: {', '.join(map(str, frame.columns))})",
        )
    names = names_of(frame, key, spelling)
    missing = names.count(None)
    if missing:
        raise DataError(
            f"the routing key {key!r} is missing in {missing:,} of {len(frame):,} rows",
            fix="give every request a key; without one the variant would be arbitrary",
        )
    return [str(name) for name in names]


def names_of(frame: pd.DataFrame, column: str, spelling: Spelling = Spelling.CANONICAL) -> list[str | None]:
    """What each row is called by a column; None where it has no value there."""
    values = values_of(frame, column)
    if frame[column].dtype in ("float32", "float16"):  # which says how many digits there are
        values = [frame[column].dtype.type(value) for value in values]
    return [spelled(value, spelling) for value in values]


def values_of(frame: pd.DataFrame, column: str) -> list[Any]:
    """What each row has in a column, as Python's own values; None where there is no such column.

    Raises:
        DataError: It is there twice.
    """
    found = list(frame.columns).count(column)
    if found > 1:
        raise DataError(f"the rows have two columns {column!r}", fix="rename one of them")
    return list(frame[column].tolist()) if found else [None] * len(frame)


def value_of(transaction: Mapping[str, Any], column: str) -> list[Any]:
    """What one transaction has in a column, as `values_of` has it for a row."""
    value = transaction.get(column)
    return [value.item() if isinstance(value, np.generic) else value]


def identities(frame: pd.DataFrame, requests: Sequence[str], named: Sequence[str | None] | None) -> list[str]:
    """The identity of each row: its request id stands for as many outcomes as it has transactions under it."""
    if named is None or None in named:
        rows = map(repr, frame.itertuples(index=False, name=None))
        named = [name or row for name, row in zip(named or [None] * len(frame), rows, strict=True)]
    return [identity(request, as_bytes(str(name))) for request, name in zip(requests, named, strict=True)]


def as_bytes(text: str) -> bytes:
    """A text as it is told apart from others, half characters too."""
    return text.encode(errors="surrogatepass")
