"""The one kernel: windows over arrays sorted by entity and place, in NumPy.

`fds_mlflow.features.meaning` says what a feature means. Here every window becomes a stretch [start, end) of an array
that is sorted by entity, then by order, in two steps. Over all entities at once each transaction gets the place where
its window begins (one search per window, in the sorted times). Per role, entity and place become one number, and
searching entity and beginning among those of the transactions gives the stretch. Places are counts, so that the number
fits into 63 bits whatever the times. Labels go the same way along the order in which they become usable.

A stretch's sum is a difference of running totals (`fds_mlflow.features.sums`); its extremes come from tables of
stretches of 1, 2, 4, ... values; its distinct values are counted by when each value's last occurrence enters and leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.features import meaning
from fds_mlflow.features.meaning import Floats, Ints
from fds_mlflow.features.spec import AMOUNT_AGGREGATES, LABEL_AGGREGATES, FeatureSpec, Window
from fds_mlflow.features.sums import Values


@dataclass(frozen=True)
class Past:
    """What the windows need of n transactions, in input order.

    Attributes:
        time: Microseconds, int64, shape (n,).
        codes: Entity role -> numbers from 0 that stand for its entities, shape (n,); -1 where there is none.
        columns: Numeric column -> float64, shape (n,); NaN where missing.
        label: 1 = fraud, int64, shape (n,); empty where no feature looks at labels.
        known: When each label became known, microseconds, int64; `meaning.NEVER` where it did not. Of
            `label`'s shape.
    """

    time: Ints
    codes: Mapping[str, npt.NDArray[np.integer[Any]]]
    columns: Mapping[str, Floats] = field(default_factory=dict)
    label: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    known: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class Labels:
    """Labels that become usable, in the order in which they do.

    Attributes:
        place: Places of their transactions.
        moment: When, ascending.
        fraud: 1 or 0.
        usable: For each place, how many of them its transaction may use.
    """

    place: Ints
    moment: Ints
    fraud: Ints
    usable: Ints


class Kernel:
    """Computes the window and gap features of some transactions, a role at a time.

    Args:
        past: The transactions, at least one.
        spec: The features.
    """

    def __init__(self, past: Past, spec: FeatureSpec) -> None:
        self.past = past
        self.spec = spec
        self.order = np.argsort(past.time, kind="stable")  # place -> row
        self.time = past.time[self.order]
        self._since: dict[str, Ints] = {}

    def features(self, role: str) -> tuple[Ints, Iterator[tuple[str, Floats]]]:
        """Compute the features over one role's past.

        Returns:
            The rows that have the entity, sorted by entity and place, and each feature's name with its values in these
            rows, one after the other. In all other rows a feature is what it is over nothing.
        """
        found = _Role(self, role)
        return self.order[found.place], found.features()

    def since(self, window: str) -> Ints:
        """The last moment before the window, by place."""
        if window not in self._since:
            self._since[window] = meaning.since(self.time, window)
        return self._since[window]

    @cached_property
    def labels(self) -> Labels:
        """The labels that become usable."""
        known = self.past.known[self.order]
        place = np.flatnonzero(known != meaning.NEVER)
        moment = meaning.moments(self.time[place], known[place], self.spec.label_delay)
        first = meaning.first_place(self.time, moment, place)
        order = np.lexsort((first, moment))
        place = place[order]
        usable = np.cumsum(np.bincount(first, minlength=len(self.order) + 1)[:-1])
        return Labels(place, moment[order], self.past.label[self.order[place]], usable)


class _Grouped:
    """Positions in some order, sorted by entity first: what lies before a position is counted within its entity."""

    def __init__(self, codes: npt.NDArray[np.integer[Any]], positions: int) -> None:
        """Sort.

        Args:
            codes: The entity at each position; -1 where there is none.
            positions: The positions that are asked for are from 0 to this number.
        """
        self._shift = positions.bit_length()
        there = np.flatnonzero(codes >= 0)
        self._keys = np.sort((codes[there].astype(np.int64) << self._shift) | there)
        self.entity = self._keys >> self._shift
        self.position = self._keys & ((1 << self._shift) - 1)

    def __len__(self) -> int:
        return len(self._keys)

    def before(self, entity: Ints, position: Ints) -> Ints:
        """How many of the sorted lie before a position of an entity, all smaller entities' included."""
        found: Ints = np.searchsorted(self._keys, (entity << self._shift) | position)
        return found


class _Role:
    """One role's transactions, sorted by entity and place."""

    def __init__(self, kernel: Kernel, role: str) -> None:
        self._kernel = kernel
        self._spec = kernel.spec
        self._name = role
        self._codes = kernel.past.codes[role][kernel.order]
        self._own = _Grouped(self._codes, len(self._codes))
        self.place = self._own.position
        self._start: dict[str, Ints] = {}
        self._end = np.arange(1, len(self._own) + 1)
        self._columns: dict[str, _Column] = {}
        self._next: dict[str, Ints] = {}

    def features(self) -> Iterator[tuple[str, Floats]]:
        """Each feature's name and values."""
        for item in self._spec.windows:
            if item.entity == self._name:
                for window in item.windows:
                    compute = self._of_labels if item.aggregate in LABEL_AGGREGATES else self._of_transactions
                    yield item.feature(window), compute(item, window)
        for gap in self._spec.gaps:
            if gap.entity == self._name:
                yield gap.feature, self._gap()

    def _of_transactions(self, item: Window, window: str) -> Floats:
        if window not in self._start:
            first = np.searchsorted(self._kernel.time, self._kernel.since(window), side="right")
            self._start[window] = self._own.before(self._own.entity, first[self.place])
        start = self._start[window]
        if item.aggregate == "count":
            return (self._end - start).astype(np.float64)
        if item.aggregate == "distinct":
            return self._distinct(item.column, start)
        if item.column not in self._columns:
            values = self._kernel.past.columns[item.column]
            self._columns[item.column] = _Column(values[self._kernel.order[self.place]])
        return self._columns[item.column].aggregate(item, start, self._end)

    def _distinct(self, other: str, start: Ints) -> Floats:
        """Count the values whose last occurrence so far lies in the window.

        An occurrence enters with its own transaction, and leaves with the value's next one or where the window begins
        behind it, whichever is first.
        """
        if other not in self._next:
            self._next[other] = self._occurrences(other)
        following = self._next[other]
        leaves = np.minimum(following, np.cumsum(np.bincount(start, minlength=len(start))))
        counts = (following >= 0).astype(np.int64)
        counts -= np.bincount(leaves[following >= 0], minlength=len(start) + 1)[:-1]
        return np.cumsum(counts).astype(np.float64)

    def _occurrences(self, other: str) -> Ints:
        """Where each value occurs next with the same entity, or the number of rows; -1 where there is no value."""
        codes = self._kernel.past.codes[other][self._kernel.order[self.place]]
        found = _Grouped(codes, len(codes))
        entity = self._own.entity[found.position]
        same = (found.entity[1:] == found.entity[:-1]) & (entity[1:] == entity[:-1])
        following = np.where(codes >= 0, len(codes), -1)
        following[found.position[:-1][same]] = found.position[1:][same]
        return following

    def _gap(self) -> Floats:
        """Seconds since the transaction before, in whole microseconds that may need the 64th bit."""
        gap = np.full(len(self.place), np.nan)
        same = np.flatnonzero(self._own.entity[1:] == self._own.entity[:-1]) + 1
        time = self._kernel.time[self.place].view(np.uint64)
        gap[same] = (time[same] - time[same - 1]) / 1e6
        return gap

    @cached_property
    def _labels(self) -> _Grouped:
        return _Grouped(self._codes[self._kernel.labels.place], len(self._kernel.labels.place))

    @cached_property
    def _usable(self) -> Ints:
        return self._labels.before(self._own.entity, self._kernel.labels.usable[self.place])

    @cached_property
    def _frauds(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self._kernel.labels.fraud[self._labels.position])])

    def _of_labels(self, item: Window, window: str) -> Floats:
        name = f"labels {window}"
        if name not in self._start:
            first = np.searchsorted(self._kernel.labels.moment, self._kernel.since(window), side="right")
            self._start[name] = self._labels.before(self._own.entity, first[self.place])
        start, end = self._start[name], self._usable
        if item.aggregate == "known":
            return (end - start).astype(np.float64)
        frauds = self._frauds[end] - self._frauds[start]
        return frauds.astype(np.float64) if item.aggregate == "frauds" else meaning.risk(frauds, end - start)


class _Column:
    """The values of one column along a role's order, those that are missing left out."""

    def __init__(self, values: Floats) -> None:
        there = ~np.isnan(values)
        self._there = None if there.all() else np.concatenate([[0], np.cumsum(there)])
        self._values = values if self._there is None else values[there]

    @cached_property
    def _sums(self) -> Values:
        return Values(self._values)

    def aggregate(self, item: Window, start: Ints, end: Ints) -> Floats:
        """One amount aggregate over the stretches [start, end)."""
        if self._there is not None:
            start, end = self._there[start], self._there[end]
        match item.aggregate:
            case "sum":
                return self._sums.sum(start, end)
            case "mean":
                return meaning.mean(self._sums.sum(start, end), end - start)
            case "std":
                return self._sums.deviation(start, end)
            case "max":
                return _extremes(np.maximum, self._values, start, end)
            case _:
                return _extremes(np.minimum, self._values, start, end)


def _extremes(choose: np.ufunc, values: Floats, start: Ints, end: Ints) -> Floats:
    """The largest or smallest value of each stretch; NaN of none.

    The table holds those of all stretches of 1, then 2, 4, ... values; two of them that may overlap make a stretch.
    """
    found = np.full(len(start), np.nan)
    table, width, longest = values, 1, int((end - start).max(initial=0))
    while width <= longest:
        fit = np.flatnonzero((end - start >= width) & (end - start < 2 * width))
        found[fit] = choose(table[start[fit]], table[end[fit] - width])
        table, width = choose(table[:-width], table[width:]), 2 * width
    return found
