"""Moves outcomes, shadows and labels from the spool into the store, in batches, for as long as it takes."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fds_mlflow.errors import FdsError
from fds_mlflow.outcomes.records import OutcomeRecord, ShadowRecord, Value
from fds_mlflow.outcomes.sink import Sink, stored
from fds_mlflow.outcomes.truths import Truth
from fds_mlflow.serving.disk.spool import Item, Label, Spool, SpooledOutcome, SpooledShadow, case_of

log = logging.getLogger(__name__)

BATCH = 5_000
"""Items that go into the store at once."""

LATELY = 1_000
"""Vectors of a version that are kept at hand."""


class OutcomeRecorder:
    """Drains a spool into a store.

    Args:
        model: Registered model.
        spool: Where items wait.
        open_store: Opens the store where they go; asked again while it cannot be opened.

    Attributes:
        recorded: How many the store has taken.
        refused: How many it has refused, each told in the log.
        problem: Why the store takes nothing; None when all is well.
        lately: By version, the features of the last `LATELY` transactions whose vectors were recorded.
    """

    def __init__(self, model: str, spool: Spool, open_store: Callable[[], Sink]) -> None:
        self.model = model
        self.recorded = 0
        self.refused = 0
        self.problem: str | None = None
        self.lately: dict[int, deque[Mapping[str, Value]]] = {}
        self._spool = spool
        self._open_store = open_store
        self._store: Sink | None = None
        self._opening = threading.Lock()

    def drain(self) -> bool:
        """Move what waits, one kind after the other; whether nothing waits any more.

        The store is opened even where nothing waits: that it is away is known before there is something to lose.
        """
        waiting: dict[str, list[Path]] = {}
        for path in self._spool.waiting():
            waiting.setdefault(path.suffix, []).append(path)
        try:
            self._opened()
        except FdsError as error:
            self._wait(error)
            return not waiting
        if not waiting:
            self.problem = None
        return all(self._drained(paths) for paths in waiting.values())

    def explored(self, since: datetime) -> int:
        """How many outcomes the store has that were explored since a time.

        Raises:
            FdsError: It cannot be asked.
        """
        return self._opened().explored(self.model, since)

    def truths(self, after: int, limit: int) -> tuple[int, list[Truth]]:
        """What the store knows of transactions; see `outcomes.truths`.

        Raises:
            FdsError: It cannot be asked.
        """
        return self._opened().truths(after, limit)

    def _drained(self, paths: list[Path]) -> bool:
        """Whether the store has taken these files, all of one kind."""
        batch: list[Item] = []
        files: list[Path] = []
        for path in paths:
            batch += self._read(path)
            files.append(path)
            if len(batch) >= BATCH:
                if not self._move(batch, files):
                    return False
                batch, files = [], []
        return self._move(batch, files)

    def _read(self, path: Path) -> list[Item]:
        try:
            return self._spool.read(path)
        except FileNotFoundError:
            return []
        except msgspec.DecodeError as error:
            log.error("%s was damaged and lies aside: %s", path.name, error)  # noqa: TRY400 - the trace says no more
            self._spool.refuse(path)
            return []

    def _move(self, batch: list[Item], files: list[Path]) -> bool:
        """Whether the store has taken a batch; where it refuses one, each item goes alone."""
        if batch and not self._stored(batch):
            return False
        for path in files:
            self._spool.done(path)
        return True

    def _stored(self, batch: list[Item]) -> bool:
        store = self._opened()
        match batch[0]:
            case SpooledOutcome():
                return self._taken(store.record, self._outcome, batch) and self._remembered(batch)
            case SpooledShadow():
                return self._taken(store.record_shadows, self._shadow, batch)
            case Label():
                return self._taken(store.label, case_of, batch)

    def _remembered(self, batch: list[Item]) -> bool:
        """Keep the newest vectors at hand."""
        for item in batch:
            if isinstance(item, SpooledOutcome) and item.vector is not None and not item.degraded:
                self.lately.setdefault(item.version, deque(maxlen=LATELY)).append(item.vector.features)
        return True

    def _opened(self) -> Sink:
        with self._opening:
            if self._store is None:
                self._store = self._open_store()
            return self._store

    def _outcome(self, item: SpooledOutcome) -> OutcomeRecord:
        return OutcomeRecord(model=self.model, **_fields(item))

    def _shadow(self, item: SpooledShadow) -> ShadowRecord:
        return ShadowRecord(model=self.model, **_fields(item))

    def _wait(self, error: FdsError) -> bool:
        if self.problem is None:
            log.warning("outcomes of %s wait on disk: %s", self.model, error.what)
        self.problem = error.what
        return False

    def _taken(self, take: Callable[[Any], int], record: Callable[[Any], Any], items: list[Item]) -> bool:
        try:
            refused = stored(lambda some: take([record(item) for item in some]), items)
        except FdsError as error:
            return self._wait(error)
        self.refused += refused
        self.recorded += len(items) - refused
        self.problem = None
        return True


def _fields(item: SpooledOutcome | SpooledShadow) -> dict[str, Any]:
    """The item as the store's record of the same fields takes it, but for the model."""
    return {**msgspec.structs.asdict(item), "time": datetime.fromtimestamp(item.time, UTC)}
