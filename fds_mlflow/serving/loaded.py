"""A version in memory: its scores for plain values, natively where it has a native form, else through pyfunc."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import DataError, FdsError
from fds_mlflow.serving.arrays import ArrayModel
from fds_mlflow.serving.columns import check, column, exact
from fds_mlflow.serving.native import NativeModel
from fds_mlflow.serving.shelf import Prepared
from fds_mlflow.serving.timed import Timed


class Loaded:
    """A version in memory.

    Args:
        prepared: Where it is on the shelf.
        threshold: The score from which a transaction is flagged.
        seconds: How long a model without a native form may take.

    Raises:
        DataError: Its files do not load.
    """

    def __init__(self, prepared: Prepared, threshold: float, seconds: float) -> None:
        self.version = prepared.version
        self.identity = prepared.identity
        self.threshold = threshold
        self.inputs = dict(prepared.inputs)
        self.names = tuple(self.inputs)
        self.required = frozenset(self.inputs) - prepared.optional
        self._exact = exact(self.inputs)
        self.native: NativeModel | None = None
        self._seconds = seconds
        self._pyfunc: Timed | None = None
        self._framed = not prepared.arrays
        try:
            self._load(prepared)
        except Exception as error:
            raise DataError(
                f"version {self.version} does not load: {type(error).__name__}: {error}",
                fix="install the packages that the model names, or remove its folder from the cache to fetch it again",
            ) from error
        self._warm()

    def _load(self, prepared: Prepared) -> None:
        if prepared.native:
            self.native = NativeModel.load(prepared.folder)
        if self.native is None:
            import mlflow

            loaded = mlflow.pyfunc.load_model(str(prepared.model))
            self._pyfunc = Timed(loaded.predict if self._framed else ArrayModel(loaded, self.inputs).matrix)

    def given(self, threshold: float, seconds: float) -> Loaded:
        """The same version in memory, in another role."""
        same = copy.copy(self)
        same.threshold, same._seconds = threshold, seconds
        return same

    def row(self, values: Sequence[Any]) -> float:
        """The score of one row, given in the order of `names`.

        Raises:
            DataError: The model raises, takes too long, or breaks the scorer contract.
        """
        if self.native is None:
            return float(self.rows([values])[0])
        try:
            for place, kind in self._exact:
                check(values[place], kind)
            score = self.native.row(values)
        except Exception as error:
            raise self._failed(error) from error
        if not 0.0 <= score <= 1.0:
            raise DataError(
                f"version {self.version} gives the score {score}", fix="register a model that obeys the scorer contract"
            )
        return score

    def rows(self, rows: Sequence[Sequence[Any]]) -> npt.NDArray[np.float64]:
        """The scores of rows, each in the order of `names`: shape (rows,), float64.

        Raises:
            DataError: As `row`, whichever of the rows it is about.
        """
        try:
            columns = [column([row[i] for row in rows], kind) for i, kind in enumerate(self.inputs.values())]
            scores = self.native.matrix(columns) if self.native is not None else self._ask(columns)
            scores = np.asarray(scores, dtype=np.float64).reshape(-1)
        except Exception as error:
            raise self._failed(error) from error
        if scores.shape != (len(rows),) or not bool(((scores >= 0) & (scores <= 1)).all()):
            raise DataError(
                f"version {self.version} does not give one float in [0, 1] per row",
                fix="register a model that obeys the scorer contract",
            )
        return scores

    def _ask(self, columns: list[Any]) -> Any:
        assert self._pyfunc is not None
        if not self._framed:
            return self._pyfunc(columns, self._seconds)
        import pandas as pd

        return self._pyfunc(pd.DataFrame(dict(zip(self.names, columns, strict=True))), self._seconds)

    def _failed(self, error: Exception) -> DataError:
        if isinstance(error, DataError):
            return error
        # What a model says about itself may hold anything; the store takes neither NUL nor lone surrogates.
        said = str(error).encode("utf-8", "replace").decode().replace("\0", "?")
        what = said if isinstance(error, TimeoutError) else f"{type(error).__name__}: {said}"
        return DataError(f"version {self.version} could not score: {what}", fix="look at what the message names")

    def _warm(self) -> None:
        """Score a row of gaps, so that the first request does not pay for what is made on first use."""
        with contextlib.suppress(FdsError):  # it may refuse gaps; its example was tried when it was prepared
            self.row([None] * len(self.names))
