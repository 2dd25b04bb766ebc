"""Raw transactions in a worker: their rows get the features that the versions in service declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import fspath
from typing import TYPE_CHECKING, Any

from fds_mlflow.data.moments import micros_of
from fds_mlflow.errors import DataError, FdsError, RefusedError, UnavailableError
from fds_mlflow.features import declaration
from fds_mlflow.features.conflicts import conflicts
from fds_mlflow.features.declaration import Declared
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.requests.rows import WHOLE, Lack
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.serving.raw import Raw

if TYPE_CHECKING:
    from fds_mlflow.serving.worker.settings import ServerSettings


class Featuring:
    """Gives raw transactions their features.

    Args:
        settings: Where the state is, and what happens where it does not answer.
        serving: Tells what answers requests now.
        counted: How many transactions had features that were not what they would be, by why; is added to.

    Raises:
        ConfigError: The package that keeps the state is not installed.
        UnavailableError: The state cannot be read or written, and transactions are to be refused then.

    Attributes:
        at_hand: Whether the state is on this machine.
    """

    def __init__(
        self, settings: ServerSettings, serving: Callable[[], ServingState | None], counted: dict[str, int]
    ) -> None:
        assert settings.state is not None
        self.at_hand = "://" not in fspath(settings.state)
        self._serving = serving
        self._counted = counted
        self._conflicting: dict[tuple[int, int], bool] = {}
        self._raw = Raw(
            settings.state, self._declared, timeout=settings.state_timeout, on_failure=settings.state_failure
        )

    def __call__(
        self, state: ServingState, row: Mapping[str, Any], *, remember: bool
    ) -> tuple[Mapping[str, Any], Lack]:
        """A row with what champion and canary take of it, as it is where it has all that the champion takes.

        Args:
            state: What answers it.
            row: Values by column.
            remember: Take it into the state.

        Returns:
            The row, and what is amiss with it.

        Raises:
            DataError: It is neither raw nor computed, a value does not fit, or the champion declares nothing.
            UnavailableError: The state does not answer, and transactions are to be refused then.
        """
        champion, canary = state.champion, state.canary
        if champion.required <= row.keys():
            return row, WHOLE
        versions = [champion.version] if canary is None else [champion.version, canary.version]
        try:
            found = self._raw.featured(row, champion.version, versions, record=remember)
        except UnavailableError:
            raise
        except FdsError as error:
            if isinstance(error, DataError):
                raise
            raise DataError(error.what, fix=error.fix) from None
        if found is None:
            return row, WHOLE
        also: Mapping[str, Any] = {}
        barred: FdsError | None = None
        if canary is not None and canary.version != champion.version:
            also, barred = self._of_canary(found.rows[canary.version], champion, canary)
        lack = WHOLE
        if found.degraded is not None or barred is not None:
            ours = found.lacks(champion.version)
            theirs = None if canary is None else found.lacks(canary.version)
            lack = Lack(found.degraded, ours, theirs, barred)
        if found.degraded is not None:
            self._counted[found.degraded] = self._counted.get(found.degraded, 0) + 1
        return {**row, **also, **found.of(champion.version)}, lack

    def _of_canary(
        self, taken: Mapping[str, Any] | FdsError, champion: Loaded, canary: Loaded
    ) -> tuple[Mapping[str, Any], FdsError | None]:
        """What the canary takes beside the champion; why it cannot have the row."""
        if isinstance(taken, FdsError):
            return {}, taken
        if self._differ(champion, canary):
            return {}, RefusedError(
                f"versions {champion.version} and {canary.version} mean different things by one name",
                fix="name the features of the canary anew, and train it again",
            )
        return taken, None

    @property
    def problem(self) -> str | None:
        """Why the state does not answer, or what it lacks; None when all is well."""
        guard = self._raw.guard
        if guard.problem is not None:
            return f"the state does not answer: {guard.problem}"
        found = filter(None, map(self._raw.cold, self._versions()))
        return next((f"{error.what}; {error.fix}" for error in found), None)

    @property
    def answers(self) -> bool:
        """Whether the state answers."""
        return self._raw.guard.problem is None

    @property
    def waiting(self) -> int:
        """Transactions and labels that the state is still to be told."""
        return self._raw.guard.waiting

    @property
    def missed(self) -> int:
        """Those that it will never be told."""
        return self._raw.guard.missed

    def label(self, case: CaseRecord) -> None:
        """Take a label into the state, if it says what a transaction was and that is remembered."""
        if case.status != CaseStatus.SUSPECTED:
            fraud, known = case.status == CaseStatus.CONFIRMED, micros_of(case.known_at)
            self._raw.label(case.transaction_id, fraud=fraud, known=known)

    def tidy(self) -> None:
        """As `Raw.tidy`; the state keeps what the versions in service need, before the first transaction comes."""
        if versions := self._versions():
            self._raw.expect(versions[0], versions[1:])
        self._raw.tidy()

    def _versions(self) -> list[int]:
        state = self._serving()
        return [one.version for one in (state.champion, state.canary) if one is not None] if state is not None else []

    def close(self) -> None:
        """As `Raw.close`."""
        self._raw.close()

    def _declared(self, version: int) -> Declared | None:
        state = self._serving()
        for loaded in (state.champion, state.canary) if state is not None else ():
            if loaded is not None and loaded.version == version:
                return declaration.read(loaded.folder)
        return None

    def _differ(self, champion: Loaded, canary: Loaded) -> bool:
        """Whether they mean different things by one name: a row has one value for each."""
        both = champion.version, canary.version
        if both not in self._conflicting:  # it takes a digest of every feature
            self._conflicting[both] = bool(conflicts(*map(self._raw.spec, both)))
        return self._conflicting[both]
