"""The state that features of raw transactions are computed from: filled from history, verified, shown, forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from math import nan

import numpy as np

from fds_mlflow.data.moments import micros_of, moment_of
from fds_mlflow.data.transactions import Transactions
from fds_mlflow.errors import ConfigError, NotFoundError, RefusedError
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state import bulk, filling, verification
from fds_mlflow.features.state.coverage import BEGINNING, needed
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


@dataclass(frozen=True)
class Loaded:
    """What became of a history.

    Attributes:
        transactions: How many were taken in; of a state that held something those of which it lacked anything.
        size: What the state holds.
        whole_from: The first moment from which on all windows are whole; None for always, or while that is not known.
    """

    transactions: int
    size: Size
    whole_from: datetime | None


def load(
    address: Address,
    specs: Sequence[FeatureSpec],
    source: Source | None,
    *,
    complete: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Loaded:
    """Fill a state from history: an empty one with all of it, another one with what it lacks.

    Args:
        address: Of the state; begun where there is none.
        specs: The features that are to be computed from it.
        source: The history; None for none, where what is there is all there was.
        complete: There was nothing before it, and before what the state holds: windows that reach back further are
            whole.
        progress: Is told the share of the history that was looked at, from 0 to 1.

    Raises:
        ConfigError: Nothing says what is to be kept, or the features need what the schema does not have.
        RefusedError: Another history is half taken in.
        UnavailableError: The state cannot be written.
    """
    layout = Layout.of(specs)
    if not layout.roles:
        raise ConfigError("these features look at no past, so there is no state to load", fix="nothing has to be done")
    transactions = None if source is None else source.read()
    for spec in specs:
        if transactions is not None:
            verification.check(transactions, spec)
    with closing(State(opened(address), layout)) as state:
        rows = 0
        if transactions is not None and state.number:
            rows = filling.fill(state, transactions.frame, complete=complete, progress=progress)
        elif transactions is not None:
            rows = bulk.load(state, transactions.frame, complete=complete)
        if complete:
            state.accept()
        known = state.coverage
        whole = [known.whole_from(needed(spec)) for spec in specs]
        latest = max((one for one in whole if one is not None), default=BEGINNING)
        return Loaded(rows, state.size(), None if None in whole or latest == BEGINNING else moment_of(latest))


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


def lacking(model: ManagedModel, version: int, address: Address | None) -> str | None:
    """What a canary's windows lack, and the command that loads it; None where they lack nothing.

    Args:
        model: The model.
        version: The canary.
        address: Of the servers' state; None where that is not known: then whatever the champion does not look at.
    """
    said = model.declared(version)
    needs = {} if said is None else needed(said.spec)
    if not needs:
        return None
    what = f"version {version} gets no raw transactions while their state lacks its windows"
    run = f"fds features load --model {model.name} --data HISTORY --state {'STATE' if address is None else address}"
    if address is None:
        champion = model.session.look().champion_alias
        there = None if champion is None else model.declared(champion)
        known = {} if there is None else needed(there.spec)
        if all(span <= known.get(name, -1) for name, span in needs.items()):
            return None
        return f"{what}, and it looks at more than the champion: {run} (or name the servers' --state here)"
    with closing(State(opened(address, begin=False), Layout())) as state:
        whole = state.coverage.whole_from(needs)
    now = micros_of(model.session.now())
    if whole is not None and whole <= now:
        return None
    until = "" if whole is None else f", which is so until {moment_of(whole):%Y-%m-%d %H:%M} UTC"
    return f"{what}{until}: {run}"


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


def forget(address: Address, role: str, value: str, *, dry_run: bool = False) -> int:
    """Remove all that a state keeps of an entity, or only count it; returns the number of its records and labels.

    Raises:
        NotFoundError: There is no state.
        ConfigError: It keeps no such role.
    """
    with _opened(address, role) as state:
        return state.forget(role, value, dry_run=dry_run)


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
