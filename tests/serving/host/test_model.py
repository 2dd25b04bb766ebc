"""One model beside the workers: what it waits for, it waits for alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.errors import UnavailableError
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.serving.host.model import HostedModel
from fds_mlflow.serving.host.recorder import OutcomeRecorder
from fds_mlflow.serving.worker.settings import ServerSettings
from fds_mlflow.serving.worker.worker import Worker
from tests.serving.host.test_recorder import OUTCOME
from tests.support.served import until
from tests.support.version_caches import table, version_cache


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


def hosted(folder: Path, name: str, store: Any, follower: Follower | None = None, **more: Any) -> HostedModel:
    """A model that has one outcome on disk."""
    settings = ServerSettings(name, "memory:", folder, **more)
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


class Counting:
    """A store that takes outcomes, and counts the explored ones as it is told; it is away where that is None."""

    def __init__(self) -> None:
        self.explored_today: int | None = 0

    def record(self, outcomes: Sequence[Any]) -> int:
        """Take them."""
        return len(outcomes)

    def explored(self, model: str, since: datetime) -> int:
        """As it is told."""
        assert (model, since.hour, since.minute) == ("fraud", 0, 0)
        if self.explored_today is None:
            raise UnavailableError("the store is away", fix="start it")
        return self.explored_today


def test_workers_are_told_until_when_they_may_explore(tmp_path: Path):
    """While the day has room there is leave, for a few polls; a day used up, or a store that is away, ends it."""
    store = Counting()
    explore = Exploration("fraud", 0.5, per_day=3)
    settings = ServerSettings("fraud", "memory:", tmp_path, explore=explore)
    cache = settings.version_cache()
    assert cache.exploring == (0.0, None)
    model = hosted(tmp_path, "fraud", store, explore=explore)
    model.begin(poll_seconds=0.01)
    until(lambda: cache.exploring[0] > time.time(), "leave to explore")
    assert cache.exploring[0] < time.time() + 2
    worker = Worker(settings, ThreadPoolExecutor(1))
    assert worker.engine.explore_until > 0
    store.explored_today = 3
    until(lambda: cache.exploring == (0.0, "3 were explored today, of 3 a day"), "the end of it")
    store.explored_today = None
    until(lambda: "the store is away" in (cache.exploring[1] or ""), "why it cannot be counted")
    worker._ask_allowance()
    assert worker.engine.explore_until == 0.0
    assert "the store is away" in worker.health()["exploration"]["stopped"]
    assert 'fds_exploring{model="fraud"} 0.0' in worker.exposition().decode()
    store.explored_today = 2
    until(lambda: cache.exploring[0] > 0, "leave again")
    model.finish(until=0.0)


def test_workers_may_not_explore_while_outcomes_wait_for_the_store(tmp_path: Path):
    """What lies on disk is not counted, so nothing is let pass until the store has it."""
    with OutcomeStore("sqlite://") as store:
        recorder = OutcomeRecorder("fraud", ServerSettings("fraud", "memory:", tmp_path).spool(), lambda: store)
        explore = Exploration("fraud", 0.5, per_day=3)
        model = HostedModel(ServerSettings("fraud", "memory:", tmp_path, explore=explore), Follower(), recorder)  # type: ignore[arg-type]
        allowance = model._allowance(recorder)
        assert allowance is not None
        for drained, free in ((True, True), (False, False), (True, True)):
            model._renew(allowance, drained=drained)
            told, why = model._cache.exploring
            assert (told > time.time(), why is None) == (free, free)


def test_a_store_that_is_away_is_told_before_anything_waits_for_it(tmp_path: Path):
    """A server that starts without its outcome store says so in its health before any request, then all is well."""
    settings = ServerSettings("fraud", "memory:", tmp_path)
    version_cache(tmp_path).write_table(table())
    worker = Worker(settings, ThreadPoolExecutor(1))
    worker.follow()
    away = True

    def opened() -> OutcomeStore:
        if away:
            raise UnavailableError("the store is away", fix="start it")
        return store

    with OutcomeStore("sqlite://") as store:
        settings.version_cache().write_unrecorded("what an earlier server said")
        model = HostedModel(settings, Follower(), OutcomeRecorder("fraud", settings.spool(), opened))  # type: ignore[arg-type]
        model.begin(poll_seconds=0.01)
        until(lambda: worker.health()["problem"] == "outcomes wait on disk: the store is away", "the reason")
        assert worker.health()["status"] == "degraded"
        away = False
        until(lambda: worker.health()["status"] == "ok", "the store")
        model.finish(until=0.0)
