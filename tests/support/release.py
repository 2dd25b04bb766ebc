"""A simulated release: a model in memory, a real outcome store, real routing, and a clock that only jumps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np

from fds_mlflow import ManagedModel, OutcomeStore, Plan
from fds_mlflow.core.lifecycle.events import Ending, Kind
from fds_mlflow.core.routing.routing import RoutingTable, Variant
from fds_mlflow.outcomes.records import OutcomeRecord
from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.store import SetVersionTag
from fds_mlflow.registry.tags import THRESHOLD
from fds_mlflow.rollouts.autopilot import Autopilot
from fds_mlflow.rollouts.tick import Tick
from tests.conftest import FakeClock
from tests.support.registry_model import MODEL, WatchedStore, World

MINUTE = 60.0


@dataclass(frozen=True)
class Rates:
    """How often a version errs and alerts, per request."""

    error: float = 0.05
    alert: float = 0.10


class Street(FakeClock):
    """A clock under which customers pay while it sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.pays: Callable[[float], None] = lambda _: None

    def sleep(self, seconds: float) -> None:
        """Let the time pass, and the traffic with it; a day at most, so that nothing runs for ever."""
        super().sleep(seconds)
        assert self.seconds < 86_400, "it never ends"
        self.pays(seconds)


@dataclass
class Release:
    """A model in memory, its outcome store, and the traffic that its versions serve."""

    rates: Mapping[int, Rates]
    per_second: float = 30.0
    street: Street = field(default_factory=Street)
    outcomes: OutcomeStore = field(default_factory=lambda: OutcomeStore("sqlite://"))
    ticks: list[Tick] = field(default_factory=list)
    served: int = 0
    owed: float = 0.0

    def __post_init__(self) -> None:
        self.world = World(self.street)
        self.world.store.write_limit = 20.0  # as SQLite's: a dead operation is outwaited within one tick
        self.random = np.random.default_rng(7)
        self.model = self.process()
        self.street.pays = self.pay
        for version in self.rates:
            self.world.store.write(MODEL, SetVersionTag(version, THRESHOLD, "0.5"))
        self.world.do(Kind.PROMOTE, 1)

    def process(self, store: MemoryStore | None = None) -> ManagedModel:
        """Another process on the same registry and outcomes."""
        return ManagedModel(
            MODEL, store=store or self.world.store, clock=self.street, actor="ann", outcomes=self.outcomes
        )

    def start(self, plan: Plan) -> None:
        """Start version 2 as canary."""
        self.world.do(Kind.START, 2, plan=plan)

    def pay(self, seconds: float) -> None:
        """Serve what comes in while the time passes, each request by the variant that the hash gives it."""
        self.owed += seconds * self.per_second
        number, self.owed = int(self.owed), self.owed % 1
        view = self.model.session.look()
        rollout = view.rollout
        if rollout is None or view.champion_alias is None or not number:
            return
        keys = [f"TX{self.served + n}" for n in range(number)]
        self.served += number
        to_canary = RoutingTable(view.champion_alias, rollout).to_canary(keys)
        errs, alerts = self.random.random(number), self.random.random(number)
        records = []
        for key, canary, err, alert in zip(keys, to_canary.tolist(), errs.tolist(), alerts.tolist(), strict=True):
            version = rollout.canary if canary else rollout.champion
            rates = self.rates[version]
            flagged = alert < rates.alert
            records.append(
                OutcomeRecord(
                    model=MODEL,
                    key=key,
                    assigned=Variant.CANARY if canary else Variant.CHAMPION,
                    version=version,
                    score=0.9 if flagged else 0.1,
                    flagged=flagged,
                    latency_ms=2.0,
                    time=self.street.now(),
                    rollout_id=rollout.id,
                    step=rollout.step,
                    weight=rollout.weight,
                    error="time-out" if err < rates.error else None,
                )
            )
        self.outcomes.record(records)

    def watched(self) -> WatchedStore:
        """Another process's access to the registry, which can be watched, killed and made to fail."""
        store = self.world.watched()
        store.write_limit = self.world.store.write_limit
        return store

    def fork(self) -> Release:
        """The same release at this moment, to go on differently: without further traffic."""
        made = Release(self.rates, per_second=0.0, outcomes=self.outcomes)
        made.world.store.models = deepcopy(self.world.store.models)
        made.world.numbers = itertools.count(1_000)
        made.street.seconds = self.street.seconds
        return made

    def autopilot(self) -> Autopilot:
        """An autopilot in a process of its own."""
        return Autopilot(self.process().session, on_tick=[self.ticks.append])

    def told(self) -> list[tuple[str, int | None]]:
        """What took effect, in order: kind, and the weight in percent where a rollout goes on."""
        events = [event for event in reversed(self.model.history()) if event.outcome is Ending.DONE]
        return [(e.kind.value, e.rollout.weight // 100 if e.rollout and e.rollout.active else None) for e in events]
