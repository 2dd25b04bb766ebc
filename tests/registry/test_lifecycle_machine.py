"""Long random histories of one model, through the public operations, compared with a simple model of them.

`EXAMPLES=2000 pytest tests/registry/test_lifecycle_machine.py` runs that many histories of 60 steps instead of 10
of 25 (25 in `make test`, 60 in a campaign). The exploration of interleavings covers short histories exhaustively;
this covers long ones at random.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import RefusedError, UnavailableError
from fds_mlflow.registry import tags, transfer
from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.store import DeleteAlias, SetAlias, SetVersionTag, Write
from fds_mlflow.registry.transaction import Transactions
from tests.support.registry_model import MODEL, Killed, Routing, World

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
PLAN = Plan([10, 50, 100])
VERSIONS = st.integers(1, 4)
ELSEWHERE = {Kind.ADOPT, Kind.RENAME, Kind.PAUSE, Kind.RESUME, Kind.POLICY, Kind.REQUEST, Kind.APPROVE, Kind.REJECT}
"""What is nobody's request, or has suites of its own: names, pauses, approvals."""

KINDS = st.sampled_from([kind for kind in Kind if kind not in ELSEWHERE])
WRITES = st.integers(1, 16)


@dataclass
class Model:
    """A lifecycle in a few lines, as the documentation tells it.

    Attributes:
        live: Champion, and canary that takes traffic with its weight, as the aliases say.
        recorded: The same, as the history says it, or will say it once the dead are settled.
        asleep: The canary and weight that a move of the champion back would wake.
        former: Former champions, the latest last.
        withdrawn: Those that were rolled back from.
        stages: Stage by version.
        adoptions: How often something was adopted.
    """

    live: Routing = (None, None, None)
    recorded: Routing = (None, None, None)
    asleep: tuple[int, int, int] | None = None
    former: list[int] = field(default_factory=list)
    withdrawn: set[int] = field(default_factory=set)
    stages: dict[int, str] = field(default_factory=dict)
    adoptions: int = 0

    @property
    def agrees(self) -> bool:
        """Whether no hand has done anything that is not in the history."""
        return self.live == self.recorded

    def adopt(self) -> None:
        """What any operation does first."""
        if not self.agrees:
            self.adoptions += 1
            champion = self.live[0]
            if champion in self.former:
                self._go_back(champion)
            else:
                self._move(champion)
            self.asleep = None
        self.recorded = self.live

    def ask(self, kind: Kind, version: int) -> str:
        """Carry a request out, with "done", or answer with "already" or "refused" and leave everything as it is."""
        champion, canary, weight = self.live
        match kind:
            case Kind.STAGE | Kind.RETIRE:
                return self._set_stage("Staging" if kind is Kind.STAGE else "Archived", version)
            case Kind.PROMOTE | Kind.ROLLBACK if version == champion:
                return "already"
            case Kind.ROLLBACK | Kind.EMERGENCY:
                target = version if kind is Kind.ROLLBACK else self._latest()
                if target not in self.former or (kind is Kind.ROLLBACK and target == canary):
                    return "refused"  # an emergency goes to the latest former champion, on trial or not
                self._go_back(target)
                self._set((target, None, None))
            case Kind.PROMOTE if canary is None:
                self._promote(version)
            case Kind.START if champion is not None and canary is None and version != champion:
                self._set((champion, version, 1_000))
                self.stages[version] = "Staging"
            case Kind.ADVANCE if canary is not None and weight is not None and weight < 10_000:
                self._set((champion, canary, 5_000 if weight < 5_000 else 10_000))
            case Kind.COMPLETE if canary is not None:
                self._promote(canary)
            case Kind.ABORT if canary is not None:
                self._set((champion, None, None))
            case _:
                return "refused"
        return "done"

    def _set(self, routing: Routing) -> None:
        self.live = self.recorded = routing
        self.asleep = None

    def _promote(self, version: int) -> None:
        self._move(version)
        self.withdrawn.discard(version)
        self._set((version, None, None))

    def _set_stage(self, stage: str, version: int) -> str:
        if version == self.live[1]:
            return "refused"
        if self.stages.get(version) == stage:
            return "already"
        if version == self.live[0]:
            return "refused"
        self.stages[version] = stage
        return "done"

    def _latest(self) -> int | None:
        return next((version for version in reversed(self.former) if version not in self.withdrawn), None)

    def _go_back(self, version: int | None) -> None:
        if self.recorded[0] is not None:
            self.withdrawn.add(self.recorded[0])
        self._move(version)
        self.withdrawn -= {version}

    def _move(self, version: int | None) -> None:
        before = self.recorded[0]
        if version == before:
            return
        self.former = [v for v in self.former if v not in (version, before)]
        if before is not None:
            self.former.append(before)
            self.stages[before] = "Archived"
        if version is not None:
            self.stages[version] = "Production"


class Lifecycles(RuleBasedStateMachine):
    """Three people's processes, others that die, hands, and time, on one model."""

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("fds_mlflow").setLevel(logging.CRITICAL)
        self._small = patch.multiple(tags, LOOSE=6, KEEP_LOOSE=2)
        self._small.start()
        self.world = World()
        self.people = [self.world.process() for _ in range(3)]
        self.model = Model()
        self.events: tuple[Event, ...] = ()
        self.successes: list[str] = []

    def teardown(self) -> None:
        """Packs are large again."""
        self._small.stop()

    @property
    def hanging(self) -> bool:
        """Whether an operation died and nobody has settled it."""
        return bool(self.world.history.intents)

    # --- what happens ------------------------------------------------------------------------------------

    @rule(kind=KINDS, version=VERSIONS, who=st.integers(0, 2))
    def operate(self, kind: Kind, version: int, who: int) -> None:
        """Somebody asks for something, whatever died before."""
        self._settle_first(kind)
        self.model.adopt()
        self._asked(kind, version, who)
        self._assert_told(kind)

    @rule(kind=KINDS, version=VERSIONS, who=st.integers(0, 2), call=st.integers(1, 30), done=st.booleans())
    def operate_on_a_bad_line(self, kind: Kind, version: int, who: int, call: int, done: bool) -> None:
        """One of its calls fails on the way, done or not."""
        self._settle_first(kind)
        self.model.adopt()
        store = self.world.watched()

        def fail(number: int, _: Write | None) -> UnavailableError | None:
            return UnavailableError("the line is bad", fix="try again") if number == call else None

        if done:
            store.fail_after = fail
        else:
            store.fail_before = fail
        person = self.people[who]
        usual, person.store = person.store, store
        try:
            self._asked(kind, version, who)
        finally:
            person.store = usual
        self._assert_told(kind)

    @rule(kind=KINDS, version=VERSIONS, at=WRITES)
    def die(self, kind: Kind, version: int, at: int) -> None:
        """A process is killed just before one of its writes, of whatever it does first."""
        self._settle_first(kind)
        before, adopted = self.world.routing(), self._count(Kind.ADOPT)
        known = self._count(kind)
        store = self.world.watched()
        store.kill_at_write = at
        try:
            event = self._do(kind, version, self.world.process(store))
            self.successes += [event.operation] if event else []
        except Killed:
            if self._count(Kind.ADOPT) > adopted:
                self.model.adopt()
            recorded = kind in (Kind.STAGE, Kind.RETIRE) and self._count(kind) > known
            if self.world.routing() != before or recorded:
                assert self.model.agrees
                assert self.model.ask(kind, version) == "done"
        except RefusedError:
            self.model.adopt()
            assert self.model.ask(kind, version) == "refused"
        else:
            self.model.adopt()
            assert self.model.ask(kind, version) == ("done" if event else "already")

    @rule(who=st.integers(0, 2), at=WRITES)
    def die_settling(self, who: int, at: int) -> None:
        """Who settles may be killed as well."""
        store = self.world.watched()
        store.kill_at_write = at
        adopted = self._count(Kind.ADOPT)
        with suppress(Killed):
            self.world.process(store).settle(MODEL, actor="mortal")
        if self._count(Kind.ADOPT) > adopted:
            self.model.adopt()

    @precondition(lambda self: not self.hanging)
    @rule(version=VERSIONS)
    def move_the_champion(self, version: int) -> None:
        """A hand moves the champion's alias: the canary of a rollout sleeps, or wakes where it moves back."""
        self.world.by_hand(SetAlias(tags.CHAMPION, version))
        self._moved(version)

    @precondition(lambda self: not self.hanging)
    @rule()
    def delete_the_champion(self) -> None:
        """A hand deletes the champion's alias."""
        self.world.by_hand(DeleteAlias(tags.CHAMPION))
        self._moved(None)

    @precondition(lambda self: not self.hanging)
    @rule(nonsense=st.sampled_from(["", "{}", "null", '{"weight": "all of it"}', "\x00"]), deleted=st.booleans())
    def stop_the_canary(self, nonsense: str, deleted: bool) -> None:
        """A hand deletes the canary's alias, or writes nonsense into its rollout."""
        canary = self.world.aliases.get(tags.CANARY)
        if canary is None:
            return
        self.world.by_hand(DeleteAlias(tags.CANARY) if deleted else SetVersionTag(canary, tags.ROLLOUT, nonsense))
        self.model.live = (self.model.live[0], None, None)
        self.model.asleep = None

    @rule(seconds=st.floats(0, 10), who=st.integers(0, 2))
    def wait(self, seconds: float, who: int) -> None:
        """Time passes, and somebody looks."""
        self.people[who].look(MODEL)
        self.world.clock.seconds += seconds

    @rule(who=st.integers(0, 2))
    def settle(self, who: int) -> None:
        """Somebody tidies up."""
        self.people[who].settle(MODEL, actor="bob")
        self.model.adopt()
        self._assert_told()

    @precondition(lambda self: bool(self.events) and not self.hanging and self.model.agrees)
    @rule()
    def move_house(self) -> None:
        """The history moves to another registry, as JSON lines, and life goes on there."""
        events = transfer.parse(transfer.dump(self.world.history.events))
        self.world.store = MemoryStore()
        self.world.store.add(MODEL, versions=6)
        self.people = [self.world.process() for _ in range(3)]
        versions = self.world.store.versions(MODEL)
        self.people[0].write_alone(
            MODEL, lambda view: transfer.plan(view, versions, events)[0], actor="mover", adopt=False
        )
        self._assert_told()

    # --- what must hold ----------------------------------------------------------------------------------

    @invariant()
    def routes_as_the_model(self) -> None:
        """One champion, no third state: traffic goes where the model says, at every moment."""
        assert self.world.routing() == self.model.live

    @invariant()
    def loses_nothing(self) -> None:
        """Events stay as they are, numbered without a gap, each operation once; a success is recorded as one."""
        events = self.world.history.events
        assert events[: len(self.events)] == self.events
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert len({event.operation for event in events}) == len(events)
        done = {event.operation for event in events if event.outcome is Ending.DONE}
        assert done.issuperset(self.successes)
        assert not self.world.history.damaged
        self.events = events

    # --- helpers -----------------------------------------------------------------------------------------

    def _asked(self, kind: Kind, version: int, who: int) -> None:
        said = self.model.ask(kind, version)
        try:
            event = self._do(kind, version, self.people[who])
        except RefusedError:
            assert said == "refused"
        else:
            assert said == ("done" if event else "already")
            self.successes += [event.operation] if event else []

    def _settle_first(self, kind: Kind) -> None:
        """An emergency that looks past the dead, looks past what hands did as well: that is told elsewhere."""
        if kind is Kind.EMERGENCY and self.hanging and not self.model.agrees:
            self.settle(0)

    def _assert_told(self, kind: Kind | None = None) -> None:
        """Nothing hangs, and the history tells all that the model knows."""
        if kind is Kind.EMERGENCY and self.hanging:
            return  # it was refused before it settled anything
        self.world.assert_settled()
        assert self._count(Kind.ADOPT) == self.model.adoptions  # no hand is blamed for what an operation did
        state = fold(self.world.history.events)
        assert self.world.folded_routing() == self.model.recorded == self.model.live
        assert list(state.former) == self.model.former
        assert state.withdrawn == self.model.withdrawn
        assert {v: str(stage) for v, stage in state.stages.items()} == self.model.stages
        assert len([name for name in self.world.store.models[MODEL].tags if name.startswith("fds.event.")]) <= 8

    def _moved(self, champion: int | None) -> None:
        was, canary, weight = self.model.live
        if canary is not None and weight is not None and was is not None:
            self.model.asleep = (was, canary, weight)
        woken = self.model.asleep
        awake = woken is not None and woken[0] == champion
        self.model.live = (champion, woken[1], woken[2]) if awake and woken else (champion, None, None)

    def _count(self, kind: Kind) -> int:
        return sum(event.kind is kind and event.outcome is Ending.DONE for event in self.world.history.events)

    def _do(self, kind: Kind, version: int, by: Transactions) -> Event | None:
        """The event of a request that was carried out; None where it held already."""
        about = version if kind in (Kind.STAGE, Kind.PROMOTE, Kind.START, Kind.ROLLBACK, Kind.RETIRE) else None
        if kind is Kind.START:
            return self.world.do(kind, about, by=by, plan=PLAN).event
        return self.world.do(kind, about, by=by, force=kind is Kind.COMPLETE).event


TestLifecycles = Lifecycles.TestCase
TestLifecycles.settings = settings(
    max_examples=EXAMPLES or settings.default.max_examples,  # type: ignore[union-attr]
    stateful_step_count=60 if EXAMPLES else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
