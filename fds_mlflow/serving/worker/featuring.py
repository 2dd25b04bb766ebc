"""Raw transactions in a worker: their rows get the features that the versions in service declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fds_mlflow.data.moments import micros_of
from fds_mlflow.errors import DataError, FdsError
from fds_mlflow.features import declaration
from fds_mlflow.features.conflicts import conflicts
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.state.opening import Address
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.serving.raw import Raw


class Featuring:
    """Gives raw transactions their features.

    Args:
        address: Of the state.
        serving: Tells what answers requests now.

    Raises:
        ConfigError: The package that keeps the state is not installed.
        UnavailableError: The state cannot be read or written.
    """

    def __init__(self, address: Address, serving: Callable[[], ServingState | None]) -> None:
        self._serving = serving
        self._conflicting: dict[tuple[int, int], bool] = {}
        self._raw = Raw(address, self._declared)

    def __call__(self, state: ServingState, row: Mapping[str, Any], *, remember: bool) -> Mapping[str, Any]:
        """A row with what champion and canary take of it; as it is where it has all that the champion takes.

        Args:
            state: What answers it.
            row: Values by column.
            remember: Take it into the state.

        Raises:
            DataError: It is neither raw nor computed, a value does not fit, or the champion declares nothing.
            UnavailableError: The state cannot be read or written.
        """
        champion, canary = state.champion, state.canary
        if champion.required <= row.keys():
            return row
        versions = [champion.version] if canary is None else [champion.version, canary.version]
        try:
            found = self._raw.featured(row, champion.version, versions, record=remember)
        except FdsError as error:
            if isinstance(error, DataError):
                raise
            raise DataError(error.what, fix=error.fix) from None
        if found is None:
            return row
        also: Mapping[str, Any] = {}
        if canary is not None:
            taken = found.rows[canary.version]  # what is wrong with it is told by the columns that it then lacks
            also = taken if isinstance(taken, Mapping) and not self._differ(champion, canary) else {}
        return {**row, **also, **found.of(champion.version)}

    def label(self, case: CaseRecord) -> None:
        """Take a label into the state, if it says what a transaction was and that is remembered."""
        if case.status != CaseStatus.SUSPECTED:
            fraud, known = case.status == CaseStatus.CONFIRMED, micros_of(case.known_at)
            self._raw.label(case.transaction_id, fraud=fraud, known=known)

    def tidy(self) -> None:
        """As `Raw.tidy`."""
        self._raw.tidy()

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
