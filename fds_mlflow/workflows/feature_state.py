"""The state that features of raw transactions are computed from: filled from history, verified, shown, forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from math import nan

import numpy as np

from fds_mlflow.data.moments import moment_of
from fds_mlflow.data.transactions import Transactions
from fds_mlflow.errors import ConfigError, NotFoundError, RefusedError
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state import bulk, verification
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.logs import LABEL, RECORD, Told
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.opening import Address, opened
from fds_mlflow.features.state.state import Size, State
from fds_mlflow.features.state.verification import Verified
from fds_mlflow.model import ManagedModel
from fds_mlflow.workflows.source import Source

SPANS = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))


@dataclass(frozen=True)
class Shown:
    """What a state keeps of an entity.

    Attributes:
        transactions: How many.
        first: The time of the earliest; None without any.
        last: The time of the latest.
        within: By length, the transactions so long before the latest, that one included.
        labels: Known labels of its transactions.
        frauds: Frauds among them.
        latest: Time and numeric columns of the latest, the latest first.
    """

    transactions: int
    first: datetime | None
    last: datetime | None
    within: dict[timedelta, int]
    labels: int
    frauds: int
    latest: list[tuple[datetime, dict[str, float]]]


def load(address: Address, specs: Sequence[FeatureSpec], source: Source) -> tuple[int, Size]:
    """Fill an empty state from history.

    Args:
        address: Of the state; begun where there is none.
        specs: The features that are to be computed from it.
        source: The history.

    Returns:
        How many transactions were loaded, and what the state then holds.

    Raises:
        ConfigError: Nothing says what is to be kept, or the features need what the schema does not have.
        RefusedError: The state is not empty.
        UnavailableError: The state cannot be written.
    """
    layout = Layout.of(specs)
    if not layout.roles:
        raise ConfigError("these features look at no past, so there is no state to load", fix="nothing has to be done")
    transactions = source.read()
    for spec in specs:
        verification.check(transactions, spec)
    with closing(State(opened(address), layout)) as state:
        return bulk.load(state, transactions.frame), state.size()


def verify(spec: FeatureSpec, transactions: Transactions, progress: Callable[[float], None] | None = None) -> Verified:
    """Replay a history through the online engine and compare with the batch, in memory.

    Raises:
        ConfigError: The features need what the schema or these rows do not have.
    """
    verification.check(transactions, spec)
    return verification.verify(State(MemoryStore(), Layout.of([spec])), transactions, spec, progress)


def declared(name: str) -> list[FeatureSpec]:
    """The features that a model's champion and canary declare.

    Raises:
        NotFoundError: It has no champion.
        RefusedError: One of them declares nothing.
    """
    model = ManagedModel(name)
    look = model.session.look()
    versions = [one for alias, one in look.model.aliases.items() if alias in ("champion", "canary")]
    if not versions:
        raise NotFoundError(f"{name} has no champion", fix="promote a version, or name a specification")
    found = []
    for version in versions:
        said = model.declared(version)
        if said is None:
            raise RefusedError(
                f"version {version} of {name} declares no features", fix="train it again, or name a specification"
            )
        found.append(said.spec)
    return found


@contextmanager
def _opened(address: Address, role: str) -> Iterator[State]:
    """The state at an address, which has to keep a role; let go of in the end."""
    with closing(State(opened(address, begin=False), Layout())) as state:
        if role not in state.layout.roles:
            raise ConfigError(f"the state keeps no {role!r}", fix=f"it keeps {', '.join(state.layout.roles)}")
        yield state


def show(address: Address, role: str, value: str, *, latest: int = 10) -> Shown:
    """What a state keeps of an entity.

    Raises:
        NotFoundError: There is no state.
        ConfigError: It keeps no such role.
    """
    with _opened(address, role) as state:
        return state.of(role, value, lambda told: _shown(told, state.layout.numbers, latest))


def forget(address: Address, role: str, value: str) -> int:
    """Remove all that a state keeps of an entity; returns the number of its records and labels.

    Raises:
        NotFoundError: There is no state.
        ConfigError: It keeps no such role.
    """
    with _opened(address, role) as state:
        return state.forget(role, value)


def _shown(told: Told, names: Sequence[str], latest: int) -> Shown:
    parts = told.columns(RECORD)
    times = sorted(chain.from_iterable(columns[0].tolist() for columns in parts))
    rows = list[tuple[int, dict[str, float]]]()
    for columns in parts:
        for place in columns[0].argsort()[-latest:].tolist():
            numbers = columns[2:, place].copy().view(np.float64).tolist()
            numbers += [nan] * (len(names) - len(numbers))
            rows.append((int(columns[0, place]), dict(zip(names, numbers, strict=False))))
    rows.sort(key=lambda row: row[0], reverse=True)
    labels = [columns[2:4].sum(axis=1).tolist() for columns in told.columns(LABEL)]
    since = {
        span: np.searchsorted(times, times[-1] - span // timedelta(microseconds=1), "right") for span in SPANS if times
    }
    return Shown(
        len(times),
        moment_of(times[0]) if times else None,
        moment_of(times[-1]) if times else None,
        {span: len(times) - int(place) for span, place in since.items()},
        sum(adds for adds, _ in labels),
        sum(frauds for _, frauds in labels),
        [(moment_of(time), values) for time, values in rows[:latest]],
    )
