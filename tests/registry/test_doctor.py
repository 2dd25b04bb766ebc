"""The doctor finds what the history does not explain, and a history moves to another registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Kind, Policy
from fds_mlflow.core.plan.approval import Approval
from fds_mlflow.errors import AwaitsApprovalError, DataError, RefusedError
from fds_mlflow.registry import grammar, requests, tags
from fds_mlflow.registry.doctor import Finding, Severity
from fds_mlflow.registry.store import DeleteAlias, DeleteModelTag, SetAlias, SetModelTag, SetStage, SetVersionTag
from tests.support.registry_model import MODEL, SCENARIOS, Killed, World

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def managed(world: World) -> ManagedModel:
    """The world's model, as bob sees it; its versions have thresholds."""
    for version in world.store.models[MODEL].versions.values():
        version.tags.setdefault(tags.THRESHOLD, "0.5")
    world.store.write_limit = 20.0  # as SQLite's: a dead operation then outlives the longest pause of a waiting one
    return ManagedModel(MODEL, store=world.store, clock=world.clock, actor="bob", outcomes="sqlite://")


def rollout_world() -> World:
    """Champion 2, former champion 1, canary 3 at 10 %."""
    return BY_NAME["advance"].world()


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in ("stage", "retire") and "old" not in name])
def test_a_healthy_model_has_nothing_to_find(name: str) -> None:
    """After any operation the doctor is content."""
    world = BY_NAME[name].world()
    BY_NAME[name].run(world, world.process())
    assert managed(world).doctor() == []


def _dead(world: World) -> None:
    with pytest.raises(Killed):
        world.do(Kind.PROMOTE, 1, by=world.process(world.dying(SetStage)), actor="zoe")


def _retag(world: World, version: int, **values: object) -> None:
    tag = json.loads(world.store.models[MODEL].versions[3].tags[tags.ROLLOUT])
    world.by_hand(SetVersionTag(version, tags.ROLLOUT, json.dumps({**tag, **values})))


def _delete_event(world: World) -> None:
    name = next(name for name in world.store.models[MODEL].tags if name.startswith("fds.event.00000002"))
    world.by_hand(DeleteModelTag(name))


def _damage_event(world: World) -> None:
    name = next(name for name in world.store.models[MODEL].tags if name.startswith("fds.event.00000002"))
    world.by_hand(SetModelTag(name, "?"))


def _damage_intent(world: World) -> None:
    world.by_hand(SetModelTag(tags.intent_name("0" * 26), "?"))


def _twin_event(world: World) -> None:
    event = replace(world.history.events[1], operation="9" * 26)
    world.by_hand(SetModelTag(*tags.event_tag(event)))


def _not_ready(world: World) -> None:
    world.store.models[MODEL].versions[2].status = "FAILED_REGISTRATION"


def _dangle(world: World, version: int) -> None:
    world.store.dangling = True
    world.store.delete_version(MODEL, version)


def _no_threshold(world: World) -> None:
    del world.store.models[MODEL].versions[3].tags[tags.THRESHOLD]


HANDS: dict[str, tuple[Callable[[World], object], Severity, str]] = {
    "champion moved": (
        lambda world: world.by_hand(SetAlias(tags.CHAMPION, 5)),
        Severity.WARNING,
        "champion is 5 where the history says 2",
    ),
    "champion deleted": (
        lambda world: world.store.delete_version(MODEL, 2),
        Severity.DANGER,
        "no version has the champion alias",
    ),
    "champion deleted, its alias left": (
        lambda world: _dangle(world, 2),
        Severity.DANGER,
        "the alias champion points at version 2, which does not exist",
    ),
    "canary deleted, its alias left": (
        lambda world: _dangle(world, 3),
        Severity.WARNING,
        "the alias canary points at version 3, which does not exist",
    ),
    "other alias left": (
        lambda world: (world.by_hand(SetAlias("shadow", 5)), _dangle(world, 5)),
        Severity.NOTE,
        "the alias shadow points at version 5, which does not exist",
    ),
    "canary alias deleted": (
        lambda world: world.by_hand(DeleteAlias(tags.CANARY)),
        Severity.WARNING,
        "no canary takes traffic where the history says canary 3 takes 10 %",
    ),
    "stage moved": (
        lambda world: world.by_hand(SetStage(1, "Production")),
        Severity.NOTE,
        "version 1 is in stage Production where the history says Archived",
    ),
    "stranger in production": (
        lambda world: world.by_hand(SetStage(6, "Production")),
        Severity.NOTE,
        "version 6 is in stage Production, and the history does not know it",
    ),
    "stale rollout": (
        lambda world: _retag(world, 5, canary=5),
        Severity.WARNING,
        "version 5 names a rollout as active (10 % against version 2) that is not under way",
    ),
    "damaged rollout": (
        lambda world: world.by_hand(SetVersionTag(3, tags.ROLLOUT, "{")),
        Severity.WARNING,
        "the rollout tag of version 3 cannot be parsed",
    ),
    "event deleted": (_delete_event, Severity.WARNING, "1 events are missing from the history: 2"),
    "event damaged": (_damage_event, Severity.WARNING, "cannot be parsed"),
    "intent damaged": (_damage_intent, Severity.WARNING, f"the operation in flight in the tag fds.intent.{'0' * 26}"),
    "event doubled": (_twin_event, Severity.WARNING, "2 events have the sequence 2"),
    "champion not ready": (_not_ready, Severity.DANGER, "the champion is version 2, which is FAILED_REGISTRATION"),
    "canary without threshold": (_no_threshold, Severity.DANGER, "the canary (version 3) has no tag fds.threshold"),
    "operation in flight": (_dead, Severity.WARNING, "zoe has an operation in flight"),
}


@pytest.mark.parametrize("hand", HANDS)
def test_what_a_hand_did_is_found_and_explained(hand: str) -> None:
    """Each disagreement is named with what it means and what mends it; the most severe come first."""
    world = rollout_world() if hand != "operation in flight" else BY_NAME["start"].world()
    model = managed(world)
    act, severity, says = HANDS[hand]
    act(world)
    found = model.doctor()
    match = [finding for finding in found if says in finding.what]
    assert [finding.severity for finding in match] == [severity], found
    assert match[0].means
    assert match[0].fix
    order = [Severity.DANGER, Severity.WARNING, Severity.NOTE]
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=order.index)


MENDED = {
    "champion moved", "canary alias deleted", "stage moved", "stale rollout", "damaged rollout", "operation in flight",
    "intent damaged", "canary deleted, its alias left",
}  # fmt: skip


@pytest.mark.parametrize("hand", sorted(MENDED))
def test_what_the_doctor_mends_changes_no_routing(hand: str) -> None:
    """Repairing appends and tidies; who gets which traffic stays as it is, and asking twice finds nothing new."""
    world = rollout_world() if hand != "operation in flight" else BY_NAME["start"].world()
    model = managed(world)
    HANDS[hand][0](world)
    before = world.history.events
    routing = world.routing()
    left = model.doctor(fix=True)
    assert world.routing() == routing
    assert world.history.events[: len(before)] == before
    assert world.folded_routing() == routing
    assert model.doctor(fix=True) == left == model.doctor()
    stays = ("rollout tag", "versions that do not exist any more")
    assert [finding.what for finding in left if not any(text in finding.what for text in stays)] == []


def test_a_waking_canary_is_a_danger_and_is_put_to_rest() -> None:
    """A left-over canary alias that a hand could wake is called dangerous, and gone after a repair."""
    world = BY_NAME["start past an old canary"].world()
    model = managed(world)
    (danger,) = [finding for finding in model.doctor() if finding.severity is Severity.DANGER]
    assert "moving the champion alias back to version 2 would wake it" in danger.means
    model.doctor(fix=True)
    world.by_hand(SetAlias(tags.CHAMPION, 2))
    assert world.routing() == (2, None, None)


@pytest.mark.parametrize("name", ["0" * 26, "of somebody's", "x" * 239], ids=["as ours", "foreign", "long"])
def test_an_unreadable_operation_in_flight_is_put_aside_not_thrown_away(name: str) -> None:
    """A repair moves each such value to a tag that nothing reads, beside those that were put aside before."""
    world = rollout_world()
    model = managed(world)
    for value in ("?", "{", "?"):
        world.by_hand(SetModelTag(tags.intent_name(name), value))
        assert model.doctor(fix=True) == []
    kept = {n: v for n, v in world.store.models[MODEL].tags.items() if n.startswith("fds.kept.intent.")}
    assert sorted(kept.values()) == ["?", "{"]
    assert all(len(n) <= 250 for n in kept)
    world.assert_settled()


def test_a_finding_that_only_a_person_can_mend_stays() -> None:
    """A repair never makes history up: a missing event stays missing, and is said again."""
    world = rollout_world()
    model = managed(world)
    _delete_event(world)
    found: list[Finding] = model.doctor(fix=True)
    assert any("events are missing" in finding.what for finding in found)


# --- moving a history --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["promotion", "advance", "complete", "emergency in a rollout"])
def test_a_history_moves_to_another_registry(name: str) -> None:
    """Export there, import here: the same events, stages, aliases and routing."""
    world = BY_NAME[name].world()
    BY_NAME[name].run(world, world.process())
    other = World()
    managed(other).import_history(managed(world).export_history())
    assert other.history.events == world.history.events
    assert other.routing() == world.routing()
    other.assert_settled()
    assert managed(other).doctor() == []


@pytest.mark.slow
def test_a_long_history_moves_packed() -> None:
    """A hundred events arrive in tags that fit, most of them packed."""
    world = World()
    process = world.process()
    for number in range(100):
        world.do(Kind.PROMOTE, 1 + number % 2, by=process)
    other = World()
    managed(other).import_history(managed(world).export_history())
    assert other.history.events == world.history.events
    assert len(other.history.loose) <= tags.LOOSE
    assert all(len(value) <= grammar.MAX_VALUE for value in other.store.models[MODEL].tags.values())


def test_an_import_that_died_is_finished_by_asking_again() -> None:
    """An import killed before any of its writes serves nobody wrongly, and a second one completes it."""
    lines = managed(rollout_world()).export_history()
    number, died = 0, True
    while died:
        number += 1
        other = World()
        crashing = other.watched()
        crashing.kill_at_write = number
        died = False
        try:
            ManagedModel(MODEL, store=crashing, clock=other.clock, actor="bob").import_history(lines)
        except Killed:
            died = True
        assert other.routing() in ((None, None, None), (2, 3, 1_000))
        managed(other).import_history(lines)
        assert other.routing() == (2, 3, 1_000)
        other.assert_settled()
    assert number > 5


def test_a_model_with_a_history_of_its_own_takes_no_other() -> None:
    """Two histories are never mixed."""
    lines = managed(rollout_world()).export_history()
    other = World(numbers=iter(range(500, 600)))
    other.do(Kind.PROMOTE, 6)
    with pytest.raises(RefusedError, match="1 events of its own"):
        managed(other).import_history(lines)
    assert other.routing() == (6, None, None)


def test_versions_that_serve_must_be_there() -> None:
    """A history whose champion does not exist here is refused before anything is written."""
    lines = managed(rollout_world()).export_history()
    other = World()
    other.store.delete_version(MODEL, 3)
    with pytest.raises(RefusedError, match="lacks the versions 3"):
        managed(other).import_history(lines)
    assert other.history.events == ()


def _changed(lines: list[str], old: str, new: str) -> list[str]:
    """The lines with a text in each replaced."""
    return [line.replace(old, new) for line in lines]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: [], "no events"),
        (lambda _: ["", "  "], "no events"),
        (lambda lines: [lines[0][:-1]], "line 1 is no exported event"),
        (lambda _: ["7"], "line 1 is no exported event"),
        (lambda lines: [lines[0], lines[2]], "line 2 has the sequence 3 where 2 was to come"),
        (lambda lines: [lines[0], lines[0]], "line 2 has the sequence 1 where 2 was to come"),
        (lambda lines: [*lines[:2], "{}"], "line 3 is no exported event"),
        (lambda lines: [lines[0].replace('"kind"', '"actor": "eve", "kind"')], "line 1 .* it has actor twice"),
        (lambda lines: _changed(lines, '"step"', '"step": 0, "step"'), r"line \d .* it has step twice"),
        (lambda lines: _changed(lines, '"steps"', '"steps": [5], "steps"'), r"line \d .* it has steps twice"),
        (lambda lines: [lines[0].replace('"kind"', '"mood": 1, "kind"')], "line 1 .* event has unknown keys: mood"),
        (lambda lines: _changed(lines, '"step"', '"is_watch": true, "step"'), "rollout has unknown keys: is_watch"),
        (lambda lines: _changed(lines, '"steps"', '"alphas": 1, "steps"'), r"line \d .* plan has unknown keys: alphas"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_its_line(change: Callable[[list[str]], list[str]], says: str) -> None:
    """Cut, edited or foreign files are refused by line number, and nothing is written."""
    lines = managed(rollout_world()).export_history()
    other = World()
    with pytest.raises(DataError, match=says):
        managed(other).import_history(change(lines))
    assert other.history.events == ()


def test_a_policy_tag_that_differs_is_found_and_only_tightened_tags_are_left_to_a_person() -> None:
    """What the tag lacks, or nobody can read, is written as the history has it; what it asks for beyond that stays."""
    both, one = Policy((Approval.START, Approval.PROMOTE)), Policy((Approval.PROMOTE,))
    cases = {
        "": (one, requests.encode(one)),
        "{": (one, requests.encode(one)),
        requests.encode(Policy()): (one, requests.encode(one)),
        requests.encode(both): (one, requests.encode(both)),
    }
    for value, (recorded, left) in cases.items():
        world = World()
        world.do(Kind.POLICY, policy=recorded)
        world.by_hand(SetModelTag(requests.POLICY, value) if value else DeleteModelTag(requests.POLICY))
        model = managed(world)
        assert [finding.severity for finding in model.doctor()] == [Severity.WARNING]
        model.doctor(fix=True)
        assert world.store.read(MODEL).tags[requests.POLICY] == left


def test_a_policy_of_a_later_release_is_not_lifted_by_tidying() -> None:
    """What this release cannot read asks for everything, and one person's `--fix` leaves it so."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.POLICY, policy=Policy(tuple(Approval)))
    written = world.store.models[MODEL].tags
    for name, value in list(written.items()):
        if "require" in value:
            world.by_hand(SetModelTag(name, value.replace('"promote"]', '"promote","retire"]')))
    managed(world).doctor(fix=True)
    with pytest.raises(AwaitsApprovalError):
        world.do(Kind.PROMOTE, 2)
