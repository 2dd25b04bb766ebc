"""A column of texts as numbers: each text once, and which of them each row has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.integer[Any]]

_STRETCH = 500_000
_MISSING = np.uint64(2**64 - 1)  # pandas' hash of none


@dataclass(frozen=True)
class Coded:
    """One column.

    Attributes:
        codes: Numbers from 0 that stand for the texts, in the order of their first rows; -1 where there is none.
        hashes: A hash of each text, pandas' own; one more at the end, of none.
    """

    codes: Codes
    hashes: Hashes

    @classmethod
    def of(cls, column: pd.Series[str]) -> Coded:
        """Number the texts of a column."""
        array = pa.array(column, from_pandas=True)
        whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        encoded = pc.dictionary_encode(whole)
        hashes = [
            pd.util.hash_array(part.to_numpy(zero_copy_only=False), categorize=False)
            for part in (encoded.dictionary[i : i + _STRETCH] for i in range(0, len(encoded.dictionary), _STRETCH))
        ]  # a stretch at a time: hashing makes Python's objects of all texts at hand
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        return cls(codes, np.concatenate([*hashes, np.array([_MISSING])]))

    def hashed(self, rows: slice) -> Hashes:
        """The hashes of some rows' texts."""
        found: Hashes = self.hashes[self.codes[rows]]
        return found
