"""A history into a state that holds something: what the state lacks of it, and nothing twice, while it is in use.

A transaction that never arrived is missing everywhere; one that arrived is missing where the state did not keep then
what it keeps now: a role, a counted pair, a numeric column, a longer window. It is added as one that arrives late,
which every engine reckons with; so what comes later finds what it would have found, had it been there all the time.
How far it has come is written with each batch: killed at any moment, it goes on from there when it is started again.
"""

from __future__ import annotations

import json
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import xxhash

from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.features import meaning
from fds_mlflow.features.engines.staging import known_labels, micros
from fds_mlflow.features.state import head
from fds_mlflow.features.state.coverage import BEGINNING, IDS, LABELLED, Since, labels_of, number_of, pair_of
from fds_mlflow.features.state.entry import add_record, latest_of, recounted
from fds_mlflow.features.state.layout import entity
from fds_mlflow.features.state.logs import LABEL, append, patched
from fds_mlflow.features.state.remembered import UNKNOWN, Remembered, entity_key, hashed, transaction_key
from fds_mlflow.features.state.state import Arriving, State
from fds_mlflow.features.state.store import Values, write

BATCH = 100
"""Transactions that are added at once: others who write wait so long."""

PAUSE = 0.002
"""Seconds between two batches, in which the others write."""

_NOTE, _LOWEST = b"filling", b"lowest"


@dataclass(frozen=True)
class Progress:
    """How far a history has been taken in, as it is noted in the state.

    Attributes:
        digest: Of the history.
        place: So many rows were looked at.
        base: The number before the first one's: what is added has numbers below those of all arrivals.
        latest: The latest time when it began, microseconds.
        added: So many were added to something.
        since: What was known when it began, by name.
    """

    digest: str
    place: int
    base: int
    latest: int
    added: int
    since: dict[str, Since]


def fill(
    state: State, frame: pd.DataFrame, *, complete: bool = False, progress: Callable[[float], None] | None = None
) -> int:
    """Add to a state what it lacks of a history.

    Args:
        state: Has what is to be remembered in its layout; others may use it meanwhile.
        frame: Transactions in canonical columns, in the order of arrival; labels that are known are taken in.
        complete: There was nothing before them: windows that reach back further are whole.
        progress: Is told the share that was looked at, from 0 to 1.

    Returns:
        How many transactions were added to something.

    Raises:
        DataError: An id stands for another transaction in the state.
        RefusedError: Another history is half taken in, or another process is at it.
    """
    order = micros(frame["time"]).argsort(kind="stable")
    filling = _Filling(state, frame.iloc[order].reset_index(drop=True))
    said = filling.begun()
    while said.place < filling.rows:
        said = filling.batch(said)
        clock.sleep(PAUSE)
        if progress is not None:
            progress(said.place / filling.rows)
    filling.mend(said)
    filling.end(said, complete=complete)
    return said.added


class _Filling:
    """One history, ordered by time.

    Attributes:
        rows: How many of its transactions any window can reach.
    """

    def __init__(self, state: State, frame: pd.DataFrame) -> None:
        self._state, self._store, self._layout = state, state.store, state.layout
        times = micros(frame["time"])
        self._first = int(times[0])
        content = repr((frame["transaction_id"].tolist(), times.tolist())).encode("utf-8", "surrogatepass")
        self._digest = xxhash.xxh3_128_hexdigest(content)
        self._take(frame)

    def _take(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self.rows = len(frame)
        self._times = micros(frame["time"])
        self._ids: list[str] = frame["transaction_id"].tolist()
        roles = dict.fromkeys((*self._layout.roles, *(other for _, other in self._layout.pairs)))
        self._entities = {role: frame[role].astype(object).where(frame[role].notna(), None).tolist() for role in roles}
        self._numbers = {one: frame[one].to_numpy(dtype=np.float64, na_value=np.nan) for one in self._layout.numbers}
        self._label, known = known_labels(frame)
        there = known != meaning.NEVER
        self._moments = np.where(there, np.maximum(known, self._times + self._layout.label_delay), meaning.NEVER)

    def begun(self) -> Progress:
        """Where it stands; noted where it begins."""
        said = write(self._store, self._begun)
        if not self._layout.gaps:
            late = (self._moments != meaning.NEVER) & (self._moments > said.latest - self._layout.label_span)
            self._take(self._frame[(self._times > said.latest - self._layout.span) | late].reset_index(drop=True))
        return said

    def _begun(self, values: Values) -> Progress:
        said = _noted(values)
        if head.note(values, head.LOADING) is not None:
            raise RefusedError(
                "the state was used before a history was whole in it", fix="load the history into an empty state"
            )
        if said is None:
            lowest = int.from_bytes(head.note(values, _LOWEST) or b"", "big", signed=True) - self.rows
            head.put_note(values, _LOWEST, lowest.to_bytes(8, "big", signed=True))
            known, latest = head.begun(values), latest_of(values)
            said = Progress(self._digest, 0, lowest - 1, latest, 0, {one: known.of(one) for one in known.since})
            _note(values, said)
        elif said.digest != self._digest:
            raise RefusedError(
                "another history is half taken into the state", fix="load that one again first: it goes on"
            )
        return said

    def batch(self, before: Progress) -> Progress:
        """Take in the next rows, all or none of them."""
        return write(self._store, partial(self._batch, before))

    def _batch(self, before: Progress, values: Values) -> Progress:
        if _noted(values) != before:
            raise RefusedError("another process loads this history into the state", fix="let that one finish")
        end = min(before.place + BATCH, self.rows)
        added = sum(self._row(values, place, before) for place in range(before.place, end))
        after = replace(before, place=end, added=before.added + added)
        _note(values, after)
        return after

    def _row(self, values: Values, place: int, said: Progress) -> bool:
        """Add one transaction, and its label, where they are missing; whether they were anywhere."""
        ident, time, own_number = self._ids[place], int(self._times[place]), said.base + 1 + place
        kept = values.get(transaction_key(ident), b"")
        of = Remembered(own_number, time, UNKNOWN, []) if kept is None else Remembered.read(kept)
        if of.time != time:
            raise DataError(
                f"transaction {ident!r} is in the state with another time",
                fix="give every transaction an id of its own",
            )
        given = {role: one[place] for role, one in self._entities.items()}
        own = {role: entity(role, given[role]) for role in self._layout.roles if given[role] is not None}
        recent = self._layout.gaps or time > said.latest - self._layout.span
        missing = partial(_missing, said, time, None if kept is None else of.number) if recent else _none
        roles = list(filter(missing, own))
        pairs = [at for at, pair in enumerate(self._layout.pairs) if pair[0] in own and missing(pair_of(*pair))]
        fresh = not of.labelled and int(self._moments[place]) != meaning.NEVER
        if fresh:
            of.labelled, of.fraud, of.moment = True, bool(self._label[place] == 1), int(self._moments[place])
        counts = of.labelled and of.moment > said.latest - self._layout.label_span
        labelled = [r for r in own if counts and (fresh or own[r] not in of.entities or _gone(said, r, of))]
        if not (roles or pairs or labelled or fresh):
            return False
        numbers = {one: float(column[place]) for one, column in self._numbers.items()}
        entry = self._state.entry(Arriving(ident, time, given, numbers))
        for role in roles:
            add_record(values, own[role], entry.record, of.number)
        of.entities = list(dict.fromkeys((*of.entities, *(own[role] for role in (*roles, *labelled)))))
        for role in labelled:
            row = np.array([of.moment, own_number, 1, of.fraud], dtype="<i8").tobytes()
            append(values, entity_key(own[role]), None, LABEL, [row])
        values.put(transaction_key(ident), b"", of.written())
        return True

    def mend(self, said: Progress) -> None:
        """Write into the logs that were there what they lack, entity by entity; harmless if done twice.

        Records get their numeric columns, and what is counted is counted anew: of a value that occurs again nothing
        says when it did before, once that was removed.
        """
        reaching = partial(_reaches, time=self._first - 1)
        columns = [at for at, one in enumerate(self._layout.numbers) if reaching(said.since.get(number_of(one)))]
        if not self.rows:
            return
        with self._store.reading() as values:
            arrivals = np.array([_number(values, ident) for ident in self._ids], dtype=np.int64)
        for role in self._layout.roles:
            pairs = [
                at
                for at, pair in enumerate(self._layout.pairs)
                if pair[0] == role and (said.added or reaching(said.since.get(pair_of(*pair))))
            ]
            codes, found = pd.factorize(np.array(self._entities[role], dtype=object))
            order = np.lexsort((arrivals, codes))
            order = order[(codes[order] >= 0) & (arrivals[order] != 0)]
            starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
            for places in np.split(order, starts[1:]) if len(order) and (columns or pairs) else ():
                own = entity(role, found[codes[places[0]]])
                numbers = arrivals[places]
                given = {at: self._numbers[self._layout.numbers[at]][places] for at in columns}
                seen = {at: self._seen(at, places.tolist(), numbers.tolist()) for at in pairs}
                since = said.latest - 2 * self._layout.span

                def mended(values: Values) -> None:
                    if given:  # noqa: B023 - called before the next one
                        patched(values, entity_key(own), numbers, given)  # noqa: B023
                    for at, occurred in seen.items():  # noqa: B023
                        recounted(values, own, at, occurred, since)  # noqa: B023

                write(self._store, mended)

    def _seen(self, at: int, places: Sequence[int], numbers: Sequence[int]) -> list[tuple[bytes, int, int]]:
        """What occurred in some rows: the hashed values of a pair, when, and the numbers of the arrivals."""
        other = self._entities[self._layout.pairs[at][1]]
        rows = zip(places, numbers, strict=True)
        return [(hashed(other[row]), int(self._times[row]), number) for row, number in rows if other[row] is not None]

    def end(self, said: Progress, *, complete: bool) -> None:
        """Say since when all of it is known by now, and forget how far it has come."""
        write(self._store, partial(self._end, said, complete))

    def _end(self, said: Progress, complete: bool, values: Values) -> None:
        layout = self._layout
        known, latest = head.coverage(values), latest_of(values)
        for one, before in said.since.items():
            span = layout.label_span if one.endswith(LABELLED) else layout.span
            time = BEGINNING if complete else self._first - 1
            if self._first <= said.latest - span and (one.endswith(LABELLED) or not layout.gaps):
                time = max(time, said.latest - span)  # what is older was left out
            if known.of(one) != before:
                time = max(time, latest - span)  # something was removed meanwhile
            if _reaches(known.of(one), time):
                known = known.reaching([one], time)
        head.put_coverage(values, known)
        head.drop_note(values, _NOTE)


def _missing(said: Progress, time: int, number: int | None, what: str) -> bool:
    """Whether a transaction is not known in one of the things that are kept.

    Args:
        said: What was known when the history began to be taken in.
        time: Of the transaction, microseconds.
        number: Its arrival; None of one whose id is not remembered: where ids are, it never arrived.
        what: Name of the thing.
    """
    ids = said.since.get(IDS, Since())
    if number is None and ids.time is not None and time > max(ids.time, ids.removed):
        return True
    return not said.since.get(what, Since()).has(time, number)


def _none(what: str) -> bool:  # noqa: ARG001 - as `_missing`
    """Nothing is missing of what no window can reach."""
    return False


def _gone(said: Progress, role: str, of: Remembered) -> bool:
    """Whether a label that was there was removed as too old."""
    since = said.since.get(labels_of(role), Since())
    return of.moment <= since.removed and 0 < of.number <= since.removed_number


def _reaches(since: Since | None, time: int) -> bool:
    """Whether something that begins at a time reaches back further than what is known."""
    return since is None or since.time is None or time < max(since.time, since.removed)


def _number(values: Values, ident: str) -> int:
    """The arrival of a transaction; 0 of one that is not remembered."""
    kept = values.get(transaction_key(ident), b"")
    return 0 if kept is None else Remembered.read(kept).number


def _noted(values: Values) -> Progress | None:
    kept = head.note(values, _NOTE)
    if kept is None:
        return None
    said = json.loads(kept)
    return Progress(**{**said, "since": {one: Since(*of) for one, of in said["since"].items()}})


def _note(values: Values, said: Progress) -> None:
    head.put_note(values, _NOTE, json.dumps(said.__dict__).encode())
