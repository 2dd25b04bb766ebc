"""On Spark a key has the variant that it has everywhere, and a row the score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fds_mlflow import ManagedModel
from fds_mlflow.cli import main
from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.routing.routing import RoutingTable, buckets
from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.runtime.spark import told
from fds_mlflow.serving.batch import keys_of
from fds_mlflow.simulator import simulate
from fds_mlflow.workflows import Source, feature_state, prepare, train
from fds_mlflow.workflows.batch.batch import score
from fds_mlflow.workflows.batch.spark import Scorer, record_answers, routed, routed_by, scored
from fds_mlflow.workflows.batch.versions import Choice
from tests.support import batch_world
from tests.support.spark import ROOT
from tests.support.version_caches import table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = [
    pytest.mark.slow,
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]

TABLE = table(weight=3_000).routing
SOME = [
    "",
    "a",
    "TX1",
    "1000.0",
    "é" * 5,
    "e\u0301",
    "\U0001f600",
    "\0",
    " x ",
    "x" * 5_000,
    *(str(n) for n in range(300)),
]


def frame_of(spark: SparkSession, values: list[Any], kind: str) -> DataFrame:
    """A column `key`."""
    return spark.createDataFrame([(value,) for value in values], f"key {kind}")


def routes(table: RoutingTable, frame: DataFrame) -> list[tuple[int, str, int]]:
    """Bucket, variant and version of each row."""
    with told():
        return [(row.bucket, row.variant, row.version) for row in routed_by(table, frame, "key").collect()]


def wanted(keys: list[str]) -> list[tuple[int, str, int]]:
    """What the routing table says of each key."""
    found = [TABLE.route(key) for key in keys]
    return [(int(one.bucket or 0), one.variant.value, one.version) for one in found]


@settings(max_examples=3, phases=[Phase.explicit, Phase.generate])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=100, max_size=400))
def test_any_text_is_routed_as_everywhere(spark_session: SparkSession, texts: list[str]) -> None:
    """Unicode, empty, very long, digits: Spark's own hash gives the bucket that replicas give."""
    keys = [*SOME, *texts]
    assert routes(TABLE, frame_of(spark_session, keys, "string")) == wanted(keys)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("long", [1, -5, 2**62]),
        ("boolean", [True, False]),
        ("double", [1000.0, 2.5, 1e-7, 12345678.0, 0.1]),
        ("float", [7.1, 3.0]),
        ("decimal(20,3)", [Decimal("1.500"), Decimal("7.000")]),
        ("string collate UTF8_LCASE", ["Abc", "abc"]),
    ],
)
def test_keys_that_are_no_text_are_written_as_everywhere(spark: SparkSession, kind: str, values: list[Any]) -> None:
    """Whatever type the column has, and also in rollouts of earlier releases."""
    from dataclasses import replace

    import pyarrow as pa

    of = {"float": pa.float32(), "decimal(20,3)": pa.decimal128(20, 3)}.get(kind)
    batch = pa.RecordBatch.from_arrays([pa.array(values, of)], ["key"])
    assert TABLE.rollout is not None
    for spelling in Spelling:
        now = replace(TABLE, rollout=replace(TABLE.rollout, spelling=spelling))
        found = [bucket for bucket, _, _ in routes(now, frame_of(spark, values, kind))]
        assert found == buckets(now.rollout.id, keys_of(batch, "key", spelling)).tolist()  # type: ignore[union-attr]


def test_what_is_no_key_is_refused(spark: SparkSession) -> None:
    """As everywhere: without a key, with half a character, or with a time, which is written in many ways."""
    half = frame_of(spark, [b"\xed\xa0\x80"], "binary").selectExpr("cast(key as string) as key")
    for now in (TABLE, RoutingTable(1)):
        with pytest.raises(DataError, match="'key' is missing"):
            routes(now, frame_of(spark, ["a", None], "string"))
        with pytest.raises(DataError, match="'key' is no text"):
            routes(now, half)
    with pytest.raises(DataError, match="of the type date"):
        routed_by(TABLE, spark.sql("select date'2026-01-01' as key"), "key")
    with pytest.raises(DataError, match="no column 'card'"):
        routed_by(TABLE, half, "card")
    with pytest.raises(DataError, match="columns that routing makes: version"):
        routed_by(TABLE, half.selectExpr("key", "1 as Version"), "key")


def here(path: str) -> str:
    """A path for Spark, which began in another folder."""
    return str(Path(path).absolute())


def by_transaction(frame: pd.DataFrame) -> pd.DataFrame:
    """What does not differ from one call to the next, in one order."""
    found = frame.drop(columns=["time", "latency_ms"]).sort_values("transaction_id").reset_index(drop=True)
    return found.astype({"error": "str", "segment": "str"})


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Both are equal, but for what differs from one call to the next, and scores by rounding."""
    pd.testing.assert_frame_equal(by_transaction(found), by_transaction(wanted), rtol=0, atol=1e-12, check_dtype=False)


def test_the_same_command_gives_the_same_on_either_engine(spark: SparkSession, model: ManagedModel) -> None:
    """From rows with features, from text and from raw transactions; outcomes are recorded once, whichever engine."""
    assert spark is not None
    pd.read_parquet("computed.parquet").to_csv("computed.csv", index=False)
    for source in ("computed.parquet", "computed.csv", "raw.parquet"):
        new = []
        for engine in ("local", "spark"):
            words = ["--outcomes", model.outcomes.url, "score", "fraud", "--input", source, "--output", f"{engine}.out"]
            told = CliRunner().invoke(main, [*words, "--rollout", "--engine", engine, "--record", "--json"])
            assert told.exit_code == 0, told.output
            new.append(json.loads(told.stdout)["recorded"])
        same(pd.read_parquet("spark.out"), pd.read_parquet("local.out"))
        assert new == [batch_world.ROWS if source == "computed.parquet" else 0, 0]
    assert {path.name for path in Path.cwd().iterdir() if path.name.startswith(".")} == set()


def test_a_frame_is_given_and_taken(spark: SparkSession, model: ManagedModel) -> None:
    """Routes and scores are DataFrames, to be written to a table of Spark's, and recorded from there."""
    score(model, "computed.parquet", "out.parquet", choice=Choice())
    wanted, frame = pd.read_parquet("out.parquet"), spark.read.parquet(here("computed.parquet"))
    scored(model, frame).write.saveAsTable("scores")
    found = spark.table("scores")
    same(pd.DataFrame(found.collect(), columns=found.columns), wanted)
    assert record_answers(found, model.outcomes.url) == (batch_world.ROWS, 0)
    assert record_answers(found, model.outcomes.url) == (0, 0)
    variants = {row.transaction_id: row.variant for row in routed(model, frame).collect()}
    assert variants == dict(zip(wanted["transaction_id"], wanted["served"], strict=True))


def test_a_session_may_ask_for_large_types(spark: SparkSession, model: ManagedModel) -> None:
    """Where Spark hands texts over in Arrow's large types, and takes no others, the answers are the same."""
    name = "spark.sql.execution.arrow.useLargeVarTypes"
    spark.conf.set(name, "true")
    try:
        for source in ("raw.parquet", "computed.parquet"):
            done = score(model, source, "spark.out", choice=Choice(), engine="spark", record=True)
            score(model, source, "local.out", choice=Choice())
            same(pd.read_parquet("spark.out"), pd.read_parquet("local.out"))
    finally:
        spark.conf.unset(name)
    assert done.recorded == 0  # of the raw rows they are there


def test_a_row_that_nobody_can_score_is_named(spark: SparkSession, model: ManagedModel) -> None:
    """The error of a process of Spark's is that of this one, and the output stays as it was."""
    frame = pd.read_parquet("computed.parquet").astype({"amount": object})
    frame.loc[1_400, "amount"] = "much"
    frame.to_csv("broken.csv", index=False)
    assert spark is not None
    with pytest.raises(DataError, match="'much' is no number") as refused:
        score(model, "broken.csv", "out", choice=Choice(), engine="spark")
    assert refused.value.fix == "give values of the type double there, as it was trained on"
    assert not Path("out").exists()


def test_files_are_read_as_on_this_machine(spark: SparkSession, model: ManagedModel) -> None:
    """Folders in folders, what their names say, encodings, nanoseconds, odd names: no row and no digit differs."""
    assert spark is not None
    frame, raw = pd.read_parquet("computed.parquet").head(90), pd.read_parquet("raw.parquet").head(90)
    for name in ("nested/a/b", "parts/country=007", "parts/country=KR"):
        Path(name).mkdir(parents=True)
    frame.head(50).to_parquet("nested/0.parquet")
    frame.tail(40).to_parquet("nested/a/b/1.parquet")
    frame.head(50).drop(columns="country").to_parquet("parts/country=007/0.parquet")
    frame.tail(40).drop(columns="country").to_parquet("parts/country=KR/0.parquet")
    frame.assign(transaction_id="ü" + frame["transaction_id"]).to_csv("wide.csv", index=False, encoding="utf-16")
    # Of equal times the row that comes first in the file comes first, whatever its id.
    tied = raw.assign(customer_id="one", time=raw["time"].min()).astype({"time": "datetime64[ns]"})
    tied.sort_values("transaction_id", ascending=False).to_parquet("tied.parquet")
    frame.rename(columns={"transaction_id": "the `id`.of it"}).to_parquet("odd.parquet")
    for source, key in (
        ("nested", "transaction_id"),
        ("parts", "transaction_id"),
        ("wide.csv", "transaction_id"),
        ("tied.parquet", "transaction_id"),
        ("odd.parquet", "the `id`.of it"),
    ):
        for engine in ("local", "spark"):
            assert score(model, source, f"{engine}.out", choice=Choice(), key=key, engine=engine).rows == 90
        same(pd.read_parquet("spark.out"), pd.read_parquet("local.out"))


def test_raw_transactions_whose_features_count_labels(spark: SparkSession, model: ManagedModel) -> None:
    """Labels that are known are counted, rows without one are scored, and the scores are those of this machine."""
    Path("features.yaml").write_text(
        "numeric: [amount]\nwindows:\n  - {entity: merchant, aggregate: risk, windows: [7d, 30d]}\nlabel_delay: 1d\n"
    )
    raw = simulate.transactions(1_000, seed=3)
    raw = raw.assign(is_fraud=pd.array(raw.index % 3 == 0, dtype="boolean"), label_known_at=raw["time"])
    raw.to_parquet("labelled.parquet")
    split = prepare(Source("labelled.parquet"), features="features.yaml", split="stratified")
    train(split, "labels", params={"n_estimators": 5})
    counting = ManagedModel("labels", outcomes=model.outcomes.url)
    raw.assign(is_fraud=raw["is_fraud"].mask(raw.index >= 700)).to_parquet("labelled.parquet")
    for engine in ("local", "spark"):
        assert score(counting, "labelled.parquet", f"{engine}.out", choice=Choice(1), engine=engine).rows == 1_000
    wanted = pd.read_parquet("local.out")
    same(pd.read_parquet("spark.out"), wanted)
    raw.assign(is_fraud=raw["is_fraud"].where(raw.index == 0)).to_parquet("labelled.parquet")
    score(counting, "labelled.parquet", "without.out", choice=Choice(1))
    assert (pd.read_parquet("without.out")["score"] != wanted["score"]).any()
    with pytest.raises(RefusedError, match="features of version 1 count labels, and the frame has no is_fraud"):
        scored(counting, spark.read.parquet(here("labelled.parquet")).drop("is_fraud"), Choice(1))


def test_no_row_is_left_out_unseen(spark: SparkSession, model: ManagedModel) -> None:
    """An empty row, a file in another encoding, files of other columns: each is refused, and what was there stays."""
    assert spark is not None
    score(model, "computed.parquet", "out", choice=Choice(), engine="spark")
    before = pd.read_parquet("out")
    raw, frame = pd.read_parquet("raw.parquet").head(50), pd.read_parquet("computed.parquet")
    frame.head(0).to_parquet("none.parquet")
    raw.reindex([*range(50), 99]).to_csv("empty.csv", index=False)
    frame.assign(country="Österreich").to_csv("old.csv", index=False, encoding="cp1252")
    Path("folder").mkdir()
    frame.to_parquet("folder/a.parquet")
    frame.drop(columns="amount").to_parquet("folder/b.parquet")
    Path("kinds").mkdir()
    frame.to_parquet("kinds/a.parquet")
    frame.astype({"amount": str}).to_parquet("kinds/b.parquet")
    for source, said in (
        ("none.parquet", "no rows to score"),
        ("empty.csv", "rows are empty"),
        ("old.csv", "is not UTF-8"),
        ("folder", "have not the same columns: amount"),
        ("kinds", "do not go together"),
    ):
        with pytest.raises(DataError, match=said):
            score(model, source, "out", choice=Choice(), engine="spark")
    pd.testing.assert_frame_equal(pd.read_parquet("out"), before)
    assert not [path for path in Path.cwd().iterdir() if path.name.startswith(".")]


def test_a_stream_is_scored_by_the_split_and_counted_once(spark: SparkSession, model: ManagedModel) -> None:
    """Each batch by the split of its moment; a stream that begins again counts nothing twice."""
    frame = pd.read_parquet("computed.parquet")
    Path("arriving").mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[part].to_parquet(f"arriving/{number}.parquet")
    stream = spark.readStream.schema(spark.read.parquet(here("arriving")).schema).option("maxFilesPerTrigger", 2)
    scorer = Scorer(model)

    def run(checkpoint: str, answers: str) -> None:
        query = stream.parquet(here("arriving")).writeStream.foreachBatch(scorer.into(answers, model.outcomes.url))
        with told():
            query.option("checkpointLocation", here(checkpoint)).trigger(availableNow=True).start().awaitTermination()

    for number in (1, 2):  # the second knows nothing of the first
        run(f"checkpoint {number}", f"answers {number}")
        rollout = model.router(record=False).table.rollout
        assert rollout is not None
        score(model, "computed.parquet", "out.parquet", choice=Choice())
        wanted = pd.read_parquet("out.parquet")
        same(pd.read_parquet(f"answers {number}")[wanted.columns], wanted)
        counts = model.outcomes.counts("fraud", rollout.id)
        assert [one.keys for one in counts] == [(wanted["served"] == one.variant).sum() for one in counts]
    with pytest.raises(RefusedError, match="a stream of another checkpoint") as refused:
        run("checkpoint 3", "answers 1")
    assert refused.value.fix == "go on from that checkpoint, or give a new folder"
    frame.to_parquet("arriving/3.parquet")
    run("checkpoint 1", "answers 1")
    assert len(pd.read_parquet("answers 1")) == 2 * len(frame)


@pytest.mark.campaign
def test_spark_connect_gives_the_same(model: ManagedModel) -> None:
    """A client of Spark Connect computes, routes, scores and records as a session of its own JVM does."""
    pytest.importorskip("grpc_status")
    words = [sys.executable, "-m", "tests.support.connect_client", model.outcomes.url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment["PYSPARK_PYTHON"] = sys.executable
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for source, output in (("raw.parquet", "connect.out"), ("computed.parquet", "frame.out")):
        score(model, source, "local.out", choice=Choice())
        wanted = pd.read_parquet("local.out")
        same(pd.read_parquet(output), wanted)
    found = pd.read_parquet("routed.parquet").set_index("transaction_id")["variant"]
    assert found.to_dict() == dict(zip(wanted["transaction_id"], wanted["served"], strict=True))
    assert f"{batch_world.ROWS} 0" in done.stdout
    assert "'transaction_id' is missing" in done.stdout


def test_a_stream_of_raw_transactions_goes_through_the_state(spark: SparkSession, model: ManagedModel) -> None:
    """In order, each once: the scores are the batch's, and what Spark gives again gets what it got."""
    raw = pd.read_parquet("raw.parquet").head(300).sort_values(["time", "transaction_id"])
    Path("raw").mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(raw)), 3)):
        raw.iloc[part].sample(frac=1, random_state=1).to_parquet(f"raw/{number}.parquet")
        os.utime(f"raw/{number}.parquet", (number, number))  # Spark takes the oldest first
    raw.to_parquet("raw.parquet")
    score(model, "raw.parquet", "out.parquet", choice=Choice())
    wanted = pd.read_parquet("out.parquet").sort_values("transaction_id", ignore_index=True)
    feature_state.load("state", feature_state.declared("fraud"), None, complete=True)
    router = model.router(state="state", state_timeout=60, state_failure="refuse")

    def write(frame: DataFrame, number: int) -> None:
        rows = frame.toArrow().to_pandas().sort_values(["time", "transaction_id"], ignore_index=True)
        found = router.predict(rows, request_id="transaction_id")
        Path("scored").mkdir(exist_ok=True)
        rows[["transaction_id"]].join(found).to_parquet(f"scored/batch={number}.parquet")

    stream = spark.readStream.schema(spark.read.parquet(here("raw")).schema).option("maxFilesPerTrigger", 1)
    for checkpoint in ("one", "two"):  # the second gives all of it again
        query = stream.parquet(here("raw")).writeStream.foreachBatch(write)
        query.option("checkpointLocation", here(checkpoint)).trigger(availableNow=True).start().awaitTermination()
        found = pd.read_parquet("scored").sort_values("transaction_id", ignore_index=True)
        assert not found["degraded"].any()
        assert found["transaction_id"].tolist() == wanted["transaction_id"].tolist()
        assert found["variant"].tolist() == wanted["served"].tolist()
        np.testing.assert_allclose(found["score"], wanted["score"], rtol=0, atol=1e-12)
        assert len(model.outcomes.recent("fraud", limit=1_000)) == len(raw)
    router.close()
