"""What computing on Spark promises beside the contract of engines: order, zones, skew, refusals, whole outputs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from fds_mlflow.cli.main import main
from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.transactions import Schema, load
from fds_mlflow.errors import ConfigError, DataError, FdsError, RefusedError, UnexpectedError
from fds_mlflow.features import meaning
from fds_mlflow.features.engines import spark as engine
from fds_mlflow.features.engines.reading import Noticed, read
from fds_mlflow.features.engines.spark import compute_spark, compute_spark_file
from fds_mlflow.features.table import FeatureSpec, Gap, Window, compute
from fds_mlflow.simulator import simulate
from tests.support.dealing import dealt_by, plan_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SPEC = FeatureSpec(
    numeric=("amount",),
    windows=(
        Window(entity="card", aggregate="count", windows=("1h", "1d")),
        Window(entity="card", aggregate="mean", windows=("1d",)),
        Window(entity="card", aggregate="distinct", of="shop", windows=("1d",)),
        Window(entity="shop", aggregate="risk", windows=("1d",)),
    ),
    gaps=(Gap(entity="card"),),
)
SCHEMA = Schema.of(
    transaction_id="id",
    time="t",
    amount="sum",
    entities={"card": "card", "shop": "shop"},
    label="fraud",
    label_known_at="known",
)
CARDS = ["ä", "Ünïcode-☃-𝄞", "", None, "card 1"]


def rows(number: int = 400, *, hot: float = 0.0, seed: int = 7) -> pd.DataFrame:
    """Transactions with gaps in every column, ties in time, and one card with a share of all rows."""
    made = np.random.default_rng(seed)
    time = pd.Timestamp("2026-03-07T20:00") + pd.to_timedelta(made.integers(0, number // 2, number), unit="min")
    card = np.where(made.random(number) < hot, "hot", made.choice(np.array(CARDS, dtype=object), number))
    known = (time + pd.to_timedelta(made.integers(0, 2_000, number), unit="min")).to_series().reset_index(drop=True)
    return pd.DataFrame(
        {
            "id": [f"T{i:06}" for i in made.permutation(number)],
            "t": time.astype("datetime64[us]"),
            "sum": made.choice([0.1, 2.5, 1e12, -3.0], number),
            "card": card,
            "shop": made.choice(np.array(["x", "y", None], dtype=object), number),
            "fraud": pd.array(made.choice(np.array([0, 1, None], dtype=object), number), dtype="Int8"),
            "known": known.mask(made.random(number) < 0.2).astype("datetime64[us]"),
        }
    )


def in_memory(frame: pd.DataFrame, spec: FeatureSpec = SPEC) -> pd.DataFrame:
    """What memory gives, by id."""
    return by_id(compute(load(frame, SCHEMA), spec).frame)


def by_id(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows in the order of their ids."""
    return frame.sort_values("transaction_id", ignore_index=True)


def collected(frame: Any) -> pd.DataFrame:
    """A DataFrame of Spark's as pandas', without Spark's own conversion."""
    return by_id(frame.toArrow().to_pandas())


def equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """The same columns in the same order, and the same values to the last bit."""
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)


def given(spark: SparkSession, frame: pd.DataFrame, folder: Path, zone: str | None = None) -> DataFrame:
    """A frame as Spark reads it from a file, in several partitions and another order."""
    parquet.write_table(arrow(frame, zone), folder / "given.parquet")
    return spark.read.parquet(str(folder / "given.parquet")).repartition(3, "shop")


def arrow(frame: pd.DataFrame, zone: str | None = None) -> pa.Table:
    """A frame for Spark: its times naive, or of a zone."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if zone is None:
        return table
    kinds = [pa.timestamp("us", zone) if pa.types.is_timestamp(one.type) else one.type for one in table.schema]
    return table.cast(pa.schema([one.with_type(kind) for one, kind in zip(table.schema, kinds, strict=True)]))


class TestSkew:
    def test_an_entity_with_a_tenth_of_all_rows_is_cut_by_time(self) -> None:
        """No process is given much more than the bound, and every feature is what it is in memory."""
        frame = rows(6_000, hot=0.5)
        noticed = Noticed(Canonical(SCHEMA, "the frame"), meaning.roles(SPEC))
        stretches = [stretch.rows for stretch in read([arrow(frame)], noticed, 500)]
        spec = FeatureSpec(
            windows=(Window(entity="card", aggregate="count", windows=("1m",)),), gaps=(Gap(entity="card"),)
        )
        plan = plan_of(stretches, noticed, SCHEMA, SPEC, size=300, most=400)
        assert any(len(edges) > 2 for edges in plan.roles["card"].edges.values())
        equal(by_id(dealt_by(plan, stretches)), in_memory(frame))
        short = plan_of(stretches, of_role(noticed, "card"), SCHEMA, spec, size=300, most=400)
        reached: Counter[int] = Counter()
        for one in stretches:
            reached.update({share: part.num_rows for share, part in short.deal(one)})
        assert max(reached.values()) < 400
        assert reached.total() < 2 * len(frame)  # a slice looks back a minute, and at the last rows before
        equal(by_id(dealt_by(short, stretches)), in_memory(frame, spec))

    def test_late_rows_of_such_an_entity_are_seen_from_when_they_arrived(self) -> None:
        """The row before may be any time ago, and have arrived after others that are later."""
        frame = rows(1_500, hot=0.5)
        frame["arrived"] = frame["t"] + pd.to_timedelta(np.random.default_rng(1).integers(0, 900, 1_500), unit="min")
        schema = SCHEMA.model_copy(update={"arrived_at": "arrived"})
        spec = FeatureSpec(
            windows=(Window(entity="card", aggregate="count", windows=("1m",)),), gaps=(Gap(entity="card"),)
        )
        noticed = Noticed(Canonical(schema, "the frame"), meaning.roles(spec))
        stretches = [stretch.rows for stretch in read([arrow(frame)], noticed, 500)]
        plan = plan_of(stretches, noticed, schema, spec, size=100, most=150)
        equal(by_id(dealt_by(plan, stretches)), by_id(compute(load(frame, schema), spec).frame))

    @pytest.mark.spark
    @pytest.mark.slow
    def test_on_spark_too(self, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Shares and slices of several processes make up what memory gives."""
        for name, number in (("_STRETCH", 150), ("_SHARE", 100), ("_MOST", 200)):
            monkeypatch.setattr(engine, name, number)
        frame = rows(2_000, hot=0.3)
        ordered = frame.sort_values("id")  # of equal times ids decide where nothing else does
        equal(collected(compute_spark(given(spark, frame, tmp_path), SCHEMA, SPEC)), in_memory(ordered))


def of_role(noticed: Noticed, role: str) -> Noticed:
    """What was noticed of one role."""
    made = Noticed(noticed.canonical, [role])
    made.counts[role] += noticed.counts[role]
    return made


@pytest.mark.spark
@pytest.mark.slow
class TestDataFrame:
    @pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
    def test_no_zone_of_a_session_shifts_a_time(self, spark: SparkSession, tmp_path: Path, zone: str | None) -> None:
        """Times without a zone are UTC, those with one are moments; either way the features are those of memory."""
        frame = rows()
        found = compute_spark(given(spark, frame, tmp_path, zone), SCHEMA, SPEC)
        assert dict(found.dtypes)["time"] == "timestamp_ntz"
        equal(collected(found), in_memory(frame.sort_values("id")))

    def test_a_column_can_give_the_order_of_equal_times(self, spark: SparkSession, tmp_path: Path) -> None:
        """With the number of the row, the features are those of memory row by row, however the rows are spread."""
        frame = rows()
        numbered = given(spark, frame.assign(n=np.arange(len(frame))), tmp_path)
        equal(collected(compute_spark(numbered, SCHEMA, SPEC, order="n")), in_memory(frame))

    def test_a_session_may_ask_for_large_types(self, spark: SparkSession, tmp_path: Path) -> None:
        """Where Spark hands texts over in Arrow's large types, and takes no others, nothing differs."""
        frame, name = rows(60), "spark.sql.execution.arrow.useLargeVarTypes"
        there = given(spark, frame, tmp_path)
        spark.conf.set(name, "true")
        try:
            equal(collected(compute_spark(there, SCHEMA, SPEC)), in_memory(frame.sort_values("id")))
            with pytest.raises(DataError, match="repeats 1"):
                compute_spark(there.where("card = 'ä'").withColumn("id", there["card"]), SCHEMA, SPEC)
        finally:
            spark.conf.unset(name)

    def test_what_cannot_be_ordered_is_refused(self, spark: SparkSession, tmp_path: Path) -> None:
        """Rows without an id, and orders that are no whole numbers or have gaps."""
        frame = given(spark, rows(10).assign(n=[None, *range(9)]), tmp_path)
        numbered = SCHEMA.model_copy(update={"transaction_id": None})
        with pytest.raises(ConfigError, match="no order") as caught:
            compute_spark(frame, numbered, SPEC)
        assert "identifies a transaction" in caught.value.fix
        for order, said in (("card", "is of type string"), ("m", "is not in")):
            with pytest.raises(ConfigError, match=said):
                compute_spark(frame, SCHEMA, SPEC, order=order)
        with pytest.raises(DataError, match="has gaps"):
            compute_spark(frame.selectExpr("*", "cast(n as long) as m"), SCHEMA, SPEC, order="m")

    def test_what_memory_refuses_is_refused_in_the_same_words(self, spark: SparkSession, tmp_path: Path) -> None:
        """What does not fit is counted over all processes; ids that come twice are found across them."""
        frame = rows(40)
        bad = frame.assign(sum=["x" if i % 10 == 0 else "1" for i in range(40)], fraud=2)
        twice = frame.assign(id=[f"T{i % 39}" for i in range(40)])
        for one in (bad, twice):
            with pytest.raises(DataError) as here:
                load(one, SCHEMA)
            with pytest.raises(DataError) as there:
                compute_spark(given(spark, one, tmp_path), SCHEMA, SPEC)
            assert _counts(there.value) == _counts(here.value) != []
        with pytest.raises(ConfigError, match="uses labels"):
            compute_spark(
                given(spark, frame, tmp_path),
                SCHEMA.model_copy(update={"label": None, "label_known_at": None}),
                SPEC,
            )


def _counts(error: FdsError) -> list[str]:
    """Which columns a message is about, and how many values of each."""
    return re.findall(r"column '\w+' \(\w+\) (?:holds|repeats) \d+", str(error))


@pytest.mark.spark
@pytest.mark.slow
class TestFiles:
    def test_nanoseconds_and_folders_of_text_are_read_as_in_memory(self, spark: SparkSession, tmp_path: Path) -> None:
        """Spark itself refuses times of nanoseconds; rows of several files are in input order, and numbered."""
        frame = rows(300)
        folder = tmp_path / "in"
        folder.mkdir()
        frame.iloc[:100].to_csv(folder / "a.csv", index=False)
        nanoseconds = dict.fromkeys(("t", "known"), "datetime64[ns]")
        frame.iloc[100:].astype(nanoseconds).to_parquet(folder / "b.parquet", row_group_size=60)
        schema = SCHEMA.model_copy(update={"transaction_id": None})
        expected = compute(load(folder, schema), SPEC)
        done = compute_spark_file(folder, schema, SPEC, tmp_path / "out")
        equal(pd.read_parquet(tmp_path / "out"), expected.frame)
        assert (done.rows, done.digest, done.period, done.notes) == (
            len(expected),
            expected.digest,
            expected.period,
            expected.notes,
        )

    def test_an_output_appears_when_it_is_complete(self, spark: SparkSession, tmp_path: Path) -> None:
        """What cannot be computed leaves what was there; what is no output of features is never removed."""
        rows(50).to_parquet(tmp_path / "in.parquet")
        rows(50).assign(sum="x").to_parquet(tmp_path / "bad.parquet")
        compute_spark_file(tmp_path / "in.parquet", SCHEMA, SPEC, tmp_path / "out")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(DataError):
            compute_spark_file(tmp_path / "bad.parquet", SCHEMA, SPEC, tmp_path / "out")
        assert sorted(tmp_path.rglob("*")) == before
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "part-1.txt").touch()
        for taken in (tmp_path / "notes", tmp_path / "bad.parquet"):
            with pytest.raises(RefusedError, match="no folder of Parquet files"):
                compute_spark_file(tmp_path / "in.parquet", SCHEMA, SPEC, taken)

    def test_what_fails_in_a_process_of_sparks_is_told(
        self, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that fills leaves no output, and is named."""

        def full(*_: Any) -> pa.Table:
            raise OSError(28, "No space left on device")

        rows().to_parquet(tmp_path / "in.parquet")
        monkeypatch.setattr(engine, "_joined", full)
        with pytest.raises(UnexpectedError, match="No space left on device"):
            compute_spark_file(tmp_path / "in.parquet", SCHEMA, SPEC, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]

    def test_what_is_wrong_is_said_before_spark_starts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Input, columns, output and features are looked at while there is no Spark yet."""
        monkeypatch.setattr(engine, "session", lambda: pytest.fail("Spark was asked for"))
        frame = rows(20)
        frame.to_parquet(tmp_path / "in.parquet")
        frame.drop(columns="card").to_csv(tmp_path / "less.csv", index=False)
        Path(tmp_path / "model.pkl").touch()
        other = FeatureSpec(numeric=("weight",))
        for source, spec, out, said in (
            ("nowhere.csv", SPEC, "out", "nowhere.csv"),
            ("model.pkl", SPEC, "out", "neither text, Parquet nor a workbook"),
            ("less.csv", SPEC, "out", "column 'card' .card. is not in"),
            ("in.parquet", other, "out", "'weight'"),
            ("in.parquet", SPEC, "less.csv", "no folder of Parquet files"),
        ):
            with pytest.raises(FdsError, match=said):
                compute_spark_file(tmp_path / source, SCHEMA, spec, tmp_path / out)

    def test_one_command_on_either_engine(self, spark: SparkSession, tmp_path: Path) -> None:
        """`fds features compute` writes the same rows by either engine."""
        simulate.transactions(500).to_csv(tmp_path / "in.csv", index=False)
        (tmp_path / "spec.yaml").write_text(
            "windows: [{entity: customer, aggregate: count, windows: [7d]}]\nnumeric: [amount]\n"
        )
        for name in ("local", "spark"):
            words = ["features", "compute", str(tmp_path / "spec.yaml"), "--input", str(tmp_path / "in.csv")]
            words += ["--engine", name, "--output", str(tmp_path / name), "--json"]
            answer = CliRunner().invoke(main, words)
            assert answer.exit_code == 0, answer.output
        equal(pd.read_parquet(tmp_path / "spark"), pd.read_parquet(tmp_path / "local"))


def test_without_java_the_error_names_it(tmp_path: Path) -> None:
    """Where Spark does not start, the fix is to install Java."""
    pytest.importorskip("pyspark")
    code = "from fds_mlflow.runtime.spark import session; session()"
    environment = {"PATH": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "Spark does not start" in done.stderr
    assert "Java 17" in done.stderr


def test_without_pyspark_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--engine spark` says what to install."""
    simulate.transactions(10).to_csv(tmp_path / "in.csv", index=False)
    (tmp_path / "spec.yaml").write_text("numeric: [amount]\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    words = ["features", "compute", str(tmp_path / "spec.yaml"), "--input", str(tmp_path / "in.csv")]
    answer = CliRunner().invoke(main, [*words, "--engine", "spark", "--output", str(tmp_path / "out")])
    assert answer.exit_code == 1
    assert "pip install 'fds-mlflow[spark]'" in answer.stderr
