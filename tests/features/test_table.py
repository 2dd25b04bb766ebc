"""Point-in-time features: the window engine against a naive reference, and what it must never see."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.data import delimited, parquet_file
from fds_mlflow.data.transactions import Schema, load
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features.engines import file as file_engine
from fds_mlflow.features.table import FeatureSpec, Flag, Gap, Window, compute, compute_file, default_spec, handbook_spec
from fds_mlflow.runtime.text_column import is_text, text_column
from fds_mlflow.simulator import simulate
from tests.support.effort import at_most

WINDOWS = ("1s", "3s", "1m")
EPOCH = pd.Timestamp("2026-01-01")


def everything(delay: str | None = None) -> FeatureSpec:
    """Every aggregate over every window, and the time since the previous transaction."""
    plain = tuple(
        Window(entity="customer", aggregate=aggregate, windows=WINDOWS, of=of)
        for aggregate, of in (
            ("count", None),
            ("sum", None),
            ("mean", "extra"),
            ("max", None),
            ("min", "extra"),
            ("std", None),
            ("distinct", "device"),
        )
    )
    late = tuple(Window(entity="device", aggregate=a, windows=WINDOWS) for a in ("known", "frauds", "risk"))
    return FeatureSpec(windows=plain + late, gaps=(Gap(entity="customer"),), label_delay=delay)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Small canonical frames in any order, full of ties in time, missing entities and values, and label delays."""
    n = draw(st.integers(1, 14))
    rows = st.lists(
        st.tuples(
            st.integers(0, 6),  # seconds
            st.sampled_from([0, 1, 999_999]),  # microseconds
            st.sampled_from(["a", "b", None]),
            st.sampled_from(["x", "y", None]),
            st.sampled_from([0.0, 0.1, 2.5, 1e6, -3.0]),
            st.sampled_from([1.0, 7.25, None]),
            st.booleans(),
            st.sampled_from([None, 0, 1, 1_000_000, 3_000_000, 2_000_001]),  # microseconds until the label is known
        ),
        min_size=n,
        max_size=n,
    )
    drawn = draw(rows)
    time = np.array([s * 1_000_000 + us for s, us, *_ in drawn], dtype="timedelta64[us]") + EPOCH.to_datetime64()
    time = time.astype("datetime64[us]")
    known = [
        np.datetime64("NaT") if d is None else t + np.timedelta64(d, "us")
        for t, (*_, d) in zip(time, drawn, strict=True)
    ]
    return pd.DataFrame(
        {
            "transaction_id": [str(i) for i in range(n)],
            "time": time,
            "amount": np.array([r[4] for r in drawn], dtype=np.float64),
            "customer": text_column([r[2] for r in drawn]),
            "device": text_column([r[3] for r in drawn]),
            "label": np.array([r[6] for r in drawn], dtype=np.int8),
            "label_known_at": np.array(known, dtype="datetime64[us]"),
            "extra": np.array([np.nan if r[5] is None else r[5] for r in drawn], dtype=np.float64),
        }
    )


def reference(frame: pd.DataFrame, spec: FeatureSpec) -> dict[str, list[float]]:
    """The same features by plain loops, written from the definition alone."""
    rows = frame.to_dict("records")
    delay = pd.Timedelta(parse_duration(spec.label_delay or "0s"))
    for i, row in enumerate(rows):
        row["order"] = (row["time"], i)
        row["usable"] = max(row["label_known_at"], row["time"] + delay) if pd.notna(row["label_known_at"]) else None

    def past(i: int, entity: str, window: str) -> list[dict[str, Any]]:
        now = rows[i]
        since = now["time"] - parse_duration(window)
        return [r for r in rows if same(r, now, entity) and r["time"] > since and r["order"] <= now["order"]]

    def labels(i: int, entity: str, window: str) -> list[int]:
        now = rows[i]
        since = now["time"] - parse_duration(window)
        found = []
        for r in rows:
            if not same(r, now, entity) or r["usable"] is None or not since < r["usable"] <= now["time"]:
                continue
            if r["usable"] == r["time"] == now["time"] and r["order"] >= now["order"]:
                continue  # known in its own moment: only later rows of that moment may know
            found.append(r["label"])
        return found

    out: dict[str, list[float]] = {}
    for item in spec.windows:
        for window in item.windows:
            if item.aggregate in ("known", "frauds", "risk"):
                out[item.feature(window)] = [
                    RULES[item.aggregate](labels(i, item.entity, window)) for i in range(len(rows))
                ]
                continue
            out[item.feature(window)] = [
                RULES[item.aggregate](
                    [r[item.column] for r in past(i, item.entity, window) if pd.notna(r[item.column])]
                )
                if item.aggregate != "count"
                else float(len(past(i, item.entity, window)))
                for i in range(len(rows))
            ]
    for gap in spec.gaps:
        earlier = [[r for r in rows if same(r, now, gap.entity) and r["order"] < now["order"]] for now in rows]
        out[gap.feature] = [
            (now["time"] - max(r["time"] for r in before)).total_seconds() if before else math.nan
            for now, before in zip(rows, earlier, strict=True)
        ]
    return out


def same(row: dict[str, Any], now: dict[str, Any], entity: str) -> bool:
    """Whether two rows share an entity; nobody shares a missing one."""
    return pd.notna(now[entity]) and row[entity] == now[entity]


RULES: dict[str, Callable[[list[Any]], float]] = {
    "sum": math.fsum,
    "mean": lambda v: math.fsum(v) / len(v) if v else math.nan,
    "max": lambda v: max(v) if v else math.nan,
    "min": lambda v: min(v) if v else math.nan,
    "std": lambda v: float(np.std(v)) if v else math.nan,
    "distinct": lambda v: float(len(set(v))),
    "known": lambda v: float(len(v)),
    "frauds": lambda v: float(sum(v)),
    "risk": lambda v: sum(v) / len(v) if v else 0.0,
}


class TestAgainstTheReference:
    @at_most(60)
    @given(frames(), st.sampled_from([None, "1s", "2s"]))
    @pytest.mark.slow
    def test_every_aggregate_equals_the_naive_loop(self, frame: pd.DataFrame, delay: str | None) -> None:
        """Ties, missing entities and values, unsorted rows and label delays included, all aggregates are exact."""
        spec = everything(delay)
        found = compute(frame, spec).frame
        for name, expected in reference(frame, spec).items():
            np.testing.assert_allclose(found[name].to_numpy(), expected, rtol=1e-12, atol=1e-7, err_msg=name)

    def test_the_lower_end_is_exclusive_and_the_transaction_itself_counts(self) -> None:
        """A window of a day holds the transaction itself, what is less than a day old, and nothing exactly so old."""
        frame = plain(["2026-01-01T00:00:00", "2026-01-01T00:00:00.000001", "2026-01-02T00:00:00"])
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("1d",)),))
        assert list(compute(frame, spec).frame["customer_count_1d"]) == [1, 2, 2]

    def test_ties_are_decided_by_the_input_order(self) -> None:
        """Of three transactions in one microsecond, the first sees one, the second two, the third three."""
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("1s",)),))
        assert list(compute(plain(["2026-01-01"] * 3), spec).frame["customer_count_1s"]) == [1, 2, 3]

    def test_many_ties_and_distant_times_stay_exact(self) -> None:
        """Thousands of transactions in one microsecond, a century apart from others, do not overflow the key."""
        frame = plain(["1900-01-01"] * 2 + ["2026-01-01"] * 5000 + ["2199-12-31"])
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("1s", "52w")),))
        found = compute(frame, spec).frame
        assert list(found["customer_count_1s"]) == [1, 2, *range(1, 5001), 1]

    def test_columns_may_have_any_name(self) -> None:
        """Names of the engine's own columns, names that differ in case only and quotes do not disturb it."""
        names = ["row", "ts", "KEY", "key", 'a "b"', "tie"]
        frame = plain(["2026-01-01"] * 2).assign(**{name: [1.0, 3.0] for name in names})
        spec = FeatureSpec(
            windows=tuple(Window(entity="customer", aggregate="sum", of=n, windows=("1d",)) for n in names)
        )
        assert (compute(frame, spec).x.iloc[1] == 4.0).all()


class TestNothingUnknownIsUsed:
    @at_most(20)
    @given(frames(), st.data())
    @pytest.mark.slow
    @pytest.mark.campaign
    def test_what_was_unknown_cannot_matter(self, frame: pd.DataFrame, data: st.DataObject) -> None:
        """Change every later transaction and every label unknown at a moment: the features up to it stay the same."""
        spec = everything()
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
        before, after = compute(frame, spec).x[stays], compute(changed, spec).x[stays]
        pd.testing.assert_frame_equal(before, after, rtol=1e-12, atol=1e-9)
        # And the later ones might as well not exist.
        alone = compute(frame[stays].reset_index(drop=True), spec).x
        pd.testing.assert_frame_equal(before.reset_index(drop=True), alone, rtol=1e-12, atol=1e-9)

    def test_a_label_known_at_once_is_not_its_own_evidence(self) -> None:
        """Even where labels have no delay, a transaction does not see its own label, and the next one does."""
        frame = plain(["2026-01-01"] * 2, label=[1, 0], known=["2026-01-01"] * 2)
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="frauds", windows=("1d",)),))
        assert list(compute(frame, spec).frame["customer_frauds_1d"]) == [0, 1]

    def test_a_label_known_at_exactly_t_counts(self) -> None:
        """With a delay of 7 days, the label of a transaction 7 days ago is known, and one microsecond later is not."""
        times = ["2026-01-01T00:00:00", "2026-01-01T00:00:00.000001", "2026-01-08T00:00:00"]
        frame = plain(times, label=[1, 1, 0])
        frame["label_known_at"] = frame["time"] + pd.Timedelta(days=7)
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="known", windows=("1d",)),))
        assert list(compute(frame, spec).frame["customer_known_1d"]) == [0, 0, 1]


class TestTable:
    def test_the_table_holds_keys_then_features_in_input_order(self) -> None:
        """Key columns, then the features in the specification's order and promised dtypes; rows as they came."""
        source = simulate.transactions(300, seed=5, fraud_rate=0.1).sample(frac=1, random_state=1)
        transactions = load(source, "simulator")
        spec = default_spec(transactions.schema)
        table = compute(transactions, spec)
        keys = ["transaction_id", "time", "customer", "card", "device", "ip", "merchant", "label", "label_known_at"]
        assert list(table.frame) == keys + spec.names
        assert table.features == spec.names
        assert list(table.frame["transaction_id"]) == list(source["transaction_id"])
        numeric = [name for name in table.features if name not in table.categorical]
        assert set(map(str, table.x[numeric].dtypes)) == {"float64"}
        assert all(map(is_text, table.x[table.categorical].dtypes))
        assert table.y.dtype == np.int8
        assert (table.digest, table.source, table.period) == (
            transactions.digest,
            transactions.source,
            transactions.period,
        )

    @pytest.mark.slow
    def test_the_order_of_rows_changes_nothing_but_ties(self) -> None:
        """Sorted or shuffled, a transaction has the same features."""
        source = simulate.transactions(400, seed=6).drop_duplicates("time")
        spec = default_spec(Schema.load("simulator"))
        found = compute(load(source, "simulator"), spec).frame
        shuffled = compute(load(source.sample(frac=1, random_state=2), "simulator"), spec).frame
        again = shuffled.set_index("transaction_id").loc[list(found["transaction_id"])].reset_index()
        pd.testing.assert_frame_equal(found, again, rtol=1e-12)

    @pytest.mark.slow
    def test_computing_twice_gives_the_same_bits(self) -> None:
        """With one thread or two, features are equal to the last bit, so the same data gives the same model."""
        transactions = load(simulate.transactions(5_000, seed=7), "simulator")
        spec = default_spec(transactions.schema)
        one = compute(transactions, spec, threads=1).frame
        pd.testing.assert_frame_equal(one, compute(transactions, spec, threads=2).frame, check_exact=True)

    def test_where_keeps_rows_and_what_they_belong_to(self) -> None:
        """A part of a table has its own rows, and the digest and period of the whole."""
        table = compute(plain(["2026-01-01", "2026-01-02"], label=[1, 0]), FeatureSpec(numeric=("amount",)))
        part = table.where(table.y == 1)
        assert len(part) == 1
        assert part.digest == table.digest
        assert list(part.frame.index) == [0]

    def test_a_table_without_labels_says_so(self) -> None:
        """Asking for labels that are not there is an error with a fix, not a KeyError."""
        with pytest.raises(DataError, match="has no labels"):
            _ = compute(plain(["2026-01-01"]), FeatureSpec(numeric=("amount",))).y

    def test_flags_follow_the_calendar_of_the_zone(self) -> None:
        """Weekend is Saturday and Sunday, night is hour 0 to 6, in the specification's time zone."""
        frame = plain(["2026-01-02T23:59:59", "2026-01-03T06:59:59", "2026-01-03T07:00:00", "2026-01-04T16:00:00"])
        flags = (Flag(flag="weekend"), Flag(flag="night"))
        utc = compute(frame, FeatureSpec(flags=flags)).x
        assert utc.to_numpy().tolist() == [[0, 0], [1, 1], [1, 0], [1, 0]]
        seoul = compute(frame, FeatureSpec(flags=flags, time_zone="Asia/Seoul")).x
        assert seoul.to_numpy().tolist() == [[1, 0], [1, 0], [1, 0], [0, 1]]


class TestFile:
    @pytest.mark.parametrize("suffix", ["parquet", "csv.gz"])
    @pytest.mark.slow
    @pytest.mark.tested(1)
    @pytest.mark.campaign
    def test_a_file_gives_the_same_numbers_as_memory(
        self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From file to file, in many stretches, every number, dtype, digest and period is the one from memory."""
        monkeypatch.setattr(parquet_file, "_ROWS", 700)
        monkeypatch.setattr(delimited, "_BLOCK", 50_000)
        monkeypatch.setattr(file_engine, "_STRETCH", 900)
        source = simulate.transactions(3_000, seed=8, fraud_rate=0.05).sample(frac=1, random_state=3)
        source.loc[source.index[:50], ["device_id", "account_age_days"]] = None
        path = tmp_path / f"x.{suffix}"
        source.to_parquet(path) if suffix == "parquet" else source.to_csv(path, index=False)
        spec = default_spec(Schema.load("simulator")).model_copy(update={"gaps": (Gap(entity="device"),)})
        expected = compute(load(path, "simulator"), spec)
        found = compute_file(path, "simulator", spec, tmp_path / "out.parquet", memory_limit="200MB")
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), expected.frame, check_exact=True)
        assert (found.rows, found.digest, found.period) == (len(expected), expected.digest, expected.period)
        assert (found.features, found.categorical) == (expected.features, expected.categorical)
        assert {p.name for p in tmp_path.iterdir()} == {path.name, "out.parquet"}

    def test_a_refused_file_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """Duplicates across stretches, bad values and wrong options are refused, and no file stays behind."""
        source = simulate.transactions(100)
        spec = FeatureSpec(numeric=("amount",))
        target = tmp_path / "out.parquet"
        twice = tmp_path / "twice.parquet"
        pd.concat([source, source.tail(2)]).to_parquet(twice)
        with pytest.raises(DataError, match="repeats 2 ids in 102 rows"):
            compute_file(twice, "simulator", spec, target)
        bad = tmp_path / "bad.csv"
        source.assign(amount="?").to_csv(bad, index=False)
        with pytest.raises(DataError, match="not numbers in 100 rows of"):
            compute_file(bad, "simulator", spec, target)
        with pytest.raises(ConfigError, match="memory_limit"):
            compute_file(bad, "simulator", spec, target, memory_limit="lots")
        with pytest.raises(ConfigError, match="no folder"):
            compute_file(bad, "simulator", spec, tmp_path / "none" / "out.parquet")
        assert {p.name for p in tmp_path.iterdir()} == {"twice.parquet", "bad.csv"}


class TestSpecification:
    def test_the_default_has_what_the_schema_allows(self) -> None:
        """Counts and means for every entity, risk where labels become known, extras; nothing that the data lacks."""
        handbook = default_spec(Schema.load("handbook"))
        assert "terminal_risk_7d" in handbook.names
        assert "customer_risk_7d" not in handbook.names
        assert default_spec(Schema.load("ulb")).names == [
            "amount",
            *(f"V{i}" for i in range(1, 29)),
            "weekend",
            "night",
        ]

    def test_the_handbook_specification_has_its_fourteen_columns(self) -> None:
        """The shipped specification names exactly the handbook's engineered columns, beside the amount."""
        names = handbook_spec().names
        assert names[0] == "amount"
        assert len(names) == 15
        assert {"TX_DURING_WEEKEND", "CUSTOMER_ID_NB_TX_1DAY_WINDOW", "TERMINAL_ID_RISK_30DAY_WINDOW"} < set(names)

    @given(st.sampled_from(["simulator", "handbook", "ulb"]))
    def test_a_specification_survives_being_written_down(self, name: str) -> None:
        """As JSON, which a run logs, a specification comes back equal."""
        spec = default_spec(Schema.load(name))
        assert FeatureSpec.model_validate_json(spec.model_dump_json()) == spec

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("windows: [{entity: customer, aggregate: median, windows: [1d]}]", "aggregate"),
            ("windows: [{entity: customer, aggregate: count, windows: [1day]}]", "not a duration"),
            ("windows: [{entity: customer, aggregate: count, windows: [0d]}]", "is empty"),
            ("windows: [{entity: customer, aggregate: count, windows: []}]", "windows"),
            ("windows: [{entity: customer, aggregate: count, windows: [1d], of: amount}]", "takes no 'of'"),
            ("windows: [{entity: customer, aggregate: distinct, windows: [1d]}]", "needs 'of'"),
            ("windows: [{entity: customer, aggregate: count, windows: [1d, 7d], name: n}]", "same for several"),
            ("windows: [{entity: customer, aggregate: count, windows: [1h], name: 'n{days}'}]", "whole days"),
            ("numeric: [amount, amount]", "several features are named amount"),
            ("window: []", "did you mean 'windows'"),
            ("time_zone: Mars", "no IANA time zone"),
            ("flags: [{flag: payday}]", "flag"),
        ],
    )
    def test_specifications_that_make_no_sense_are_refused(self, text: str, message: str, tmp_path: Path) -> None:
        """Unknown keys, aggregates and flags, empty windows and clashing names are refused when read."""
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            FeatureSpec.load(tmp_path / "x.yaml")

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (FeatureSpec(numeric=("velocity",)), "needs the numeric column 'velocity'"),
            (FeatureSpec(categorical=("country",)), "needs the categorical column 'country'"),
            (FeatureSpec(gaps=(Gap(entity="device"),)), "needs the entity column 'device'"),
            (
                FeatureSpec(windows=(Window(entity="card", aggregate="count", windows=("1d",)),)),
                r"\(it has: customer\)",
            ),
            (
                FeatureSpec(windows=(Window(entity="customer", aggregate="distinct", of="card", windows=("1d",)),)),
                "entity column 'card'",
            ),
            (
                FeatureSpec(windows=(Window(entity="customer", aggregate="risk", windows=("1d",)),)),
                "does not say when they became known",
            ),
            (FeatureSpec(flags=(Flag(flag="night", name="customer"),)), "names of key columns"),
        ],
    )
    def test_what_the_data_lacks_is_named(self, spec: FeatureSpec, message: str) -> None:
        """A feature whose column is not there is refused with the feature, the column, and what there is."""
        with pytest.raises(ConfigError, match=message):
            compute(plain(["2026-01-01"], label=[1]), spec)

    def test_labels_are_needed_for_risk(self) -> None:
        """Without any label, label features are refused, whatever delay is given."""
        spec = FeatureSpec(windows=(Window(entity="customer", aggregate="risk", windows=("1d",)),), label_delay="7d")
        with pytest.raises(ConfigError, match="uses labels, and the DataFrame has none"):
            compute(plain(["2026-01-01"]), spec)
        assert compute(plain(["2026-01-01"], label=[1]), spec).frame["customer_risk_1d"][0] == 0

    def test_frames_that_are_not_canonical_are_refused(self) -> None:
        """A frame in a source's own columns, or without rows, is refused with the way to load it."""
        with pytest.raises(ConfigError, match="transaction_id, time"):
            compute(pd.DataFrame({"id": [1]}), FeatureSpec())
        with pytest.raises(DataError, match="no rows"):
            compute(plain([]), FeatureSpec())


def plain(times: list[str], *, label: list[int] | None = None, known: list[str] | None = None) -> pd.DataFrame:
    """A canonical frame of one customer's transactions of amount 1."""
    frame = pd.DataFrame(
        {
            "transaction_id": [str(i) for i in range(len(times))],
            "time": np.array(times, dtype="datetime64[us]"),
            "amount": np.ones(len(times)),
            "customer": text_column(["a"] * len(times)),
        }
    )
    if label is not None:
        frame["label"] = np.array(label, dtype=np.int8)
    if known is not None:
        frame["label_known_at"] = np.array(known, dtype="datetime64[us]")
    return frame
