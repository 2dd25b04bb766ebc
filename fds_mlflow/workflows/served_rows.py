"""Training rows out of what was served: recorded vectors, with the labels that have become known since.

Features are taken as they were served and not computed again; the rows are of one declaration, which the version that
learns from them declares in turn. An account says what became of every label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.core.text.duration import to_duration
from fds_mlflow.data.frames import code_column
from fds_mlflow.data.moments import micros_of
from fds_mlflow.data.single import Single
from fds_mlflow.data.transactions import digest, period
from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.features.declaration import KEY, Declared
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.model import ManagedModel
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus
from fds_mlflow.outcomes.vectors import KeptVector
from fds_mlflow.workflows.account import Account, Origin, Origins

SUSPECTED = "nothing but a suspicion is known"
UNSCORED = "the model has no outcome of the transaction"
IMMATURE = "the transaction is younger than labels_mature"
UNRECORDED = "no features were recorded"
DEGRADED = "the features were computed without the state"
OTHER = "the features are of another declaration"
BLOCKED = "flagged and not let pass: what was explored stands for it"

REASONS = (SUSPECTED, UNSCORED, IMMATURE, UNRECORDED, DEGRADED, OTHER, BLOCKED)
"""Why a label is left out; the first that holds is told."""


@dataclass(frozen=True)
class _Row:
    """A training row: what was served, and what is known about it."""

    kept: KeptVector
    fraud: bool
    known: datetime
    propensity: float


def rows(model: ManagedModel, now: datetime) -> tuple[FeatureTable, Account]:
    """As `told`, by what the schema says of labels; the account instead of the origins."""
    table, origins = told(model, now)
    return table, origins.account


def told(
    model: ManagedModel, now: datetime, *, maturity: timedelta | None = None, silence: bool = True
) -> tuple[FeatureTable, Origins]:
    """The training rows of a model's outcomes, by the champion's declaration.

    Args:
        model: The model whose requests were recorded.
        now: The time, timezone-aware: labels are those known by then.
        maturity: Age from which labels count; None for `labels_mature` of the schema.
        silence: Take a transaction older than that which nobody reported for genuine.

    Returns:
        One row a transaction, in the order in which they were scored, and where their labels come from.

    Raises:
        NotFoundError: There is no such model.
        RefusedError: It has no champion, or that declares no features.
        DataError: No label has recorded features.
    """
    declared = _declared(model)
    digests = {one.version: one.tags.get(KEY) for one in model.session.store.versions(model.name)}
    kept: dict[str, list[KeptVector]] = {}
    for one in model.outcomes.vectors(model.name):
        kept.setdefault(one.transaction_id, []).append(one)
    scored = model.outcomes.scored(model.name)
    cases = model.outcomes.all_cases(as_of=now)
    mature = declared.schema.labels_mature
    age = maturity
    if age is None and mature is not None:
        age = to_duration("labels_mature", mature)
    left_out: Counter[str] = Counter()
    found: list[_Row] = []

    def fits(one: KeptVector) -> bool:
        return (one.vector.spec or digests.get(one.version)) == declared.digest

    for name, case in cases.items():
        row = _labelled(case, kept.get(name, ()), fits, scored.get(name), None if age is None else now - age)
        if isinstance(row, str):
            left_out[row] += 1
        else:
            found.append(row)
    used = len(found)
    if age is not None and silence:
        for name in kept.keys() - cases.keys():
            quiet = next((one for one in kept[name] if fits(one) and not one.degraded), None)
            if quiet is not None and scored.get(name, now) <= now - age and (not quiet.flagged or quiet.explored):
                found.append(_Row(quiet, False, quiet.time + age, _chance(quiet, None)))
    account = _account(len(cases), {why: left_out[why] for why in REASONS if left_out[why]}, found, used)
    if not found:
        raise DataError(
            f"no transaction of {model.name!r} has both a label and recorded features: {'; '.join(account.sentences)}",
            fix="serve with --vector-sample, and import labels (fds label import)",
        )
    origin = np.full(len(found), Origin.REPORTED, dtype=np.int8)
    origin[used:] = Origin.SILENT
    of = pd.Series(origin, index=[row.kept.transaction_id for row in found])
    found.sort(key=lambda row: (row.kept.time, row.kept.request_id))
    return _table(model.name, declared, found, account), Origins(account, of)


def _account(labels: int, left_out: Mapping[str, int], found: Sequence[_Row], used: int) -> Account:
    """What became of the labels, of which the first rows are; the others nobody reported."""
    of_labels = found[:used]
    return Account(
        labels,
        used,
        left_out,
        len(found) - used,
        alone=sum(row.kept.flagged and not row.kept.explored and row.propensity == 1 for row in of_labels),
        weighted=sum(row.propensity < 1 for row in found),
        watermark=max((row.known for row in of_labels), default=None),
    )


def _labelled(
    case: CaseRecord,
    kept: Sequence[KeptVector],
    fits: Callable[[KeptVector], bool],
    scored: datetime | None,
    mature: datetime | None,
) -> _Row | str:
    """The training row of a labelled transaction, or why there is none."""
    sound = [one for one in kept if not one.degraded]
    one = next(filter(fits, sound), None)
    holds = {
        SUSPECTED: case.status == CaseStatus.SUSPECTED,
        UNSCORED: scored is None,
        IMMATURE: scored is not None and mature is not None and scored > mature,
        UNRECORDED: not kept,
        DEGRADED: not sound,
        OTHER: one is None,
        BLOCKED: one is not None and one.flagged and not one.explored and bool(one.propensity),
    }
    why = next((reason for reason in REASONS if holds[reason]), None)
    if one is None or why is not None:
        return why or OTHER
    return _Row(one, case.status == CaseStatus.CONFIRMED, case.known_at, _chance(one, case))


def _chance(one: KeptVector, case: CaseRecord | None) -> float:
    """With what chance its label came: that of being let pass, else what the label says; 1 where nothing is said."""
    if one.explored and one.propensity:
        return one.propensity
    return 1.0 if case is None or case.propensity is None or not one.flagged else case.propensity


def _declared(model: ManagedModel) -> Declared:
    champion = model.overview().champion
    declared = None if champion is None else model.declared(champion)
    if declared is None:
        who = "it has no champion" if champion is None else f"its champion {champion} declares no features"
        raise RefusedError(
            f"what was served by {model.name!r} cannot be trained on: {who}",
            fix="train and promote a version whose features are declared (fds train declares them)",
        )
    return declared


def _table(name: str, declared: Declared, found: Sequence[_Row], account: Account) -> FeatureTable:
    """The rows as a table of the declaration's features."""
    spec = declared.spec
    times, roles = _origins(declared, found)
    columns: dict[str, Any] = {
        "transaction_id": pd.Series([row.kept.transaction_id for row in found], dtype="str"),
        "time": times,
        **roles,
        "label": np.array([row.fraud for row in found], dtype=np.int8),
        "label_known_at": _moments([row.known for row in found]),
    }
    chances = np.array([row.propensity for row in found])
    if (chances < 1).any():
        columns["label_propensity"] = chances
    for feature in spec.names:
        values = [row.kept.vector.features.get(feature) for row in found]
        if feature in spec.categorical:
            columns[feature] = code_column(pd.Series(values, dtype=object, name=feature))
        else:
            columns[feature] = np.array([np.nan if one is None else one for one in values], dtype=np.float64)
    frame = pd.DataFrame(columns)
    source = f"outcomes:{name}"
    return FeatureTable(
        frame,
        spec.names,
        list(spec.categorical),
        spec,
        digest(frame),
        source,
        period(frame["time"]),
        account.sentences,
        declared.schema,
    )


def _origins(declared: Declared, found: Sequence[_Row]) -> tuple[pd.Series[Any], dict[str, Any]]:
    """When the transactions took place, and their entities where all came raw; else when they were scored."""
    raw = [row.kept.vector.raw for row in found]
    if any(one is None for one in raw):
        return _moments([row.kept.time for row in found]), {}
    reader = Single(declared.schema)
    values = [reader.read(one or {}) for one in raw]
    time = pd.Series(np.array([one["time"] for one in values], dtype="datetime64[us]"))
    roles = declared.schema.entities
    return time, {role: pd.Series([one[role] for one in values], dtype="str") for role in roles}


def _moments(times: Sequence[datetime]) -> pd.Series[Any]:
    return pd.Series(np.array([micros_of(time) for time in times], dtype="datetime64[us]"))
