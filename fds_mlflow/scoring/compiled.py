"""A version as plain numbers: encode a row, walk the trees, map the sum. No frame, no pipeline, the same scores.

A compiled model is made from a logged one by `convert`, kept as two files (what to do with each column, and the trees
as text), and read back by processes that have neither scikit-learn nor MLflow loaded.
"""

from __future__ import annotations

import json
import math
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import DataError
from fds_mlflow.scoring.columns import check
from fds_mlflow.scoring.trees import Trees

_SPECIFICATION, _TREES = "native.json", "native.txt"


@dataclass(frozen=True)
class Column:
    """What becomes of one input column.

    Attributes:
        name: Of the input.
        kind: `number` passes on, `single` does so rounded to 32 bits; `scaled` imputes, centres and scales; `ordinal`
            gives a category's code, `one_hot` a row of zeros with a one at its code.
        missing: What stands for a missing number.
        mean: Subtracted from a scaled number.
        scale: A scaled number is divided by it.
        codes: Code of each category.
        other: Code of a category that is not among them, and of none; None for all zeros.
        width: How many features the column becomes.
    """

    name: str
    kind: Literal["number", "single", "scaled", "ordinal", "one_hot"] = "number"
    missing: float = math.nan
    mean: float = 0.0
    scale: float = 1.0
    codes: dict[str, int] | None = None
    other: int | None = None
    width: int = 1


@dataclass(frozen=True)
class ForestScore:
    """From the sum of an Isolation Forest's path lengths to a score.

    Source: Liu, Ting, Zhou, *Isolation Forest*, ICDM 2008, equation 2: s = 2^(-E(h(x)) / c(n)). The decision value
    -s - offset is then mapped to [0, 1] by linear interpolation between knots.

    Attributes:
        divisor: Trees times c(n), the average path length of n rows.
        offset: Of the decision value.
        knots: Decision values, increasing.
        scores: The score at each knot.
    """

    divisor: float
    offset: float
    knots: tuple[float, ...]
    scores: tuple[float, ...]

    def __call__(self, sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Scores of sums of path lengths: shape (rows,)."""
        decision = -np.exp2(-sums / self.divisor) - self.offset
        return np.interp(decision, self.knots, self.scores)

    def one(self, total: float) -> float:
        """The score of one sum: the same without arrays, which for one number take longer than the trees."""
        decision = -math.exp2(-total / self.divisor) - self.offset
        place = bisect_right(self.knots, decision)
        if place == 0:
            return self.scores[0]
        if place == len(self.knots):
            return self.scores[-1]
        left, right = self.knots[place - 1], self.knots[place]
        low, high = self.scores[place - 1], self.scores[place]
        return low + (high - low) / (right - left) * (decision - left)


_NUMBERS = ("number", "scaled")
"""Kinds of columns that a row of numbers goes through as one array."""


class _Numbers:
    """What becomes of a row in which there are only numbers, all columns at once.

    Args:
        columns: What becomes of each, in the order of the values.
        order: Position of each column in the trees' rows.
    """

    def __init__(self, columns: Sequence[Column], order: Sequence[int]) -> None:
        self._pack = struct.Struct(f"{len(columns)}d").pack
        self._order = np.asarray(order, dtype=np.intp)
        self._missing, self._mean, self._scale = (
            np.array([getattr(columns[position], name) for position in order], dtype=np.float64)
            for name in ("missing", "mean", "scale")
        )

    def __call__(self, values: Sequence[Any]) -> npt.NDArray[np.float64]:
        """Features of one row: shape (columns,).

        Raises:
            TypeError: A value is no number.
        """
        try:
            packed = self._pack(*values)
        except struct.error:
            packed = self._pack(*map(_number, values))
        numbers = np.frombuffer(packed, dtype=np.float64)[self._order]
        features: npt.NDArray[np.float64] = (
            np.where(np.isnan(numbers), self._missing, numbers) - self._mean
        ) / self._scale
        return features


class CompiledModel:
    """Scores rows given as plain values.

    Args:
        columns: What becomes of each input column, in the order of the signature.
        order: Position of each column in the trees' rows: indices into `columns`.
        text: The trees, as LightGBM writes them.
        forest: How an Isolation Forest's sums become scores; None where the trees give scores.
        single: Round the encoded values to 32 bits, as scikit-learn's trees do.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        order: Sequence[int],
        text: str,
        *,
        forest: ForestScore | None = None,
        single: bool = False,
    ) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in columns)
        self._order = tuple(order)
        self._text = text
        self._forest = forest
        self._single = single
        self._trees = Trees(text, raw=forest is not None)
        width = sum(column.width for column in columns)
        if self._trees.columns != width:
            raise DataError(
                f"the trees take {self._trees.columns} features and the columns make {width}",
                fix="convert the model again",
            )
        plain = all(column.kind == "number" for column in columns) and self._order == tuple(range(len(columns)))
        self._plain = plain and forest is None and not single
        self._numbers = _Numbers(columns, order) if all(c.kind in _NUMBERS for c in columns) else None

    def row(self, values: Sequence[Any]) -> float:
        """The score of one row.

        Args:
            values: One per column, in order; None or NaN for a missing number.

        Raises:
            TypeError: A number's value is no number.
        """
        if self._plain:
            return self._trees.row(values)
        encoded = self._encoded(values) if self._numbers is None else self._numbers(values).tolist()
        if self._single:
            encoded = np.asarray(encoded, dtype=np.float32).tolist()
        answer = self._trees.row(encoded)
        return answer if self._forest is None else self._forest.one(answer)

    def _encoded(self, values: Sequence[Any]) -> list[float]:
        encoded: list[float] = []
        for position in self._order:
            _encode(self.columns[position], values[position], encoded)
        return encoded

    def matrix(self, columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """The scores of rows given column by column: shape (rows,), float64.

        Args:
            columns: One array a column, in order; numbers as float64 with NaN for missing ones, categories as objects.
        """
        sums = self._trees.matrix(self._features(columns))
        return sums if self._forest is None else self._forest(sums)

    def contributions(self, columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """What each input column adds to the raw score of rows: shape (rows, columns + 1), float64.

        Last is the base, which is the same for all rows; a row adds up to its raw score. The features that one column
        becomes are one contribution: their sum. The raw score of LightGBM's trees is what its objective then
        transforms, the log-odds of a binary one. An Isolation Forest's is log2 s(x) = -E(h(x)) / c(n), the logarithm of
        its anomaly score (Liu, Ting, Zhou, ICDM 2008, equation 2), to which each tree's path length is a term.

        Args:
            columns: As for `matrix`.

        Raises:
            DataError: There are none: the trees' leaves are linear, or it is a forest that an earlier release trained,
                which does not say how many rows came to each node.
        """
        features = self._trees.contributions(self._features(columns))
        answer = np.zeros((len(features), len(self.columns) + 1))
        answer[:, -1] = features[:, -1]
        place = 0
        for position in self._order:
            width = self.columns[position].width
            answer[:, position] = features[:, place : place + width].sum(axis=1)
            place += width
        if self._forest is None:
            return answer
        if not np.isfinite(answer).all():
            raise DataError("its trees do not say how many rows came to each node", fix="train the version again")
        return -answer / self._forest.divisor

    def _features(self, columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """The trees' rows: shape (rows, features)."""
        parts = [_encode_all(self.columns[position], columns[position]) for position in self._order]
        encoded = np.concatenate(parts, axis=1) if parts else np.empty((0, 0))
        return encoded.astype(np.float32).astype(np.float64) if self._single else encoded

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        values = {
            "columns": [asdict(column) for column in self.columns],
            "order": self._order,
            "forest": None if self._forest is None else asdict(self._forest),
            "single": self._single,
        }
        (folder / _TREES).write_text(self._text)
        (folder / _SPECIFICATION).write_text(json.dumps(values))

    @classmethod
    def load(cls, folder: Path) -> CompiledModel | None:
        """Read one from a folder; None where there is none."""
        if not (folder / _SPECIFICATION).is_file():
            return None
        values = json.loads((folder / _SPECIFICATION).read_text())
        forest = values["forest"]
        return cls(
            [Column(**column) for column in values["columns"]],
            values["order"],
            (folder / _TREES).read_text(),
            forest=None
            if forest is None
            else ForestScore(forest["divisor"], forest["offset"], tuple(forest["knots"]), tuple(forest["scores"])),
            single=values["single"],
        )


def _number(value: Any) -> float:
    check(value, "double")
    return math.nan if value is None else float(value)


def _encode(column: Column, value: Any, encoded: list[float]) -> None:
    if column.kind == "number":
        encoded.append(math.nan if value is None else value)
    elif column.kind == "single":
        encoded.append(math.nan if value is None else float(np.float32(value)))
    elif column.kind == "scaled":
        number = column.missing if value is None or math.isnan(value) else value
        encoded.append((number - column.mean) / column.scale)
    else:
        code = (column.codes or {}).get(value, column.other) if isinstance(value, str) else column.other
        if column.kind == "ordinal":
            encoded.append(math.nan if code is None else float(code))
        else:
            encoded.extend(1.0 if code == position else 0.0 for position in range(column.width))


def _encode_all(column: Column, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Features of one column: shape (rows, width)."""
    if column.kind in ("number", "single", "scaled"):
        numbers = np.asarray(values, dtype=np.float32 if column.kind == "single" else np.float64).astype(np.float64)
        if column.kind == "scaled":
            numbers = (np.where(np.isnan(numbers), column.missing, numbers) - column.mean) / column.scale
        return numbers[:, None]
    codes = column.codes or {}
    known = [codes.get(value, column.other) if isinstance(value, str) else column.other for value in values]
    numbers = np.array([math.nan if code is None else code for code in known], dtype=np.float64)
    if column.kind == "ordinal":
        return numbers[:, None]
    features: npt.NDArray[np.float64] = (numbers[:, None] == np.arange(column.width)).astype(np.float64)
    return features
