"""What a rollout looks like while it is watched: on a terminal, in a log, for machines."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fds_mlflow import Plan
from fds_mlflow.cli.output.live import LiveView, evidence_bar, line, showing, steps, values
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import judge
from fds_mlflow.core.lifecycle.controller import next_step
from fds_mlflow.core.lifecycle.events import Event, Kind, Rollout, RolloutStatus
from fds_mlflow.core.lifecycle.watch import watch_plan
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.plan import Watch
from fds_mlflow.errors import UnavailableError
from fds_mlflow.registry.transaction import Result
from fds_mlflow.rollouts.tick import Tick
from tests.conftest import FakeClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAN = Plan(
    [5, 10, 25, 100],
    guardrails=[Guardrail("error_rate", margin=1.0), Guardrail("missed_fraud", margin=1.0, required=False)],
    bake_time="30m",
    max_step_time="2d",
    label_maturity="7d",
    gates=[25],
)
ROLLOUT = Rollout("R", 3, 4, PLAN, 1_000, 1, NOON - timedelta(minutes=12))


def _tally(variant: Variant, keys: int, errors: int, step: int = 1) -> Tally:
    return Tally(
        variant=variant,
        step=step,
        weight=1_000,
        requests=keys + 7,
        keys=keys,
        matured=keys // 2,
        labelled=keys // 4,
        passed_genuine=keys // 4,
        matured_requests=keys // 2,
        events={EventKind.ERROR: errors},
        spent={EventKind.ERROR: 7},
    )


EVIDENCE = Evidence(
    terms=PLAN.terms,
    as_of=NOON,
    tallies=(
        _tally(Variant.CHAMPION, 4_500, 90, step=0),
        _tally(Variant.CANARY, 500, 9, step=0),
        _tally(Variant.CHAMPION, 9_000, 180),
        _tally(Variant.CANARY, 1_000, 30),
    ),
)
JUDGEMENT = judge(EVIDENCE, ROLLOUT)
TICK = Tick("fraud", NOON, ROLLOUT, EVIDENCE, JUDGEMENT, next_step(ROLLOUT, JUDGEMENT, NOON))
GONE = UnavailableError("the registry cannot be reached", fix="wait")


def _seen(*ticks: Tick, width: int = 130, seconds: float = 0.0) -> str:
    clock = FakeClock()
    clock.start = NOON
    view = LiveView(clock, 30.0)
    for tick in ticks:
        view(tick)
    clock.seconds += seconds
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 112, 200])
def test_the_view_shows_where_the_rollout_stands_and_why(width: int) -> None:
    """Steps, both variants' numbers of this step, each guardrail, times and the decision, also on 80 columns."""
    seen = _seen(TICK, width=width)
    for text in ("canary 4 against champion 3", "● 5 %", "◉ 10 %", "○ 25 % (gate)", "○ 100 %"):
        assert text in seen
    for text in ("9,007", "1,007", "2.00 %", "3.00 %", "50.00 %", "13,500", "1,500"):
        assert text in seen
    for verdict in JUDGEMENT.verdicts:
        assert verdict.check in seen
        assert verdict.status.value in seen
    to_go = [f"{verdict.requests_to_go:,}" for verdict in JUDGEMENT.verdicts if verdict.requests_to_go is not None]
    assert to_go
    assert all(number in seen for number in to_go)
    for text in ("in this step for 12 min", "bakes for another 18 min", "1 d 23 h left", "FAIL", "PASS", "remaining"):
        assert text in seen
    assert "wait at 10 %" in seen
    assert "…" not in seen
    assert max(map(len, seen.splitlines())) <= width


def test_times_go_on_between_two_looks() -> None:
    """The view counts on while the autopilot sleeps, and says how old its numbers are."""
    seen = _seen(TICK, seconds=20.0)
    assert "in this step for 12 min 20 s" in seen
    assert "last look 20 s ago, one every 30 s" in seen


def test_an_error_stands_beside_the_last_good_look() -> None:
    """While nothing can be read, the view keeps what it knew and says what is wrong."""
    seen = _seen(TICK, Tick("fraud", NOON, error=GONE))
    assert "ERROR" in seen
    assert GONE.what in seen
    assert "◉ 10 %" in seen
    assert "looking" in _seen()
    assert GONE.what in _seen(Tick("fraud", NOON, error=GONE))


def test_a_rollout_that_somebody_else_ended_says_who() -> None:
    """The last numbers stay on the screen, with who ended it and why; nothing is looked at any more."""
    last = _event(Kind.ABORT, ROLLOUT.ended(RolloutStatus.ABORTED))
    seen = _seen(TICK, Tick("fraud", NOON, ended=True, last=last))
    assert "no active rollout; the last one, of version 4: aborted by hand (ann): second thoughts" in seen
    assert "◉ 10 %" in seen
    assert "last look" not in seen


def test_what_was_done_stays_on_the_screen() -> None:
    """The last actions are listed with their times."""
    acted = replace(TICK, applied=Result(_event(Kind.ADVANCE, ROLLOUT), "canary 4 gets 10 % now"))
    seen = _seen(acted, TICK)
    assert "12:00:00  canary 4 gets 10 % now" in seen


def test_a_watch_is_shown_as_what_it_is() -> None:
    """The former champion is the control, not a canary that might win."""
    watch = Watch(timedelta(days=7), 5)
    rollout = Rollout("R", 4, 3, watch_plan(PLAN, watch), 500, 0, NOON, is_watch=True)
    judgement = judge(EVIDENCE, rollout)
    tick = Tick("fraud", NOON, rollout, EVIDENCE, judgement, next_step(rollout, judgement, NOON))
    seen = _seen(tick)
    assert "watch of champion 4 against its control, version 3" in seen
    assert "control 3" in seen
    assert "canary 3" not in seen
    assert "control 3 at 5 %" in line(tick)


@pytest.mark.parametrize(
    ("weight", "shown"),
    [
        (500, "◉ 5 % ── ○ 10 % ── ○ 25 % (gate) ── ○ 100 %"),
        (1_500, "● 5 % ── ● 10 % ── ◉ 15 % ── ○ 25 % (gate) ── ○ 100 %"),
        (10_000, "● 5 % ── ● 10 % ── ● 25 % (gate) ── ◉ 100 %"),
    ],
)
def test_steps_show_what_is_behind_and_what_is_to_come(weight: int, shown: str) -> None:
    """Also a weight between two steps, which a person chose, has its place."""
    assert steps(replace(ROLLOUT, weight=weight)).plain == shown


@given(
    st.one_of(st.none(), st.floats(-1e3, 1e3), st.just(math.nan), st.just(math.inf)),
    st.one_of(st.none(), st.floats(-1e3, 1e3), st.just(-math.inf)),
    st.one_of(st.none(), st.floats(0.1, 20)),
    st.integers(1, 20),
)
def test_a_bar_always_has_its_length(
    fails: float | None, passes: float | None, threshold: float | None, cells: int
) -> None:
    """Whatever the evidence is, the bar fits its column, and is full exactly where the threshold is reached."""
    bar = evidence_bar(fails, passes, threshold, cells).plain
    left, right = bar.split("│")
    assert (len(left), len(right)) == (cells, cells)
    if threshold is not None:
        assert (left == "█" * cells) == (fails is not None and fails >= threshold)
        assert (right == "█" * cells) == (passes is not None and passes >= threshold)


def test_a_bar_grows_with_the_evidence() -> None:
    """More evidence is never a shorter bar."""
    bars = [evidence_bar(0.0, step / 100, 1.0, 6).plain for step in range(101)]
    assert bars == sorted(bars, key=lambda bar: (bar.count("█"), -bar.count("·")))
    assert len(set(bars)) == 6 * 8 + 1


def _event(kind: Kind, rollout: Rollout | None) -> Event:
    return Event(7, "OP", kind, "ann", "second thoughts", NOON, 3, 4, rollout)


def test_a_log_gets_one_line_per_look() -> None:
    """What was judged, decided and done, an error, or how the rollout ended."""
    assert line(TICK) == f"2026-01-01 12:00:00 fraud: canary 4 at 10 %: {TICK.recommendation.reason}"  # type: ignore[union-attr]
    acted = replace(TICK, applied=Result(None, "canary 4 gets 25 % now"))
    assert line(acted).endswith("=> canary 4 gets 25 % now")
    assert line(replace(TICK, error=GONE)) == f"2026-01-01 12:00:00 fraud: ERROR {GONE.what}; fix: wait"
    last = _event(Kind.ABORT, ROLLOUT.ended(RolloutStatus.ABORTED))
    ended = line(Tick("fraud", NOON, ended=True, last=last))
    assert ended == (
        "2026-01-01 12:00:00 fraud: no active rollout;"
        " the last one, of version 4: aborted by hand (ann): second thoughts"
    )
    assert line(Tick("fraud", NOON, ended=True)) == "2026-01-01 12:00:00 fraud: no active rollout"
    started = Tick("fraud", NOON, applied=Result(None, "version 3 is the canary now and gets 5 %"))
    assert line(started) == "2026-01-01 12:00:00 fraud: => version 3 is the canary now and gets 5 %"


@pytest.mark.parametrize("tick", [TICK, replace(TICK, error=GONE), Tick("fraud", NOON, ended=True)])
def test_machines_get_plain_json(tick: Tick) -> None:
    """Every tick is JSON as the standard has it: numbers, verdicts, decision, error."""
    found = json.loads(json.dumps(values(tick), allow_nan=False))
    assert found["model"] == "fraud"
    assert (found["error"] is None) == (tick.error is None)
    if tick.judgement:
        assert [v["check"] for v in found["verdicts"]] == [v.check for v in JUDGEMENT.verdicts]
        assert found["requests"] == {"champion": 13_514, "canary": 1_514}


def test_a_pipe_gets_lines_and_json_where_asked() -> None:
    """Without a terminal there is no live view: one line, or one JSON value, per tick."""
    for as_json in (False, True):
        console = Console(file=io.StringIO(), width=40)
        with showing(FakeClock(), console, as_json=as_json) as hook:
            hook(TICK)
            hook(Tick("fraud", NOON, error=GONE))
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        assert len(lines) == 2
        assert lines[1] == (json.dumps(values(Tick("fraud", NOON, error=GONE))) if as_json else lines[1])
        assert GONE.what in lines[1]


def test_a_terminal_gets_the_live_view() -> None:
    """On a terminal the view is drawn in place."""
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with showing(FakeClock(), console, interval=30.0) as hook:
        hook(TICK)
    assert isinstance(console.file, io.StringIO)
    assert "champion 3" in console.file.getvalue()
