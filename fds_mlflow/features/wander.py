"""How far a training wanders by itself: each quarter of its time beside the rest of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from typing import TYPE_CHECKING, Any

import numpy as np

from fds_mlflow.features.profile import Scored, numbers, settled, shares
from fds_mlflow.features.stability import log_odds, of_categories, of_numbers, ratio_of, stability_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fds_mlflow.features.table import FeatureTable

_SAMPLE = 10_000
"""Rows that the training's own quarters are compared on, at most."""


def wander(parts: Sequence[FeatureTable], scored: Mapping[int, Scored]) -> dict[str, tuple[float, float]]:
    """How far each quarter of a training's time is from the rest, at most: index, or ratio of a rate, and distance.

    Args:
        parts: The parts of the training.
        scored: The version's scores of some of them, by place.

    Returns:
        By feature, and for `score`, `flagged rate` and `fraud rate`; empty where there are no times.
    """
    found: dict[str, tuple[float, float]] = {}
    kept = [np.flatnonzero(rows) for rows in settled(parts)]
    quarters = _quarters(parts, kept)
    if quarters is not None:
        sample = _sampled(quarters)
        for name in parts[0].features:
            values = np.concatenate([part.frame[name].to_numpy()[rows] for part, rows in zip(parts, kept, strict=True)])
            found[name] = _most(values, sample, category=name in parts[0].categorical)
        if "label" in parts[0].frame:
            labels = np.concatenate([part.y[rows] for part, rows in zip(parts, kept, strict=True)])
            found["fraud rate"] = _most_of_rate(labels == 1, quarters)
    others = [parts[place] for place in scored]
    quarters = _quarters(others, [np.arange(len(part)) for part in others]) if others else None
    if quarters is not None:
        scores = np.concatenate([one.scores for one in scored.values()])
        flagged = np.concatenate([one.scores >= one.threshold for one in scored.values()])
        found["score"] = _most(log_odds(scores), _sampled(quarters), category=False)
        found["flagged rate"] = _most_of_rate(flagged, quarters)
    return found


def _quarters(parts: Sequence[FeatureTable], kept: Sequence[Any]) -> list[NDArray[np.intp]] | None:
    """Places of the rows in four stretches of time; None where some have no time, or there are next to none."""
    if not all("time" in part.frame for part in parts):
        return None
    time = np.concatenate([part.frame["time"].to_numpy()[rows] for part, rows in zip(parts, kept, strict=True)])
    if len(time) < 8 or np.isnat(time).any():
        return None
    order = np.argsort(time, kind="stable")
    return np.array_split(order, 4)


def _sampled(quarters: Sequence[NDArray[np.intp]]) -> list[NDArray[np.intp]]:
    """At most a fourth of `_SAMPLE` rows of each quarter, evenly spread."""
    return [one[:: max(1, -(-4 * len(one) // _SAMPLE))] for one in quarters]


def _most(values: NDArray[Any], quarters: Sequence[NDArray[np.intp]], *, category: bool) -> tuple[float, float]:
    effect = distance = 0.0
    for place, quarter in enumerate(quarters):
        rest = values[np.concatenate([one for other, one in enumerate(quarters) if other != place])]
        if category:
            bins = of_categories(shares(rest.tolist()), values[quarter])
        else:
            bins = of_numbers(numbers(rest.astype(np.float64)), values[quarter].astype(np.float64))
        effect = max(effect, stability_index(bins.before, bins.now))
        distance = max(distance, bins.distance or 0.0)
    return effect, distance


def _most_of_rate(hits: NDArray[np.bool_], quarters: Sequence[NDArray[np.intp]]) -> tuple[float, float]:
    """The largest factor between a quarter's rate and that of the rest which chance does not explain (95 %)."""
    found = 1.0
    for place, quarter in enumerate(quarters):
        rest = hits[np.concatenate([one for other, one in enumerate(quarters) if other != place])]
        ratio, error = ratio_of((float(rest.mean()), len(rest)), (float(hits[quarter].mean()), len(quarter)))
        found = max(found, max(ratio, 1 / ratio) / exp(1.96 * error))
    return found, 0.0
