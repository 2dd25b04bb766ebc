"""A version in memory: its scores for plain values, by its compiled scorer where it has one, else through pyfunc."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from fds_mlflow.data.codes import code
from fds_mlflow.data.frames import code_column
from fds_mlflow.errors import DataError, FdsError, RefusedError, UnavailableError
from fds_mlflow.scoring.arrays import ArrayModel
from fds_mlflow.scoring.columns import PLAIN, check, column, exact, labels
from fds_mlflow.scoring.compiled import CompiledModel
from fds_mlflow.scoring.contract import checked, checked_one
from fds_mlflow.scoring.reasons import Explanation, Most, Wordings, explain, require_reasons, wordings
from fds_mlflow.scoring.requests.framing import framed
from fds_mlflow.scoring.requests.rows import Piece, RequestError, Row
from fds_mlflow.scoring.served import Prepared
from fds_mlflow.scoring.timed import Timed


class Loaded:
    """A version in memory.

    Args:
        version: Its number.
        inputs: Columns and MLflow's names of their types, in the order of the signature; empty where it names none.
        threshold: The score from which a transaction is flagged.
        seconds: How long a model without a compiled scorer may take.
        optional: Columns that a request may leave out.
        codes: Columns of codes, which are spelled before they are scored.
        compiled: Its compiled scorer; None where it has none.
        model: MLflow's pyfunc, for one that has no compiled scorer.
        arrays: Whether that is a scikit-learn model that takes arrays instead of frames.
        identity: Tells it from another version that once had the same number.
        folder: Of the logged model.
        warm: Score a row of gaps first, so that the first request does not pay for what is made on first use.

    Attributes:
        loose: Whether its requests are read by MLflow itself: there is no signature with columns of plain types alone.
    """

    def __init__(
        self,
        version: int,
        inputs: Mapping[str, str],
        threshold: float,
        seconds: float,
        *,
        optional: Collection[str] = (),
        codes: Collection[str] = (),
        compiled: CompiledModel | None = None,
        model: Any = None,
        arrays: bool = False,
        identity: str = "",
        folder: Path = Path(),
        warm: bool = True,
    ) -> None:
        self.version = version
        self.identity = identity
        self.folder = folder
        self.threshold = threshold
        self.inputs = dict(inputs)
        self.names = tuple(self.inputs)
        self.optional = frozenset(optional)
        self.codes = frozenset(codes)
        self._codes = [place for place, name in enumerate(self.names) if name in self.codes]
        self.required = frozenset(self.inputs) - self.optional
        self.loose = not self.inputs or not PLAIN.issuperset(self.inputs.values())
        self._exact = exact(self.inputs)
        self.compiled = compiled
        self.schema = None if model is None else model.metadata.get_input_schema()
        self._labels = labels(self.schema)
        self._seconds = seconds
        self._framed = not arrays
        self._pyfunc: Timed | None = None
        if compiled is None:
            self._pyfunc = Timed(ArrayModel(model, self.inputs).matrix if arrays else model.predict)
        if warm and not self.loose:
            with contextlib.suppress(FdsError):  # it may refuse gaps; its example was tried when it was prepared
                self.row([None] * len(self.names))

    @classmethod
    def load(cls, prepared: Prepared, threshold: float, seconds: float, files: str | None = None) -> Loaded:
        """Load a version from the version cache.

        Args:
            prepared: The version.
            threshold: The score from which a transaction is flagged.
            seconds: How long a model without a compiled scorer may take.
            files: Digest that the logged model's files have to have; None where none is known.

        Raises:
            DataError: Its files were changed, or do not load.
        """
        prepared.require_intact(files)
        try:
            compiled = CompiledModel.load(prepared.folder) if prepared.compiled else None
            model = None
            if compiled is None:
                from fds_mlflow.scoring.scorer import opened

                model = opened(str(prepared.model), prepared.score)
            return cls(
                prepared.version,
                prepared.inputs,
                threshold,
                seconds,
                optional=prepared.optional,
                codes=prepared.codes,
                compiled=compiled,
                model=model,
                arrays=prepared.arrays,
                identity=prepared.identity,
                folder=prepared.model,
            )
        except (Exception, SystemExit) as error:  # the server's process is not the model's to end
            raise DataError(
                f"version {prepared.version} does not load: {type(error).__name__}: {error}",
                fix="install the packages that the model names, or remove its folder from the cache to fetch it again",
            ) from error

    def given(self, threshold: float, seconds: float) -> Loaded:
        """The same version in memory, in another role."""
        same = copy.copy(self)
        same.threshold, same._seconds = threshold, seconds
        return same

    def row(self, values: Row) -> float:
        """The score of one row, given in the order of `names`.

        Raises:
            DataError: The model raises or breaks the scorer contract; a `RequestError` where the request may be why:
                no signature can say that a model takes no gaps, and a model without one says nothing at all.
            UnavailableError: The model takes too long.
        """
        if self.compiled is None or isinstance(values, (Piece, dict)):
            return float(self.rows([values])[0])
        try:
            for place, kind in self._exact:
                if values[place] is not msgspec.UNSET:
                    check(values[place], kind)
            if self._codes:
                values = self._spelled(values)
            if self.optional:
                values = [None if value is msgspec.UNSET else value for value in values]
            score = self.compiled.row(values)
        except Exception as error:
            raise self._failed(error, [values]) from error
        return checked_one(self.version, score)

    def rows(self, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
        """The scores of rows, each in the order of `names`: shape (rows,), float64.

        Raises:
            DataError: As `row`, whichever of the rows it is about.
        """
        try:
            answer = self._ask(rows)
        except Exception as error:
            raise self._failed(error, rows) from error
        return checked(self.version, answer, len(rows))

    def columns(self, columns: Mapping[str, Any], size: int) -> npt.NDArray[np.float64]:
        """The scores of rows given column by column: shape (size,), float64.

        Args:
            columns: Of the signature, in its order, as arrays of its types, codes spelled; None for one left out.
            size: How many rows there are.

        Raises:
            DataError: The model raises or breaks the scorer contract.
            UnavailableError: The model takes too long.
        """
        try:
            answer = self._answer(columns, size)
        except TimeoutError as error:
            raise UnavailableError(
                f"version {self.version} could not score: {error}", fix="give it more time"
            ) from None
        except Exception as error:
            raise DataError(
                f"version {self.version} could not score {size:,} rows: {type(error).__name__}: {error}",
                fix="look at what the message names: the model may not take gaps",
            ) from error
        return checked(self.version, answer, size)

    def reasons(self, rows: Sequence[Row], most: Most) -> list[Explanation]:
        """Why each of these rows has its score.

        Args:
            rows: Which it has scored, each in the order of `names`.
            most: How many of each row.

        Raises:
            RefusedError: The version gives no reasons.
            DataError: Its trees give none.
            ConfigError: The texts that were logged with it cannot be read.
        """
        compiled = require_reasons(self.version, self.compiled)
        values = [self.values(row) for row in rows]
        return explain(compiled, _filled(self._columns(values), len(rows)), values, self._wordings, most)

    @cached_property
    def _wordings(self) -> Wordings:
        return wordings(self.folder, self.names)

    def values(self, row: Row) -> list[Any]:
        """What the version scores of a row: its codes as it was trained on them, UNSET for a column left out.

        Raises:
            RefusedError: MLflow reads its requests, whatever they may hold.
        """
        if self.loose or isinstance(row, (Piece, dict)):
            raise RefusedError(
                f"version {self.version} has columns that are not all numbers, booleans and texts",
                fix="look at the request itself: it is scored as it is",
            )
        return self._spelled(row)

    def _columns(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Rows by column, as arrays; None where no row has it."""
        return {
            name: self._column([row[i] for row in rows], kind) for i, (name, kind) in enumerate(self.inputs.items())
        }

    def _ask(self, rows: Sequence[Any]) -> Any:
        if isinstance(rows[0], Piece):
            assert self._pyfunc is not None
            data = rows[0].batch.taken([row.place for row in rows])
            coded = [name for name in self.codes if name in getattr(data, "columns", ())]
            data = data.assign(**{name: code_column(data[name]) for name in coded}) if coded else data
            return self._pyfunc(data, self._seconds)
        if isinstance(rows[0], dict):
            assert self._pyfunc is not None
            named = [{name: code(one) if name in self.codes else one for name, one in row.items()} for row in rows]
            return self._pyfunc(framed(named, self.schema), self._seconds)
        if self._codes:
            rows = [self._spelled(row) for row in rows]
        return self._answer(self._columns(rows), len(rows))

    def _answer(self, columns: Mapping[str, Any], size: int) -> Any:
        """What the model answers about rows given column by column."""
        if self._pyfunc is None or not self._framed:
            arrays = _filled(columns, size)
            if self._pyfunc is not None:
                return self._pyfunc(arrays, self._seconds)
            assert self.compiled is not None
            return self.compiled.matrix(arrays)
        import pandas as pd

        # A column that nobody sent is not in the frame: a model may look whether it is there.
        there = {self._labels.get(name, name): one for name, one in columns.items() if one is not None}
        return self._pyfunc(pd.DataFrame(there), self._seconds)

    def _spelled(self, values: Sequence[Any]) -> list[Any]:
        """A row with its codes as the version was trained on them."""
        row = list(values)
        for place in self._codes:
            if row[place] is not msgspec.UNSET:
                row[place] = code(row[place])
        return row

    @staticmethod
    def _column(values: list[Any], kind: str) -> Any:
        """A column of rows as an array; None where no row has it, a gap where one lacks what others have."""
        if all(value is msgspec.UNSET for value in values):
            return None
        return column([None if value is msgspec.UNSET else value for value in values], kind)

    def _failed(self, error: Exception, rows: Sequence[Row]) -> FdsError:
        if isinstance(error, FdsError):
            return error
        # What a model says about itself may hold anything; the store takes neither NUL nor lone surrogates.
        said = str(error).encode("utf-8", "replace").decode().replace("\0", "?")
        if isinstance(error, TimeoutError):
            return UnavailableError(f"version {self.version} could not score: {said}", fix="give it more time, or less")
        what = f"version {self.version} could not score: {type(error).__name__}: {said}"
        if self.loose and self.schema is None:
            return RequestError(what, fix="send what it was logged with: it has no signature that says more")
        gaps = self._gaps_of(rows)
        if gaps:
            return RequestError(f"{what} (there is no finite value in {gaps})", fix="send a value for every column")
        return DataError(what, fix="look at what the message names")

    def _gaps_of(self, rows: Sequence[Row]) -> str:
        """The columns in which a row has nothing, or nothing finite."""
        if isinstance(rows[0], Piece):
            there = [rows[0].batch.column(name, msgspec.UNSET) for name in self.names]
        else:
            there = [list(column) for column in zip(*(_values(row) for row in rows), strict=True)]
        found = [name for name, values in zip(self.names, there, strict=True) if any(map(_is_gap, values))]
        return ", ".join(found)


def _is_gap(value: Any) -> bool:
    """Whether there is nothing, or nothing finite; a column that is left out is no gap."""
    return value is None or str(value) == "NaT" or (isinstance(value, float) and not math.isfinite(value))


def _values(row: Any) -> list[Any]:
    return list(row.values() if isinstance(row, dict) else row)


def _filled(columns: Mapping[str, Any], size: int) -> list[npt.NDArray[Any]]:
    """All columns of rows; one that no row has is all gaps: as objects NumPy takes them for numbers and texts alike."""
    return [np.full(size, None, dtype=object) if one is None else one for one in columns.values()]
