"""Counting different values in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

_MOST = 2**16
_Hashes = np.ndarray[Any, np.dtype[np.uint64]]


class Sketch:
    """How many different values there are, and how often one occurs; exact up to 65,536 of them.

    Beyond, it keeps the values whose 64-bit hash lies below a limit, which is halved whenever there are too many, with
    all their rows: a sample of values, not of rows. (Wegman's adaptive sampling; Flajolet, Computing 43, 1990.)
    The standard error is then below 1 %.
    """

    def __init__(self) -> None:
        self._hashes: _Hashes = np.array([], dtype=np.uint64)
        self._counts = np.array([], dtype=np.int64)
        self._halvings = 0

    def update(self, hashes: _Hashes, counts: np.ndarray[Any, np.dtype[np.int64]] | None = None) -> None:
        """Add values by their hashes, and how often each occurs if not once."""
        weights = np.ones(len(hashes), dtype=np.int64) if counts is None else counts
        keep = self._below(hashes)
        everything = np.concatenate([self._hashes, hashes[keep]])
        weights = np.concatenate([self._counts, weights[keep]])
        self._hashes, place = np.unique(everything, return_inverse=True)
        self._counts = np.bincount(place, weights=weights, minlength=len(self._hashes)).astype(np.int64)
        while len(self._hashes) > _MOST:
            self._halvings += 1
            keep = self._below(self._hashes)
            self._hashes, self._counts = self._hashes[keep], self._counts[keep]

    def _below(self, hashes: _Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return hashes >> np.uint64(64 - self._halvings) == 0 if self._halvings else np.ones(len(hashes), dtype=bool)

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self._hashes) << self._halvings

    @property
    def repeated(self) -> float:
        """Share of the values that occur more than once."""
        return float(np.mean(self._counts > 1)) if len(self._counts) else 0.0

    @property
    def typical(self) -> float:
        """How often a value occurs: the median."""
        return float(np.median(self._counts)) if len(self._counts) else 0.0


def hashes_of(values: Any) -> _Hashes:
    """64-bit hashes of an array of texts."""
    made: _Hashes = pd.util.hash_array(np.asarray(values, dtype=object), categorize=False)
    return made


def all_different(hashes: list[_Hashes]) -> bool:
    """Whether no value occurs twice; sorted, which is several times as quick as numpy's own count of unique values."""
    ordered = np.sort(np.concatenate(hashes))
    return bool((ordered[1:] != ordered[:-1]).all())
