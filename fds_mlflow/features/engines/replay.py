"""A past, transaction by transaction: what each is told in the moment it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.kernel import Past
from fds_mlflow.features.state.state import Arriving, State


def replayed(state: State, past: Past, begin: int = 0) -> Iterator[Arriving]:
    """Transactions as they arrive; before each, the state is told the labels that have become known.

    A label that became known before its transaction arrived is told right after that.

    Args:
        state: Is told the labels.
        past: The transactions in the order of arrival; their entities go by their numbers.
        begin: So many of the first are in the state already, with the labels that were known when the last of them
            arrived.
    """
    times: list[int] = past.time.tolist()
    entities: dict[str, list[int]] = {role: codes.tolist() for role, codes in past.codes.items()}
    numbers: dict[str, list[float]] = {name: values.tolist() for name, values in past.columns.items()}
    arrivals = past.arrival.tolist()
    labels, told = _labels(past), 0
    while begin and told < len(labels) and labels[told][0] <= arrivals[begin - 1] and labels[told][1] < begin:
        told += 1
    for row, arrival in enumerate(arrivals[begin:], begin):
        while told < len(labels) and labels[told][0] <= arrival:
            _, of, known, fraud = labels[told]
            if of >= row:  # known in the moment of its own transaction, which is still to come
                break
            state.label(str(of), fraud=fraud, known=known)
            told += 1
        yield Arriving(
            str(row),
            times[row],
            {role: None if codes[row] < 0 else str(codes[row]) for role, codes in entities.items()},
            {name: values[row] for name, values in numbers.items()},
        )


def _labels(past: Past) -> list[tuple[int, int, int, bool]]:
    """When each label is told, its transaction's row, when it became known, and what it says; in that order."""
    rows = np.flatnonzero(past.known != meaning.NEVER)
    told = np.maximum(past.known[rows], past.arrival[rows])
    order = np.lexsort((rows, told))
    rows, told = rows[order], told[order]
    columns: list[list[Any]] = [
        told.tolist(),
        rows.tolist(),
        past.known[rows].tolist(),
        (past.label[rows] == 1).tolist(),
    ]
    return list(zip(*columns, strict=True))
