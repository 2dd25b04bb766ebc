"""Splits: what is learned comes from the past, and everything in a part belongs there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.training.split import by_time, stratified
from fds_mlflow.workflows.preparation import cut
from tests.support.effort import at_most
from tests.support.tables import table


def test_parts_follow_each_other_and_lose_no_row_without_a_gap():
    """Without a label delay every row is in exactly one part, and parts are in the order of time."""
    whole = table()
    split = by_time(whole)
    ids = [part.frame["transaction_id"] for part in split.parts.values()]
    assert pd.concat(ids).tolist() == whole.frame["transaction_id"].tolist()
    assert split.train.frame["time"].max() < split.validation.frame["time"].min()
    assert split.validation.frame["time"].max() < split.test.frame["time"].min()


def test_fractions_are_shares_of_the_rows():
    """60, 20 and 20 % of the rows, whatever their distribution over time."""
    whole = table(2000)
    early = whole.frame["time"].copy()
    early.iloc[0] -= pd.Timedelta(days=3000)  # one forgotten row years ago moves no boundary
    split = by_time(replace(whole, frame=whole.frame.assign(time=early)))
    assert [len(part) for part in split.parts.values()] == [1200, 400, 400]


@at_most(25)
@given(
    gap=st.floats(0, 9),
    shares=st.sampled_from([(0.6, 0.2, 0.2), (0.4, 0.3, 0.3), (0.8, 0.1, 0.1)]),
    seed=st.integers(0, 5),
)
def test_gap_separates_every_part_from_the_next(gap: float, shares: tuple[float, float, float], seed: int):
    """A row is at least the gap older than the next part's beginning, and the shares hold beside the gaps."""
    split = by_time(table(3000, seed=seed), fractions=shares, gap=timedelta(days=gap))
    starts = [part.frame["time"].min() for part in split.parts.values()]
    ends = [part.frame["time"].max() for part in split.parts.values()]
    assert starts[1] - ends[0] > pd.Timedelta(days=gap)
    assert starts[2] - ends[1] > pd.Timedelta(days=gap)
    rows = np.array([len(part) for part in split.parts.values()])
    assert np.abs(rows / rows.sum() - shares).max() < 0.02


def test_label_delay_of_the_table_is_the_default_gap():
    """Where labels become known seven days later, the parts are seven days apart without being told."""
    split = by_time(table(delay_days=7))
    assert split.facts["split_gap_days"] == "7"
    assert split.train.frame["label_known_at"].max() <= split.validation.frame["time"].min()
    assert split.validation.frame["label_known_at"].max() <= split.test.frame["time"].min()


def test_default_gap_covers_nine_in_ten_labels():
    """Where delays differ, the gap is the one after which nine in ten labels were known, not the longest."""
    whole = table()
    days = np.where(np.arange(len(whole)) % 10 < 8, 1, np.where(np.arange(len(whole)) % 20 < 19, 4, 25))
    known = whole.frame["time"] + pd.to_timedelta(days, unit="D")
    split = by_time(replace(whole, frame=whole.frame.assign(label_known_at=known)))
    assert split.facts["split_gap_days"] == "4"


def test_a_label_not_yet_known_is_not_learned_from():
    """Even with a gap of zero, no training row has a label that came after validation began."""
    whole = table(delay_days=1)
    late = whole.frame["label_known_at"].copy()
    late[whole.frame["label"] == 1] += pd.Timedelta(days=3)
    split = by_time(replace(whole, frame=whole.frame.assign(label_known_at=late)), gap=timedelta(0))
    start = split.validation.frame["time"].min()
    assert split.train.frame["label_known_at"].max() <= start
    assert int(split.facts["split_train_late_labels"]) > 0


def test_never_reported_rows():
    """A genuine row that nobody reported is learned from; a fraud that nobody reported is only tested on."""
    whole = table(delay_days=2)
    known = whole.frame["label_known_at"].copy()
    known.iloc[::2] = pd.NaT
    split = by_time(replace(whole, frame=whole.frame.assign(label_known_at=known)))
    learned, tested = split.train.frame, split.test.frame
    assert learned.loc[learned["label_known_at"].isna(), "label"].eq(0).all()
    assert learned["label_known_at"].isna().any()
    assert tested.loc[tested["label_known_at"].isna(), "label"].eq(1).any()


def test_dates_are_half_open():
    """A row exactly at a boundary belongs to the later part; a date without a zone is UTC."""
    whole = table()
    moment = whole.frame["time"].iloc[2000].to_pydatetime()
    later = whole.frame["time"].iloc[3000].to_pydatetime().replace(tzinfo=UTC)
    split = by_time(whole, dates=(moment, later))
    assert [len(part) for part in split.parts.values()] == [2000, 1000, 1000]


@given(st.integers(8, 28), st.sampled_from([0.0, 1.5]))
def test_the_test_part_begins_when_it_is_said(day: int, gap: float):
    """The test holds all from that moment on; what lies before is shared three to one, with the gap before both."""
    whole, start = table(1500), datetime(2026, 1, day, tzinfo=UTC)
    split = by_time(whole, test_from=start, gap=timedelta(days=gap))
    moment, pause = np.datetime64(start.replace(tzinfo=None)), np.timedelta64(int(gap * 24), "h")
    time = whole.frame["time"].to_numpy()
    assert len(split.test) == (time >= moment).sum()
    assert split.validation.frame["time"].max() < moment - pause
    assert split.train.frame["time"].max() < split.validation.frame["time"].min() - pause
    assert len(split.train) / len(split.validation) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("day", [datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)])
def test_a_test_that_would_begin_outside_of_the_rows_is_refused(day: datetime):
    """Before all rows or after them: the period is named, and the option."""
    with pytest.raises(ConfigError, match=r"from 2026-01-01 .* to 2026-01-30") as refused:
        by_time(table(500), test_from=day)
    assert "--test-from" in refused.value.fix
    with pytest.raises(ConfigError, match="--split time"):
        cut(table(500), split="stratified", test_from=day)


def test_order_of_rows_does_not_matter():
    """The same rows shuffled give the same parts."""
    whole = table()
    shuffled = replace(whole, frame=whole.frame.sample(frac=1, random_state=3).reset_index(drop=True))
    for one, other in zip(by_time(whole).parts.values(), by_time(shuffled).parts.values(), strict=True):
        assert set(one.frame["transaction_id"]) == set(other.frame["transaction_id"])


def test_stratified_reproduces_the_specifications_80_20():
    """Of 800 genuine and 200 fraudulent rows every part holds exactly four genuine per fraud; 80:20 holds too."""
    whole = table(1000)
    label = np.zeros(1000, dtype=np.int8)
    label[np.random.default_rng(0).choice(1000, 200, replace=False)] = 1
    split = stratified(replace(whole, frame=whole.frame.assign(label=label)), (0.6, 0.2, 0.2), seed=7)
    assert [len(part) for part in split.parts.values()] == [600, 200, 200]
    assert [int(part.y.sum()) for part in split.parts.values()] == [120, 40, 40]
    ids = pd.concat([part.frame["transaction_id"] for part in split.parts.values()])
    assert ids.nunique() == 1000


def test_stratified_depends_on_the_seed_alone():
    """The same seed gives the same parts, another seed other ones."""
    whole = table()
    first, again, other = stratified(whole, seed=1), stratified(whole, seed=1), stratified(whole, seed=2)
    assert first.test.frame.equals(again.test.frame)
    assert not first.test.frame.equals(other.test.frame)


@at_most(25)
@given(rows=st.integers(200, 600), seed=st.integers(0, 3))
def test_stratified_shares_differ_by_less_than_one_row_per_class(rows: int, seed: int):
    """Every class is shared out by the fractions, to the row."""
    whole = table(rows, seed=seed, fraud_share=0.3)
    split = stratified(whole, (0.5, 0.3, 0.2), seed=seed)
    for label in (0, 1):
        total = int((whole.y == label).sum())
        counts = [int((part.y == label).sum()) for part in split.parts.values()]
        assert sum(counts) == total
        assert np.abs(np.array(counts) - total * np.array([0.5, 0.3, 0.2])).max() < 1


def test_unlabelled_tables_can_be_split_by_time():
    """A table without labels splits by time, and a stratified split says what it needs."""
    split = by_time(table(labelled=False))
    assert not split.labelled
    with pytest.raises(DataError, match="needs labels"):
        stratified(table(labelled=False))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fractions": (0.6, 0.2)}, "three shares"),
        ({"fractions": (0.6, 0.3, 0.2)}, "sum to 1"),
        ({"fractions": (0.8, 0.2, 0.0)}, "above 0"),
        ({"gap": timedelta(days=-1)}, "negative"),
        ({"dates": (datetime(2026, 1, 20), datetime(2026, 1, 10))}, "in order"),  # noqa: DTZ001
        ({"test_from": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))}, "year 9999"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], words: str):
    """Fractions, gaps and dates that make no sense are named, with the fix."""
    with pytest.raises(ConfigError, match=words):
        by_time(table(200), **arguments)  # type: ignore[arg-type]


def test_a_part_without_fraud_names_part_and_rows():
    """No fraud in the test part is an error that says which part and how many rows, and what to do."""
    whole = table()
    honest = whole.frame["label"].where(whole.frame["time"] < whole.frame["time"].iloc[3000], 0).astype(np.int8)
    with pytest.raises(DataError, match=r"the test part holds no fraud in 800 rows of 4,000") as caught:
        by_time(replace(whole, frame=whole.frame.assign(label=honest)))
    assert "longer period" in caught.value.fix


@pytest.mark.parametrize("days", [14, 16, 400])
def test_a_gap_longer_than_the_data_is_explained(days: int):
    """A gap that leaves a part empty says so and names the fix, whatever it swallows."""
    with pytest.raises(DataError) as caught:
        by_time(table(), gap=timedelta(days=days + 1))
    assert "gap" in str(caught.value)


def _timeless(whole: FeatureTable) -> FeatureTable:
    return replace(whole, frame=whole.frame.assign(time=np.datetime64("NaT", "us")), period=None)


def test_without_a_time_the_parts_are_drawn_at_random_and_this_is_said():
    """No time: stratified by the labels where there are any, and a note tells it; by time is refused with the fix."""
    whole = _timeless(table())
    split = cut(whole, seed=3)
    assert split.facts["split"] == "stratified"
    assert "no time" in split.notes[-1]
    assert split.test.frame.equals(stratified(whole, seed=3).test.frame)
    bare = cut(_timeless(table(labelled=False)), seed=3)
    assert bare.facts["split"] == "random"
    assert [len(part) for part in bare.parts.values()] == [2400, 800, 800]
    with pytest.raises(ConfigError, match="has no time to split by") as caught:
        cut(whole, split="time")
    assert "leave --split out" in caught.value.fix


def test_with_a_time_the_parts_follow_each_other_by_default():
    """Where there is a time, nothing need be said for a split by time; a gap belongs to it alone."""
    assert cut(table()).facts["split"] == "time"
    assert cut(table(), gap=timedelta(days=2)).facts["split_gap_days"] == "2"
    with pytest.raises(ConfigError, match="no gap"):
        cut(table(), split="stratified", gap=timedelta(days=2))


def test_what_a_split_leaves_out_is_noted():
    """Rows in the gaps and rows whose labels came too late are counted for people, beside the notes of the table."""
    whole = table(delay_days=1)
    late = whole.frame["label_known_at"].where(whole.frame["label"] == 0, whole.frame["time"] + pd.Timedelta(days=4))
    split = by_time(replace(whole, frame=whole.frame.assign(label_known_at=late), notes=("3 rows were empty",)))
    assert split.notes[0] == "3 rows were empty"
    assert (
        f"{int(split.facts['split_rows_in_gaps']):,} rows are left out: they lie in the gaps of 1 d" in split.notes[1]
    )
    assert [part for note in split.notes[2:] for part in ("train", "validation") if f" {part} rows" in note] == [
        "train",
        "validation",
    ]


def test_what_too_little_data_propose_is_possible():
    """A gap is only offered where a shorter one leaves something; the one that is named then works."""
    with pytest.raises(DataError, match="two gaps of 7 d") as caught:
        by_time(table(days=13, delay_days=7))
    assert "--gap" not in caught.value.fix
    whole = table()
    days = np.where(np.arange(len(whole)) % 10 < 6, 1, 20)
    whole = replace(
        whole, frame=whole.frame.assign(label_known_at=whole.frame["time"] + pd.to_timedelta(days, unit="D"))
    )
    with pytest.raises(DataError, match="two gaps of 20 d") as caught:
        by_time(whole)
    assert "--gap 1d:" in caught.value.fix
    assert by_time(whole, gap=timedelta(days=1)).facts["split_gap_days"] == "1"


def test_rows_of_one_time_are_named_as_the_reason():
    """Transactions that all carry one date cannot be cut by time: the message says how many times there are."""
    whole = table()
    with pytest.raises(DataError, match=r"too few different times to cut by \(2\)") as caught:
        by_time(replace(whole, frame=whole.frame.assign(time=whole.frame["time"].dt.floor("30D"))))
    assert "--split stratified" in caught.value.fix
    assert "--gap" not in caught.value.fix
