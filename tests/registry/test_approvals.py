"""Four eyes: what needs the approval of a second person waits for one, by whatever door it comes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fds_mlflow.core.lifecycle.approval import LASTS
from fds_mlflow.core.lifecycle.events import AliasNames, Ending, Event, Kind, Policy, Role
from fds_mlflow.core.lifecycle.policy import is_due_watch, may_delete, may_move
from fds_mlflow.core.lifecycle.state import State, fold
from fds_mlflow.core.lifecycle.watch import watch_plan
from fds_mlflow.core.plan.approval import Approval
from fds_mlflow.core.plan.plan import Plan, Watch
from fds_mlflow.errors import AwaitsApprovalError, RefusedError
from fds_mlflow.registry import requests, tags
from fds_mlflow.registry.store import DeleteModelTag, SetAlias, SetModelTag, SetStage, SetVersionTag
from tests.support.registry_model import MODEL, Killed, World

EVERYTHING = Policy(tuple(Approval))


@pytest.fixture
def world() -> World:
    """Champion 2, former champion 1, and a policy that asks for every approval there is."""
    made = World()
    made.do(Kind.PROMOTE, 1)
    made.do(Kind.PROMOTE, 2)
    made.do(Kind.POLICY, policy=EVERYTHING)
    return made


def asked(world: World, kind: Kind, version: int | None = None, *, actor: str = "ann", **more: object) -> str:
    """Ask for what waits for an approval; the id of its request."""
    with pytest.raises(AwaitsApprovalError) as caught:
        world.do(kind, version, actor=actor, **more)
    return caught.value.request


def approve(world: World, request: str, *, by: str = "bob") -> None:
    """Approve a request as a second person."""
    world.do(Kind.APPROVE, answers=request, actor=by)


def state_of(world: World) -> State:
    """What the history says."""
    return fold(world.history.events)


def test_a_promotion_waits_for_a_second_person_and_then_names_the_approval(world: World) -> None:
    """Nothing moves before the approval; once it is given, the same verb acts, and its event names the request."""
    request = asked(world, Kind.PROMOTE, 3)
    assert world.aliases[tags.CHAMPION] == 2
    approve(world, request)
    assert world.aliases[tags.CHAMPION] == 2
    event = world.do(Kind.PROMOTE, 3, actor="carl").event
    assert event is not None
    assert event.answers == request
    assert world.aliases[tags.CHAMPION] == 3
    assert not state_of(world).requests
    world.assert_settled()


def test_asking_again_finds_the_request(world: World) -> None:
    """Whoever asks again for the same is told of the request that waits; there is one."""
    assert len({asked(world, Kind.PROMOTE, 3, actor=actor) for actor in ("ann", "ann", "bob")}) == 1
    assert [event.kind for event in world.history.events].count(Kind.REQUEST) == 1


def test_an_approval_is_used_once(world: World) -> None:
    """What was approved once needs another approval the next time."""
    approve(world, request := asked(world, Kind.PROMOTE, 3))
    world.do(Kind.PROMOTE, 3)
    world.do(Kind.EMERGENCY)
    assert asked(world, Kind.PROMOTE, 3) != request


def test_an_approval_is_used_once_though_a_hand_undid_it(world: World) -> None:
    """What had been served for a while when its process died, and a hand took back, needs another approval."""
    approve(world, request := asked(world, Kind.PROMOTE, 3))
    with pytest.raises(Killed):
        world.do(Kind.PROMOTE, 3, by=world.process(world.dying(SetStage)))
    assert world.aliases[tags.CHAMPION] == 3
    world.by_hand(SetAlias(tags.CHAMPION, 2))
    later = world.process()
    later.look(MODEL)
    world.clock.seconds += 10 * later.lifetime
    with pytest.raises(AwaitsApprovalError) as caught:
        world.do(Kind.PROMOTE, 3, by=later)
    assert caught.value.request != request
    assert world.aliases[tags.CHAMPION] == 2


@pytest.mark.parametrize(
    ("asks", "approves"),
    [
        ("ann", "ann"),
        ("ann", "ANN"),
        ("ann", " Ann  "),
        ("ann", "\uff41nn"),
        ("ann", "a\u200bnn"),
        ("jos\u00e9", "jose\u0301"),
        ("ann lee", "annlee"),
        ("ann", "autopilot of ann"),
        ("autopilot of Ann", "ann"),
        ("ann", "agent of ann"),
        ("agent of autopilot of ann", "Ann"),
        ("for", "for"),
        ("for", "bob"),
        ("ann", "ann for bob"),
        ("bob for ann", "ann"),
        ("ci for ann", "ci for bob"),
        ("ann@laptop", "ann@server"),
        ("ann@laptop", "autopilot  of  ANN@pod-7"),
    ],
)
def test_nobody_approves_their_own_request(world: World, asks: str, approves: str) -> None:
    """Whatever the spelling, whoever they act for and from whichever host: one person is one person."""
    request = asked(world, Kind.PROMOTE, 3, actor=asks)
    with pytest.raises(RefusedError, match="second person"):
        approve(world, request, by=approves)
    assert asked(world, Kind.PROMOTE, 3, actor=approves) == request


def test_an_approval_of_ones_own_counts_for_nothing_in_the_history_either(world: World) -> None:
    """An event that approves its own actor's request, written past the operations, opens nothing."""
    request = asked(world, Kind.PROMOTE, 3)
    last = world.history.events[-1]
    forged = Event(last.sequence + 1, "0" * 25 + "Z", Kind.APPROVE, "ANN", "", last.time, answers=request)
    world.by_hand(SetModelTag(*tags.event_tag(forged)))
    assert asked(world, Kind.PROMOTE, 3, actor="bob") == request


def test_a_user_who_is_signed_in_cannot_claim_to_be_another(world: World) -> None:
    """The name by which the registry knows who approves counts, not the one that they give."""
    world.store.user = "ann"
    request = asked(world, Kind.PROMOTE, 3)
    with pytest.raises(RefusedError, match="ann for bob may not approve"):
        approve(world, request, by="bob")
    world.store.user = "bob"
    approve(world, request, by="bob")
    world.do(Kind.PROMOTE, 3)


def test_an_approval_lapses_after_a_week(world: World) -> None:
    """A request can be approved for seven days, and an approval be used for seven."""
    approve(world, request := asked(world, Kind.PROMOTE, 3))
    world.clock.seconds += LASTS.total_seconds()
    again = asked(world, Kind.PROMOTE, 3)
    assert again != request
    world.clock.seconds += LASTS.total_seconds()
    with pytest.raises(RefusedError, match="older than 7 days"):
        approve(world, again)


def test_an_approval_lapses_when_the_version_changes(world: World) -> None:
    """It was for the version as it was: with another threshold, or other files, it is another one."""
    approve(world, request := asked(world, Kind.PROMOTE, 3))
    world.by_hand(SetVersionTag(3, tags.THRESHOLD, "0.1"))
    assert asked(world, Kind.PROMOTE, 3) != request


def test_an_approval_lapses_when_the_version_is_retired(world: World) -> None:
    """Who takes a candidate out of the running takes the approval with it."""
    approve(world, request := asked(world, Kind.PROMOTE, 3))
    world.do(Kind.RETIRE, 3)
    assert asked(world, Kind.PROMOTE, 3) != request


def test_an_approval_lapses_when_the_state_changes_and_does_not_come_back(world: World) -> None:
    """Who serves has changed since: also once the former champion serves again."""
    approve(world, request := asked(world, Kind.PROMOTE, 3))
    world.do(Kind.ROLLBACK, 1)
    world.do(Kind.ROLLBACK, 2)
    assert world.aliases[tags.CHAMPION] == 2
    assert asked(world, Kind.PROMOTE, 3) != request


def test_an_approval_holds_for_the_plan_that_was_shown(world: World) -> None:
    """A start with another plan is another start."""
    approve(world, request := asked(world, Kind.START, 3, plan=Plan([10, 100])))
    assert asked(world, Kind.START, 3, plan=Plan([90, 100])) != request
    assert world.do(Kind.START, 3, plan=Plan([10, 100])).changed


def test_a_rejected_request_is_gone(world: World) -> None:
    """It cannot be approved any more; who asks again makes another one. A rejection says why."""
    request = asked(world, Kind.PROMOTE, 3)
    with pytest.raises(RefusedError, match="needs a reason"):
        world.do(Kind.REJECT, answers=request, actor="bob", reason="")
    world.do(Kind.REJECT, answers=request, actor="bob", reason="not on a Friday")
    with pytest.raises(RefusedError, match="no request"):
        approve(world, request)
    assert asked(world, Kind.PROMOTE, 3) != request


def test_whoever_asked_may_withdraw_the_request(world: World) -> None:
    """To reject one's own request is to withdraw it."""
    world.do(Kind.REJECT, answers=asked(world, Kind.PROMOTE, 3), reason="changed my mind")
    assert not state_of(world).requests


# --- doors ---------------------------------------------------------------------------------------------------


def rolled_out(world: World, **plan: object) -> None:
    """Version 3 on trial at 10 %, approved."""
    made = Plan([10, 50, 100], **plan)  # type: ignore[arg-type]
    approve(world, asked(world, Kind.START, 3, plan=made))
    world.do(Kind.START, 3, plan=made)


DOORS: dict[str, tuple[Kind, int | None, dict[str, object]]] = {
    "promote": (Kind.PROMOTE, 3, {}),
    "promote by force": (Kind.PROMOTE, 3, {"force": True}),
    "promote the champion anew for what its event records": (Kind.PROMOTE, 2, {"anew": True}),
    "start": (Kind.START, 3, {}),
    "start by force": (Kind.START, 3, {"force": True}),
    "start a watch that no plan asks for": (Kind.START, 1, {"is_watch": True}),
    "lift the policy": (Kind.POLICY, None, {"policy": Policy()}),
    "tighten the policy": (Kind.POLICY, None, {"policy": Policy((Approval.START,)), "anew": True}),
}
IN_A_ROLLOUT: dict[str, tuple[Kind, int | None, dict[str, object]]] = {
    "past a gate": (Kind.ADVANCE, None, {}),
    "past a gate, in words": (Kind.ADVANCE, None, {"weight": 5_000, "force": True}),
    "beyond the next step": (Kind.ADVANCE, None, {"weight": 9_999, "force": True}),
    "all of the traffic": (Kind.ADVANCE, None, {"weight": 10_000, "force": True}),
    "complete by force": (Kind.COMPLETE, None, {"force": True}),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_to_traffic_waits(world: World, door: str) -> None:
    """Force, a watch of nothing, and the policy itself are no way around it."""
    kind, version, more = DOORS[door]
    before = world.routing(), dict(world.aliases), state_of(world).policy
    asked(world, kind, version, **more)
    assert (world.routing(), dict(world.aliases), state_of(world).policy) == before


@pytest.mark.parametrize("door", IN_A_ROLLOUT)
def test_every_door_of_a_rollout_waits(world: World, door: str) -> None:
    """A gate, a forced step, all of the traffic, and the completion wait, whatever the verb is called."""
    rolled_out(world, gates=[10])
    kind, version, more = IN_A_ROLLOUT[door]
    before = world.routing()
    asked(world, kind, version, **more)
    assert world.routing() == before


def test_a_take_over_is_no_way_around_it(world: World) -> None:
    """A promotion that goes past operations in flight waits as well."""
    with pytest.raises(AwaitsApprovalError):
        world.process().run(MODEL, world.request(Kind.PROMOTE, 3), actor="ann", reason="now", take_over=True)
    assert world.aliases[tags.CHAMPION] == 2


@pytest.mark.parametrize(
    ("kind", "version", "more"),
    [
        *(
            (Kind.EMERGENCY, None, {}),
            (Kind.ROLLBACK, 1, {}),
            (Kind.ABORT, None, {}),
            (Kind.PAUSE, None, {"now": None}),
        ),
        (Kind.ADVANCE, None, {"weight": 500}),
    ],
    ids=["emergency", "rollback", "abort", "pause", "less traffic"],
)
def test_stopping_never_waits(world: World, kind: Kind, version: int | None, more: dict[str, object]) -> None:
    """Whatever the policy asks for: an emergency, a rollback, an abort, a pause and less traffic go ahead."""
    rolled_out(world)
    if "now" in more:
        more = {"now": world.clock.now()}
    assert world.do(kind, version, **more).changed


def test_a_step_without_a_gate_needs_nobody(world: World) -> None:
    """The plan's next step was approved with the plan."""
    rolled_out(world)
    assert world.do(Kind.ADVANCE).changed


def test_a_plan_may_ask_for_approvals_itself() -> None:
    """Where the model has no policy, a rollout's plan decides for its rollout."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    plan = Plan([10, 100], approval=["complete"])
    world.do(Kind.START, 3, plan=plan)
    approve(world, asked(world, Kind.COMPLETE))
    assert world.do(Kind.COMPLETE).changed


def test_a_watch_that_the_plan_asks_for_needs_nobody(world: World) -> None:
    """It was approved with the plan; a watch of anything else was not."""
    rolled_out(world, watch=Watch(timedelta(days=1), 5))
    approve(world, asked(world, Kind.COMPLETE, force=True))
    event = world.do(Kind.COMPLETE, force=True).event
    assert event is not None
    assert event.rollout is not None
    assert event.rollout.plan.watch is not None
    plan = watch_plan(event.rollout.plan, event.rollout.plan.watch)
    due = world.request(Kind.START, 2, plan=plan, is_watch=True)
    for other in (replace(due, version=1), replace(due, plan=Plan([50])), replace(due, is_watch=False)):
        assert not is_due_watch(world.history.events, other)
    assert world.process().run(MODEL, due, actor="autopilot of ann", reason="watch").changed


def test_an_alias_that_is_there_already_is_no_way_around_it() -> None:
    """A renaming that would make another version the champion, or the canary, is refused under a policy."""
    world = World()
    world.do(Kind.POLICY, policy=EVERYTHING)
    world.by_hand(SetAlias("production", 5))
    with pytest.raises(RefusedError, match="nobody approved it as the champion"):
        world.do(Kind.RENAME, names=AliasNames("production", "canary"))


def test_the_policy_does_not_lie_in_its_tag_alone(world: World) -> None:
    """Whoever deletes or rewrites the tag lifts nothing; what a tag asks for beyond the history counts."""
    assert requests.decode(world.store.read(MODEL).tags) == EVERYTHING
    for write in (DeleteModelTag(requests.POLICY), SetModelTag(requests.POLICY, requests.encode(Policy()))):
        world.by_hand(write)
        asked(world, Kind.PROMOTE, 3)
    fresh = World()
    fresh.by_hand(SetModelTag(requests.POLICY, requests.encode(EVERYTHING)))
    asked(fresh, Kind.PROMOTE, 1)
    asked(fresh, Kind.POLICY, policy=Policy(), anew=True)


@pytest.mark.parametrize("value", ["", "{", "[]", '{"require":["everything"]}', '{"require":"promote"}', "x" * 5_000])
def test_a_tag_that_nobody_can_read_asks_for_everything(value: str) -> None:
    """A policy that was damaged is not a policy that was lifted."""
    world = World()
    world.by_hand(SetModelTag(requests.POLICY, value))
    asked(world, Kind.PROMOTE, 1)


def test_a_bare_move_is_recorded_as_one_that_nobody_approved(world: World) -> None:
    """Whoever moves the alias past the operations is not stopped here; the history says that nobody approved it."""
    world.by_hand(SetAlias(tags.CHAMPION, 5))
    world.process().settle(MODEL, actor="ann")
    last = world.history.events[-1]
    assert last.kind is Kind.ADOPT
    assert "nobody approved it" in last.reason


@pytest.mark.parametrize("kind", [Kind.POLICY, Kind.PROMOTE])
def test_a_process_killed_before_its_event_leaves_no_request_and_no_policy(kind: Kind) -> None:
    """What asks, and what sets a policy, is its event: without it the next operation records that it was abandoned."""
    world = World()
    if kind is Kind.PROMOTE:
        world.do(Kind.POLICY, policy=EVERYTHING)
    store = world.dying(before=SetModelTag)
    count = iter(range(9))
    store.on_call = lambda number, write: _second(store, number, write, count)
    more: dict[str, object] = {"policy": EVERYTHING} if kind is Kind.POLICY else {}
    from tests.support.registry_model import Killed

    with pytest.raises(Killed):
        world.do(kind, 1 if kind is Kind.PROMOTE else None, by=world.process(store), **more)
    by = world.process()
    by.look(MODEL)
    world.clock.seconds += 10 * by.lifetime
    world.do(Kind.STAGE, 4, by=by)
    abandoned = [event for event in world.history.events if event.outcome is Ending.ABANDONED]
    assert [event.kind for event in abandoned] == [Kind.REQUEST if kind is Kind.PROMOTE else Kind.POLICY]
    assert not state_of(world).requests
    world.assert_settled()


def _second(store: object, number: int, write: object, count: object) -> None:
    """Kill the process before its second write of a tag of the model."""
    from tests.support.registry_model import Killed

    if isinstance(write, SetModelTag) and next(count) == 1:  # type: ignore[call-overload]
        store.kill_at = number  # type: ignore[attr-defined]
        raise Killed


# --- what a guard is told ------------------------------------------------------------------------------------


def test_a_guard_is_told_which_bare_moves_a_policy_forbids(world: World) -> None:
    """A new champion, no champion and a canary are forbidden; what serves already, a way back and an end are not."""
    rolled_out(world)
    state = state_of(world)
    for version in (4, 3, None):
        refusal = may_move(state, EVERYTHING, Role.CHAMPION, version)
        assert refusal is not None
        assert "fds promote" in refusal[1]
    assert may_move(state, EVERYTHING, Role.CANARY, 4) is not None
    for role, version in ((Role.CHAMPION, 2), (Role.CHAMPION, 1), (Role.CANARY, 3), (Role.CANARY, None)):
        assert may_move(state, EVERYTHING, role, version) is None
    assert may_move(state, Policy(), Role.CHAMPION, 4) is None


def test_a_guard_is_told_which_versions_may_not_be_deleted(world: World) -> None:
    """What serves, what is on trial, and where an emergency would go: whatever the policy."""
    rolled_out(world)
    state = state_of(world)
    told = {version: may_delete(state, version) for version in (1, 2, 3, 4)}
    assert [version for version, refusal in told.items() if refusal is None] == [4]


def test_a_bare_move_back_needs_no_approval(world: World) -> None:
    """It is what a rollback does, which waits for nobody."""
    world.by_hand(SetAlias(tags.CHAMPION, 1))
    world.process().settle(MODEL, actor="ann")
    assert "nobody approved it" not in world.history.events[-1].reason


def test_a_request_cannot_claim_an_approval_or_a_policy() -> None:
    """What an event says of both comes from the history, not from who asks."""
    world = World()
    event = world.do(Kind.PROMOTE, 1, answers="0" * 26, policy=EVERYTHING).event
    assert event is not None
    assert (event.answers, event.policy) == ("", None)
