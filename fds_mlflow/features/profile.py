"""How the features of a version's training rows are distributed: a file of the logged model, and how far others drift.

Numbers are kept as quantiles, categories as shares. The drift of a number is the Kolmogorov-Smirnov statistic, that of
a category the Jensen-Shannon distance (base 2); both are 0 where nothing changed and at most 1. A gap is a value of its
own: below all numbers, beside all categories.
Sources: scipy.stats.ks_2samp, scipy.spatial.distance.jensenshannon.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fds_mlflow.errors import ConfigError

if TYPE_CHECKING:
    from fds_mlflow.features.table import FeatureTable

FILE = "profile.json"
"""In the logged model's folder."""

QUANTILES = 100
"""How many stand for a distribution: a drift is told to one part in a hundred."""

_CATEGORIES = 200
"""Values of a category that are kept; the others are one."""

_GAP, _OTHERS = "", "\0others"


class Profile(msgspec.Struct, frozen=True):
    """The distributions of features.

    Attributes:
        rows: How many rows they are of.
        numbers: By feature, the quantiles at (0.5, 1.5, ...) / `QUANTILES`, ascending; None for gaps, which come first.
        categories: By feature, the share of each value; the empty text for gaps.
    """

    rows: int
    numbers: dict[str, list[float | None]]
    categories: dict[str, dict[str, float]]


def of(table: FeatureTable) -> Profile:
    """The profile of a table's features; each row counts for as many as it stands for."""
    weight = table.weight
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    numbers, categories = {}, {}
    for name in table.features:
        column = table.frame[name]
        if name in table.categorical:
            categories[name] = _shares(column.tolist(), weight)
            continue
        values = np.nan_to_num(column.to_numpy(dtype=np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        numbers[name] = [float(one) if np.isfinite(one) else None for one in _quantiles(values, weight, at)]
    return Profile(len(table), numbers, categories)


def _quantiles(values: Any, weight: Any, at: Any) -> Any:
    """The smallest values that at least such shares of the weight do not exceed: values that there are."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(np.ones(len(values)) if weight is None else weight[order])
    return values[order][np.searchsorted(total, at * total[-1])]


def _shares(values: Sequence[Any], weight: Any = None) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for place, value in enumerate(values):
        counts[value if isinstance(value, str) else _GAP] += 1 if weight is None else weight[place]
    total = sum(counts.values())
    kept = {name: count / total for name, count in counts.most_common(_CATEGORIES)}
    rest = 1 - sum(kept.values())
    return kept if len(counts) <= _CATEGORIES else {**kept, _OTHERS: rest}


def log(model_id: str, table: FeatureTable) -> None:
    """Add the profile to a logged model, before anybody registers it.

    Args:
        model_id: Of the logged model.
        table: What it learned from.

    Raises:
        Exception: Whatever MLflow and the artifact store raise.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="fds-profile-") as folder:
        (Path(folder) / FILE).write_bytes(msgspec.json.encode(of(table)))
        mlflow.MlflowClient().log_model_artifacts(model_id, folder)


def read(folder: str | Path) -> Profile | None:
    """The profile of a version; None where it was trained before there were profiles, or elsewhere.

    Args:
        folder: Where its files are.

    Raises:
        ConfigError: The file is no profile.
    """
    there = Path(folder) / FILE
    if not there.is_file():
        return None
    try:
        return msgspec.json.decode(there.read_bytes(), type=Profile)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(
            f"the version's profile cannot be read: {error}", fix="fetch its files again, or train it again"
        ) from None


def drift_of(profile: Profile, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """As `drift`, of rows by feature."""
    return drift(
        profile, {name: [row.get(name) for row in rows] for name in {name: None for row in rows for name in row}}
    )


def drift(profile: Profile, served: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """How far served features are from those of the training, by feature: from 0 to 1.

    Args:
        profile: Of the training.
        served: Values by feature, None for a gap; those that the profile does not have are passed over.
    """
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import ks_2samp

    found = {}
    for name, values in served.items():
        if not values:
            continue
        if name in profile.numbers:
            one = [-np.inf if value is None else float(value) for value in values]
            other = [-np.inf if value is None else value for value in profile.numbers[name]]
            with np.errstate(divide="ignore"):  # of its p-value, which nobody asks for, with very few rows
                found[name] = float(ks_2samp(one, other, method="asymp").statistic)
        elif name in profile.categories:
            trained, now = profile.categories[name], _shares(values)
            if _OTHERS in trained:
                known = {key: now.get(key, 0.0) for key in trained if key != _OTHERS}
                now = {**known, _OTHERS: 1 - sum(known.values())}
            keys = sorted({*trained, *now})
            before, after = ([one.get(key, 0.0) for key in keys] for one in (trained, now))
            found[name] = float(
                np.nan_to_num(jensenshannon(before, after, base=2))
            )  # of the same, rounding is no number
    return found
