"""A model held for a long job: one tag, taken under the exclusion of operations, and kept alive by beats.

Operations go on beside it; only another job of its kind stays out. No two clocks are compared: who finds the tag
watches by a clock of its own whether it beats. What a job notes in it survives the job, for the next one to go on from.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from fds_mlflow.errors import ConflictError, FdsError, OutcomeUnknownError
from fds_mlflow.registry import grammar
from fds_mlflow.registry.grammar import UNREADABLE, dump
from fds_mlflow.registry.store import DeleteModelTag, SetModelTag, Write
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.registry.view import View
from fds_mlflow.runtime import process
from fds_mlflow.runtime.identity import new_id

log = logging.getLogger(__name__)

LIFETIME = 60.0
"""Seconds after which a lease that has been seen without a beat is dead; it beats four times in them."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        id: ULID of the job.
        actor: Who runs it.
        since: When it began, UTC, for people.
        beats: How often it has said that it lives.
        lifetime: Seconds it lives without a beat.
        process: Its process, as `runtime.process` names one; empty where the system does not tell.
        ended: It has ended without finishing: its notes are there for the next one.
        notes: What it noted.
    """

    id: str
    actor: str
    since: datetime
    beats: int = 0
    lifetime: float = LIFETIME
    process: str = ""
    ended: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)


def encode(holder: Holder) -> str:
    """Value of the tag."""
    values = {**holder.__dict__, "since": holder.since.isoformat(), "notes": dict(holder.notes)}
    return grammar.fits(dump(values), "the lease")


def decode(value: str | None) -> Holder | None:
    """Read the tag; None where there is none, or one that cannot be parsed, which holds nobody up."""
    if not value:
        return None
    try:
        said = grammar.parse(value)
        return Holder(
            id=grammar.text(said["id"], grammar.MAX_ID),
            actor=grammar.text(said["actor"], 1_000),
            since=grammar.moment(said["since"]),
            beats=grammar.whole(said["beats"], 0, 10**9),
            lifetime=min(max(float(said["lifetime"]), 0.0), 600.0),
            process=grammar.text(said.get("process", ""), 500),
            ended=bool(said.get("ended", False)),
            notes={grammar.text(name): grammar.text(told) for name, told in said.get("notes", {}).items()},
        )
    except UNREADABLE:
        return None


class Lease:
    """Holds a model for one job of a kind.

    Args:
        transactions: Of the registry, and of nobody else: the beats come from a thread of their own.
        model: Registered model, which must exist.
        tag: Name of the tag: one for each kind of job.
        actor: Who runs the job.
        what: What the job does, for messages.
        lifetime: Seconds it lives without a beat.
    """

    def __init__(
        self,
        transactions: Transactions,
        model: str,
        *,
        tag: str,
        actor: str,
        what: str,
        lifetime: float = LIFETIME,
    ) -> None:
        self._registry, self._model, self._tag, self._what = transactions, model, tag, what
        self._clock = transactions.clock
        self._lock = threading.Lock()
        self._mine = Holder(new_id(), actor, self._clock.now(), lifetime=lifetime, process=process.identity())
        self._beat_at = float("-inf")

    @contextmanager
    def held(self) -> Iterator[Holder | None]:
        """Hold the model, beating, until the block ends; gives who held it last without finishing, for its notes.

        Raises:
            ConflictError: Another job holds it, and is alive.
            NotFoundError: There is no such model.
        """
        before = self.take()
        stop = threading.Event()
        thread = threading.Thread(target=self._beating, args=(stop,), name=f"lease of {self._model}", daemon=True)
        thread.start()
        finished = False
        try:
            yield before
            finished = True
        finally:
            stop.set()
            thread.join()
            self.release(finished=finished)

    def take(self) -> Holder | None:
        """Take the lease, once whoever held it is known to be dead; who that was, unless it had finished.

        Raises:
            ConflictError: Another job holds it, and is alive.
        """
        began, first = self._clock.monotonic(), self._found()
        while True:
            raw, there = self._found()
            if there is not None and not self._is_dead(there):
                if decode(first[0]) != there:
                    raise self._conflict(there)
                if self._clock.monotonic() - began < there.lifetime:
                    self._clock.sleep(there.lifetime / 60)
                    continue
            self._mine = replace(self._mine, since=self._clock.now(), notes={} if there is None else there.notes)
            try:
                self._registry.write_alone(self._model, self._taking(raw), actor=self._mine.actor, adopt=False)
            except _TakenError:
                began, first = self._clock.monotonic(), self._found()
                continue
            self._beat_at = self._clock.monotonic()
            return there

    def beat(self) -> None:
        """Say that the job lives; a registry that does not answer is asked again at the next beat."""
        with self._lock:
            try:
                self._rewrite(replace(self._mine, beats=self._mine.beats + 1))
            except FdsError as error:
                log.warning("the lease of %s did not beat: %s", self._model, error.what)

    def note(self, **notes: str) -> None:
        """Note what the next job needs to go on from here, should this one die.

        Raises:
            OutcomeUnknownError: Another job has taken over.
            UnavailableError: The registry cannot be reached.
        """
        with self._lock:
            self._rewrite(replace(self._mine, notes={**self._mine.notes, **notes}))

    def require(self) -> None:
        """Ask whether the model is still held, before anything is done that others see.

        Raises:
            OutcomeUnknownError: Another job has taken over, or may have.
            UnavailableError: The registry cannot be reached.
        """
        with self._lock:
            self._require_mine()
            if self._clock.monotonic() - self._beat_at >= self._mine.lifetime / 2:
                self._rewrite(replace(self._mine, beats=self._mine.beats + 1))

    def release(self, *, finished: bool) -> None:
        """Let the model go; what was noted stays where the job has not finished."""
        with self._lock:
            try:
                self._require_mine()
                value = DeleteModelTag(self._tag) if finished else self._value(replace(self._mine, ended=True))
                self._registry.store.write(self._model, value)
            except FdsError as error:
                log.warning("the lease of %s is left to die: %s", self._model, error.what)

    def _rewrite(self, holder: Holder) -> None:
        self._require_mine()
        self._registry.store.write(self._model, self._value(holder))
        self._mine, self._beat_at = holder, self._clock.monotonic()

    def _value(self, holder: Holder) -> SetModelTag:
        return SetModelTag(self._tag, encode(holder))

    def _require_mine(self) -> None:
        there = self._found()[1]
        if there is None or there.id != self._mine.id:
            by = "somebody removed its lease" if there is None else f"{there.actor} has taken over"
            raise OutcomeUnknownError(
                f"the {self._what} of {self._model!r} has stopped: {by}",
                fix="wait for whoever goes on with it, or start it again: what was done so far is taken up",
            )

    def _taking(self, raw: str | None) -> Callable[[View], Iterator[Write]]:
        def make(_view: View) -> Iterator[Write]:
            if self._found()[0] != raw:  # asked once the model is held: nobody else writes the tag of a dead job now
                raise _TakenError
            yield self._value(self._mine)

        return make

    def _found(self) -> tuple[str | None, Holder | None]:
        raw = self._registry.look(self._model).model.tags.get(self._tag)
        return raw, decode(raw)

    @staticmethod
    def _is_dead(there: Holder) -> bool:
        return there.ended or (bool(there.process) and process.is_gone(there.process))

    def _beating(self, stop: threading.Event) -> None:
        while not stop.wait(self._mine.lifetime / 4):
            self.beat()

    def _conflict(self, there: Holder) -> ConflictError:
        return ConflictError(
            f"{there.actor} has a {self._what} of {self._model!r} under way since {there.since:%Y-%m-%d %H:%M:%S} UTC"
            f" ({there.id})",
            fix=f"wait for it and start again; if its process died, the next one goes on after {there.lifetime:g} s",
        )


class _TakenError(Exception):
    """Somebody else took or let go of the lease in between; look again."""
