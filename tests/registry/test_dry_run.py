"""A dry run writes nothing, and says what the operation then does."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.core.lifecycle.events import Kind, Policy
from fds_mlflow.core.plan.approval import Approval
from fds_mlflow.errors import AwaitsApprovalError, ConfigError, NotFoundError, RefusedError
from fds_mlflow.registry import tags
from fds_mlflow.registry.dry_run import Change, DryRunStore, PassingClock, Serving
from fds_mlflow.registry.store import SetAlias, SetStage, SetVersionTag, Write
from tests.support.registry_model import MODEL, SCENARIOS, Killed, Scenario, World, ids


def dry(world: World) -> ManagedModel:
    """The model, for whom nothing is written."""
    return ManagedModel(MODEL, store=world.store, clock=world.clock, actor="ann", outcomes="sqlite://", dry_run=True)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_every_operation_is_foreseen_to_the_letter(scenario: Scenario) -> None:
    """The copy ends up as the registry does once the operation is done for good; until then nothing is written."""
    world = scenario.world()
    before = deepcopy(world.store.models)
    aside = DryRunStore(world.store)
    process = world.process(aside)  # type: ignore[arg-type]
    process.clock = PassingClock(world.clock)
    numbers = deepcopy(world.numbers)
    scenario.run(world, process)
    assert world.store.models == before
    world.numbers = numbers
    scenario.run(world, world.process())
    assert aside.read(MODEL).aliases == world.aliases
    for version in aside.versions(MODEL):
        there = world.store.version(MODEL, version.version)
        assert (version.stage, version.tags) == (there.stage, there.tags)
    assert {change.what for change in aside.changes(MODEL)} == set()


def test_a_result_says_from_where_to_where() -> None:
    """Who serves, who would, and each alias, tag and stage that would be another."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    result = dry(world).canary.abort(reason="alerts doubled")
    assert result.preview is not None
    assert (result.preview.before, result.preview.after) == (Serving(1, 2, 10.0), Serving(1))
    assert Change("alias canary", "2", None) in result.preview.changes
    assert world.routing() == (1, 2, 1_000)


def test_a_dry_run_goes_on_from_what_it_has_done() -> None:
    """What would happen after what would happen: one operation after the other, on the same copy."""
    world = World()
    for version in (1, 2):
        world.do(Kind.PROMOTE, version)
    model = dry(world)
    model.rollback.emergency(reason="x", validate=False)
    preview = model.preview()
    assert preview is not None
    assert (preview.before, preview.after) == (Serving(2), Serving(1))
    assert model.history()[0].kind is Kind.EMERGENCY
    assert world.history.events[-1].kind is Kind.PROMOTE


def test_a_dry_run_is_refused_as_the_operation_would_be() -> None:
    """The same error, with the same fix and exit code."""
    world = World()
    with pytest.raises(RefusedError, match="no active rollout"):
        dry(world).canary.advance()
    with pytest.raises(NotFoundError, match="no version 99"):
        dry(world).stage(99)


def test_a_dry_run_says_that_an_approval_is_needed_and_asks_for_none() -> None:
    """Exit code 4, as of the operation; no request is left, and one that waits already is named."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    plan = Plan([10, 100], approval=["complete"])
    world.do(Kind.START, 2, plan=plan)
    before = deepcopy(world.store.models)
    with pytest.raises(AwaitsApprovalError, match="needs the approval of a second person") as caught:
        dry(world).canary.complete()
    assert (caught.value.request, caught.value.exit_code) == ("", 4)
    assert world.store.models == before
    with pytest.raises(AwaitsApprovalError) as real:
        world.do(Kind.COMPLETE)
    with pytest.raises(AwaitsApprovalError) as named:
        dry(world).canary.complete()
    assert named.value.request == real.value.request


def test_what_a_dead_process_left_is_settled_on_the_copy() -> None:
    """The dry run waits for nobody by the clock on the wall, and shows what the operation would find and settle."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    with pytest.raises(Killed):
        world.do(Kind.PROMOTE, 2, by=world.process(world.dying(SetStage)))
    before, time = deepcopy(world.store.models), world.clock.seconds
    model = dry(world)
    model.settle()
    preview = model.preview()
    assert preview is not None
    assert Change("version 2, stage", "None", "Production") in preview.changes
    assert (world.store.models, world.clock.seconds) == (before, time)


def test_an_import_is_foreseen() -> None:
    """Events, stages and aliases that a history would bring."""
    old, new = World(), World()
    for version in (1, 2):
        old.do(Kind.PROMOTE, version)
    lines = ManagedModel(MODEL, store=old.store, clock=old.clock, actor="ann").export_history()
    model = dry(new)
    assert model.import_history(lines).champion == 2
    assert new.store.models[MODEL].tags == {}


def test_an_autopilot_has_no_dry_run() -> None:
    """To judge is to count, which writes: what it would do is part of the status."""
    with pytest.raises(ConfigError, match="status"):
        dry(World()).canary.tick()


@pytest.mark.parametrize("write", [SetAlias(tags.CHAMPION, 9), SetVersionTag(9, "a", "b"), SetStage(9, "Staging")])
def test_what_the_registry_would_refuse_is_refused(write: Write) -> None:
    """A version that is not there is not there on the copy either."""
    with pytest.raises(NotFoundError):
        DryRunStore(World().store).write(MODEL, write)


# --- a history that is imported ------------------------------------------------------------------------------


def test_an_import_is_no_way_around_a_policy() -> None:
    """A model with a policy is given no other champion by a file, not even by one that goes on from its own history."""
    world = World()
    world.do(Kind.POLICY, policy=Policy(tuple(Approval)))
    model = ManagedModel(MODEL, store=world.store, clock=world.clock, actor="ann")
    lines = model.export_history()
    other = World()
    other.do(Kind.PROMOTE, 1)
    (forged,) = ManagedModel(MODEL, store=other.store, clock=other.clock).export_history()
    lines.append(forged.replace('"sequence": 1', '"sequence": 2').replace(f"{1:026d}", f"{99:026d}"))
    with pytest.raises(RefusedError, match="asks for approvals"):
        model.import_history(lines)
    assert world.aliases == {}


def test_an_import_with_a_policy_can_be_interrupted_anywhere_and_finished() -> None:
    """Whatever write is the last one before the process dies, asking again brings history, aliases and policy."""
    old = World()
    old.do(Kind.PROMOTE, 1)
    old.do(Kind.POLICY, policy=Policy(tuple(Approval)))
    old.do(Kind.STAGE, 2)
    lines = ManagedModel(MODEL, store=old.store, clock=old.clock).export_history()
    for number in range(1, 12):
        new = World()
        store = new.watched()
        store.kill_at_write = number
        try:
            ManagedModel(MODEL, store=store, clock=new.clock, actor="ann").import_history(lines)
        except Killed:
            model = ManagedModel(MODEL, store=new.store, clock=new.clock, actor="ann")
            model.session.look()
            new.clock.seconds += 10 * model.session.transactions.lifetime
            model.import_history(lines)
        assert new.aliases == {tags.CHAMPION: 1}
        assert ManagedModel(MODEL, store=new.store, clock=new.clock).approvals.policy.require == tuple(Approval)
        new.assert_settled()


@pytest.mark.parametrize("forged", ["approve", "policy"])
def test_an_import_brings_neither_approvals_nor_another_policy(forged: str) -> None:
    """A file that goes on from the model's own history cannot say that somebody approved, or lifted the policy."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.POLICY, policy=Policy(tuple(Approval)))
    with pytest.raises(AwaitsApprovalError) as waits:
        world.do(Kind.PROMOTE, 2)
    model = ManagedModel(MODEL, store=world.store, clock=world.clock, actor="ann")
    lines = model.export_history()
    last = {name: value for name, value in json.loads(lines[-1]).items() if name != "asked"}
    about = {"answers": waits.value.request} if forged == "approve" else {"policy": {"require": []}}
    more = {"sequence": len(lines) + 1, "operation": f"{99:026d}", "kind": forged, "actor": "bob", "signed_in": True}
    with pytest.raises(RefusedError, match="bring approvals or another policy"):
        model.import_history([*lines, json.dumps({**last, **more, **about})])
    assert world.aliases == {tags.CHAMPION: 1}
    assert len(world.history.events) == len(lines)
