"""Trees evaluated by LightGBM's library, called through its C API: a row costs microseconds, and no frame is made.

The C API is LightGBM's documented interface (https://lightgbm.readthedocs.io/en/stable/C-API.html). It is called
directly because its fast call for a single row has no counterpart in the Python package, and because a process that
only scores then need not import that package, nor pandas and scikit-learn with it.
"""

from __future__ import annotations

import ctypes
import math
import struct
import threading
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import ConfigError, DataError

_NORMAL, _RAW, _CONTRIBUTIONS = 0, 1, 3  # C_API_PREDICT_NORMAL, C_API_PREDICT_RAW_SCORE, C_API_PREDICT_CONTRIB
_FLOAT64 = 1  # C_API_DTYPE_FLOAT64
_ROW_MAJOR = 1
# The number of threads is one setting of the whole process, and LightGBM reads it twice in a call: where another call
# raises it in between, the first writes past its buffers. So it is left as it is, as LightGBM's own package leaves it;
# a process that wants one thread says so by OMP_NUM_THREADS.
_PARAMETERS = b""

_FEW = 16
"""Rows up to which one after the other is faster than a pool of threads."""


@cache
def _library() -> Any:
    spec = find_spec("lightgbm")
    folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path()
    for name in ("lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll"):
        if (folder / "lib" / name).is_file():
            library = ctypes.CDLL(str(folder / "lib" / name))
            library.LGBM_GetLastError.restype = ctypes.c_char_p
            return library
    raise ConfigError("LightGBM's library was not found", fix="install the package lightgbm")


def _checked(code: int) -> None:
    if code != 0:
        message = _library().LGBM_GetLastError().decode(errors="replace")
        raise DataError(f"LightGBM refused: {message}", fix="register a model that LightGBM's own package loads")


class Trees:
    """A LightGBM model for prediction.

    One call at a time: the buffers of a row are kept between calls, and a lock guards them.

    Args:
        text: The model, as LightGBM writes it.
        raw: Give the sum of the leaves instead of the objective's transformation of it.

    Attributes:
        columns: How many features a row has.

    Raises:
        DataError: The text is no model of one output per row.
    """

    def __init__(self, text: str, *, raw: bool = False) -> None:
        self._booster = ctypes.c_void_p()
        self._fast = ctypes.c_void_p()
        self._kind = _RAW if raw else _NORMAL
        library = _library()
        rounds, features, outputs = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
        _checked(
            library.LGBM_BoosterLoadModelFromString(
                ctypes.c_char_p(text.encode()), ctypes.byref(rounds), ctypes.byref(self._booster)
            )
        )
        _checked(library.LGBM_BoosterGetNumFeature(self._booster, ctypes.byref(features)))
        _checked(library.LGBM_BoosterGetNumClasses(self._booster, ctypes.byref(outputs)))
        if outputs.value != 1:
            raise DataError(
                f"the model gives {outputs.value} values per row, not one", fix="register a model with one output"
            )
        self.columns = features.value
        # A random forest's score is the mean of its trees; LightGBM adds their contributions up all the same.
        self._averaged = rounds.value if "\naverage_output\n" in text.partition("\nTree=")[0] else 1
        _checked(
            library.LGBM_BoosterPredictForMatSingleRowFastInit(
                self._booster,
                ctypes.c_int(self._kind),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(self.columns),
                ctypes.c_char_p(_PARAMETERS),
                ctypes.byref(self._fast),
            )
        )
        self._row = (ctypes.c_double * self.columns)()
        self._fill = struct.Struct(f"{self.columns}d").pack_into
        self._answer = ctypes.c_double(0.0)
        self._length = ctypes.c_int64(0)
        self._call = library.LGBM_BoosterPredictForMatSingleRowFast
        self._arguments = (
            self._fast,
            ctypes.cast(self._row, ctypes.c_void_p),
            ctypes.byref(self._length),
            ctypes.byref(self._answer),
        )
        self._lock = threading.Lock()

    def row(self, values: Sequence[float | None]) -> float:
        """The prediction for one row.

        Args:
            values: One number per column; None or NaN where it is missing.

        Raises:
            TypeError: A value is no number.
            ValueError: There are more or fewer values than columns.
        """
        with self._lock:
            try:
                self._fill(self._row, 0, *values)
            except struct.error:
                self._row[:] = [math.nan if value is None else value for value in values]
            return self._asked()

    def matrix(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The predictions for rows: shape (rows, columns) to shape (rows,), float64."""
        values = np.ascontiguousarray(values, dtype=np.float64)
        answer = np.empty(len(values), dtype=np.float64)
        if len(values) <= _FEW and values.shape[1:] == (self.columns,):  # LightGBM says what else is wrong
            with self._lock:
                for place in range(len(values)):
                    ctypes.memmove(self._row, values.ctypes.data + place * values.strides[0], ctypes.sizeof(self._row))
                    answer[place] = self._asked()
            return answer
        self._predict(values, self._kind, answer)
        return answer

    def contributions(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What each column adds to the sum of the leaves: shape (rows, columns) to shape (rows, columns + 1), float64.

        Last is what there is before any: the mean over the rows that the trees were grown on. A row of the answer adds
        up to the sum of its leaves. Exact TreeSHAP, path-dependent, by LightGBM itself. Source: Lundberg et al., *From
        local explanations to global understanding with explainable AI for trees*, Nature Machine Intelligence 2, 2020.

        Raises:
            DataError: LightGBM has none of such trees: their leaves are linear.
        """
        values = np.ascontiguousarray(values, dtype=np.float64)
        answer = np.empty((len(values), self.columns + 1), dtype=np.float64)
        if len(values) > _FEW:
            self._predict(values, _CONTRIBUTIONS, answer)
        else:
            length = ctypes.c_int64(0)
            for row, place in zip(values, answer, strict=True):
                _checked(
                    _library().LGBM_BoosterPredictForMatSingleRow(
                        self._booster,
                        row.ctypes.data_as(ctypes.c_void_p),
                        ctypes.c_int(_FLOAT64),
                        ctypes.c_int(self.columns),
                        ctypes.c_int(_ROW_MAJOR),
                        ctypes.c_int(_CONTRIBUTIONS),
                        ctypes.c_int(0),
                        ctypes.c_int(-1),
                        ctypes.c_char_p(_PARAMETERS),
                        ctypes.byref(length),
                        place.ctypes.data_as(ctypes.c_void_p),
                    )
                )
        return answer / self._averaged

    def _predict(self, values: npt.NDArray[np.float64], kind: int, answer: npt.NDArray[np.float64]) -> None:
        """Have an answer filled in for rows."""
        length = ctypes.c_int64(0)
        _checked(
            _library().LGBM_BoosterPredictForMat(
                self._booster,
                values.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(values.shape[0]),
                ctypes.c_int32(values.shape[1]),
                ctypes.c_int(_ROW_MAJOR),
                ctypes.c_int(kind),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                ctypes.c_char_p(_PARAMETERS),
                ctypes.byref(length),
                answer.ctypes.data_as(ctypes.c_void_p),
            )
        )

    def _asked(self) -> float:
        """The prediction for the row in the buffer."""
        if self._call(*self._arguments) != 0:
            _checked(-1)
        return self._answer.value

    def close(self) -> None:
        """Free the model; it cannot be used any more."""
        fast, self._fast = self._fast, ctypes.c_void_p()
        booster, self._booster = self._booster, ctypes.c_void_p()
        if fast:
            _library().LGBM_FastConfigFree(fast)
        if booster:
            _library().LGBM_BoosterFree(booster)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
