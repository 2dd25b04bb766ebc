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
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from fds_mlflow.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fds_mlflow.features.table import FeatureTable

FILE = "profile.json"
"""In the logged model's folder."""

QUANTILES = 100
"""How many stand for a distribution: a drift is told to one part in a hundred."""

_CATEGORIES = 200
"""Values of a category that are kept; the others are one."""

GAP, OTHERS = "", "\0others"


class Profile(msgspec.Struct, frozen=True):
    """What a version's training looked like; the fields after `categories` are empty in versions of before.

    It is of the rows whose windows are full, as those in service are; see `settled`.

    Attributes:
        rows: How many rows it is of.
        numbers: By feature, the quantiles at (0.5, 1.5, ...) / `QUANTILES`, ascending; None for gaps, which come first.
        categories: By feature, the share of each value; the empty text for gaps.
        scores: The same quantiles of the version's scores of rows that it did not learn from; empty where unknown.
        scored: How many rows those are.
        flagged: Share of them that the version flags; None where unknown.
        fraud_rate: Share of frauds among the rows; None without labels.
        first: Time of the first row, ISO 8601, UTC; empty without times.
        last: That of the last one.
        daily: Transactions a day, the median over the days; None without times, or where the rows are a random part.
        constant: Features that had one value, or none, in all rows.
        worth: As how many rows of equal weight those tell the fraud rate; 0 where all count alike.
        wander: By quantity, how far a quarter of the training's own time is from the rest of it, at most: the effect of
            `fds_mlflow.features.drift` and the distance. What wanders in training must go further to have drifted.
    """

    rows: int
    numbers: dict[str, list[float | None]]
    categories: dict[str, dict[str, float]]
    scores: list[float] = []
    scored: int = 0
    flagged: float | None = None
    fraud_rate: float | None = None
    first: str = ""
    last: str = ""
    daily: float | None = None
    constant: list[str] = []
    worth: float = 0.0
    wander: dict[str, tuple[float, float]] = {}

    @property
    def labelled(self) -> tuple[float, float] | None:
        """The fraud rate, and of how many rows, or what they are worth; None without labels."""
        return None if self.fraud_rate is None else (self.fraud_rate, self.worth or self.rows)


class Scored(NamedTuple):
    """A version's scores of rows that it did not learn from.

    Attributes:
        scores: Shape (n,), float64 in [0, 1].
        weight: For how many transactions each row stands, shape (n,); None for one each.
        threshold: From which score on it flags.
    """

    scores: NDArray[np.float64]
    weight: NDArray[np.float64] | None
    threshold: float


def of(*parts: FeatureTable, scored: Scored | None = None, whole: bool = False) -> Profile:
    """The profile of a training; each row counts for as many as it stands for.

    Args:
        parts: Its parts.
        scored: The version's scores of those it did not learn from; None where there are none.
        whole: The parts have every transaction of their periods, so a day's number of them says something.
    """
    import pandas as pd

    first, kept = parts[0], settled(parts)

    def column(name: str) -> Any:
        return pd.concat([part.frame.loc[rows, name] for part, rows in zip(parts, kept, strict=True)])

    weight = 1 / column("label_propensity").to_numpy() if first.weight is not None else None
    found, categories, constant = {}, {}, []
    for name in first.features:
        values = column(name)
        if name in first.categorical:
            categories[name] = shares(values.tolist(), weight)
            one = len(categories[name]) <= 1
        else:
            found[name] = numbers(values.to_numpy(dtype=np.float64), weight)
            one = bool(values.isna().all() or (values.min() == values.max() and values.notna().all()))
        constant += [name] if one else []
    more: dict[str, Any] = {"constant": constant}
    if scored is not None and len(scored.scores):
        more["scores"] = _quantiles(scored.scores, scored.weight).tolist()
        more["scored"] = len(scored.scores)
        more["flagged"] = float(np.average(scored.scores >= scored.threshold, weights=scored.weight))
    if "label" in first.frame:
        more["fraud_rate"] = float(np.average(column("label").to_numpy(dtype=np.float64), weights=weight))
        more["worth"] = 0.0 if weight is None else worth(weight)
    if "time" in first.frame and first.frame["time"].notna().any():
        time = column("time").dropna()
        more |= {"first": time.min().isoformat(), "last": time.max().isoformat()}
        if whole:
            more["daily"] = float(np.median(per_day(time)))
    return Profile(int(sum(rows.sum() for rows in kept)), found, categories, **more)


def settled(parts: Sequence[FeatureTable]) -> list[NDArray[np.bool_]]:
    """The rows of some parts whose windows are full: they look back no further than the first row of all.

    Where these are fewer than a third of the rows, the newest third; where there are no times, all.
    """
    every = [np.ones(len(part), dtype=np.bool_) for part in parts]
    times = [part.frame["time"].to_numpy() for part in parts if "time" in part.frame]
    if len(times) < len(parts) or any(np.isnat(time).any() for time in times):
        return every
    together = np.concatenate(times).astype("datetime64[us]").astype(np.int64)
    newest = np.quantile(together, 2 / 3)
    begin = np.array(min(together.min() + _reach(parts), newest)).astype(np.int64).astype("datetime64[us]")
    return [time >= begin for time in times]


def _reach(parts: Sequence[FeatureTable]) -> float:
    """How far back the features look, microseconds: the longest window, and what most labels take to become known."""
    from fds_mlflow.core.text.duration import parse_duration
    from fds_mlflow.features.explanation import longest

    spec = parts[0].spec
    back = longest(spec) or timedelta(0)
    if not spec.uses_labels:
        return back / timedelta(microseconds=1)
    back += parse_duration(spec.label_delay) if spec.label_delay else timedelta(0)
    known = [part.frame["label_known_at"] - part.frame["time"] for part in parts if "label_known_at" in part.frame]
    delays = np.concatenate([delay.dropna().to_numpy() for delay in known]) if known else np.empty(0)
    late = np.quantile(delays.astype("timedelta64[us]").astype(np.int64), 0.9) if len(delays) else 0.0
    return back / timedelta(microseconds=1) + float(late)


def worth(weight: NDArray[np.float64]) -> float:
    """As how many rows of equal weight so weighted ones tell a mean. Source: Kish, *Survey Sampling*, 1965, 11.7.

    Args:
        weight: Shape (n,).
    """
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0


def per_day(time: pd.Series[Any]) -> NDArray[np.int64]:
    """Transactions of each calendar day (UTC) from the first to the last, both of which may be cut off.

    Args:
        time: Times, datetime64, none missing.
    """
    days = time.to_numpy().astype("datetime64[D]").astype(np.int64)
    return np.bincount(days - days.min())


def numbers(values: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> list[float | None]:
    """The quantiles of numbers as a profile has them; NaN and infinities are gaps or ends."""
    found = np.nan_to_num(values, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    return [float(one) if np.isfinite(one) else None for one in _quantiles(found, weight)]


def _quantiles(values: Any, weight: Any) -> Any:
    """The smallest values that at least such shares of the weight do not exceed: values that there are."""
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    order = np.argsort(values, kind="stable")
    total = np.cumsum(np.ones(len(values)) if weight is None else weight[order])
    return values[order][np.searchsorted(total, at * total[-1])]


def shares(values: Sequence[Any], weight: Any = None) -> dict[str, float]:
    """The share of each value as a profile has it: the most frequent ones, the others together; gaps as empty texts."""
    counts: Counter[str] = Counter()
    for place, value in enumerate(values):
        counts[value if isinstance(value, str) else GAP] += 1 if weight is None else weight[place]
    total = sum(counts.values())
    kept = {name: count / total for name, count in counts.most_common(_CATEGORIES)}
    rest = 1 - sum(kept.values())
    return kept if len(counts) <= _CATEGORIES else {**kept, OTHERS: rest}


def log(model_id: str, profile: Profile) -> None:
    """Add the profile to a logged model, before anybody registers it.

    Args:
        model_id: Of the logged model.
        profile: Of what it learned from.

    Raises:
        Exception: Whatever MLflow and the artifact store raise.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="fds-profile-") as folder:
        (Path(folder) / FILE).write_bytes(msgspec.json.encode(profile))
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
            trained, now = profile.categories[name], shares(values)
            if OTHERS in trained:
                known = {key: now.get(key, 0.0) for key in trained if key != OTHERS}
                now = {**known, OTHERS: 1 - sum(known.values())}
            keys = sorted({*trained, *now})
            before, after = ([one.get(key, 0.0) for key in keys] for one in (trained, now))
            found[name] = float(
                np.nan_to_num(jensenshannon(before, after, base=2))
            )  # of the same, rounding is no number
    return found
