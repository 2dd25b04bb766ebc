"""Since when a state knows what it keeps: from then on, and only then, its windows are whole."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.spec import Expression, FeatureSpec, Window
from fds_mlflow.features.state.bulk import load
from fds_mlflow.features.state.coverage import BEGINNING, Coverage, needed
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.state import Arriving, State
from fds_mlflow.runtime.text_column import text_column

SECOND = 1_000_000
EPOCH = 1_767_225_600 * SECOND
NARROW = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("2s",)),))
WIDE = FeatureSpec(
    windows=(
        Window(entity="customer", aggregate="count", windows=("5s",)),
        Window(entity="customer", aggregate="mean", windows=("3s",)),
        Window(entity="customer", aggregate="distinct", windows=("4s",), of="device"),
        Window(entity="device", aggregate="count", windows=("2s",)),
        Window(entity="device", aggregate="median", windows=("1s",), earlier=True, name="median"),
        Window(entity="device", aggregate="max", windows=("2s",), expression="ratio"),
    ),
    expressions=(Expression(name="ratio", of="amount / median"),),
)


def made(place: int, time: int) -> Arriving:
    """One of a few customers' transactions."""
    entities: dict[str, str | None] = {"customer": "ab"[place % 2], "device": "xyz"[place % 3]}
    return Arriving(f"T{place}", EPOCH + time * SECOND, entities, {"amount": float(place)})


def features(state: State, spec: FeatureSpec, one: Arriving) -> dict[str, float]:
    """What a transaction gets, and the state remembers it."""
    return state.arrive(one, partial(Online(spec, state.layout).features, one.time))


def alike(left: dict[str, float], right: dict[str, float]) -> bool:
    """Whether two transactions got the same."""
    return all(left[name] == right[name] or math.isnan(left[name] + right[name]) for name in left)


@given(
    steps=st.lists(st.integers(0, 3), min_size=3, max_size=25),
    gained=st.integers(0, 20),
    empty=st.booleans(),
    expired=st.integers(0, 25),
)
def test_what_is_said_to_be_whole_is_what_a_state_that_saw_everything_gives(
    steps: list[int], gained: int, *, empty: bool, expired: int
) -> None:
    """Whether a state began late, gained fields late, or removed what was old: from `whole_from` on nothing differs."""
    times = [sum(steps[: place + 1]) for place in range(len(steps))]
    whole = State(MemoryStore(), Layout.of([WIDE]))
    late = State(MemoryStore(), Layout() if empty else Layout.of([NARROW]))
    for place, time in enumerate(times):
        one = made(place, time)
        wanted = features(whole, WIDE, one)
        if place == gained:
            late = State(late.store, Layout.of([WIDE]))
        if place < gained:
            if not empty:
                features(late, NARROW, one)
            continue
        found = features(late, WIDE, one)
        if place == expired:
            late.expire(EPOCH + (time - 1) * SECOND, 0)
        from_then = late.coverage.whole_from(needed(WIDE))
        assert from_then is not None
        if one.time >= from_then:
            assert alike(found, wanted)


def test_windows_become_whole_after_their_own_length() -> None:
    """A state that begins with nothing is whole for a window of 5 s after 5 s, and not a microsecond before."""
    state = State(MemoryStore(), Layout.of([WIDE]))
    assert state.coverage.whole_from(needed(WIDE)) is None
    features(state, WIDE, made(0, 10))
    assert state.coverage.whole_from(needed(WIDE)) == EPOCH + 15 * SECOND - 1
    assert state.coverage.whole_from(needed(NARROW)) == EPOCH + 12 * SECOND - 1
    assert state.coverage.whole_from({}) == BEGINNING
    assert Coverage.from_json(state.coverage.to_json()) == state.coverage


def test_what_joins_later_is_whole_later_and_what_was_there_stays_so() -> None:
    """A new window counts from the moment that the state gained it: the older versions' stay whole."""
    state = State(MemoryStore(), Layout.of([NARROW]))
    features(state, NARROW, made(0, 0))
    assert state.coverage.begin == EPOCH
    features(state, NARROW, made(1, 10))
    state = State(state.store, Layout.of([WIDE]))
    assert state.coverage.whole_from(needed(NARROW)) == EPOCH + 2 * SECOND - 1
    assert state.coverage.whole_from(needed(WIDE)) == EPOCH + 14 * SECOND


def frame(times: list[int]) -> pd.DataFrame:
    """A history of one customer."""
    number = len(times)
    return pd.DataFrame(
        {
            "transaction_id": text_column([f"H{place}" for place in range(number)]),
            "time": pd.to_datetime([EPOCH + time * SECOND for time in times], unit="us"),
            "customer": text_column(["a"] * number),
            "device": text_column(["x"] * number),
            "amount": [1.0] * number,
        }
    )


@pytest.mark.parametrize(("complete", "expected"), [(False, EPOCH + 5 * SECOND - 1), (True, BEGINNING)])
def test_a_history_counts_from_its_beginning_unless_it_is_all_there_was(*, complete: bool, expected: int) -> None:
    """Loaded, windows are whole as far as the history reaches back; said to be complete, they are from the first on."""
    state = State(MemoryStore(), Layout.of([WIDE]))
    load(state, frame([0, 1, 2]), complete=complete)
    assert state.coverage.whole_from(needed(WIDE)) == expected


def test_a_long_history_is_whole_at_once() -> None:
    """Where the history is longer than the longest window, the first transaction after it finds all of them whole."""
    state = State(MemoryStore(), Layout.of([WIDE]))
    load(state, frame(list(range(20))))
    whole = state.coverage.whole_from(needed(WIDE))
    assert whole is not None
    assert whole <= EPOCH + 19 * SECOND


def test_a_process_follows_what_another_one_has_added() -> None:
    """Two processes of one store: what one of them needs from now on the other one remembers, too, at once."""
    first = State(MemoryStore(), Layout.of([NARROW]))
    second = State(first.store, Layout.of([WIDE]))
    for place in range(3):
        features(first, NARROW, made(place, 0))
    found = features(second, WIDE, made(3, 1))
    assert found["customer_mean_amount_3s"] == pytest.approx(2.0)


def test_a_column_under_an_expression_is_needed_for_as_long_as_the_expression_is_looked_at() -> None:
    """One that only the windows of an expression read, too: a state that gained it late is not whole any sooner."""
    usual = Window(entity="customer", aggregate="median", windows=("3s",), earlier=True, name="usual")
    steepest = Window(entity="customer", aggregate="max", windows=("4s",), expression="steep")
    spec = FeatureSpec(windows=(usual, steepest), expressions=(Expression(name="steep", of="1 / usual"),))
    bare = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("9s",)),))
    whole, late = (State(MemoryStore(), Layout.of([one])) for one in (spec, bare))
    for place in range(20):
        one = made(2 * place, place)
        wanted = features(whole, spec, one)
        if place == 10:
            late = State(late.store, Layout.of([bare, spec]))
        found = features(late, spec if place >= 10 else bare, one)
        from_then = late.coverage.whole_from(needed(spec))
        if place >= 10 and from_then is not None and one.time >= from_then:
            assert alike(found, wanted)
    assert late.coverage.whole_from(needed(spec)) == EPOCH + 16 * SECOND
