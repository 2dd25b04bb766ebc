"""Aggregates of labels over stretches of the order in which they become known."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.columns import Feature
from fds_mlflow.features.meaning import Floats, Ints
from fds_mlflow.features.parts import Window


class KnownLabels:
    """A role's labels, sorted by entity, then by moment.

    Args:
        entity: Of each, shape (n,).
        moment: When each becomes usable, microseconds.
        fraud: 1 or 0.
    """

    def __init__(self, entity: Ints, moment: Ints, fraud: Ints) -> None:
        self._entity, self._moment, self._fraud = entity, moment, fraud
        self._frauds = np.concatenate([[0], np.cumsum(fraud)])

    def aggregate(self, item: Window, start: Ints, end: Ints, time: Ints) -> Feature:
        """One aggregate over the stretches [start, end).

        Args:
            item: Says which.
            start: Where each begins.
            end: Where each ends.
            time: Of each, microseconds.
        """
        frauds = self._frauds
        if item.aggregate == "fraud_run":
            start, last = np.minimum(np.maximum(start, self._after_genuine[end]), end), end
            return lambda block: (frauds[last[block]] - frauds[start[block]]).astype(np.float64)
        if item.aggregate == "since_last_fraud":
            return lambda block: self._since(self._last[end[block]], start[block], end[block], time[block])
        if item.aggregate == "since_first_fraud":
            return lambda block: self._since(self._next[start[block]], start[block], end[block], time[block])

        def compute(block: slice) -> Floats:
            known = (end[block] - start[block]).astype(np.float64)
            if item.aggregate == "known":
                return known
            found = (frauds[end[block]] - frauds[start[block]]).astype(np.float64)
            return found if item.aggregate == "frauds" else meaning.risk(found, known)

        return compute

    def _since(self, fraud: Ints, start: Ints, end: Ints, time: Ints) -> Floats:
        """Seconds since a fraud became known, where that is in the stretch."""
        found = np.full(len(fraud), np.nan)
        there = np.flatnonzero((fraud >= start) & (fraud < end))
        found[there] = meaning.seconds(self._moment[fraud[there]], time[there])
        return found

    @cached_property
    def _last(self) -> Ints:
        """The place of the last fraud before each, shape (n + 1,); -1 where there is none."""
        place = np.where(self._fraud == 1, np.arange(len(self._fraud)), -1)
        return np.maximum.accumulate(np.concatenate([[-1], place]))

    @cached_property
    def _next(self) -> Ints:
        """The place of the first fraud from each on, shape (n + 1,); n where there is none."""
        place = np.where(self._fraud == 1, np.arange(len(self._fraud)), len(self._fraud))
        return np.minimum.accumulate(np.append(place, len(place))[::-1])[::-1]

    @cached_property
    def _after_genuine(self) -> Ints:
        """Where what is later than the last genuine label before each begins, shape (n + 1,); 0 where there is none."""
        number = len(self._fraud)
        new = np.ones(number, dtype=np.bool_)
        new[1:] = (self._moment[1:] != self._moment[:-1]) | (self._entity[1:] != self._entity[:-1])
        later = np.append(np.flatnonzero(new), number)[np.cumsum(new)]
        return np.maximum.accumulate(np.concatenate([[0], np.where(self._fraud == 1, 0, later)]))
