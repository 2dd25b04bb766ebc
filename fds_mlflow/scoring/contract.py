"""The scorer contract: one float64 in [0, 1] for each row, higher = more likely fraud."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import DataError


def checked(version: int, answer: Any, rows: int) -> npt.NDArray[np.float64]:
    """What a model answers, as scores: shape (rows,), float64 in [0, 1].

    Args:
        version: Of the model, for the message.
        answer: Whatever it gave: shape (rows,) or (rows, 1).
        rows: How many rows it was asked about.

    Raises:
        DataError: It breaks the contract.
    """
    try:
        scores = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise _broken(version, f"answers with values that are no numbers ({why})") from error
    if scores.shape == (rows, 1):
        scores = scores[:, 0]
    if scores.shape != (rows,):
        raise _broken(version, f"answers {scores.shape} values for {rows:,} rows")
    bad = ~((scores >= 0) & (scores <= 1))
    if bad.any():
        first = scores[int(np.argmax(bad))]
        raise _broken(version, f"gives {int(bad.sum()):,} of {rows:,} scores such as {first}")
    return scores


def checked_one(version: int, score: float) -> float:
    """As `checked`, for the one score of one row, without an array."""
    if not 0.0 <= score <= 1.0:
        raise _broken(version, f"gives the score {score}")
    return score


def _broken(version: int, what: str) -> DataError:
    return DataError(
        f"version {version} {what}: not one float in [0, 1] per row",
        fix="register a model that obeys the scorer contract (a score, higher = more likely fraud), or have the scores"
        f" found in what it answers: `fds adopt MODEL {version}`",
    )
