"""Whether what was served is what the batch gives for the same transactions, feature by feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import ne
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.verification import TOLERANCE, apart, exact


@dataclass(frozen=True)
class Apart:
    """One feature, served and in batch.

    Attributes:
        feature: Its name.
        rows: Transactions that were compared.
        differ: Those of them in which it differs: counts, flags and texts at all, what is summed up by more than
            `TOLERANCE` of it.
        largest: The largest difference; None of texts, and where there is none.
        relative: The largest relative to what the batch gives; infinite where one of the two is missing.
    """

    feature: str
    rows: int
    differ: int
    largest: float | None
    relative: float | None


def compared(spec: FeatureSpec, served: Sequence[Mapping[str, Any]], batch: pd.DataFrame) -> tuple[list[Apart], int]:
    """Each feature of a specification, as it was served and as the batch gives it.

    Args:
        spec: The features.
        served: By feature, one per row of `batch`; None for a gap, and for what is no finite number.
        batch: The features in batch.

    Returns:
        One entry a feature, and of how many rows any differs.
    """
    equal = exact(spec)
    found = []
    any_wrong = np.zeros(len(batch), dtype=np.bool_)
    for name in spec.names:
        given = [row.get(name) for row in served]
        if name in spec.categorical:
            wanted = batch[name].astype(object).where(batch[name].notna(), None).tolist()
            wrong = np.array(list(map(ne, given, wanted)), dtype=np.bool_)
            any_wrong |= wrong
            found.append(Apart(name, len(given), int(wrong.sum()), None, None))
            continue
        one = np.array([np.nan if value is None else value for value in given], dtype=np.float64)
        other = batch[name].to_numpy(dtype=np.float64)
        other = np.where(np.isfinite(other), other, np.nan)  # JSON has no infinity
        relative = apart(one, other)
        any_wrong |= (wrong := relative > (0.0 if name in equal else TOLERANCE))
        both = np.abs(one - other)[~np.isnan(one) & ~np.isnan(other)]
        found.append(
            Apart(
                name,
                len(given),
                int(wrong.sum()),
                float(both.max(initial=0.0)) if wrong.any() else None,
                float(relative.max(initial=0.0)) if wrong.any() else None,
            )
        )
    return found, int(any_wrong.sum())
