"""A model in a real MLflow, the people who act on it, and what must hold whatever happened to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.registry import tags
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import ModelView, RegistryStore, VersionView, Write
from fds_mlflow.registry.transaction import Result, Transactions
from fds_mlflow.registry.view import View
from fds_mlflow.runtime.clock import Clock
from fds_mlflow.runtime.identity import new_id
from tests.conftest import FakeClock

VERSIONS = 4

QUICK = 2.0
"""A longest write, in seconds, for tests on one SQLite database: by it the dead are soon seen to be dead."""


class AlarmClock(FakeClock):
    """A clock whose time passes only in the sleeps of the protocol, and that does things when their time has come."""

    def __init__(self) -> None:
        super().__init__()
        self._alarms: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something when so much time has passed."""
        self._alarms.append((self.seconds + seconds, action))

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        super().sleep(seconds)
        due = [alarm for alarm in self._alarms if alarm[0] <= self.seconds]
        self._alarms = [alarm for alarm in self._alarms if alarm[0] > self.seconds]
        for _, action in due:
            action()


class HookedStore:
    """A store that calls a hook before each write, with its number from 1."""

    def __init__(self, store: RegistryStore, before_write: Callable[[int, Write], None]) -> None:
        self.write_limit = store.write_limit
        self.latency = 0.0  # a busy machine must not lengthen what a test measures by a clock of its own
        self.user = store.user
        self._store = store
        self._before_write = before_write
        self.writes = 0

    def signed_in(self) -> str | None:
        """As the store."""
        return self._store.signed_in()

    def read(self, model: str) -> ModelView:
        """As the store."""
        return self._store.read(model)

    def version(self, model: str, version: int) -> VersionView:
        """As the store."""
        return self._store.version(model, version)

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """As the store."""
        return self._store.by_alias(model, alias)

    def versions(self, model: str) -> list[VersionView]:
        """As the store."""
        return self._store.versions(model)

    def write(self, model: str, write: Write) -> None:
        """The hook, then as the store."""
        self.writes += 1
        self._before_write(self.writes, write)
        self._store.write(model, write)


def before_write(number: int, action: Callable[[], None]) -> Callable[[int, Write], None]:
    """A hook that acts before the write with that number."""

    def hook(count: int, _write: Write) -> None:
        if count == number:
            action()

    return hook


def register(uri: str, model: str, *, versions: int = VERSIONS, tracking: str | None = None) -> None:
    """A model with READY versions that nobody loads."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking or uri, uri)
    client.create_registered_model(model)
    for _ in range(versions):
        client.create_model_version(model, source="s3://nowhere/model", await_creation_for=None)


def sqlite(database: Path) -> str:
    """The URI of a database."""
    return f"sqlite:///{database}"


class RegistryWorld:
    """One model and its people.

    Args:
        model: Registered model; it is there.
        store: How people reach the registry, faults included.
        truth: How the test sees it, past every fault.
        clock: Everybody's time.
    """

    def __init__(self, model: str, store: RegistryStore, truth: MlflowStore, clock: Clock) -> None:
        self.model = model
        self.store = store
        self.truth = truth
        self.clock = clock
        self.ann = self.process()

    def process(self, store: RegistryStore | None = None) -> Transactions:
        """Another process: it knows nothing of what others saw."""
        return Transactions(store or self.store, self.clock, new_id, Random(1))

    def do(
        self, kind: Kind, version: int | None = None, *, by: Transactions | None = None, actor: str = "ann"
    ) -> Result:
        """Run one operation."""
        return (by or self.ann).run(
            self.model,
            request(kind, version, self.clock),
            actor=actor,
            reason="because",
            take_over=kind is Kind.EMERGENCY,
        )

    def look(self) -> View:
        """The model as it is."""
        return self.process(self.truth).look(self.model)

    @property
    def events(self) -> tuple[Event, ...]:
        """The history."""
        return self.look().history.events

    def assert_settled(self) -> None:
        """History, aliases and stages agree; nothing hangs; the sequence has no gap and no double."""
        assert_settled(self.look(), self.truth.versions(self.model))


def request(kind: Kind, version: int | None, clock: Clock) -> Request:
    """A request with what its kind needs."""
    if kind is Kind.START:
        return Request(kind, version, plan=Plan(), rollout_id=new_id(), now=clock.now())
    if kind is Kind.ADVANCE:
        return Request(kind, now=clock.now())
    return Request(kind, version, force=kind is Kind.COMPLETE)


def assert_settled(view: View, versions: list[VersionView]) -> None:
    """History, aliases and stages agree; nothing hangs; the sequence has no gap and no double."""
    history = view.history
    assert history.intents == ()
    assert history.damaged == ()
    assert [event.sequence for event in history.events] == list(range(1, len(history.events) + 1))
    assert len({event.operation for event in history.events}) == len(history.events)
    assert view.agrees
    assert (tags.CANARY in view.model.aliases) == (view.rollout is not None)
    there = {version.version: version.stage for version in versions}
    stages = fold(history.events).stages
    assert {v: there[v] for v in stages if v in there} == {v: s for v, s in stages.items() if v in there}
