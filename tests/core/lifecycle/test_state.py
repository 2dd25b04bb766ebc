"""The state is what the history folds into, and the transition table says what each state allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.lifecycle.events import AliasNames, Ending, Event, Kind
from fds_mlflow.core.lifecycle.operations import REFUSALS, Already, Request, Target, decide, require_reason
from fds_mlflow.core.lifecycle.state import Stage, State, fold
from fds_mlflow.core.plan.plan import Plan, Watch
from fds_mlflow.core.weight import FULL
from fds_mlflow.errors import RefusedError, StaleError
from tests.support.golden_cases import NOON, case, cases, events


@pytest.mark.parametrize("name", cases("fold"))
def test_golden_histories_fold_into_their_states(name: str) -> None:
    """A history leads to the state that the golden case shows."""
    values = case("fold", name)
    state = fold(events(values["events"]))
    expected = values["state"]
    assert state.champion == expected["champion"]
    assert {str(v): stage.value for v, stage in state.stages.items()} == expected["stages"]
    assert list(state.former) == expected["former"]
    assert sorted(state.withdrawn, key=str) == expected["withdrawn"]
    shown = {"canary": state.rollout.canary, "percent": state.rollout.weight / 100} if state.rollout else None
    assert shown == expected["rollout"]
    assert state.sequence == len(values["events"])


@pytest.mark.parametrize("name", cases("fold"))
def test_a_history_folds_in_pieces_as_in_one(name: str) -> None:
    """Folding may go on from any earlier state, so a snapshot can stand for the events before it."""
    history = events(case("fold", name)["events"])
    for cut in range(len(history) + 1):
        assert fold(history[cut:], fold(history[:cut])) == fold(history)


def _history(*rows: tuple[str, int | None]) -> State:
    state = State()
    for number, (kind, version) in enumerate(rows, start=1):
        request = Request(
            Kind(kind), version, plan=Plan(), rollout_id=f"R{number}", now=NOON, force=True, weight=_weight(kind)
        )
        target = decide(state, request)
        assert isinstance(target, Target)
        state = fold([_event(state, request, target)], state)
    return state


def _weight(kind: str) -> int | None:
    return FULL if kind == "advance" else None


def _event(state: State, request: Request, target: Target) -> Event:
    return Event(
        sequence=state.sequence + 1,
        operation=f"{state.sequence + 1:026d}",
        kind=request.kind,
        actor="ann",
        reason="",
        time=NOON,
        from_version=state.champion,
        to_version=target.version,
        rollout=target.rollout,
    )


STATES = {
    "empty": State(),
    "champion": _history(("promote", 1)),
    "former": _history(("promote", 1), ("promote", 2)),
    "rollout": _history(("promote", 1), ("promote", 2), ("start", 3)),
    "last step": _history(("promote", 1), ("promote", 2), ("start", 3), ("advance", None)),
    "paused": _history(("promote", 1), ("promote", 2), ("start", 3), ("pause", None)),
    "back": _history(("promote", 1), ("promote", 2), ("rollback", 1)),
    "candidates": _history(("promote", 1), ("promote", 2), ("stage", 5), ("stage", 4), ("retire", 4)),
}

YES, SAME = "yes", "same"
ROLLOUT, NONE, NO_CHAMPION = "is active at", "no active rollout", "no champion"
CHAMPION, CANARY, NEVER, NOWHERE = "is the champion", "is the canary", "never champion", "no former champion"
PAUSED, UNASKED = "is paused since", "no request"
BELOW, LAST, WITHDRAWN = "below the plan's last step", "at the last step", "was itself rolled back from"

TABLE: dict[tuple[str, str], dict[str, str]] = {
    ("stage", "other"): dict.fromkeys(STATES, YES) | {"candidates": SAME},
    ("stage", "champion"): dict.fromkeys(STATES, CHAMPION) | {"empty": YES},
    ("stage", "canary"): {"rollout": CANARY, "last step": CANARY},
    ("stage", "former"): dict.fromkeys(STATES, YES),
    ("promote", "other"): dict.fromkeys(STATES, YES) | {"rollout": ROLLOUT, "last step": ROLLOUT},
    ("promote", "champion"): dict.fromkeys(STATES, SAME) | {"empty": YES},
    ("promote", "canary"): {"rollout": ROLLOUT, "last step": ROLLOUT},
    ("promote", "former"): dict.fromkeys(STATES, YES) | {"rollout": ROLLOUT, "last step": ROLLOUT},
    ("start", "other"): dict.fromkeys(STATES, YES) | {"empty": NO_CHAMPION, "rollout": ROLLOUT, "last step": ROLLOUT},
    ("start", "champion"): dict.fromkeys(STATES, CHAMPION)
    | {"empty": NO_CHAMPION, "rollout": ROLLOUT, "last step": ROLLOUT},
    ("start", "canary"): {"rollout": ROLLOUT, "last step": ROLLOUT},
    ("start", "former"): dict.fromkeys(STATES, YES) | {"empty": NO_CHAMPION, "rollout": ROLLOUT, "last step": ROLLOUT},
    ("advance", "none"): dict.fromkeys(STATES, NONE) | {"rollout": YES, "last step": LAST},
    ("complete", "none"): dict.fromkeys(STATES, NONE) | {"rollout": BELOW, "last step": YES},
    ("complete", "forced"): dict.fromkeys(STATES, NONE) | {"rollout": YES, "last step": YES},
    ("abort", "none"): dict.fromkeys(STATES, NONE) | {"rollout": YES, "last step": YES},
    ("emergency", "none"): dict.fromkeys(STATES, YES) | {"empty": NOWHERE, "champion": NOWHERE, "back": WITHDRAWN},
    ("rollback", "other"): dict.fromkeys(STATES, NEVER),
    ("rollback", "champion"): dict.fromkeys(STATES, SAME) | {"empty": NEVER},
    ("rollback", "canary"): {"rollout": CANARY, "last step": CANARY},
    ("rollback", "former"): dict.fromkeys(STATES, YES) | {"empty": NEVER, "champion": NEVER},
    ("pause", "none"): dict.fromkeys(STATES, NONE) | {"rollout": YES, "last step": YES, "paused": SAME},
    ("resume", "none"): dict.fromkeys(STATES, NONE) | {"rollout": SAME, "last step": SAME, "paused": YES},
    ("policy", "none"): dict.fromkeys(STATES, YES),
    ("approve", "none"): dict.fromkeys(STATES, UNASKED),
    ("reject", "none"): dict.fromkeys(STATES, UNASKED),
    ("rename", "none"): dict.fromkeys(STATES, YES) | {"rollout": ROLLOUT, "last step": ROLLOUT},
    ("retire", "other"): dict.fromkeys(STATES, YES),
    ("retire", "champion"): dict.fromkeys(STATES, CHAMPION) | {"empty": YES},
    ("retire", "canary"): {"rollout": CANARY, "last step": CANARY},
    ("retire", "former"): dict.fromkeys(STATES, SAME) | {"empty": YES, "champion": YES},
}
for (_kind, _), _row in TABLE.items():  # a paused rollout is a rollout, that does not go on
    if _kind not in ("pause", "resume") and "rollout" in _row:
        _row["paused"] = PAUSED if _kind in ("advance", "complete") else _row["rollout"]


def _version(state: State, role: str) -> int | None:
    former = state.former[-1] if state.former else 6
    roles = {"other": 5, "champion": state.champion or 5, "canary": state.canary, "former": former}
    return roles.get(role)


WALK = [(kind, role, name, answer) for (kind, role), row in TABLE.items() for name, answer in row.items()]


@pytest.mark.parametrize(("kind", "role", "name", "answer"), WALK, ids=[f"{k} {r} in {n}" for k, r, n, _ in WALK])
def test_every_state_answers_every_kind(kind: str, role: str, name: str, answer: str) -> None:
    """The transition table: what each state allows, what holds already, and what it refuses with which words."""
    state = STATES[name]
    version = _version(state, role)
    request = Request(
        Kind(kind), version, plan=Plan(), rollout_id="R", now=NOON, force=role == "forced", names=AliasNames()
    )
    if answer == YES:
        target = decide(state, request)
        assert isinstance(target, Target)
        after = fold([_event(state, request, target)], state)
        assert after != state
    elif answer == SAME:
        assert isinstance(decide(state, request), Already)
    else:
        with pytest.raises(RefusedError, match=answer) as refused:
            decide(state, request)
        assert refused.value.fix


def test_every_kind_that_can_be_asked_for_is_in_the_table() -> None:
    """No kind is forgotten; what hands did is adopted, and what waits is recorded: nobody asks for those."""
    assert set(REFUSALS) == set(Kind) - {Kind.ADOPT, Kind.REQUEST}
    assert {kind for kind, _ in TABLE} == {kind.value for kind in REFUSALS}


def test_an_advance_may_go_anywhere_a_person_wants() -> None:
    """A given weight overrides the plan: down, between the steps, or to nothing, and each counts as a new step.

    What is ahead of the plan takes force, and is marked as forced; what is not is never marked.
    """
    rollout = STATES["rollout"].rollout
    assert rollout is not None
    for weight, ahead in ((0, False), (500, False), (1_700, False), (2_500, False), (3_300, True), (FULL, True)):
        target = decide(STATES["rollout"], Request(Kind.ADVANCE, weight=weight, force=True, now=NOON))
        assert isinstance(target, Target)
        assert target.rollout == replace(rollout, weight=weight, step=1, since=NOON)
        assert target.forced is ahead


weights = st.one_of(st.just(FULL), st.integers(0, FULL // 100).map(lambda percent: percent * 100))


@st.composite
def under_way(draw: st.DrawFn) -> State:
    """A rollout at any weight under any steps and gates."""
    steps = sorted({*draw(st.sets(st.integers(1, 99), min_size=1, max_size=4)), *draw(st.sampled_from([[], [100]]))})
    gates = draw(st.lists(st.sampled_from(steps), unique=True))
    rollout = STATES["rollout"].rollout
    assert rollout is not None
    on_plan = st.sampled_from([step * 100 for step in steps])
    weight = draw(st.one_of(on_plan, weights))
    return replace(STATES["rollout"], rollout=replace(rollout, plan=Plan(steps, gates=gates), weight=weight))


@given(under_way(), weights)
def test_no_weight_gets_ahead_of_the_plan_without_force(state: State, weight: int) -> None:
    """Without force a named weight never skips a step, passes a gate or sends all traffic; with force it may."""
    rollout = state.rollout
    assert rollout is not None
    steps = [step for step in rollout.plan.weights if rollout.weight < step]
    skipped = [step for step in steps if step < weight]
    gates = [gate for gate in rollout.plan.gated if rollout.weight <= gate < weight]
    ahead = weight > rollout.weight and bool(skipped or gates or weight == FULL or not steps)
    request = Request(Kind.ADVANCE, weight=weight, now=NOON)
    answer = _answer(state, request)
    assert isinstance(answer, str) is ahead
    forced = decide(state, replace(request, force=True))
    assert isinstance(forced, Already) if weight == rollout.weight else isinstance(forced, Target)
    assert not isinstance(forced, Target) or forced.forced is ahead


@given(under_way())
def test_the_plans_next_step_is_open_to_a_person_also_behind_a_gate(state: State) -> None:
    """Without a weight a person goes on one step, whatever the step; only a gate asks why."""
    rollout = state.rollout
    assert rollout is not None
    request = Request(Kind.ADVANCE, now=NOON)
    if rollout.at_last_step:
        assert "last step" in str(_answer(state, request))
        return
    target = decide(state, request)
    assert isinstance(target, Target)
    assert target.rollout is not None
    assert (target.rollout.weight, target.forced) == (rollout.next_weight, False)
    for kind in (Kind.ADVANCE, Kind.COMPLETE):
        if rollout.weight in rollout.plan.gated:
            with pytest.raises(RefusedError, match=r"opening the gate .* needs a reason"):
                require_reason(state, replace(request, kind=kind), "")
        else:
            require_reason(state, replace(request, kind=kind), "")


BLANK = ["", " ", "\n\t", "\u00a0", "\u200b", " \u2003\ufeff"]


@pytest.mark.parametrize("reason", BLANK)
def test_what_the_history_must_explain_needs_a_reason(reason: str) -> None:
    """Emergencies, rollbacks, aborts, force of any kind and weights off the plan are refused without one."""
    state = STATES["rollout"]
    always = [Request(kind, 1, now=NOON) for kind in (Kind.ABORT, Kind.EMERGENCY, Kind.ROLLBACK)]
    forced = [Request(kind, 1, plan=Plan(), rollout_id="R", now=NOON, force=True) for kind in REFUSALS]
    off_plan = [Request(Kind.ADVANCE, weight=weight, now=NOON) for weight in (0, 500, 1_200, 3_300, FULL)]
    for request in (*always, *forced, *off_plan):
        with pytest.raises(RefusedError, match="reason") as refused:
            require_reason(state, request, reason)
        assert "say why" in refused.value.fix
        assert "leave it out" not in refused.value.fix
        require_reason(state, request, "because")


@pytest.mark.parametrize("reason", BLANK)
def test_what_is_ordinary_needs_no_reason_but_no_blank_one_either(reason: str) -> None:
    """Stage, promote, start, next step and completion may be left unexplained; a blank reason explains nothing."""
    ordinary = [Request(kind, 3) for kind in (Kind.STAGE, Kind.PROMOTE, Kind.START, Kind.COMPLETE, Kind.RETIRE)]
    steps = [Request(Kind.ADVANCE), Request(Kind.ADVANCE, weight=2_500), Request(Kind.ADVANCE, weight=1_000)]
    for request in (*ordinary, *steps):
        if not reason:
            require_reason(STATES["rollout"], request, reason)
            continue
        with pytest.raises(RefusedError, match="reason is blank"):
            require_reason(STATES["rollout"], request, reason)


def test_force_that_overrides_nothing_is_not_recorded_as_force() -> None:
    """At the last step a completion is forced by nobody, whatever was passed; below it, it is."""
    for name, forced in (("last step", False), ("rollout", True)):
        target = decide(STATES[name], Request(Kind.COMPLETE, force=True))
        assert isinstance(target, Target)
        assert target.forced is forced


def test_an_advance_to_the_same_weight_is_nothing_to_do() -> None:
    """Asking for the weight in force restarts no statistics."""
    answer = decide(STATES["rollout"], Request(Kind.ADVANCE, weight=1_000, now=NOON))
    assert answer == Already("the canary gets 10 % already")


def test_steps_follow_the_plan_also_from_between_them() -> None:
    """Without a weight the next step is the plan's first one above the weight in force."""
    state = STATES["rollout"]
    assert state.rollout is not None
    for weight, then in ((0, 1_000), (1_000, 2_500), (3_300, 5_000), (9_999, FULL)):
        at = replace(state, rollout=replace(state.rollout, weight=weight))
        target = decide(at, Request(Kind.ADVANCE, now=NOON))
        assert isinstance(target, Target)
        assert target.rollout is not None
        assert target.rollout.weight == then


@pytest.mark.parametrize("kind", sorted(REFUSALS))
def test_a_request_that_was_decided_before_the_last_event_is_refused(kind: Kind) -> None:
    """Two who decide by the same history act once: the second finds that the history has gone on."""
    state = STATES["rollout"]
    request = Request(kind, 1, plan=Plan(), rollout_id="R", now=NOON, expected_sequence=state.sequence)
    assert _answer(state, request) == _answer(state, replace(request, expected_sequence=None))
    with pytest.raises(StaleError, match=f"decided at event {state.sequence}.* at event {state.sequence + 1} now"):
        decide(replace(state, sequence=state.sequence + 1), request)


def _answer(state: State, request: Request) -> Target | Already | str:
    try:
        return decide(state, request)
    except RefusedError as refused:
        return refused.what


def test_an_emergency_goes_back_past_what_was_rolled_back_from() -> None:
    """Two emergencies in a row go back two champions, never to the version that was just left."""
    state = _history(("promote", 1), ("promote", 2), ("promote", 3), ("emergency", None))
    assert state.champion == 2
    target = decide(state, Request(Kind.EMERGENCY))
    assert isinstance(target, Target)
    assert target.version == 1


def test_a_version_that_a_person_went_back_to_is_trusted_again() -> None:
    """Left in an emergency, then chosen by name: the next emergency may go back to it."""
    asked = [("promote", 1), ("promote", 2), ("emergency", None), ("rollback", 2), ("promote", 3)]
    assert _history(*asked).emergency_target == 2


def test_a_control_goes_back_to_where_it_came_from() -> None:
    """The former champion is Staging while it is the control of a watch, and Archived again after it."""
    state = _history(("promote", 1), ("promote", 2))
    plan = Plan([5], max_step_time="7d", watch=Watch(timedelta(days=7), 5))
    for kind, stage in ((Kind.START, Stage.STAGING), (Kind.ABORT, Stage.ARCHIVED)):
        request = Request(kind, 1, plan=plan, rollout_id="R", now=NOON, is_watch=True)
        target = decide(state, request)
        assert isinstance(target, Target)
        state = fold([_event(state, request, target)], state)
        assert state.stages[1] is stage
    assert (state.champion, state.former, state.emergency_target) == (2, (1,), 1)


def test_an_emergency_may_choose_the_control_itself() -> None:
    """A champion worse than its control is rolled back to it, and is no emergency's own choice afterwards."""
    state = _history(("promote", 1), ("promote", 2), ("start", 1), ("emergency", None))
    assert (state.champion, state.rollout, state.withdrawn) == (1, None, {2})
    with pytest.raises(RefusedError, match="rolled back from"):
        decide(state, Request(Kind.EMERGENCY))


requests = st.tuples(st.sampled_from(sorted(REFUSALS)), st.integers(1, 5), st.booleans())


@given(st.lists(requests, max_size=25))
def test_any_sequence_of_requests_keeps_the_state_sound(asked: list[tuple[Kind, int, bool]]) -> None:
    """After whatever people ask for, one version is in Production, and it is the champion; the canary is another."""
    state = State()
    for number, (kind, version, force) in enumerate(asked, start=1):
        request = Request(
            kind, version, plan=Plan(), rollout_id=f"R{number}", now=NOON, force=force, names=AliasNames()
        )
        try:
            target = decide(state, request)
        except RefusedError:
            continue
        if isinstance(target, Already):
            continue
        state = fold([_event(state, request, target)], state)
        production = [v for v, stage in state.stages.items() if stage is Stage.PRODUCTION]
        assert production == ([state.champion] if state.champion is not None else [])
        assert state.champion not in state.former
        assert len(set(state.former)) == len(state.former)
        assert state.withdrawn <= {*state.former, state.champion}
        assert state.emergency_target not in {*state.withdrawn, state.champion} - {None}
        if state.rollout is not None:
            assert state.rollout.champion == state.champion
            assert state.canary != state.champion
            assert state.stages[state.rollout.canary] is Stage.STAGING


@pytest.mark.parametrize("outcome", [Ending.ABANDONED, Ending.OVERTAKEN])
@pytest.mark.parametrize("name", cases("fold"))
def test_what_did_not_take_effect_only_counts(name: str, outcome: Ending) -> None:
    """An operation that did not take effect leaves everything but the sequence as it was."""
    history = events(case("fold", name)["events"])
    state = fold(history)
    for event in history:
        later = replace(event, sequence=99, outcome=outcome)
        assert fold([later], state) == replace(state, sequence=99)
