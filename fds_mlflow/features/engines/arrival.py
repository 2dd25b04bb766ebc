"""Windows as of arrival: what a transaction was told in the moment it arrived, where some arrived late.

For an entity whose transactions arrived in the order of their times, that is what the kernel computes over all of them.
The past of every other entity is replayed through the online engine, whose values those are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.engines.replay import replayed
from fds_mlflow.features.kernel import Kernel, Past
from fds_mlflow.features.meaning import Floats, Ints
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.state import State


class AsOfArrival:
    """As `Kernel`, for transactions of which some may have arrived late.

    Args:
        past: The transactions, at least one; in input order those that arrived in the same moment.
        spec: The features.
    """

    def __init__(self, past: Past, spec: FeatureSpec) -> None:
        self._spec = spec
        self._order = np.argsort(past.arrival, kind="stable")
        self._past = past.taken(self._order)
        self._kernel = Kernel(self._past, spec)

    def features(self, role: str) -> Iterator[tuple[str, Floats]]:
        """See `Kernel.features`."""
        rows = self._disordered(role)
        told = self._told(role, rows) if len(rows) else {}
        for name, values in self._kernel.features(role):
            if name in told:
                values[rows] = told[name]
            column = np.empty_like(values)
            column[self._order] = values
            yield name, column

    def _disordered(self, role: str) -> Ints:
        """The transactions of entities that were told something else than the kernel computes."""
        codes, time = self._past.codes[role], self._past.time
        order = self._kernel.order[codes[self._kernel.order] >= 0]
        order = order[np.argsort(codes[order], kind="stable")]  # by entity, then by place
        late = (codes[order[1:]] == codes[order[:-1]]) & (order[1:] < order[:-1])
        found = codes[order[1:][late]]
        if meaning.of_role(self._spec, role).uses_labels:
            # The clock of its times is ahead: a label may have become known after it arrived, and before its time.
            found = np.concatenate([found, codes[(codes >= 0) & (self._past.arrival < time)]])
        rows: Ints = np.flatnonzero(np.isin(codes, found))
        return rows

    def _told(self, role: str, rows: Ints) -> dict[str, Floats]:
        """Replay some transactions."""
        spec = meaning.of_role(self._spec, role)
        looked_at = replace(
            self._past,
            codes={name: self._past.codes[name] for name in (role, *meaning.counted(spec))},
            columns={name: self._past.columns[name] for name in meaning.aggregated(spec)},
        )
        state = State(MemoryStore(), Layout.of([spec]))
        engine = Online(spec, state.layout)
        found = {name: np.empty(len(rows)) for name in meaning.over_nothing(spec)}
        for row, arriving in enumerate(replayed(state, looked_at.taken(rows))):
            for name, value in state.arrive(arriving, partial(engine.features, arriving.time)).items():
                found[name][row] = value
        return found


def computing(past: Past, spec: FeatureSpec) -> Kernel | AsOfArrival:
    """What computes the windows and gaps of transactions: as of arrival, where it is known when they arrived."""
    return Kernel(past, spec) if past.arrived is None else AsOfArrival(past, spec)
