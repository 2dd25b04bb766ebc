"""Every store and the online engine against the batch: the value at arrival is that over what had arrived by then."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.features import kernel, meaning
from fds_mlflow.features.engines.memory import windows
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.spec import FeatureSpec, Gap, Window
from fds_mlflow.features.state.bulk import load
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.state import Arrival, Arriving, State
from fds_mlflow.runtime.text_column import text_column
from tests.support.windows import EXPRESSIONS, LABELS, expressed

WINDOWS = ("1s", "3s", "1m")
EPOCH = 1_767_225_600_000_000
SECOND = 1_000_000


def everything(delay: str | None = None) -> FeatureSpec:
    """Every aggregate over every window, over two roles, and the time since the previous transaction."""
    kinds = (("count", None), ("sum", None), ("mean", "extra"), ("max", None), ("min", "extra"), ("std", None))
    own = [Window(entity="customer", aggregate=kind, windows=WINDOWS, of=of) for kind, of in kinds]  # type: ignore[arg-type]
    own.append(Window(entity="customer", aggregate="distinct", windows=WINDOWS, of="device"))
    own += [
        Window(entity="customer", aggregate=kind, windows=WINDOWS, earlier=True)
        for kind in ("count", "sum", "mean", "median", "max", "min", "std")
    ]
    own.append(Window(entity="customer", aggregate="median", windows=WINDOWS, of="extra"))
    own.append(Window(entity="customer", aggregate="count", windows=WINDOWS, of="extra", above=1))
    late = [Window(entity=r, aggregate=a, windows=WINDOWS) for r in ("device", "customer") for a in LABELS]
    return FeatureSpec(
        windows=(*own, *expressed("customer", WINDOWS), *late),
        gaps=(Gap(entity="customer"), Gap(entity="device")),
        expressions=EXPRESSIONS,
        label_delay=delay,
    )


@dataclass
class Row:
    """A transaction as it arrived, and its label as far as that has."""

    transaction: Arriving
    fraud: bool | None = None
    known: int = 0


def batch(rows: list[Row], spec: FeatureSpec) -> dict[str, float]:
    """What the batch engine gives for the last of some rows, in the order of arrival."""
    given = [row.transaction for row in rows]
    past = kernel.Past(
        time=np.array([one.time for one in given]),
        codes={
            role: np.array([-1 if (value := one.entities[role]) is None else ord(value) for one in given])
            for role in ("customer", "device")
        },
        columns={name: np.array([one.numbers[name] for one in given]) for name in ("amount", "extra")},
        label=np.array([int(bool(row.fraud)) for row in rows]),
        known=np.array([meaning.NEVER if row.fraud is None else row.known for row in rows]),
    )
    return {name: float(values[-1]) for name, values in windows(past, spec).items()}


def alike(found: dict[str, float], wanted: dict[str, float]) -> None:
    """Counts and risks are equal, sums and means within 1e-9 of themselves."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name


def repeated(arrival: Arrival) -> bool:
    """Whether a transaction had arrived before."""
    return arrival.again


TRANSACTIONS = st.tuples(
    st.integers(0, 6),  # seconds
    st.sampled_from([0, 1, 999_999]),  # microseconds
    st.sampled_from(["a", "b", None]),
    st.sampled_from(["x", "y", None]),
    st.sampled_from([0.0, 0.1, 2.5, 1e12, -3.0, math.nan]),
    st.sampled_from([1.0, 7.25, math.nan]),
)
STEPS = st.lists(
    TRANSACTIONS
    | st.tuples(st.integers(0, 20), st.booleans(), st.sampled_from([0, 1, SECOND, 2 * SECOND + 1]))
    | st.integers(0, 20),
    min_size=1,
    max_size=25,
)


@given(steps=STEPS, delay=st.sampled_from([None, "1s", "2s"]), rows_open=st.sampled_from([1, 2, 64]))
@settings(deadline=None)
def test_what_is_told_at_arrival_is_the_batch_over_what_had_arrived(
    store: Any, tmp_path_factory: pytest.TempPathFactory, steps: list[Any], delay: str | None, rows_open: int
) -> None:
    """Out of order, in ties, sent again, labelled and relabelled: each gets what a batch at its arrival gives."""
    spec = everything(delay)
    layout = Layout.of([spec])
    engine = Online(spec, layout)
    rows: list[Row] = []
    told: list[dict[str, float]] = []
    few = pytest.MonkeyPatch.context()
    with few as patched, store(layout, tmp_path_factory.mktemp("state")) as state:
        for module in ("logs", "redis_store"):
            patched.setattr(f"fds_mlflow.features.state.{module}.OPEN", rows_open)
        for step in steps:
            if isinstance(step, tuple) and len(step) == 6:
                second, micro, customer, device, amount, extra = step
                made = Arriving(
                    f"T{len(rows)}",
                    EPOCH + second * SECOND + micro,
                    {"customer": customer, "device": device},
                    {"amount": amount, "extra": extra},
                )
                rows.append(Row(made))
                seen = state.look(made, partial(engine.features, made.time))
                told.append(state.arrive(made, partial(engine.features, made.time)))
                alike(told[-1], batch(rows, spec))
                alike(seen, told[-1])
            elif rows and isinstance(step, tuple):
                number, fraud, after = step
                row = rows[number % len(rows)]
                known = row.transaction.time + after
                least = row.transaction.time + (meaning.micros(delay) if delay else 0)
                if row.fraud is None or max(known, least) >= max(row.known, least):  # an older one is no correction
                    row.fraud, row.known = fraud, known
                assert state.label(row.transaction.id, fraud=fraud, known=known)
            elif rows:
                number = step % len(rows)
                again = rows[number].transaction
                for way in (state.arrive, state.look):
                    alike(way(again, partial(engine.features, again.time)), told[number])
                assert state.arrive(again, repeated)


def test_an_id_that_stands_for_two_transactions_is_refused(store: Any, tmp_path: Path) -> None:
    """The same id with another amount, time or customer is no retry: it is refused, and nothing is recorded."""
    layout = Layout.of([everything()])
    first = Arriving("T", EPOCH, {"customer": "a", "device": "x"}, {"amount": 1.0, "extra": 2.0})
    others = (
        replace(first, time=EPOCH + 1),
        replace(first, entities={"customer": "b", "device": "x"}),
        replace(first, entities={"customer": "a", "device": None}),
        replace(first, numbers={"amount": 2.0, "extra": 2.0}),
    )
    with store(layout, tmp_path) as state:
        state.arrive(first, repeated)
        before = state.size()
        for other in others:
            for way in (state.arrive, state.look):
                with pytest.raises(DataError, match="has arrived before"):
                    way(other, repeated)
        assert state.size() == before
        assert state.arrive(first, repeated)


def test_what_other_versions_read_of_a_transaction_makes_it_no_other(store: Any, tmp_path: Path) -> None:
    """A retry is one although a canary began or ended meanwhile that reads more columns; another customer is none."""
    few = Arriving("T", EPOCH, {"customer": "a"}, {"amount": 1.0})
    many = Arriving("T", EPOCH, {"customer": "a", "device": "x"}, {"amount": 1.0, "extra": 2.0})
    for number, (first, again) in enumerate(((few, many), (many, few))):
        with store(Layout.of([everything()]), tmp_path / str(number)) as state:
            assert not state.arrive(first, repeated)
            assert state.arrive(again, repeated)
            for other in (replace(again, numbers={"amount": 2.0}), replace(again, entities={"customer": "b"})):
                with pytest.raises(DataError, match="has arrived before"):
                    state.arrive(other, repeated)


@pytest.mark.parametrize("amounts", [[1e308, 1.7e308, 3.0], [1e308] * 9, [1.7e308, -1.7e308] * 4 + [5.0]])
def test_amounts_at_the_end_of_the_range_are_summed_as_in_a_batch(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amounts: list[float]
) -> None:
    """However large they are, each transaction of the customer is answered, in open runs and in sealed ones."""
    spec = everything()
    engine = Online(spec, Layout.of([spec]))
    for rows_open in (2, 64):
        for module in ("logs", "redis_store"):
            monkeypatch.setattr(f"fds_mlflow.features.state.{module}.OPEN", rows_open)
        rows: list[Row] = []
        with store(Layout.of([spec]), tmp_path / str(rows_open)) as state:
            for number, amount in enumerate(amounts):
                one = Arriving(
                    f"T{number}", EPOCH + number, {"customer": "a", "device": "x"}, {"amount": amount, "extra": amount}
                )
                rows.append(Row(one))
                alike(state.arrive(one, partial(engine.features, one.time)), batch(rows, spec))


def test_texts_that_no_encoding_has_are_entities_and_ids(store: Any, tmp_path: Path) -> None:
    """Half of a surrogate pair, as broken clients send it, is a value as any other."""
    one = Arriving("\ud800", EPOCH, {"customer": "\udfff", "device": "x"}, {"amount": 1.0})
    with store(Layout.of([everything()]), tmp_path) as state:
        assert [state.arrive(one, repeated), state.arrive(one, repeated)] == [False, True]
        assert state.label("\ud800", fraud=True, known=EPOCH)


def test_what_others_record_meanwhile_is_not_seen(store: Any, tmp_path: Path) -> None:
    """While a transaction's features are computed others may record theirs: it does not see them, and they see it."""
    spec = everything()
    layout = Layout.of([spec])
    engine = Online(spec, layout)
    one, other = (
        Arriving(name, EPOCH, {"customer": "a", "device": "x"}, {"amount": 1.0, "extra": 2.0}) for name in "TU"
    )
    with store(layout, tmp_path) as state:

        def compute(arrival: Arrival) -> tuple[float, float]:
            after = state.arrive(other, partial(engine.features, other.time))
            return engine.features(one.time, arrival)["customer_count_1m"], after["customer_count_1m"]

        assert state.arrive(one, compute) == (1, 2)
        assert state.arrive(one, partial(engine.features, one.time))["customer_count_1m"] == 1


def test_a_label_of_what_never_arrived_is_not_taken(store: Any, tmp_path: Path) -> None:
    """Who labels a transaction that is not remembered is told so."""
    with store(Layout.of([everything()]), tmp_path) as state:
        assert not state.label("T", fraud=True, known=EPOCH)


def test_a_person_is_forgotten(store: Any, tmp_path: Path) -> None:
    """All of an entity goes and is counted, in a dry run only counted; others keep theirs, and a retry is still one."""
    spec = everything()
    layout = Layout.of([spec])
    rows = [
        Arriving(f"T{n}", EPOCH + n, {"customer": "ab"[n % 2], "device": "x"}, {"amount": 1.0, "extra": 1.0})
        for n in range(6)
    ]
    with store(layout, tmp_path) as state:
        for row in rows:
            state.arrive(row, repeated)
        state.label("T0", fraud=True, known=EPOCH)
        assert [state.forget("customer", "a", dry_run=True) for _ in range(2)] == [3 + 1, 3 + 1]
        assert state.forget("customer", "a") == 3 + 1
        assert state.forget("customer", "a") == 0
        assert state.arrive(rows[1], repeated)
        assert not state.label("T2", fraud=True, known=EPOCH)
        later = Arriving("N", EPOCH + 10, {"customer": "a", "device": "x"}, {"amount": 1.0, "extra": 1.0})
        found = state.arrive(later, partial(Online(spec, layout).features, later.time))
        assert (found["customer_count_1m"], found["customer_known_1m"], found["device_known_1m"]) == (1, 0, 1)


def test_what_no_window_can_reach_goes(store: Any, tmp_path: Path) -> None:
    """Entities go with their longest window, but for the last transaction where a gap may still ask for it."""
    spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("1m",)),))
    gap = FeatureSpec(windows=spec.windows, gaps=(Gap(entity="customer"),))
    for specs, left in (([spec], 0), ([spec, gap], 1)):
        layout = Layout.of(specs)
        with store(layout, tmp_path / str(left)) as state:
            for n in range(200):
                state.arrive(Arriving(f"T{n}", EPOCH + n * SECOND, {"customer": "a"}, {}), repeated)
            assert state.expire(EPOCH + 199 * SECOND, EPOCH + 199 * SECOND) >= 140 - 64
            assert state.size().transactions == 1
            state.expire(EPOCH + 900 * SECOND, EPOCH + 900 * SECOND)
            assert state.size().entities == left


def test_every_store_keeps_the_same_of_what_is_thinned(store: Any, tmp_path: Path) -> None:
    """Of many entities, runs and values what is too old goes and the rest stays, whatever goes beside it."""
    spec = everything().model_copy(update={"gaps": ()})
    layout = Layout.of([spec])
    engine = Online(spec, layout)
    rows = [
        Arriving(
            f"T{n}",
            EPOCH + n * SECOND // 4,
            {"customer": f"c{n % 7 if n % 3 else 0}", "device": f"d{n % 41}"},
            {"amount": float(n), "extra": 1.0},
        )
        for n in range(900)
    ]
    end = rows[-1].time
    with store(layout, tmp_path) as state:
        for row in rows:
            state.arrive(row, repeated)
            if int(row.id[1:]) % 2:
                state.label(row.id, fraud=True, known=row.time)
        before = [state.look(replace(row, id="N", time=end), partial(engine.features, end)) for row in rows[-60:]]
        assert state.expire(end, end) > 1_000
        for row, told in zip(rows[-60:], before, strict=True):
            alike(state.look(replace(row, id="N", time=end), partial(engine.features, end)), told)
        kept = [row for row in rows if row.time > end - 60 * SECOND]
        entities = {(role, value) for row in kept for role, value in row.entities.items()}
        assert (state.size().entities, state.size().transactions) == (len(entities), 1)
        state.expire(end + 3_600 * SECOND, end + 3_600 * SECOND)
        assert (state.size().entities, state.size().transactions) == (0, 0)


@given(
    steps=st.lists(TRANSACTIONS, min_size=2, max_size=30),
    split=st.integers(1, 29),
    rows_open=st.sampled_from([1, 2, 64]),
)
@settings(deadline=None)
def test_a_history_that_is_loaded_is_the_past_of_what_follows(
    store: Any, tmp_path_factory: pytest.TempPathFactory, steps: list[Any], split: int, rows_open: int
) -> None:
    """After a part of the transactions was loaded at once, the rest gets what it gets where all came one by one."""
    spec = everything()
    layout = Layout.of([spec])
    engine = Online(spec, layout)
    made = [
        Arriving(f"T{number}", EPOCH + s * SECOND + us, {"customer": c, "device": d}, {"amount": a, "extra": e})
        for number, (s, us, c, d, a, e) in enumerate(sorted(steps, key=lambda step: step[:2]))
    ]
    few = pytest.MonkeyPatch.context()
    with (
        few as patched,
        store(layout, tmp_path_factory.mktemp("all")) as one_by_one,
        store(layout, tmp_path_factory.mktemp("loaded")) as loaded,
    ):
        for module in ("logs", "redis_store"):
            patched.setattr(f"fds_mlflow.features.state.{module}.OPEN", rows_open)
        history, rest = made[:split], made[split:]
        known = [(row.id, number % 3 == 0, row.time + number % 5) for number, row in enumerate(history) if number % 2]
        for row in history:
            one_by_one.arrive(row, repeated)
        for name, fraud, moment in known:
            one_by_one.label(name, fraud=fraud, known=moment)
        labels = {name: (fraud, moment) for name, fraud, moment in known}
        assert load(loaded, frame_of(history, labels)) == len(history)
        assert loaded.size().entities == one_by_one.size().entities
        assert all(loaded.look(row, repeated) is False for row in rest)
        for row in rest:
            both = (state.arrive(row, partial(engine.features, row.time)) for state in (loaded, one_by_one))
            alike(*both)
        for name, fraud, moment in known:  # corrections of what was loaded
            for state in (loaded, one_by_one):
                assert state.label(name, fraud=not fraud, known=moment + 1)
        last = Arriving("last", EPOCH + 7 * SECOND, {"customer": "a", "device": "x"}, {"amount": 1.0, "extra": 1.0})
        alike(*(state.arrive(last, partial(engine.features, last.time)) for state in (loaded, one_by_one)))
        assert loaded.arrive(history[0], repeated)


def frame_of(rows: list[Arriving], labels: dict[str, tuple[bool, int]]) -> pd.DataFrame:
    """Transactions in canonical columns."""
    known = [np.datetime64(labels[row.id][1], "us") if row.id in labels else np.datetime64("NaT") for row in rows]
    return pd.DataFrame(
        {
            "transaction_id": [row.id for row in rows],
            "time": np.array([row.time for row in rows], dtype="datetime64[us]"),
            "amount": [row.numbers["amount"] for row in rows],
            "customer": text_column([row.entities["customer"] for row in rows]),
            "device": text_column([row.entities["device"] for row in rows]),
            "label": np.array([row.id in labels and labels[row.id][0] for row in rows], dtype=np.int8),
            "label_known_at": np.array(known, dtype="datetime64[us]"),
            "extra": [row.numbers["extra"] for row in rows],
        }
    )


def test_a_history_is_loaded_into_an_empty_state_only(store: Any, tmp_path: Path) -> None:
    """What has arrived already is not mixed with a history: loading says so, and changes nothing."""
    row = Arriving("T", EPOCH, {"customer": "a", "device": "x"}, {"amount": 1.0, "extra": 2.0})
    with store(Layout.of([everything()]), tmp_path) as state:
        state.arrive(row, repeated)
        before = state.size()
        with pytest.raises(RefusedError, match="holds 1 arrivals already"):
            load(state, frame_of([replace(row, id="U")], {}))
        assert state.size() == before


def test_who_knows_fewer_columns_shares_the_past_of_who_knows_more(store: Any, tmp_path: Path) -> None:
    """While one replica has begun with a further version and another one has not, both record and both are told."""
    few = FeatureSpec(windows=(Window(entity="customer", aggregate="sum", windows=("1m",)),))
    more = FeatureSpec(windows=(*few.windows, Window(entity="customer", aggregate="max", of="extra", windows=("1m",))))
    with store(Layout.of([few]), tmp_path) as older:
        newer = State(older.store, Layout.of([more]))
        for number in range(150):
            row = Arriving(f"T{number}", EPOCH + number, {"customer": "a"}, {"amount": 1.0, "extra": float(number)})
            for state, spec in ((older, few), (newer, more)) if number % 2 else ((newer, more), (older, few)):
                seen = state.arrive(row, partial(Online(spec, state.layout).features, row.time))
                assert seen["customer_sum_amount_1m"] == number + 1
        assert seen["customer_max_extra_1m"] == 149
