"""Aggregates of labels of one entity, from what its past tells."""

from __future__ import annotations

from bisect import bisect_right
from math import nan
from typing import NamedTuple

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec
from fds_mlflow.features.state.rows import Opened, Sealed

_COUNTED = frozenset({"known", "frauds", "risk"})


class _Moments(NamedTuple):
    """What labels of a window say, moment by moment; what was taken back is not in it.

    Attributes:
        frauds: When frauds became usable, ascending, microseconds, with how many did.
        genuine: When a genuine label last did; None where none has.
    """

    frauds: list[tuple[int, int]]
    genuine: int | None


class Labels:
    """Computes a role's features of labels.

    Args:
        spec: The features.
        role: The role.
    """

    def __init__(self, spec: FeatureSpec, role: str) -> None:
        self._spans: list[int] = []
        self._wanted: list[tuple[str, str, int]] = []
        for item in spec.windows:
            if item.entity == role and item.aggregate in LABEL_AGGREGATES:
                for window in item.windows:
                    span = meaning.micros(window)
                    if span not in self._spans:
                        self._spans.append(span)
                    self._wanted.append((item.feature(window), item.aggregate, self._spans.index(span)))
        self._ordered = {window for _, aggregate, window in self._wanted if aggregate not in _COUNTED}

    def features(self, found: dict[str, float], rows: Opened, runs: list[Sealed], time: int) -> None:
        """All of them."""
        if not self._wanted:
            return
        moments, adds, more = rows.moments, rows.whole(2), rows.whole(3)
        end = bisect_right(moments, time)
        since = [time - span for span in self._spans]
        starts = [bisect_right(moments, moment) for moment in since]
        known = [sum(adds[start:end]) for start in starts]
        frauds = [sum(more[start:end]) for start in starts]
        parts: dict[int, list[tuple[list[int], list[int], list[int]]]] = {
            window: [(moments[starts[window] : end], adds[starts[window] : end], more[starts[window] : end])]
            for window in self._ordered
        }
        for run in runs:
            last, reached = run.windows(since, time)
            run.count(0, last, reached, known)
            run.count(1, last, reached, frauds)
            for window, start in reached:
                if window in parts:
                    parts[window].append(
                        (run.whole(0, start, last), run.whole(2, start, last), run.whole(3, start, last))
                    )
        told = {window: _moments(*map(_joined, zip(*several, strict=True))) for window, several in parts.items()}
        for feature, aggregate, window in self._wanted:
            if aggregate == "risk":
                found[feature] = frauds[window] / max(known[window], 1)
            elif aggregate in _COUNTED:
                found[feature] = float(known[window] if aggregate == "known" else frauds[window])
            else:
                found[feature] = _of_moments(aggregate, told[window], time)


def _joined(lists: tuple[list[int], ...]) -> list[int]:
    return [value for one in lists for value in one]


def _moments(moments: list[int], adds: list[int], frauds: list[int]) -> _Moments:
    """Each moment's labels, of which corrections take back some."""
    when, where = np.unique(np.array(moments, dtype=np.int64), return_inverse=True)
    known, found = (np.bincount(where, weights=one, minlength=len(when)).astype(np.int64) for one in (adds, frauds))
    genuine = when[known > found]
    bad = found > 0
    return _Moments(
        list(zip(when[bad].tolist(), found[bad].tolist(), strict=True)), int(genuine[-1]) if len(genuine) else None
    )


def _of_moments(aggregate: str, told: _Moments, time: int) -> float:
    if aggregate == "fraud_run":
        return float(sum([count for moment, count in told.frauds if told.genuine is None or moment > told.genuine]))
    if not told.frauds:
        return nan
    return (time - told.frauds[0 if aggregate == "since_first_fraud" else -1][0]) / 1e6
