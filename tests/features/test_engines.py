"""The contract of engines: each computes the features of the naive loop, and sees nothing that was unknown.

Whoever adds an engine adds it to `ENGINES`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.transactions import Schema
from fds_mlflow.features import meaning
from fds_mlflow.features.engines import file as file_engine
from fds_mlflow.features.engines import spark as spark_engine
from fds_mlflow.features.engines.reading import Noticed, read
from fds_mlflow.features.engines.spark import compute_spark_file
from fds_mlflow.features.table import FeatureSpec, Window, compute, compute_file, computed
from tests.support.dealing import dealt_by, plan_of
from tests.support.effort import at_most
from tests.support.windows import arriving, everything, frames, plain, reference


class Engine(Protocol):
    """Computes features of a canonical frame's labelled rows, or of every row, in input order."""

    def __call__(self, frame: pd.DataFrame, spec: FeatureSpec, every_row: bool = False) -> pd.DataFrame:
        """The features, named as in the specification."""


def in_memory(folder: Path, frame: pd.DataFrame, spec: FeatureSpec, every_row: bool = False) -> pd.DataFrame:
    """From frame to frame."""
    return pd.DataFrame(computed(frame, spec)) if every_row else compute(frame, spec).frame


def schema_of(frame: pd.DataFrame) -> Schema:
    """The schema of a source in canonical columns."""
    kinds = frame.drop(
        columns=["transaction_id", "time", "arrived_at", "amount", "label", "label_known_at"], errors="ignore"
    )
    numeric = list(kinds.select_dtypes("number"))
    return Schema.of(
        transaction_id="transaction_id",
        time="time",
        amount="amount",
        entities={name: name for name in kinds if name not in numeric},
        numeric=numeric,
        **{name: name for name in ("arrived_at", "label", "label_known_at") if name in frame},
    )


def completed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, and one row more: a source needs a genuine transaction whose label becomes known, in nobody's past."""
    entities = schema_of(frame).entities
    last = frame.iloc[[-1]].assign(transaction_id="last", time=frame["time"].max(), **dict.fromkeys(entities, "z"))
    last = last.assign(
        **{name: 0 if name == "label" else last["time"] for name in ("label", "label_known_at") if name in frame}
    )
    return pd.concat([frame, last.astype(frame.dtypes)])


def from_file(folder: Path, frame: pd.DataFrame, spec: FeatureSpec, every_row: bool = False) -> pd.DataFrame:
    """From file to file."""
    completed(frame).to_parquet(folder / "in.parquet")
    compute_file(folder / "in.parquet", schema_of(frame), spec, folder / "out.parquet", every_row=every_row)
    return pd.read_parquet(folder / "out.parquet").iloc[:-1]


def from_file_in_parts(folder: Path, frame: pd.DataFrame, spec: FeatureSpec, every_row: bool = False) -> pd.DataFrame:
    """From file to file, with entities and rows in as many parts as there can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_engine, "_PART", 1)
        patch.setattr(file_engine, "_STRETCH", 3)
        return from_file(folder, frame, spec, every_row)


def dealt_out(folder: Path, frame: pd.DataFrame, spec: FeatureSpec, every_row: bool = False) -> pd.DataFrame:
    """What Spark's processes do, in this one: each entity in a share of its own, and all of them cut by time."""
    schema = schema_of(frame)
    noticed = Noticed(Canonical(schema, "the frame"), meaning.roles(spec))
    stretches = [stretch.rows for stretch in read([pa.Table.from_pandas(frame, preserve_index=False)], noticed, 3)]
    noticed.canonical.finish()
    return dealt_by(plan_of(stretches, noticed, schema, spec, size=1, most=2, every_row=every_row), stretches)


def on_spark(folder: Path, frame: pd.DataFrame, spec: FeatureSpec, every_row: bool = False) -> pd.DataFrame:
    """From file to folder on Spark, each entity in a share of its own, and all of them cut by time."""
    completed(frame).to_parquet(folder / "in.parquet")
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in (("_STRETCH", 5), ("_SHARE", 1), ("_MOST", 2)):
            patch.setattr(spark_engine, name, rows)
        compute_spark_file(folder / "in.parquet", schema_of(frame), spec, folder / "out", every_row=every_row)
    return pd.read_parquet(folder / "out").iloc[:-1]


ENGINES = (in_memory, from_file, from_file_in_parts, dealt_out, pytest.param(on_spark, marks=pytest.mark.spark))


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.__name__, scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """One engine after the other."""
    if request.param is on_spark:
        request.getfixturevalue("spark_session")
    folder = tmp_path_factory.mktemp("engine")
    return partial(request.param, folder)


class TestAgainstTheReference:
    @at_most(20)  # on Spark each takes more than a second
    @given(frames(), st.sampled_from([None, "1s", "2s"]), st.booleans())
    @pytest.mark.slow
    def test_every_aggregate_equals_the_naive_loop(
        self, engine: Engine, frame: pd.DataFrame, delay: str | None, every_row: bool
    ) -> None:
        """Ties, gaps in all columns, unsorted rows, delays and huge amounts included, all aggregates are exact."""
        spec = everything(delay)
        found = engine(frame, spec, every_row)
        for name, expected in reference(frame, spec, every_row=every_row).items():
            np.testing.assert_allclose(found[name].to_numpy(), expected, rtol=1e-15, atol=0, err_msg=name)

    def test_the_lower_end_is_exclusive_and_the_transaction_itself_counts(self, engine: Engine) -> None:
        """A window of a day holds the transaction itself, what is less than a day old, and nothing exactly so old."""
        frame = plain(["2026-01-01T00:00:00", "2026-01-01T00:00:00.000001", "2026-01-02T00:00:00"])
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("1d",)),))
        assert list(engine(frame, spec)["customer_count_1d"]) == [1, 2, 2]

    def test_ties_are_decided_by_the_input_order(self, engine: Engine) -> None:
        """Of three transactions in one microsecond, the first sees one, the second two, the third three."""
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("1s",)),))
        assert list(engine(plain(["2026-01-01"] * 3), spec)["customer_count_1s"]) == [1, 2, 3]

    def test_many_ties_and_distant_times_stay_exact(self, engine: Engine) -> None:
        """Thousands of transactions in one microsecond, a century apart from others, do not overflow the key."""
        frame = plain(["1900-01-01"] * 2 + ["2026-01-01"] * 500 + ["2199-12-31"])
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("1s", "52w")),))
        assert list(engine(frame, spec)["customer_count_1s"]) == [1, 2, *range(1, 501), 1]

    def test_columns_may_have_any_name(self, engine: Engine) -> None:
        """Names of an engine's own columns, names that differ in case only and quotes do not disturb it."""
        names = ["row", "ts", "KEY", "key", 'a "b"', "tie", "k0", "g0"]
        frame = plain(["2026-01-01"] * 2).assign(**{name: [1.0, 3.0] for name in names})
        spec = FeatureSpec(
            windows=tuple(Window(entity="customer", aggregate="sum", of=n, windows=("1d",)) for n in names)
        )
        assert (engine(frame, spec)[spec.names].iloc[1] == 4.0).all()

    def test_a_large_amount_leaves_no_trace(self, engine: Engine) -> None:
        """After amounts of 1e12 small ones have their own mean, and equal ones a deviation of exactly 0."""
        frame = plain([f"2026-01-{day:02}" for day in range(1, 21)])
        frame["amount"] = [1e12, 3e11, 7e12, 0.1, -1e12] * 3 + [0.1, 0.2, 0.3, 0.1, 0.1]
        windows = tuple(Window(entity="customer", aggregate=a, windows=("2d", "3d")) for a in ("mean", "std"))
        found = engine(frame, FeatureSpec(windows=windows)).iloc[-3:]
        assert found["customer_mean_amount_3d"].iloc[0] == pytest.approx(0.2, rel=1e-15)
        assert found["customer_std_amount_3d"].iloc[0] == pytest.approx(0.1 * (2 / 3) ** 0.5, rel=1e-15)
        assert found["customer_std_amount_2d"].iloc[2] == 0.0


class TestWhatIsEarlier:
    def test_the_transaction_itself_is_not_among_the_earlier_ones(self, engine: Engine) -> None:
        """Of the same moment only those before it in the order are; at the first one there is nothing."""
        frame = plain(["2026-01-01", "2026-01-02", "2026-01-02"]).assign(amount=[1.0, 5.0, 9.0])
        windows = [{"entity": "customer", "aggregate": a, "windows": ["1d", "2d"], "earlier": True} for a in EARLIER]
        found = engine(frame, FeatureSpec(windows=windows))
        np.testing.assert_array_equal(found["customer_earlier_count_2d"], [0, 1, 2])
        np.testing.assert_array_equal(found["customer_earlier_median_amount_2d"], [np.nan, 1, 3])
        np.testing.assert_array_equal(found["customer_earlier_median_amount_1d"], [np.nan, np.nan, 5])
        np.testing.assert_array_equal(found["customer_earlier_sum_amount_2d"], [0, 1, 6])

    def test_a_window_over_an_expression_has_what_it_was_at_each_moment(self, engine: Engine) -> None:
        """Amounts over the median of those before: the third is four times as much, whatever the median is now."""
        frame = plain([f"2026-01-{day:02}" for day in range(1, 7)]).assign(amount=[10.0, 10, 40, 40, 40, 120])
        found = engine(frame, RATIOS)
        np.testing.assert_array_equal(found["ratio"], [np.nan, 1, 4, 4, 1.6, 3])
        np.testing.assert_array_equal(found["customer_max_ratio_3d"], [np.nan, 1, 4, 4, 4, 4])
        np.testing.assert_array_equal(found["customer_count_ratio_above_3_2d"], [0, 0, 1, 2, 1, 0])

    def test_a_window_over_an_expression_reaches_back_by_both(self, engine: Engine) -> None:
        """What the oldest transaction of the window saw is exactly what was in its own window, half open as well."""
        times = ["2026-01-01T00:00:00.000001", "2026-01-01T00:00:00.000002", "2026-01-11", "2026-01-11T00:00:00.000001"]
        frame = plain(times).assign(amount=[7.0, 2.0, 6.0, 6.0])
        assert engine(frame, RATIOS)["ratio"].tolist()[2:] == [6 / 4.5, 1.5]
        later = pd.concat([frame, frame.iloc[[-1]].assign(transaction_id="l", time=frame["time"].max() + DAY)])
        assert engine(later.reset_index(drop=True), RATIOS)["customer_max_ratio_3d"].iloc[-1] == 1.5


EARLIER = ("count", "sum", "median")
DAY = pd.Timedelta(days=1)
RATIOS = FeatureSpec.model_validate(
    {
        "windows": [
            {"entity": "customer", "aggregate": "median", "windows": ["10d"], "earlier": True, "name": "median"},
            {"entity": "customer", "aggregate": "max", "expression": "ratio", "windows": ["3d"]},
            {"entity": "customer", "aggregate": "count", "expression": "ratio", "above": 3, "windows": ["2d"]},
        ],
        "expressions": [{"name": "ratio", "of": "amount / median"}],
    }
)


class TestAsOfArrival:
    @at_most(20)  # on Spark each takes more than a second
    @given(frames(), st.data(), st.sampled_from([None, "1s", "2s"]))
    @pytest.mark.slow
    def test_what_had_not_arrived_is_not_seen(
        self, engine: Engine, frame: pd.DataFrame, data: st.DataObject, delay: str | None
    ) -> None:
        """Late rows, rows that arrived before their time and rows of one moment: each sees what was there by then."""
        late = st.lists(st.sampled_from([None, 0, 0, 1, -1_000_000, 2_000_000, 6_000_001]), min_size=len(frame))
        frame, spec = arriving(frame, data.draw(late)[: len(frame)]), everything(delay)
        found = engine(frame, spec)
        for name, expected in reference(frame, spec).items():
            np.testing.assert_allclose(found[name].to_numpy(), expected, rtol=1e-12, atol=0, err_msg=name)

    def test_a_late_transaction_changes_nothing_that_was_there_before(self, engine: Engine) -> None:
        """One that took place first and arrived last sees itself, and the others do not see it."""
        frame = arriving(plain(["2026-01-01", "2026-01-02", "2026-01-03"]), [3 * 86_400_000_000, 0, None])
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("7d",)),))
        assert list(engine(frame, spec)["customer_count_7d"]) == [1, 1, 2]

    @at_most(20)
    @given(frames())
    @pytest.mark.slow
    def test_where_all_arrive_in_time_it_is_what_it_was(self, engine: Engine, frame: pd.DataFrame) -> None:
        """Arrivals in the moment of the transactions give every feature bit by bit."""
        spec = everything()
        found = engine(arriving(frame, [0] * len(frame)), spec)[spec.names]
        pd.testing.assert_frame_equal(found, engine(frame, spec)[spec.names], check_exact=True)


class TestNothingUnknownIsUsed:
    @at_most(20)
    @given(frames(), st.data())
    @pytest.mark.slow
    @pytest.mark.campaign
    def test_what_was_unknown_cannot_matter(self, engine: Engine, frame: pd.DataFrame, data: st.DataObject) -> None:
        """Change every later transaction and every label unknown at a moment: the features up to it stay the same."""
        spec = everything()
        frame["label"] = frame["label"].fillna(0).astype(np.int8)
        order = frame["time"].argsort(kind="stable").to_numpy()
        place = np.empty(len(frame), dtype=int)
        place[order] = np.arange(len(frame))
        cut = data.draw(st.integers(0, len(frame) - 1))
        now = frame["time"][order[cut]]
        later = place > cut
        unknown = (frame["label_known_at"] > now).to_numpy() | (place >= cut)
        changed = frame.copy()
        changed.loc[later, "amount"] += 1000.0
        changed.loc[later, "customer"] = "a"
        changed.loc[later, "device"] = "x"
        changed["label"] = np.where(unknown, 1 - frame["label"], frame["label"]).astype(np.int8)
        stays = ~later
        before, after = (engine(one, spec)[spec.names][stays] for one in (frame, changed))
        pd.testing.assert_frame_equal(before, after, check_exact=True)
        # And the later ones might as well not exist.
        alone = engine(frame[stays].reset_index(drop=True), spec)[spec.names]
        pd.testing.assert_frame_equal(before.reset_index(drop=True), alone, check_exact=True)

    def test_a_label_known_at_once_is_not_its_own_evidence(self, engine: Engine) -> None:
        """Even where labels have no delay, a transaction does not see its own label, and the next one does."""
        frame = plain(["2026-01-01"] * 2, label=[1, 0], known=["2026-01-01"] * 2)
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="frauds", windows=("1d",)),))
        assert list(engine(frame, spec)["customer_frauds_1d"]) == [0, 1]

    def test_a_label_known_at_exactly_t_counts(self, engine: Engine) -> None:
        """With a delay of 7 days, the label of a transaction 7 days ago is known, and one microsecond later is not."""
        times = ["2026-01-01T00:00:00", "2026-01-01T00:00:00.000001", "2026-01-08T00:00:00"]
        frame = plain(times, label=[1, 1, 0])
        frame["label_known_at"] = frame["time"] + pd.Timedelta(days=7)
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="known", windows=("1d",)),))
        assert list(engine(frame, spec)["customer_known_1d"]) == [0, 0, 1]

    def test_a_missing_label_is_never_known(self, engine: Engine) -> None:
        """Where a delay alone says when labels become known, a transaction without one adds none."""
        frame = plain(["2026-01-01", "2026-01-02", "2026-01-03"]).assign(label=pd.array([1, None, 0], dtype="Int8"))
        windows = tuple(Window(entity="customer", aggregate=a, windows=("7d",)) for a in ("known", "risk"))
        found = engine(frame, FeatureSpec(windows=windows, label_delay="1d"))
        assert found["customer_known_7d"].tolist() == [0, 1]
        assert found["customer_risk_7d"].tolist() == [0, 1]

    def test_a_row_without_a_label_has_features_where_it_is_to_be_scored(self, engine: Engine) -> None:
        """Asked for every row, an engine gives all of them in order, whether a label is known or not."""
        frame = plain(["2026-01-01", "2026-01-02", "2026-01-03"]).assign(label=pd.array([1, None, None], dtype="Int8"))
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="risk", windows=("7d",)),), label_delay="1d")
        assert engine(frame, spec, every_row=True)["customer_risk_7d"].tolist() == [0, 1, 1]

    def test_a_run_ends_with_the_last_genuine_label_and_all_of_its_moment(self, engine: Engine) -> None:
        """Frauds known since the last genuine one; a fraud of the same moment as that is none of them."""
        times = [f"2026-01-{day:02}" for day in range(1, 8)]
        known = ["2026-01-02T12", "2026-01-03T12", "2026-01-03T12", "2026-01-05T12", "2026-01-06T12"] + [
            "2026-02-01"
        ] * 2
        found = engine(plain(times, label=[1, 0, 1, 1, 1, 0, 0], known=known), OF_LABELS)
        assert list(found["customer_fraud_run_3d"]) == [0, 0, 1, 0, 0, 1, 2]
        assert list(found["customer_fraud_run_30d"]) == [0, 0, 1, 0, 0, 1, 2]

    def test_times_since_frauds_count_from_when_those_became_known(self, engine: Engine) -> None:
        """In seconds, from the first and the last of the window; missing where none of it is known."""
        times = [f"2026-01-{day:02}" for day in range(1, 8)]
        known = ["2026-01-02T12", "2026-01-03T12", *["2026-02-01"] * 5]
        found = engine(plain(times, label=[1, 1, 0, 1, 1, 0, 0], known=known), OF_LABELS)
        day = 86_400.0
        first = [np.nan, np.nan, day / 2, 1.5 * day, 2.5 * day, 2.5 * day, np.nan]
        np.testing.assert_array_equal(found["customer_since_first_fraud_3d"], first)
        last = [np.nan, np.nan, day / 2, day / 2, 1.5 * day, 2.5 * day, np.nan]
        np.testing.assert_array_equal(found["customer_since_last_fraud_3d"], last)


OF_LABELS = FeatureSpec.model_validate(
    {
        "windows": [
            {"entity": "customer", "aggregate": aggregate, "windows": ["3d", "30d"]}
            for aggregate in ("fraud_run", "since_first_fraud", "since_last_fraud")
        ]
    }
)
