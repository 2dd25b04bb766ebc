"""The features of one raw transaction: from its canonical values and the past of its entities, in a version's order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from fds_mlflow.data.moments import moment_of
from fds_mlflow.data.schema import Schema
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.expressions import extended, names_in
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.state import Arrival, Arriving


def arriving(schema: Schema, values: Mapping[str, Any]) -> Arriving:
    """A transaction as it comes to the state.

    Args:
        schema: Says which of its values are entities and which numbers.
        values: Canonical values, as `Single.read` gives them.
    """
    numbers = {name: values[name] for name in ("amount", *schema.numeric) if name in values}
    return Arriving(values["transaction_id"], values["time"], {role: values[role] for role in schema.entities}, numbers)


class Vector:
    """Computes everything that a specification names.

    Args:
        spec: The features.
        layout: Of the state.

    Attributes:
        names: Of the features, in the order in which a model takes them.
    """

    def __init__(self, spec: FeatureSpec, layout: Layout) -> None:
        self._spec = spec
        self._online = Online(spec, layout)
        self._zone = UTC if spec.time_zone is None else ZoneInfo(spec.time_zone)
        # A specification makes these anew each time it is asked.
        self.names = tuple(spec.names)
        self._blank: dict[str, Any] = dict.fromkeys(self.names)
        self._nodes = spec.nodes
        self._read = {one.name for node in self._nodes.values() for one in names_in(node)} - set(self._nodes)
        self._numbers = tuple(dict.fromkeys((*spec.numeric, *spec.inputs)))

    def features(self, values: Mapping[str, Any], arrival: Arrival) -> dict[str, float | str | None]:
        """Each feature's value, in the order of the specification's names: floats, and text for categories.

        Args:
            values: Canonical values of the transaction, as `Single.read` gives them.
            arrival: What the state answered to it.
        """
        found = dict(self._blank)  # all names have their places
        found |= {name: values[name] for name in self._numbers}
        if self._spec.flags:
            local = moment_of(values["time"]).astimezone(self._zone)
            for flag in self._spec.flags:
                true = local.weekday() >= 5 if flag.flag == "weekend" else local.hour <= 6
                found[flag.feature] = float(true)
        found |= self._online.features(values["time"], arrival)
        if self._nodes:
            columns = {name: np.array([found[name]]) for name in self._read}
            made = extended(columns, self._nodes)
            found |= {name: float(np.asarray(made[name]).reshape(-1)[0]) for name in self._nodes}
        found |= {name: values[name] for name in self._spec.categorical}
        return found if len(found) == len(self.names) else {name: found[name] for name in self.names}
