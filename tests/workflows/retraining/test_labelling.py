"""Labels of the outcome store on transactions from anywhere: each is used once, or left out for a reason that holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import Transactions, load
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.training.split import Split
from fds_mlflow.workflows.account import BETWEEN, Account, Origins, of_data
from fds_mlflow.workflows.retraining.labelling import (
    EARLY,
    GIVEN_LATER,
    GIVEN_YOUNG,
    IMMATURE,
    UNMATCHED,
    UNREPORTED,
    UNSAID,
    WITHHELD,
    YOUNG,
    Labelling,
    Unreported,
    labelled,
)
from fds_mlflow.workflows.served_rows import BLOCKED, SUSPECTED
from tests.support.effort import at_most
from tests.support.samples import DAY, NOON, case, outcome

BARE = Schema.of(transaction_id="id", time="t", amount="a", entities={"customer": "c"})
NOW = NOON + 60 * DAY
MATURITY = 30 * DAY
OLD, RECENT = NOON, NOW - 3 * DAY


def transactions(rows: list[dict[str, Any]], schema: Schema = BARE) -> Transactions:
    """Transactions of one customer."""
    frame = pd.DataFrame([{"a": 1.0, "c": "C1", **row} for row in rows])
    return load(frame, schema, labelled=False)


def joined(
    store: OutcomeStore, of: Transactions, maturity: timedelta | None = MATURITY, now: datetime = NOW, **how: Any
) -> tuple[Transactions, Origins]:
    """What the store says of transactions of the model `fraud`."""
    return labelled(of, store.reports(as_of=now), store.flagged("fraud"), Labelling(now, maturity, **how))


LABELS: dict[str, tuple[str | None, bool]] = {
    # kind: why its label is left out (None: used), whether the data have its transaction
    "used": (None, True),
    "genuine": (None, True),
    "explored": (None, True),
    "alone": (None, True),
    "reviewed": (None, True),
    "suspected": (SUSPECTED, True),
    "unmatched": (UNMATCHED, False),
    "early": (EARLY, True),
    "immature": (IMMATURE, True),
    "blocked": (BLOCKED, True),
}
SILENCE: dict[str, str | None] = {
    "silent": None,
    "explored and silent": None,
    "young and silent": YOUNG,
    "flagged and silent": WITHHELD,
}


FLAGGED = {"flagged": True}
EXPLORED = {"flagged": True, "explored": True, "propensity": 0.25}
KNOWN = {"status": "confirmed", "known_at": OLD + 9 * DAY}

WORLD: dict[str, tuple[datetime, dict[str, Any] | None, dict[str, Any] | None]] = {
    # kind: when it took place, what its outcome says, what its label says
    "used": (OLD, None, KNOWN),
    "genuine": (OLD, None, {**KNOWN, "status": "genuine"}),
    "explored": (OLD, EXPLORED, KNOWN),
    "alone": (OLD, FLAGGED, KNOWN),
    "reviewed": (OLD, FLAGGED, {"status": "false_positive", "known_at": OLD + DAY, "propensity": 0.5}),
    "suspected": (OLD, None, {**KNOWN, "status": "suspected"}),
    "unmatched": (OLD, None, KNOWN),
    "early": (OLD, None, {**KNOWN, "known_at": OLD - DAY}),
    "immature": (RECENT, None, {**KNOWN, "known_at": RECENT + DAY}),
    "blocked": (OLD, {**FLAGGED, "propensity": 0.25}, KNOWN),
    "silent": (OLD, None, None),
    "explored and silent": (OLD, EXPLORED, None),
    "young and silent": (RECENT, None, None),
    "flagged and silent": (OLD, FLAGGED, None),
}


def put(store: OutcomeStore, number: int, kind: str) -> dict[str, Any] | None:
    """Have the store know what the kind says of a transaction; its row in the data."""
    name = f"T{number}"
    time, flags, told = WORLD[kind]
    if flags is not None:
        ids = {"key": name, "transaction_id": name, "request_id": f"R{number}"}
        store.record([outcome(rollout_id=None, weight=0, time=time, **ids, **flags)])
    if told is not None:
        store.label([case(transaction_id=name, **told)])
    return None if kind == "unmatched" else {"id": name, "t": time}


@at_most(40)
@example(kinds=[*LABELS, *SILENCE])
@given(kinds=st.lists(st.sampled_from([*LABELS, *SILENCE]), min_size=1, max_size=30))
def test_every_label_is_used_once_or_left_out_for_a_reason(kinds: list[str]) -> None:
    """The labels known are those used and those left out by reason; the rows, too, add up."""
    with OutcomeStore("sqlite://") as store:
        rows = [row for number, kind in enumerate(kinds) if (row := put(store, number, kind)) is not None]
        used = [n for n, kind in enumerate(kinds) if kind in LABELS and LABELS[kind][0] is None]
        silent = [n for n, kind in enumerate(kinds) if kind in SILENCE and SILENCE[kind] is None]
        if not rows:
            return
        if not used and not silent:
            with pytest.raises(DataError, match="has a label that counts"):
                joined(store, transactions(rows))
            return
        made, origins = joined(store, transactions(rows))
    account = origins.account
    assert account.labels == account.used + sum(account.left_out.values()) == sum(kind in LABELS for kind in kinds)
    assert (account.used, account.silent, account.rows) == (len(used), len(silent), len(rows))
    matched = sum(account.left_out.values()) - account.left_out.get(UNMATCHED, 0)
    assert account.rows == account.learned + matched + sum(account.rows_left_out.values())
    expected = {why: sum(LABELS[k][0] == why for k in kinds if k in LABELS) for why, _ in LABELS.values() if why}
    assert account.left_out == {why: count for why, count in expected.items() if count}
    assert account.rows_left_out == {
        why: count for why in (YOUNG, WITHHELD) if (count := sum(SILENCE.get(k) == why for k in kinds))
    }
    frame = made.frame.set_index("transaction_id")
    assert sorted(frame.index[frame["label"].notna()]) == sorted(f"T{n}" for n in [*used, *silent])
    frauds = {f"T{n}" for n in used if kinds[n] not in ("genuine", "reviewed")}
    assert set(frame.index[(frame["label"] == 1).fillna(False)]) == frauds
    chances = {"explored": 0.25, "explored and silent": 0.25, "reviewed": 0.5}
    chance = frame["label_propensity"] if "label_propensity" in frame else pd.Series(1.0, frame.index)
    assert all(chance[f"T{n}"] == chances.get(kinds[n], 1.0) for n in [*used, *silent])
    assert account.weighted == sum(kinds[n] in chances for n in [*used, *silent])
    assert account.alone == kinds.count("alone")
    assert all(frame.loc[f"T{n}", "label_known_at"] == pd.Timestamp(OLD + MATURITY).tz_localize(None) for n in silent)


def test_the_account_goes_on_through_the_cut() -> None:
    """What lies in a gap between the parts is left out for that reason, and the sums still hold."""
    frame = pd.DataFrame({"transaction_id": [f"T{n}" for n in range(10)]})
    origin = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2], dtype=np.int8)
    origins = Origins(Account(6, 4, {SUSPECTED: 2}, 4, given=2, rows=11), pd.Series(origin, frame["transaction_id"]))

    def part(*numbers: int) -> Any:
        label = np.array([int(n == 0) for n in numbers])
        return SimpleNamespace(frame=frame.iloc[list(numbers)], y=label)

    parts: Any = SimpleNamespace(
        parts={"train": part(0, 1, 4), "validation": part(6, 7), "test": part(2, 8)}, labelled=True
    )
    cut = origins.cut(parts)
    assert (cut.used, cut.given, cut.silent) == (3, 1, 3)
    assert cut.left_out == {SUSPECTED: 2, BETWEEN: 1}
    assert cut.rows_left_out == {BETWEEN: 2}
    assert cut.labels == cut.used + sum(cut.left_out.values())
    assert cut.used == sum(each["labels"] for each in cut.parts.values())
    assert cut.frauds == 1
    assert cut.sentences[0].startswith(
        "3 of 6 labelled transactions are used (2 to learn from, 0 to choose by, 1 to measure by), and 1 by the label"
    )
    told = Split(*[None] * 3, {}, ("a note", *origins.account.sentences))  # type: ignore[arg-type]
    assert origins.told(told, cut).notes == ("a note", *cut.sentences)
    silent = Split(*[None] * 3, {}, ("a note",))  # type: ignore[arg-type]
    assert origins.told(silent, cut) is silent


def test_the_store_holds_before_the_data() -> None:
    """The latest truth of the store wins, a suspicion included; of others the data's label is taken."""
    schema = BARE.model_copy(update={"label": "y", "label_known_at": "k"})
    naive = pd.Timestamp(OLD).tz_localize(None)
    rows = [
        {"id": "T1", "t": OLD, "y": 0, "k": naive + DAY},
        {"id": "T2", "t": OLD, "y": 1, "k": naive + DAY},
        {"id": "T3", "t": OLD, "y": 1, "k": naive + DAY},
        {"id": "T4", "t": OLD, "y": 1, "k": naive + 90 * DAY},
        {"id": "T5", "t": RECENT, "y": 0, "k": pd.NaT},
        {"id": "T6", "t": OLD, "y": None, "k": pd.NaT},
    ]
    with OutcomeStore("sqlite://") as store:
        store.label([case(transaction_id="T1", status="suspected", known_at=OLD + DAY)])
        store.label([case(transaction_id="T1", status="confirmed", known_at=OLD + 2 * DAY)])
        store.label([case(transaction_id="T2", status="suspected", known_at=OLD + 3 * DAY)])
        made, origins = joined(store, transactions(rows, schema))
        before, _ = joined(store, transactions(rows, schema), now=OLD + DAY + timedelta(hours=1), maturity=None)
    labels = dict(zip(made.frame["transaction_id"], made.frame["label"].fillna(-1), strict=True))
    assert labels == {"T1": 1, "T2": -1, "T3": 1, "T4": -1, "T5": -1, "T6": 0}
    account = origins.account
    assert (account.used, account.given, account.silent) == (1, 1, 1)
    assert account.rows_left_out == {GIVEN_YOUNG: 1, GIVEN_LATER: 1}
    assert before.frame["label"].fillna(-1).tolist() == [-1, 1, 1, -1, 0, -1]


@pytest.mark.parametrize(
    ("maturity", "unreported", "why"), [(None, "genuine", UNSAID), (MATURITY, "left-out", UNREPORTED)]
)
def test_silence_is_genuine_only_where_that_is_said(maturity: Any, unreported: str, why: str) -> None:
    """Without a maturity, or where silence is taken for no label, what nobody reported is left out and counted."""
    rows = [{"id": "T1", "t": OLD}, {"id": "T2", "t": OLD}]
    with OutcomeStore("sqlite://") as store:
        store.label([case(transaction_id="T1", known_at=OLD + DAY)])
        made, origins = joined(store, transactions(rows), maturity, unreported=Unreported(unreported))
    assert made.frame["label"].fillna(-1).tolist() == [1, -1]
    assert origins.account.rows_left_out == {why: 1}
    assert made.schema.label == "label"
    assert made.schema.label_known_at == "label_known_at"


def test_labels_of_the_data_do_not_count_twice_what_exploration_stands_for() -> None:
    """Of what was blocked while something was explored, the label of the data is left out as one of the store is."""
    rows = [{"id": name, "t": OLD, "y": 0} for name in ("T0", "T1", "T2", "T3")]
    flags: list[dict[str, Any]] = [{**FLAGGED, "propensity": 0.25}, EXPLORED, FLAGGED]
    with OutcomeStore("sqlite://") as store:
        for number, one in enumerate(flags):
            ids = {"key": f"T{number}", "transaction_id": f"T{number}", "request_id": f"R{number}"}
            store.record([outcome(rollout_id=None, weight=0, time=OLD, **ids, **one)])
        made, origins = joined(store, transactions(rows, BARE.model_copy(update={"label": "y"})))
    assert made.frame["label"].fillna(-1).tolist() == [-1, 0, 0, 0]
    assert made.frame["label_propensity"].tolist()[1:] == [0.25, 1.0, 1.0]
    assert origins.account.rows_left_out == {BLOCKED: 1}
    assert (origins.account.given, origins.account.alone, origins.account.weighted) == (3, 1, 1)


def test_a_label_that_arrives_changes_the_digest() -> None:
    """Rows with other labels are other rows; the same labels in any order are the same."""
    rows = [{"id": "T1.0", "t": OLD}, {"id": "2.0", "t": OLD}, {"id": "T3", "t": OLD}]
    with OutcomeStore("sqlite://") as store:
        bare, _ = joined(store, transactions(rows))
        store.label([case(transaction_id="2", known_at=OLD + DAY)])
        one, origins = joined(store, transactions(rows))
        again, _ = joined(store, transactions(rows[::-1]))
    assert origins.account.used == 1, "a whole number that went through a float is the number"
    assert bare.digest != one.digest == again.digest


def test_what_cannot_be_joined_is_refused() -> None:
    """Rows without ids have nothing to join by; without times none is older than any maturity."""
    unnamed = BARE.model_copy(update={"transaction_id": None})
    with OutcomeStore("sqlite://") as store:
        with pytest.raises(ConfigError, match="no ids of transactions"):
            joined(store, transactions([{"id": "T1", "t": OLD}], unnamed))
        timeless = BARE.model_copy(update={"time": None})
        with pytest.raises(ConfigError, match="has no time"):
            joined(store, transactions([{"id": "T1", "t": OLD}], timeless))
        with pytest.raises(DataError, match="fds label import"):
            joined(store, transactions([{"id": "T1", "t": RECENT}]))


def test_labels_of_the_data_alone_have_an_account_too() -> None:
    """Each labelled row is a label that is used, until the cut."""
    frame = pd.DataFrame({"transaction_id": ["T1", "T2"], "label_propensity": [1.0, 0.5]})
    assert of_data(frame).account == Account(2, 2, rows=2, weighted=1)
