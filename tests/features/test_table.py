"""The tables and files that features come in, and the specifications that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data import delimited, parquet_file
from fds_mlflow.data.transactions import Schema, column_hash, load
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features.engines import file as file_engine
from fds_mlflow.features.engines import repeated
from fds_mlflow.features.table import FeatureSpec, Flag, Gap, Window, compute, compute_file, default_spec, handbook_spec
from fds_mlflow.runtime.text_column import is_text
from fds_mlflow.simulator import simulate
from tests.support.windows import plain


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

    @pytest.mark.slow
    def test_an_entity_larger_than_memory_is_computed_a_time_at_a_time(self, tmp_path: Path) -> None:
        """A merchant with nearly all transactions, of which a fifth fits: every number is the one from memory."""
        source = simulate.transactions(6_000, seed=9, fraud_rate=0.05).sample(frac=1, random_state=3)
        source.loc[source.index[100:], "merchant_id"] = "M1"
        source.to_parquet(tmp_path / "in.parquet")
        spec = default_spec(Schema.load("simulator"))
        short = {"windows": tuple(item.model_copy(update={"windows": ("1h", "2d")}) for item in spec.windows)}
        spec = spec.model_copy(update=short)
        expected = compute(load(source, "simulator"), spec).frame
        compute_file(
            tmp_path / "in.parquet", "simulator", spec, tmp_path / "out.parquet", memory_limit="1MB", threads=1
        )
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), expected, check_exact=True)

    def test_what_does_not_fit_into_memory_is_told(self, tmp_path: Path) -> None:
        """Where one window of one entity needs more than the limit, the message names the entity and the fix."""
        simulate.transactions(3_000).assign(merchant_id="M1").to_parquet(tmp_path / "in.parquet")
        spec = FeatureSpec(windows=(Window(entity="merchant", aggregate="count", windows=("365d",)),))
        with pytest.raises(DataError, match=r"same merchant.* MiB, and the limit is 1 MiB(?s:.*)raise memory_limit"):
            compute_file(tmp_path / "in.parquet", "simulator", spec, tmp_path / "out.parquet", memory_limit="1MB")
        assert {p.name for p in tmp_path.iterdir()} == {"in.parquet"}

    def test_repeated_ids_are_found_in_bounded_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """However few hashes are sorted at a time, every repeated id is counted; equal hashes alone are no repeat."""
        monkeypatch.setattr(repeated, "_AT_ONCE", 7)
        source = simulate.transactions(100)
        spec = FeatureSpec(numeric=("amount",))
        pd.concat([source, source.tail(3)]).to_parquet(tmp_path / "twice.parquet")
        with pytest.raises(DataError, match="repeats 3 ids in 103 rows"):
            compute_file(tmp_path / "twice.parquet", "simulator", spec, tmp_path / "out.parquet", memory_limit="0MB")
        source.to_parquet(tmp_path / "once.parquet")
        monkeypatch.setattr(file_engine, "column_hash", lambda column: column_hash(column) % np.uint64(3))
        compute_file(tmp_path / "once.parquet", "simulator", spec, tmp_path / "out.parquet", memory_limit="0MB")
        assert len(pd.read_parquet(tmp_path / "out.parquet")) == 100


#: A window over an expression, beside others over which none may be.
EXPRESSED = """
gaps: [{{entity: a}}]
expressions: [{{name: {name}, of: {of}}}]
windows:
  - {{entity: a, aggregate: max, expression: ratio, windows: [1d]}}
  - {{entity: a, aggregate: risk, windows: [1d]}}
  - {{entity: b, aggregate: mean, windows: [1d]}}
"""


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
            ("windows: [{entity: customer, aggregate: mode, windows: [1d]}]", "aggregate"),
            ("windows: [{entity: customer, aggregate: count, windows: [1day]}]", "not a duration"),
            ("windows: [{entity: customer, aggregate: count, windows: [0d]}]", "is empty"),
            ("windows: [{entity: customer, aggregate: count, windows: []}]", "windows"),
            ("windows: [{entity: customer, aggregate: count, windows: [1d], of: amount}]", "takes no 'of'"),
            ("windows: [{entity: customer, aggregate: distinct, windows: [1d]}]", "needs 'of'"),
            ("windows: [{entity: customer, aggregate: count, windows: [1d, 7d], name: n}]", "same for several"),
            ("windows: [{entity: customer, aggregate: count, windows: [1h], name: 'n{days}'}]", "whole days"),
            ("windows: [{entity: customer, aggregate: count, windows: [1d], expression: e}]", "without 'above'"),
            ("windows: [{entity: customer, aggregate: max, windows: [1d], above: 3}]", "takes no 'above'"),
            ("windows: [{entity: customer, aggregate: count, windows: [1d], above: .inf}]", "above"),
            ("windows: [{entity: customer, aggregate: risk, windows: [1d], earlier: true}]", "takes no 'earlier'"),
            ("windows: [{entity: a, aggregate: distinct, of: b, windows: [1d], earlier: true}]", "takes no 'earlier'"),
            ("windows: [{entity: a, aggregate: max, of: b, expression: e, windows: [1d]}]", "leave out one of them"),
            ("windows: [{entity: a, aggregate: fraud_run, of: b, windows: [1d]}]", "takes no 'of'"),
            (EXPRESSED.format(name="rato", of="amount / 2"), "did you mean 'rato'"),
            (EXPRESSED.format(name="ratio", of="amount / b_mean_amount_1d"), "reads 'b_mean_amount_1d'"),
            (EXPRESSED.format(name="ratio", of="amount / a_risk_1d"), "reads 'a_risk_1d'"),
            (EXPRESSED.format(name="ratio", of="amount / a_gap"), "reads 'a_gap'"),
            (EXPRESSED.format(name="ratio", of="1 / a_max_ratio_1d"), "reads 'a_max_ratio_1d'"),
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
