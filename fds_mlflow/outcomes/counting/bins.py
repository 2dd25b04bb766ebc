"""The bins of `core.evidence.bins`, in SQL: the same on both databases, and exact at their edges."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Double, Integer, case, literal_column
from sqlalchemy.orm import InstrumentedAttribute

from fds_mlflow.core.evidence.bins import (
    FINE_LATENCY_EDGES,
    FINE_SCORE_EDGES,
    LATENCY_EDGES,
    LOSS_EDGES,
    SCORE_EDGES,
)

Number: TypeAlias = ColumnElement[Any] | InstrumentedAttribute[Any]


def score_bin(score: Number) -> ColumnElement[int]:
    """The bin of a score in [0, 1]; the last one includes its upper end."""
    return _bin(score, SCORE_EDGES, below=operator.lt)


def loss_bin(amount: Number) -> ColumnElement[int]:
    """The bin of an amount of money, at least zero."""
    return _bin(amount, LOSS_EDGES)


def latency_bin(milliseconds: Number) -> ColumnElement[int]:
    """The bin of a latency, at least zero."""
    return _bin(milliseconds, LATENCY_EDGES)


def fine_score_bin(score: Number) -> ColumnElement[int]:
    """The fine bin of a score in [0, 1]."""
    return _bin(score, FINE_SCORE_EDGES)


def fine_latency_bin(milliseconds: Number) -> ColumnElement[int]:
    """The fine bin of a latency, at least zero."""
    return _bin(milliseconds, FINE_LATENCY_EDGES)


def _bin(
    value: Number,
    edges: Sequence[float],
    first: int = 0,
    *,
    below: Callable[[Any, Any], Any] = operator.le,
) -> ColumnElement[int]:
    """How many edges the value has passed, by a tree of comparisons.

    Logarithms round differently everywhere, and the casts of the two databases do, too.
    """
    if not edges:
        return literal_column(str(first), Integer())
    middle = len(edges) // 2
    edge: ColumnElement[float] = literal_column(repr(edges[middle]), Double())
    return case(
        (below(value, edge), _bin(value, edges[:middle], first, below=below)),
        else_=_bin(value, edges[middle + 1 :], first + middle + 1, below=below),
    )
