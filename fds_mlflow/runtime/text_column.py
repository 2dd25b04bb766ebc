"""Columns of text, of one type whichever pandas there is.

pandas 3 calls it `str`: text, NaN where there is none. pandas 2.3 has it under that name where it is asked for by its
missing value, and pandas 2.2 as `string[pyarrow_numpy]`; `dtype="str"` itself means NumPy's there, and turns what is
missing into the text "None". Nothing else in the package asks which pandas it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

try:
    TEXT = pd.StringDtype(na_value=np.nan)
except TypeError:  # pandas 2.2
    TEXT = pd.StringDtype("pyarrow_numpy")  # type: ignore[call-overload]


def text_column(values: Any, **given: Any) -> pd.Series[str]:
    """A column of text.

    Args:
        values: Texts, and null where there is none: Arrow's, pandas' or Python's.
        given: Whatever else `pandas.Series` takes, such as `index` and `name`.
    """
    made: pd.Series[str] = pd.Series(pd.array(values, dtype=TEXT), **given)
    return made


def is_text(dtype: Any) -> bool:
    """Whether a column is of this type; `string`, whose missing value is `pandas.NA`, is another."""
    return isinstance(dtype, pd.StringDtype) and isinstance(dtype.na_value, float)
