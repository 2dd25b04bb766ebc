"""Features of raw transactions, for each version that scores them, from one state."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Literal

from fds_mlflow.data.moments import micros_of
from fds_mlflow.data.single import Single
from fds_mlflow.errors import ConfigError, FdsError, RefusedError, UnavailableError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.coverage import Coverage, needed
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.opening import Address, opened
from fds_mlflow.features.state.state import Arrival, Arriving, State
from fds_mlflow.features.state.store import Store
from fds_mlflow.features.vector import Vector, arriving
from fds_mlflow.runtime.clock import Clock, SystemClock
from fds_mlflow.serving.featured import Featured, Known, Row, lacking, require_past
from fds_mlflow.serving.guard import Guard, Why
from fds_mlflow.serving.inputs import Origin

log = logging.getLogger(__name__)

OnFailure = Literal["degrade", "refuse"]
"""What becomes of a raw transaction while the state does not answer."""

TIMEOUT = 0.25
"""Seconds that a transaction waits for the state."""

TIDY_SECONDS = 3_600
"""How often what is too old is removed."""

LOOK_SECONDS = 2.0
"""How often is looked at since when the state knows what it keeps."""

_DAY = 86_400_000_000
_LATE = _DAY
"""How late a transaction may arrive and still see all of its windows, microseconds."""
_LABELLED = 180 * _DAY
"""How old a transaction may be and still get a label, or be known when it is sent again."""


class Raw:
    """Computes the features of raw transactions.

    Args:
        address: Of the state; begun where there is none.
        declared: Tells what a version declares.
        timeout: Seconds that a transaction waits for the state.
        on_failure: Whether transactions get the features over nothing while the state does not answer, or are refused.
        clock: Time.

    Raises:
        ConfigError: The package that keeps the state is not installed, or an argument is none.
        UnavailableError: The state cannot be read or written, and transactions are to be refused then.

    Attributes:
        guard: Stands before the state.
    """

    def __init__(
        self,
        address: Address,
        declared: Callable[[int], Declared | None],
        *,
        timeout: float = TIMEOUT,
        on_failure: OnFailure = "degrade",
        clock: Clock | None = None,
    ) -> None:
        if timeout <= 0 or on_failure not in ("degrade", "refuse"):
            raise ConfigError(
                f"a state cannot be waited for {timeout!r} s and then {on_failure!r}",
                fix="give seconds above 0, and degrade or refuse",
            )
        self._open = partial(opened, address, timeout=timeout)
        self._store: Store | None = None
        self._state: State | None = None
        self._degrades = on_failure == "degrade"
        self._clock = clock or SystemClock()
        self._declared = declared
        self._versions: dict[int, Known] = {}
        self._vectors: dict[int, Vector | FdsError] = {}
        self._coverage = Coverage()
        self._looked, self._tidied, self._synced = float("-inf"), self._clock.monotonic(), 0
        self._lock, self._joining = threading.Lock(), threading.Lock()
        self.guard = Guard(lambda: self._opened().coverage, timeout)
        if isinstance(self.guard.ask(self._look), Why) and not self._degrades:
            raise self._refused()

    def featured(
        self,
        row: Row,
        champion: int,
        others: Iterable[int] = (),
        *,
        record: bool = True,
        wanted: Collection[int] | None = None,
    ) -> Featured | None:
        """What versions take of a transaction.

        Args:
            row: Either all columns that the champion takes, or all of the schema that it declares.
            champion: Its version.
            others: Further versions on trial. What is wrong with one, or lacking, is told when its row is asked for.
            record: Take the transaction into the state, once whatever how often it is sent; it remembers for all.
            wanted: The versions whose features are computed; None for all.

        Returns:
            None where the row has all columns that the champion takes: they are computed already.

        Raises:
            RefusedError: The champion declares nothing.
            DataError: The row has neither, a value does not fit, the time is more than a day ahead, or the id stands
                for another transaction.
            UnavailableError: The state does not answer, and transactions are to be refused then.
        """
        first = self._version(champion)
        if all(name in row for name in first.over_nothing.names):
            return None
        values, failed = {champion: first.read(row)}, dict[int, Row | FdsError]()
        given = arriving(first.declared.schema, values[champion])
        for version in {*others} - {champion}:
            try:
                given = self._read(version, row, given, values)
            except FdsError as error:
                failed[version] = error
        known = {version: self._versions[version] for version in values}
        require_past(given, self._clock.now())
        asked = [version for version in values if wanted is None or version in {*wanted, champion}]

        def question() -> dict[int, Row | FdsError]:
            state = self._joined(known, champion)
            vectors = {version: self._vectors[version] for version in asked}

            def compute(arrival: Arrival) -> dict[int, Row | FdsError]:
                return {one: _features(vector, values[one], arrival) for one, vector in vectors.items()}

            return (state.arrive if record else state.look)(given, compute)

        found = self.guard.ask(question)
        if isinstance(found, Why):
            self._require_answer()
            nothing = {version: known[version].nothing_of(values[version], given) for version in asked}
            if record:
                self.guard.later(lambda: self._joined(known, champion).arrive(given, _nothing))
            return Featured({**nothing, **failed}, found)
        cold = {version for version, one in known.items() if self._is_cold(one, given.time)}
        barred = {version: lacking(version) for version in cold - {champion}}
        return Featured({**found, **failed, **barred}, None, cold)

    def _read(self, version: int, row: Row, given: Arriving, values: dict[int, dict[str, Any]]) -> Arriving:
        """A transaction with what another version reads of it, whose values are added.

        Raises:
            FdsError: It cannot be read, or reads otherwise.
        """
        known = self._version(version)
        read = known.read(row)
        given = _together(given, arriving(known.declared.schema, read), version)
        values[version] = read
        return given

    def spec(self, version: int) -> FeatureSpec:
        """The features of a version whose rows were computed."""
        return self._versions[version].declared.spec

    def origin(self, version: int) -> Origin:
        """Where the features of a version whose rows were computed come from."""
        known = self._versions[version]
        return Origin(known.reader.columns, known.declared.digest)

    def computed(self, columns: Iterable[str], champion: int) -> bool:
        """Whether rows of some columns have all that the champion takes; so they have where it declares nothing."""
        try:
            known = self._version(champion)
        except RefusedError:
            return True
        return set(columns) >= {*known.over_nothing.names}

    def expect(self, champion: int, others: Iterable[int] = ()) -> None:
        """Have the state keep what versions need, before the first transaction comes.

        Args:
            champion: Its version.
            others: Further versions on trial.
        """
        known = {}
        for version in (champion, *others):
            try:
                known[version] = self._version(version)
            except FdsError:
                continue  # told where a row of it is asked for
        self.guard.ask(lambda: self._joined(known, champion))

    def cold(self, version: int) -> FdsError | None:
        """What to do where the state lacks a window of a version just now; None where it does not, as far as is known.

        Args:
            version: One that was expected, or whose features were computed.
        """
        known = self._versions.get(version)
        if known is None or self.guard.problem is not None or not self._is_cold(known, micros_of(self._clock.now())):
            return None
        return lacking(version)

    def label(self, transaction: str, *, fraud: bool, known: int) -> bool:
        """Take a label, or its correction, into the state; whether the transaction is remembered there.

        Where the state does not answer it is told later, and this is False.

        Args:
            transaction: Its id.
            fraud: What it says.
            known: When it became known, microseconds since 1970 (UTC).

        Raises:
            UnavailableError: The state does not answer, and transactions are to be refused then.
        """

        def tell() -> bool:
            return self._opened().label(transaction, fraud=fraud, known=known)

        found = self.guard.ask(tell)
        if isinstance(found, bool):
            return found
        self._require_answer()
        self.guard.later(tell)
        return False

    def tidy(self) -> None:
        """Have what was recorded on the disk, and from time to time remove what no window can reach any more.

        Time goes by the transactions, as far as they are not ahead of the clock.
        """
        self.guard.ask(self._tidy)

    def close(self) -> None:
        """Let go of the state, which is told before what it missed."""
        self.guard.close()
        if self._store is not None:
            try:
                self._store.close()
            except UnavailableError as error:
                log.warning("the state was let go of before all of it was on the disk: %s", error.what)

    # --- the state -----------------------------------------------------------------------------------------

    def _opened(self) -> State:
        """The state, whatever it keeps; opened where that has not been possible so far."""
        with self._joining:
            if self._state is None:
                if self._store is None:
                    self._store = self._open()
                self._state = State(self._store, Layout())
            return self._state

    def _joined(self, known: Mapping[int, Known], champion: int) -> State:
        """The state, which keeps what versions need.

        Raises:
            ConfigError: It cannot keep what the champion needs.
        """
        state = self._opened()
        for version in known.keys() - self._vectors.keys():
            spec = known[version].declared.spec
            with self._joining:
                try:
                    state = self._state = State(state.store, Layout.of([spec]))
                    self._vectors[version] = Vector(spec, state.layout)
                except ConfigError as error:
                    if version == champion:
                        raise
                    self._vectors[version] = error
                self._looked = float("-inf")
        self._look()
        return state

    def _look(self) -> None:
        """Learn from time to time since when it knows what it keeps."""
        if self._clock.monotonic() - self._looked >= LOOK_SECONDS:
            self._coverage = self._opened().coverage
            self._looked = self._clock.monotonic()

    def _tidy(self) -> None:
        state = self._opened()
        number = state.number
        if number != self._synced and self._store is not None:
            self._store.sync()
            self._synced = number
        if self._clock.monotonic() - self._tidied >= TIDY_SECONDS:
            self._tidied = self._clock.monotonic()
            now = min(state.latest, micros_of(self._clock.now()))
            if state.turn("expired", TIDY_SECONDS):  # of all that share it, one does so
                state.expire(now - _LATE, now - _LABELLED)

    def _require_answer(self) -> None:
        """Refuse what the state did not answer, where that is wished.

        Raises:
            UnavailableError: It is.
        """
        if not self._degrades:
            raise self._refused()

    def _refused(self) -> UnavailableError:
        return UnavailableError(
            f"the state of raw transactions does not answer: {self.guard.problem}",
            fix="send the features computed, or try again; its log says more",
        )

    # --- a version, a transaction --------------------------------------------------------------------------

    def _version(self, version: int) -> Known:
        with self._lock:
            if version not in self._versions:
                declared = self._declared(version)
                if declared is None:
                    raise RefusedError(
                        f"version {version} declares no features, so raw transactions cannot be scored",
                        fix="train it again, or send all columns that it takes",
                    )
                spec = declared.spec
                nothing = State(MemoryStore(), Layout.of([spec]))
                self._versions[version] = Known(
                    declared, Single(declared.schema), needed(spec), nothing, Vector(spec, nothing.layout)
                )
            return self._versions[version]

    def _is_cold(self, known: Known, time: int) -> bool:
        whole = self._coverage.whole_from(known.needs)
        return whole is None or time < whole


def _nothing(arrival: Arrival) -> None:
    """Nothing is computed of a transaction that was answered before."""


def _together(given: Arriving, other: Arriving, version: int) -> Arriving:
    """One transaction as several versions read it: what any of them needs is remembered.

    Raises:
        RefusedError: This version reads by one name something else than those before it: the past has one of each.
    """
    pairs = ((given.entities, other.entities), (given.numbers, other.numbers))
    differ = [
        name for ours, theirs in pairs for name in ours.keys() & theirs.keys() if _differ(ours[name], theirs[name])
    ]
    differ += [
        name for name, ours, theirs in (("id", given.id, other.id), ("time", given.time, other.time)) if ours != theirs
    ]
    if differ:
        raise RefusedError(
            f"the schema of version {version} reads {', '.join(sorted(differ))} otherwise than the champion's",
            fix="give what it reads a name of its own in its schema, and train it again",
        )
    return Arriving(given.id, given.time, {**given.entities, **other.entities}, {**given.numbers, **other.numbers})


def _differ(ours: Any, theirs: Any) -> bool:
    return bool(ours != theirs) and (ours == ours or theirs == theirs)  # noqa: PLR0124 - NaN is missing on both sides


def _features(vector: Vector | FdsError, values: Mapping[str, Any], arrival: Arrival) -> Row | FdsError:
    """The features of a version; why it has none."""
    return vector if isinstance(vector, FdsError) else vector.features(values, arrival)
