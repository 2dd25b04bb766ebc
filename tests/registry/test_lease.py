"""A model held for a long job: one at a time, as long as it lives, and what it noted outlives it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fds_mlflow.errors import ConflictError, OutcomeUnknownError
from fds_mlflow.registry.lease import Lease, decode, encode
from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.store import ModelView, SetModelTag
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime import process
from fds_mlflow.runtime.identity import new_id

TAG = "fds.job"


class Store(MemoryStore):
    """A registry that does something each time it is read."""

    on_read: Callable[[], None] | None = None

    def read(self, model: str) -> ModelView:
        """As any; before it, what the test says."""
        if self.on_read is not None:
            self.on_read()
        return super().read(model)


@pytest.fixture
def store() -> Store:
    """A registry with one model."""
    made = Store()
    made.add("fraud")
    return made


def lease(store: MemoryStore, clock: Any, actor: str = "ann") -> Lease:
    """A lease of the model, whose process nobody can ask after."""
    made = Lease(Transactions(store, clock, new_id), "fraud", tag=TAG, actor=actor, what="retraining")
    made._mine = replace(made._mine, process="")
    return made


def test_a_second_job_is_refused_as_soon_as_the_first_beats(store: Store, fake_clock: Any) -> None:
    """Whoever holds the model is named, and since when; the second has changed nothing."""
    first = lease(store, fake_clock)
    assert first.take() is None
    began = fake_clock.seconds

    def beat() -> None:
        if fake_clock.seconds - began >= 15:
            store.on_read = None
            first.beat()

    store.on_read = beat
    with pytest.raises(ConflictError, match="ann has a retraining of 'fraud' under way since 2026-01-01 00:00:00 UTC"):
        lease(store, fake_clock, "bob").take()
    assert fake_clock.seconds - began < 20
    first.require()


def test_a_lease_that_does_not_beat_dies_and_its_notes_live_on(store: Store, fake_clock: Any) -> None:
    """After its life by the observer's clock the next job takes over, reads what was noted, and the first one stops."""
    first, second = lease(store, fake_clock), lease(store, fake_clock, "bob")
    first.take()
    first.note(step="two")
    found = second.take()
    assert found is not None
    assert (found.actor, found.notes["step"]) == ("ann", "two")
    assert fake_clock.seconds >= 60
    with pytest.raises(OutcomeUnknownError, match="bob has taken over"):
        first.require()
    first.release(finished=True)
    second.require()


def test_of_two_that_find_a_dead_one_at_once_one_gets_it(store: Store, fake_clock: Any) -> None:
    """Between the look and the write somebody else may take over: then the second sees that one alive."""
    lease(store, fake_clock).take()
    rival = lease(store, fake_clock, "bob")
    late = lease(store, fake_clock, "cid")
    value = encode(rival._mine)
    turns: list[int] = []

    def overtake() -> None:
        intents = [name for name in store.models["fraud"].tags if name.startswith("fds.intent")]
        if intents and not turns:  # the late one holds the model and is about to write
            turns.append(1)
            store.write("fraud", SetModelTag(TAG, value))

    original = fake_clock.sleep

    def sleep(seconds: float) -> None:
        original(seconds)
        if turns and rival._mine.beats == 0:
            store.on_read = None
            rival.beat()

    store.on_read, fake_clock.sleep = overtake, sleep
    with pytest.raises(ConflictError, match="bob"):
        late.take()
    assert decode(store.models["fraud"].tags[TAG]).actor == "bob"  # type: ignore[union-attr]


def test_a_job_that_ends_lets_go_at_once(store: Store, fake_clock: Any) -> None:
    """Finished, nothing is left; failed, the notes are, and the next job need not wait."""
    with lease(store, fake_clock).held() as before:
        assert before is None
    assert TAG not in store.models["fraud"].tags
    failing = lease(store, fake_clock)
    with contextlib.suppress(ZeroDivisionError), failing.held():
        failing.note(step="one")
        raise ZeroDivisionError
    began = fake_clock.seconds
    with lease(store, fake_clock, "bob").held() as before:
        assert before is not None
        assert before.notes == {"step": "one"}
    assert fake_clock.seconds == began


def test_a_tag_that_cannot_be_read_holds_nobody_up(store: Store, fake_clock: Any) -> None:
    """What is forged or broken is no lease."""
    for value in ("", "{", '{"id": 3}', encode(lease(store, fake_clock)._mine).replace("2026", "never")):
        store.write("fraud", SetModelTag(TAG, value))
        assert lease(store, fake_clock).take() is None


def _forbidden(*_: Any) -> None:
    raise PermissionError


@pytest.mark.skipif(not process.identity(), reason="the system does not tell processes apart")
def test_on_one_machine_a_killed_process_is_known_to_be_gone(
    store: Store, fake_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the lease of a process that has ended here; of one elsewhere nothing is assumed."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    named = process.identity(child.pid)
    assert named
    assert not process.is_gone(named)
    child.kill()
    child.wait()
    assert process.is_gone(named)
    assert not process.is_gone(f"other-boot {named.partition(' ')[2]}")
    assert not process.is_gone("")
    assert not process.is_gone(process.identity(os.getpid()))
    with monkeypatch.context() as hidden:
        hidden.setattr(os, "kill", _forbidden)
        assert not process.is_gone(named), "another user's process may be hidden, and alive"
    first = lease(store, fake_clock)
    first._mine = replace(first._mine, process=named)
    first.take()
    began = fake_clock.seconds
    assert lease(store, fake_clock, "bob").take() is not None
    assert fake_clock.seconds == began
