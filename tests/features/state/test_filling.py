"""A history into a state that is in use: it then gives what one gives that was there all the time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.spec import Expression, FeatureSpec, Gap, Window
from fds_mlflow.features.state import filling
from fds_mlflow.features.state.coverage import needed
from fds_mlflow.features.state.filling import fill
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.lmdb_store import LmdbStore
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.state import Arriving, State
from fds_mlflow.runtime.text_column import text_column

SECOND = 1_000_000
EPOCH = 1_767_225_600 * SECOND
FIRST = FeatureSpec(
    windows=(
        Window(entity="customer", aggregate="count", windows=("2s",)),
        Window(entity="customer", aggregate="sum", windows=("2s",)),
    )
)
NEXT = FeatureSpec(
    windows=(
        Window(entity="customer", aggregate="count", windows=("6s",)),
        Window(entity="customer", aggregate="sum", windows=("6s",), of="extra"),
        Window(entity="customer", aggregate="distinct", windows=("6s",), of="device"),
        Window(entity="device", aggregate="mean", windows=("4s",), of="extra"),
        Window(entity="device", aggregate="known", windows=("8s",)),
        Window(entity="customer", aggregate="frauds", windows=("8s",)),
        Window(entity="device", aggregate="fraud_run", windows=("8s",)),
        Window(entity="device", aggregate="since_first_fraud", windows=("8s",)),
        Window(entity="customer", aggregate="median", windows=("3s",), of="extra", earlier=True, name="median"),
        Window(entity="customer", aggregate="max", windows=("3s",), expression="ratio"),
    ),
    expressions=(Expression(name="ratio", of="amount / median"),),
)
WITH_GAP = NEXT.model_copy(update={"gaps": (Gap(entity="device"),)})

ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),  # seconds since the one before
        st.sampled_from(["a", "b", None]),
        st.sampled_from(["x", "y", None]),
        st.sampled_from([1.0, 2.5, math.nan]),
        st.sampled_from([None, None, True, False]),  # its label, known when it happened
        st.booleans(),  # whether the state saw it
        st.booleans(),  # and its label
    ),
    min_size=1,
    max_size=24,
)
Row = tuple[int, str | None, str | None, float, bool | None, bool, bool]


def made(place: int, time: int, row: Row) -> Arriving:
    """One of them."""
    _, customer, device, extra, *_ = row
    numbers = {"amount": 1.0 + place, "extra": extra}
    return Arriving(f"T{place}", EPOCH + time * SECOND, {"customer": customer, "device": device}, numbers)


def frame(rows: list[Row], times: list[int]) -> pd.DataFrame:
    """Them as a history."""
    moments = pd.to_datetime([EPOCH + time * SECOND for time in times], unit="us")
    known = [row[4] is not None for row in rows]
    return pd.DataFrame(
        {
            "transaction_id": text_column([f"T{place}" for place in range(len(rows))]),
            "time": moments,
            "customer": text_column([row[1] for row in rows]),
            "device": text_column([row[2] for row in rows]),
            "amount": [1.0 + place for place in range(len(rows))],
            "extra": [row[3] for row in rows],
            "label": pd.array([int(bool(row[4])) for row in rows], dtype="int8"),
            "label_known_at": pd.Series(moments).where(pd.Series(known), pd.NaT),
        }
    )


def features(state: State, spec: FeatureSpec, one: Arriving) -> dict[str, float]:
    """What a transaction gets, and the state remembers it."""
    return state.arrive(one, partial(Online(spec, state.layout).features, one.time))


def alike(left: dict[str, float], right: dict[str, float]) -> bool:
    """Whether two transactions got the same."""
    return all(left[name] == pytest.approx(right[name], nan_ok=True) for name in left)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, and no pause between them: nobody else writes."""
    monkeypatch.setattr(filling, "BATCH", 3)
    monkeypatch.setattr(filling, "PAUSE", 0)


@given(
    rows=ROWS,
    gained=st.integers(0, 24),
    end=st.integers(1, 24),
    killed=st.integers(0, 8),
    expired=st.booleans(),
    spec=st.sampled_from([NEXT, WITH_GAP]),
)
def test_what_comes_after_a_history_gets_what_it_would_have_got(
    rows: list[Row], gained: int, end: int, killed: int, *, expired: bool, spec: FeatureSpec
) -> None:
    """Whatever the state saw, kept and removed, and wherever the load was killed and begun again: nothing differs."""
    times = [sum(row[0] for row in rows[: place + 1]) for place in range(len(rows))]
    layout = Layout.of([FIRST])
    whole, state = State(MemoryStore(), Layout.of([FIRST, spec])), State(MemoryStore(), layout)
    for place, (time, row) in enumerate(zip(times, rows, strict=True)):
        one = made(place, time, row)
        if place == gained:
            state = State(state.store, Layout.of([spec]))
        if place == end:
            if expired:
                state.expire(one.time, 0)
            state = State(state.store, Layout.of([spec]))
            history = frame(rows[:place], times[:place])
            loaded(state, history, killed)
            assert fill(state, history) == 0, "all of it is there"
        wanted = features(whole, spec, one)
        if row[4] is not None:
            whole.label(one.id, fraud=row[4], known=one.time)
        if place >= end:
            assert alike(features(state, spec, one), wanted)
            if row[4] is not None:
                state.label(one.id, fraud=row[4], known=one.time)
            from_then = state.coverage.whole_from(needed(spec))
            assert from_then is not None
            assert one.time >= from_then or times[0] + 8 > time
        elif row[5]:
            features(state, FIRST, one)
            if row[4] is not None and row[6]:
                state.label(one.id, fraud=row[4], known=one.time)


def loaded(state: State, history: pd.DataFrame, killed: int) -> None:
    """Take a history in, after having been killed at some batch."""
    with pytest.MonkeyPatch.context() as patched:
        batch, left = filling._Filling.batch, [killed]

        def some(self: Any, before: filling.Progress) -> filling.Progress:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return batch(self, before)

        patched.setattr(filling._Filling, "batch", some)
        if killed < 6:
            with contextlib.suppress(KeyboardInterrupt):
                fill(state, history)
    fill(state, history)


def test_a_history_that_is_half_there_is_finished_before_another_one() -> None:
    """Killed in the middle, the same history goes on, and another one is refused with the fix."""
    rows: list[Row] = [(1, "a", "x", 1.0, None, False, False)] * 9
    times = list(range(9))
    state = State(MemoryStore(), Layout.of([NEXT]))
    features(state, NEXT, made(99, 20, rows[0]))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(filling._Filling, "mend", stopped)
        with pytest.raises(KeyboardInterrupt):
            fill(state, frame(rows, [time + 15 for time in times]))
    with pytest.raises(RefusedError, match="another history is half taken into the state"):
        fill(state, frame(rows[:5], times[:5]))
    assert fill(state, frame(rows, [time + 15 for time in times])) == 9
    with pytest.raises(DataError, match="'T0' is in the state with another time"):
        fill(state, frame(rows[:1], [16]))


def stopped(*_: Any) -> None:
    """What is killed."""
    raise KeyboardInterrupt


def test_a_server_goes_on_meanwhile(tmp_path: Path) -> None:
    """What arrives between two batches is counted once, and the history, too."""
    rows: list[Row] = [(1, "a", "x", 1.0, None, False, False)] * 9
    state = State(LmdbStore(tmp_path, limit=2**28), Layout.of([NEXT]))
    features(state, NEXT, made(99, 9, rows[0]))
    more: list[Callable[[], Any]] = [partial(features, state, NEXT, made(100 + at, 9, rows[0])) for at in range(3)]
    fill(state, frame(rows, list(range(9))), progress=lambda _: more.pop()())
    found = features(state, NEXT, made(200, 9, rows[0]))
    assert (found["customer_count_6s"], found["customer_distinct_device_6s"]) == (5 + 1 + 2 + 1, 1.0)
    state.close()
