"""Processes that operate on one model at once, and what their answers and the history must say afterwards."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from random import Random

from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Ending, Event, Kind
from fds_mlflow.errors import ConflictError, OutcomeUnknownError, UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.doctor import Severity, examine
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id
from tests.support.registry_world import assert_settled
from tests.support.victim import LIFETIME, Told, operate, read_journal

WRITES = 16
"""A victim lives for at most so many writes: two operations, so that every write of one is as likely its last."""

ATTEMPTS = 20
"""How often the end is asked for, on a machine that has other things to do."""


class Running:
    """A process that operates, and the pipe that tells of its writes."""

    def __init__(self, context: ForkServerContext, uri: str, model: str, name: str, journal: Path) -> None:
        reader, writer = context.Pipe(duplex=False)
        self.journal = journal
        self.process: ForkServerProcess = context.Process(
            target=_operate, args=(uri, model, name, journal, writer), daemon=True
        )
        self.process.start()
        writer.close()
        self._reader = reader

    def wait_for_writes(self, number: int) -> None:
        """Until it has begun so many writes from now on."""
        pipe = self._reader.fileno()
        while wait([pipe], 0) and os.read(pipe, 65_536):
            pass  # what it wrote before
        while number > 0:
            told = len(os.read(pipe, number))
            assert told, "the process ended by itself"
            number -= told

    def kill(self) -> None:
        """`kill -9`."""
        assert self.process.is_alive()
        self.process.kill()
        self.process.join()
        self._reader.close()


def _operate(uri: str, model: str, name: str, journal: Path, writer: object) -> None:
    operate(uri, model, name, journal, writer.fileno())  # type: ignore[attr-defined]


class Crowd:
    """The processes of one model.

    Args:
        context: Where they are forked from.
        uri: The registry, as they reach it.
        model: Registered model; it is there, without a history.
        folder: For their journals.
    """

    def __init__(self, context: ForkServerContext, uri: str, model: str, folder: Path) -> None:
        self._context = context
        self._uri = uri
        self.model = model
        self._folder = folder
        self._store = MlflowStore(registry_uri=uri, tracking_uri=uri)
        self._truth = Transactions(self._store, SystemClock(), new_id, time_to_live=LIFETIME)
        self._random = Random(model)
        self._everybody: list[Running] = []
        self._seen: list[int | None] = []

    def join(self) -> Running:
        """One process more."""
        name = f"{self.model} {len(self._everybody)}"
        self._everybody.append(Running(self._context, self._uri, self.model, name, self._folder / name))
        return self._everybody[-1]

    def lose(self, kills: int) -> Counter[str]:
        """One process works on while one after the other joins and is killed at a random moment; the figures."""
        survivor = self.join()
        for _ in range(kills):
            victim = self.join()
            victim.wait_for_writes(self._random.randint(1, WRITES))
            victim.kill()
            self._seen.append(self._truth.look(self.model).champion_alias)
            print(f"{self.model}: {len(self._seen)} of {kills} killed", flush=True)
        survivor.kill()
        return self.conclude()

    def conclude(self) -> Counter[str]:
        """Settle what is left, check everything, and count.

        All processes have ended.
        """
        left = len(self._truth.look(self.model).history.intents)
        self._settle()
        view = self._truth.look(self.model)
        versions = self._store.versions(self.model)
        told = [answer for process in self._everybody for answer in read_journal(process.journal)]
        events = view.history.events
        outcomes = Counter(answer.outcome for answer in told)
        recorded = Counter(event.outcome for event in events)
        figures = Counter(
            processes=len(self._everybody),
            events=len(events),
            abandoned=recorded[Ending.ABANDONED],
            overtaken=recorded[Ending.OVERTAKEN],
            left=left,
            **outcomes,
        )
        print(self.model, dict(sorted(figures.items())), flush=True)
        assert_settled(view, versions)
        found = [f for f in examine(view, versions) if tags.THRESHOLD not in f.what and f.severity is not Severity.NOTE]
        assert found == [], found
        _assert_true(told, events)
        _assert_explained(self._seen, events)
        return figures

    def _settle(self) -> None:
        """As often as it takes: on a busy machine a settling, too, may stop at half of an intent's life."""
        for _ in range(ATTEMPTS):
            with suppress(OutcomeUnknownError, ConflictError, UnavailableError):
                self._truth.settle(self.model, actor="afterwards")
                return
        raise AssertionError(f"not settled in {ATTEMPTS} attempts")


def _assert_true(told: list[Told], events: tuple[Event, ...]) -> None:
    """Every answer is what the history says: done exactly once, not at all, or at most once where it was unknown."""
    done = {event.operation for event in events if event.outcome is Ending.DONE and event.kind is not Kind.ADOPT}
    for answer in told:
        mine = done.intersection(answer.ids)
        if answer.outcome == "unknown":
            assert len(mine) <= 1, answer
        else:
            assert answer.outcome in ("done", "already", "refused", "conflict", "unavailable"), answer
            assert mine == ({answer.operation} if answer.operation else set()), (answer, mine)
    blamed = [event for event in events if event.kind is Kind.ADOPT]
    assert blamed == [], f"a hand is blamed for what operations did: {blamed}"


def _assert_explained(seen: list[int | None], events: tuple[Event, ...]) -> None:
    """Champions seen right after a kill: once there is one there always is, and the history tells of each."""
    there = [version for version in seen if version is not None]
    assert seen == [None] * (len(seen) - len(there)) + there, seen
    moved = {event.to_version for event in events if event.kind in MOVES_CHAMPION and event.outcome is Ending.DONE}
    assert set(there) <= moved, (there, moved)
