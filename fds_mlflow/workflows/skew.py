"""What was served beside what the batch gives for the same transactions, and beside what a version was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd

from fds_mlflow.core.keys import joined
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.single import LABELS
from fds_mlflow.data.transactions import Transactions
from fds_mlflow.errors import NotFoundError, RefusedError
from fds_mlflow.features.profile import drift_of
from fds_mlflow.features.skew import Apart, compared
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.verification import check
from fds_mlflow.features.table import computed
from fds_mlflow.model import ManagedModel
from fds_mlflow.outcomes.vectors import KeptVector
from fds_mlflow.workflows.source import Source

BEFORE_PROFILES = "it was trained before profiles, or elsewhere: train it again to compare with its training"


@dataclass(frozen=True)
class History:
    """How what was served lies in a history.

    Attributes:
        compared: Vectors whose transaction is in the history.
        mismatched: Those of them in which any feature differs.
        absent: Vectors whose transaction is not in it.
        computed_elsewhere: Vectors whose features the caller computed; they are compared alike.
        late: Transactions of the history, in the time of those that are compared, that were scored after a later one:
            what was served in between did not see them.
        unseen: Transactions of the history in that time that have no outcome: what was served saw none of them, unless
            they were loaded.
        features: Each feature of the version.
    """

    compared: int
    mismatched: int
    absent: int
    computed_elsewhere: int
    late: int
    unseen: int
    features: list[Apart]


@dataclass(frozen=True)
class Skew:
    """What a version was given.

    Attributes:
        version: Its number.
        vectors: How many were recorded, without those that are degraded.
        degraded: Vectors that were computed without the state; they are looked at no further.
        first: When the earliest was scored, UTC.
        last: When the latest was.
        trained_on: Rows that its profile is of; None where it has none.
        drift: By feature, how far from the training: 0 for not at all, at most 1.
        note: Why nothing is compared with the training; empty where it is.
        history: Beside the batch; None where no history was given.
    """

    version: int
    vectors: int
    degraded: int
    first: datetime
    last: datetime
    trained_on: int | None
    drift: dict[str, float] = field(default_factory=dict)
    note: str = ""
    history: History | None = None

    @property
    def differs(self) -> bool:
        """Whether anything that was served is not what the batch gives."""
        return self.history is not None and self.history.mismatched > 0


def skew(
    model: ManagedModel, *, version: int | None = None, since: datetime | None = None, source: Source | None = None
) -> list[Skew]:
    """Compare what was recorded of a model's requests, version by version.

    Args:
        model: The model.
        version: One version; None for all of which something was recorded.
        since: Scored from then on; None for ever.
        source: The history that holds the transactions and their past; None to compare with the training alone.

    Raises:
        NotFoundError: Nothing was recorded.
        RefusedError: There is a history, and the version declares no features.
        ConfigError: The features need what the history does not have.
        DataError: The history does not fit the schema.
    """
    kept = model.outcomes.vectors(model.name, version=version, since=since)
    if not kept:
        of = "" if version is None else f" of version {version}"
        raise NotFoundError(
            f"no features{of} were recorded of {model.name!r}",
            fix="serve with --vector-sample, or by router(vector_sample=...)",
        )
    scored = model.outcomes.scored(model.name) if source is not None else {}
    numbers = sorted({one.version for one in kept})
    return [_of(model, number, [one for one in kept if one.version == number], source, scored) for number in numbers]


def _of(
    model: ManagedModel,
    version: int,
    kept: Sequence[KeptVector],
    source: Source | None,
    scored: dict[str, datetime],
) -> Skew:
    declared, profile = model.session.described(version)
    sound = [one for one in kept if not one.degraded]
    beside = None
    if source is not None:
        if declared is None:
            raise RefusedError(
                f"version {version} of {model.name!r} declares no features, so the batch cannot compute them",
                fix="leave out --data to compare with the training alone, or train it again",
            )
        beside = _history(declared.spec, declared.schema, sound, source, scored)
    return Skew(
        version,
        len(sound),
        len(kept) - len(sound),
        kept[0].time,
        kept[-1].time,
        None if profile is None else profile.rows,
        {} if profile is None else drift_of(profile, [one.vector.features for one in sound]),
        BEFORE_PROFILES if profile is None else "",
        beside,
    )


def _history(
    spec: FeatureSpec, schema: Schema, kept: Sequence[KeptVector], source: Source, scored: dict[str, datetime]
) -> History:
    transactions = source.read_by(schema if spec.uses_labels else _unlabelled(schema)).read()
    check(transactions, spec)
    names = [joined(name) for name in transactions.frame["transaction_id"].tolist()]
    places = {name: place for place, name in enumerate(names)}
    there = [one for one in kept if one.transaction_id in places]
    rows = [places[one.transaction_id] for one in there]
    values = computed(transactions.frame, spec)
    batch = pd.DataFrame({name: pd.Series(np.asarray(values[name], dtype=object)).iloc[rows] for name in spec.names})
    found, wrong = compared(spec, [one.vector.features for one in there], batch)
    late, unseen = _late(transactions, names, rows, scored)
    elsewhere = sum(one.vector.raw is None for one in there)
    return History(len(there), wrong, len(kept) - len(there), elsewhere, late, unseen, found)


def _unlabelled(schema: Schema) -> Schema:
    """The schema without what it says of labels: a history need not have what no feature looks at."""
    said = schema.model_dump(mode="json", exclude_defaults=True)
    return Schema.of(**{name: value for name, value in said.items() if name not in LABELS})


def _late(
    transactions: Transactions, names: Sequence[str], rows: Sequence[int], scored: dict[str, datetime]
) -> tuple[int, int]:
    """How many transactions in the time of these rows were scored after a later one, and how many never."""
    if not rows:
        return 0, 0
    time = transactions.frame["time"].to_numpy()
    inside = np.flatnonzero((time >= time[rows].min()) & (time <= time[rows].max())).tolist()
    seen = sorted((scored[names[place]], place) for place in inside if names[place] in scored)
    order = time[[place for _, place in seen]]
    late = int((order < np.maximum.accumulate(order)).sum()) if len(order) else 0
    return late, len(inside) - len(seen)
