"""One model beside the workers: what it waits for, it waits for alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fds_mlflow.errors import UnavailableError
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.serving.host.model import HostedModel
from fds_mlflow.serving.host.recorder import OutcomeRecorder
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.serving.host.test_recorder import OUTCOME
from tests.support.served import until


class Follower:
    """Reads no registry; a poll does what it is told.

    Args:
        polled: What a poll does.
    """

    def __init__(self, polled: Any = None) -> None:
        self.polls = 0
        self._polled = polled

    def poll(self, *, wait: bool = False) -> None:
        """Once."""
        self.polls += 1
        if self._polled is not None:
            self._polled()

    def close(self) -> None:
        """Nothing is open."""


class Hanging:
    """A store that never answers."""

    def __init__(self) -> None:
        self.asked, self.gone = threading.Event(), threading.Event()

    def record(self, outcomes: Sequence[Any]) -> int:
        """Wait for ever."""
        self.asked.set()
        self.gone.wait()
        raise UnavailableError("it went away", fix="start it")


def hosted(folder: Path, name: str, store: Any, follower: Follower | None = None) -> HostedModel:
    """A model that has one outcome on disk."""
    settings = ServerSettings(name, "memory:", folder)
    settings.spool().put([OUTCOME])
    return HostedModel(settings, follower or Follower(), OutcomeRecorder(name, settings.spool(), lambda: store))  # type: ignore[arg-type]


def test_a_store_that_hangs_for_one_model_holds_no_other(tmp_path: Path):
    """Outcomes of the other models reach the store while one model's never do, and so they do at the end."""
    hanging = Hanging()
    with OutcomeStore(f"sqlite:///{tmp_path / 'outcomes.db'}") as store:
        stuck, fine = hosted(tmp_path, "stuck", hanging), hosted(tmp_path, "fine", store)
        for model in (stuck, fine):
            model.begin(poll_seconds=0.01)
        assert hanging.asked.wait(60)
        until(lambda: store.recent("fine"), "the other model's outcome")
        ServerSettings("fine", "memory:", tmp_path).spool().put([OUTCOME.__class__("r2", *_rest())])
        fine.finish(until=time.monotonic() + 60)
        assert {one.request_id for one in store.recent("fine")} == {"r1", "r2"}
        hanging.gone.set()
        stuck.finish(until=0.0)
    assert len(list(ServerSettings("stuck", "memory:", tmp_path).spool().waiting())) == 1


def _rest() -> list[Any]:
    """The fields of the outcome but for its identity."""
    return [getattr(OUTCOME, name) for name in OUTCOME.__struct_fields__[1:]]


def test_a_poll_that_fails_is_followed_by_the_next(tmp_path: Path):
    """Whatever a poll runs into, the registry is asked again, and the model counts as looked at."""
    follower = Follower(lambda: 1 / 0)
    with OutcomeStore("sqlite://") as store:
        model = hosted(tmp_path, "fraud", store, follower)
        model.begin(poll_seconds=0.01)
        until(lambda: follower.polls > 2, "the next polls")
        assert model.looked
        assert not model.serves
        model.finish(until=0.0)
