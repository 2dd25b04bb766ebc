"""What an expression is at each of an entity's transactions, from what its past tells."""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.columns import Column, count
from fds_mlflow.features.expressions import evaluate, names_in
from fds_mlflow.features.meaning import Floats, Ints
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.rows import Opened, Sealed

_ALL = slice(None)


class Expressed:
    """An expression that windows aggregate.

    Args:
        spec: The features.
        layout: Of the past.
        name: The expression's.

    Attributes:
        name: As given.
    """

    def __init__(self, spec: FeatureSpec, layout: Layout, name: str) -> None:
        self.name = name
        self._node = spec.nodes[name]
        self._windows = [(item, window, meaning.micros(window)) for item, window in meaning.within(spec, name)]
        own = [item for item in spec.windows if item.expression == name]
        self._span = max(meaning.micros(window) for item in own for window in item.windows)
        self._reach = max(meaning.reach(spec, item) for item in own)
        windows = {item.feature(window) for item, window, _ in self._windows}
        self._numbers = [one.name for one in names_in(self._node) if one.name not in windows]
        self._fields = {
            column: layout.numbers.index(column)
            for column in dict.fromkeys([*self._numbers, *(i.column for i, *_ in self._windows if i.of_numbers)])
        }

    def values(self, rows: Opened, runs: list[Sealed], time: int) -> tuple[list[int], list[float]]:
        """The times of the transactions in the longest window, in order, and what the expression is at each."""
        moments, columns = self._told(rows, runs, time)
        first = int(np.searchsorted(moments, time - self._span, side="right"))
        end = np.arange(first + 1, len(moments) + 1)
        starts: dict[int, Ints] = {}
        made = {name: Column(values) for name, values in columns.items()}
        read = {name: columns[name][first:] for name in self._numbers}
        for item, window, span in self._windows:
            if span not in starts:
                starts[span] = moments.searchsorted(moments[first:] - span, side="right")
            last = end - 1 if item.earlier else end
            feature = (
                made[item.column].aggregate(item, starts[span], last) if item.of_numbers else count(starts[span], last)
            )
            read[item.feature(window)] = feature(_ALL)
        return moments[first:].tolist(), evaluate(self._node, read).tolist()

    def _told(self, rows: Opened, runs: list[Sealed], time: int) -> tuple[Ints, dict[str, Floats]]:
        """What is told of all transactions that the expression looks at: their times, and their numbers."""
        since = time - self._reach
        begin, end = bisect_right(rows.moments, since), bisect_right(rows.moments, time)
        moments, arrivals = [rows.moments[begin:end]], [rows.whole(1)[begin:end]]
        numbers = {name: [np.array(rows.floats(2 + field)[begin:end])] for name, field in self._fields.items()}
        for run in runs:
            last, reached = run.windows([since], time)
            for _, start in reached:
                moments.append(run.whole(0, start, last))
                arrivals.append(run.whole(1, start, last))
                for name, field in self._fields.items():
                    numbers[name].append(run.floats(2 + field, start, last))
        when, arrival = (np.fromiter(chain(*one), dtype=np.int64) for one in (moments, arrivals))
        order = np.lexsort((arrival, when))
        return when[order], {name: np.concatenate(found)[order] for name, found in numbers.items()}
