"""The one kernel: windows over arrays sorted by entity and place, in NumPy.

`fds_mlflow.features.meaning` says what a feature means. Here every window becomes a stretch [start, end) of an array
that is sorted by entity, then by order, in two steps. Over all entities at once each transaction gets the place where
its window begins (one search per window, in the sorted times). Per role, entity and place become one number, and
searching entity and beginning among those of the transactions gives the stretch. Places are counts, so that the number
fits into 63 bits whatever the times. Labels go the same way along the order in which they become usable.

A stretch's sum is a difference of running totals (`fds_mlflow.features.sums`); its extremes come from tables of
stretches of 1, 2, 4, ... values; its distinct values are counted by when each one's last occurrence enters and leaves.

NumPy alone is enough: searching by a compiled pass (numba) spared some 15 % of the CPU of a million rows, half a
second, where importing and compiling cost 1.7 s at each start, and installing 190 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fds_mlflow.data.coded import Codes
from fds_mlflow.features import meaning
from fds_mlflow.features.columns import Column, Feature, count
from fds_mlflow.features.expressions import evaluate, names_in
from fds_mlflow.features.known_labels import KnownLabels
from fds_mlflow.features.meaning import Floats, Ints
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec, Window

_BLOCK = 1 << 13  # rows


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
        arrived: When each arrived, microseconds, int64, shape (n,); None where that was when it took place.
    """

    time: Ints
    codes: Mapping[str, Codes]
    columns: Mapping[str, Floats] = field(default_factory=dict)
    label: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    known: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    arrived: Ints | None = None

    @property
    def arrival(self) -> Ints:
        """When each arrived."""
        return self.time if self.arrived is None else self.arrived

    def taken(self, rows: Ints) -> Past:
        """Some of the transactions, in this order."""
        return Past(
            self.time[rows],
            {role: codes[rows] for role, codes in self.codes.items()},
            {name: values[rows] for name, values in self.columns.items()},
            self.label[rows] if len(self.label) else self.label,
            self.known[rows] if len(self.known) else self.known,
            self.arrival[rows],
        )


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
        self.labels = self._labels() if spec.uses_labels else None
        self.first: dict[str, Ints] = {}
        """Where each window begins, by place: the first place in it."""
        self.first_label: dict[str, Ints] = {}
        """And the first label in it."""
        for item in spec.windows:
            for window in item.windows:
                self._begin(window, of_labels=item.aggregate in LABEL_AGGREGATES)

    def features(self, role: str) -> Iterator[tuple[str, Floats]]:
        """The features over one role's past, one after the other.

        Yields:
            A feature's name, and its values in input order, shape (n,).
        """
        part = _Role(self, role)
        rows = self.order[part.place]
        nothing = meaning.over_nothing(self.spec)
        for name, values in part.features():
            column = np.empty(len(self.order))
            if len(rows) < len(column):
                column.fill(nothing[name])
            for block in _blocks(len(rows)):
                column[rows[block]] = values(block)
            yield name, column

    def _begin(self, window: str, *, of_labels: bool) -> None:
        found = self.first_label if of_labels else self.first
        among = self.labels.moment if of_labels and self.labels is not None else self.time
        if window not in found:
            found[window] = np.searchsorted(among, meaning.since(self.time, window), side="right")

    def _labels(self) -> Labels:
        """The labels that become usable."""
        known = self.past.known[self.order]
        place = np.flatnonzero(known != meaning.NEVER)
        moment = meaning.moments(self.time[place], known[place], self.spec.label_delay)
        first = meaning.first_place(self.time, moment, place)
        order = np.lexsort((first, moment))
        place = place[order]
        usable = np.cumsum(np.bincount(first, minlength=len(self.order) + 1)[:-1])
        return Labels(place, moment[order], self.past.label[self.order[place]], usable)


def _blocks(rows: int) -> list[slice]:
    return [slice(first, first + _BLOCK) for first in range(0, rows, _BLOCK)]


class _Grouped:
    """Positions in some order, sorted by entity first: what lies before a position is counted within its entity.

    Args:
        codes: The entity at each position; -1 where there is none.
    """

    def __init__(self, codes: Codes) -> None:
        self._shift = len(codes).bit_length()
        there = np.flatnonzero(codes >= 0)
        self._keys = np.sort((codes[there].astype(np.int64) << self._shift) | there)
        self.entity = self._keys >> self._shift
        self.position = self._keys & ((1 << self._shift) - 1)

    def __len__(self) -> int:
        return len(self._keys)

    def before(self, entity: Ints, position: Ints, of: Ints) -> Ints:
        """How many of the sorted lie before position[of] within their entity, those of all entities before included.

        Args:
            entity: Entities, ascending, shape (n,).
            position: Positions, not descending.
            of: Which of the positions is asked for, ascending within an entity, shape (n,).
        """
        found = np.empty(len(entity), dtype=np.int64)
        low = 0
        for block in _blocks(len(entity)):
            wanted = (entity[block] << self._shift) | position[of[block]]
            high = int(self._keys.searchsorted(wanted[-1]))
            found[block] = self._keys[low:high].searchsorted(wanted) + low
            low = high
        return found


class _Role:
    """One role's transactions, sorted by entity and place."""

    def __init__(self, kernel: Kernel, role: str) -> None:
        self._kernel = kernel
        self._role = role
        self._codes = kernel.past.codes[role][kernel.order]
        self._own = _Grouped(self._codes)
        self.place = self._own.position
        self._end = np.arange(1, len(self._own) + 1)
        self._start: dict[str, Ints] = {}
        self._columns: dict[tuple[str | None, str], Column] = {}
        self._next: dict[str, Ints] = {}

    def features(self) -> Iterator[tuple[str, Feature]]:
        """Each feature's name and values."""
        for item in self._kernel.spec.windows:
            if item.entity == self._role:
                for window in item.windows:
                    compute = self._of_labels if item.aggregate in LABEL_AGGREGATES else self._of_transactions
                    yield item.feature(window), compute(item, window)
        for gap in self._kernel.spec.gaps:
            if gap.entity == self._role:
                yield gap.feature, self._gap().__getitem__

    def _of_transactions(self, item: Window, window: str) -> Feature:
        if window not in self._start:
            self._start[window] = self._own.before(self._own.entity, self._kernel.first[window], self.place)
        start, end = self._start[window], self._end - 1 if item.earlier else self._end
        if item.of_numbers:
            return self._column(item).aggregate(item, start, end)
        return count(start, end) if item.aggregate == "count" else self._distinct(item.column, start).__getitem__

    def _column(self, item: Window) -> Column:
        key = item.expression, item.column
        if key not in self._columns:
            values = self._numbers(item.column) if item.expression is None else self._expression(item.expression)
            self._columns[key] = Column(values, self._own.entity)
        return self._columns[key]

    def _numbers(self, column: str) -> Floats:
        found: Floats = self._kernel.past.columns[column][self._kernel.order[self.place]]
        return found

    def _expression(self, name: str) -> Floats:
        """What an expression is at each transaction."""
        spec = self._kernel.spec
        read: dict[str, Floats] = {}
        for item, window in meaning.within(spec, name):
            values, column = self._of_transactions(item, window), np.empty(len(self.place))
            for block in _blocks(len(column)):
                column[block] = values(block)
            read[item.feature(window)] = column
        node = spec.nodes[name]
        read |= {one.name: self._numbers(one.name) for one in names_in(node) if one.name not in read}
        return evaluate(node, read)

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
        found = _Grouped(codes)
        entity = self._own.entity[found.position]
        same = (found.entity[1:] == found.entity[:-1]) & (entity[1:] == entity[:-1])
        following = np.where(codes >= 0, len(codes), -1)
        following[found.position[:-1][same]] = found.position[1:][same]
        return following

    def _gap(self) -> Floats:
        """Seconds since the transaction before."""
        gap = np.full(len(self.place), np.nan)
        same = np.flatnonzero(self._own.entity[1:] == self._own.entity[:-1]) + 1
        time = self._time
        gap[same] = meaning.seconds(time[same - 1], time[same])
        return gap

    @cached_property
    def _time(self) -> Ints:
        found: Ints = self._kernel.time[self.place]
        return found

    @cached_property
    def _labels(self) -> tuple[_Grouped, KnownLabels, Ints]:
        """The role's labels by position, what they tell, and how many each transaction may use."""
        labels = self._kernel.labels
        assert labels is not None
        found = _Grouped(self._codes[labels.place])
        known = KnownLabels(found.entity, labels.moment[found.position], labels.fraud[found.position])
        return found, known, found.before(self._own.entity, labels.usable, self.place)

    def _of_labels(self, item: Window, window: str) -> Feature:
        labels, known, end = self._labels
        name = f"labels {window}"
        if name not in self._start:
            self._start[name] = labels.before(self._own.entity, self._kernel.first_label[window], self.place)
        return known.aggregate(item, self._start[name], end, self._time)
