"""Scores and routes on Spark beside those of this process: mismatches, and CPU time a row.

    python -m benchmarks.spark_scores --rows 200000 --json      # some minutes on two cores

A rollout between LightGBM and an Isolation Forest, at 40 %. Rows with their features are scored through its split by
`fds score` on either engine, and compared row by row; a million keys (Unicode, empty, very long, digits) are routed
natively by Spark and by the routing table. CPU is that of all processes: Python, Spark's JVM, and its Python workers,
from when the rows are read until the answers are written, without the start of Spark and of its workers: each engine
first scores a small file.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.report import report

WEIGHT = 40
SPECIAL = ["", " ", "\0", "0", "1000.0", "e\u0301", "é", "\U0001f600", "\uffff", "x" * 100_000, "ß" * 33]


def keys(number: int) -> list[str]:
    """Keys of many kinds, each once or more."""
    made = random.Random(0)
    letters = [*map(chr, range(32, 127)), *"äöüéßøñ", *"東京銀行", *"😀🏦", "\u0301", "\u200d"]
    kinds = [
        lambda: str(made.getrandbits(60)),
        lambda: f"{made.getrandbits(128):032x}",
        lambda: "".join(made.choices(letters, k=made.randrange(0, 40))),
        lambda: "x" * made.randrange(200, 400),
    ]
    return [*SPECIAL, *(kinds[place % len(kinds)]() for place in range(number - len(SPECIAL)))]


def _cpu() -> float:
    """CPU seconds of this process, of all that live below it, and of those of them that have ended (Linux's /proc)."""
    ticks, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(path.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    own, found = {os.getpid()}, 0
    while len(own) > found:
        found = len(own)
        own |= {pid for pid, parent in parents.items() if parent in own}
    return sum(ticks[pid] for pid in own) / os.sysconf("SC_CLK_TCK")


@contextmanager
def measured(into: dict[str, float], name: str, rows: int) -> Iterator[None]:
    """Microseconds of CPU a row that the block takes."""
    began, at = _cpu(), time.perf_counter()
    yield
    into[name] = (_cpu() - began) / rows * 1e6
    into[f"{name}_seconds"] = time.perf_counter() - at


def _routes(model: Any, spark: Any, number: int) -> int:
    """How many keys Spark routes otherwise than the routing table."""
    import pyarrow as pa
    from pyarrow import parquet

    from fds_mlflow.core.routing.routing import buckets
    from fds_mlflow.workflows.batch.spark import routed_by
    from fds_mlflow.workflows.batch.versions import Choice, Versions

    table, given = Versions(model, Choice()).table(), keys(number)
    parquet.write_table(pa.table({"key": given, "place": range(len(given))}), "keys.parquet")
    assert table.rollout is not None
    frame = spark.read.parquet(str(Path("keys.parquet").absolute()))
    routed_by(table, frame, "key").select("place", "bucket", "variant").write.parquet(str(Path("routes").absolute()))
    found = parquet.read_table("routes").sort_by("place")
    wanted = buckets(table.rollout.id, given)
    named = np.where(wanted < table.rollout.weight, "canary", "champion")
    wrong = (found["bucket"].to_numpy() != wanted) | (found["variant"].to_numpy(zero_copy_only=False) != named)
    assert len(wanted) == len(found)
    return int(wrong.sum())


def _rows(model: Any, rows: int) -> None:
    """Write `rows.parquet`, rows of features drawn from those of the training, and `few.parquet`."""
    from pyarrow import parquet

    example, rng = model.scorer(1).example, np.random.default_rng(1)
    stretch = 100_000
    with parquet.ParquetWriter("rows.parquet", _table(example, rng, 0, 1).schema) as writer:
        for first in range(0, rows, stretch):
            writer.write_table(_table(example, rng, first, min(stretch, rows - first)))
    parquet.write_table(_table(example, rng, 0, 2_000), "few.parquet")


def _table(example: Any, rng: np.random.Generator, first: int, size: int) -> Any:
    import pyarrow as pa

    drawn = {name: example[name].to_numpy()[rng.integers(0, len(example), size)] for name in example.columns}
    for name, values in drawn.items():
        if values.dtype.kind == "f":
            drawn[name] = values * rng.uniform(0.5, 1.5, size)
    return pa.table(
        {"transaction_id": [f"TX{first + place}" for place in range(size)]}
        | {name: pa.array(values, from_pandas=True) for name, values in drawn.items()}
    )


def measure(rows: int = 200_000, number: int = 1_000_000, cores: int = 2) -> dict[str, Any]:
    """Measure in a temporary folder, on a Spark of this machine.

    Args:
        rows: To score.
        number: Keys to route.
        cores: Of Spark.

    Returns:
        `rows`, `keys`, `route_mismatches`, `score_max_abs_diff`, `answer_mismatches` (variants, versions, flags,
        requests and digests), and `cpu_us_per_row` with `spark` and `local`, each with its `..._seconds`.
    """
    import mlflow
    import pyarrow.compute as pc
    from pyarrow import parquet

    from fds_mlflow import ManagedModel, Plan
    from fds_mlflow.workflows import Source, prepare, train
    from fds_mlflow.workflows.batch.batch import Engine, score
    from fds_mlflow.workflows.batch.versions import Choice
    from tests.support.spark import running_spark

    before, cpu = Path.cwd(), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="fds-spark-scores-") as folder:
        os.chdir(folder)
        try:
            mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
            split = prepare(Source("simulator:20000"), split="stratified")
            for algorithm in ("lightgbm", "isolation_forest"):
                train(split, "fraud", algorithm=algorithm)
            model = ManagedModel("fraud", outcomes="sqlite://")
            model.promote(1)
            model.canary.start(2, plan=Plan(steps=[WEIGHT, 100]), force=True, reason="two algorithms")
            _rows(model, rows)
            with running_spark(cores) as spark:
                wrong = _routes(model, spark, number)
                for engine in get_args(Engine):
                    score(model, "few.parquet", f"few-{engine}", choice=Choice(), engine=engine)
                    with measured(cpu, engine, rows):
                        score(model, "rows.parquet", f"out-{engine}", choice=Choice(), engine=engine)
            local, there = (parquet.read_table(f"out-{one}").sort_by("transaction_id") for one in ("local", "spark"))
            names = ("transaction_id", "request_id", "served", "version", "flagged", "inputs_digest")
            differ = [pc.sum(pc.not_equal(local[name], there[name])).as_py() for name in names]
            apart = pc.max(pc.abs(pc.subtract(local["score"], there["score"]))).as_py()
        finally:
            os.chdir(before)
    return {
        "rows": rows,
        "keys": number,
        "route_mismatches": wrong,
        "score_max_abs_diff": apart,
        "answer_mismatches": sum(differ),
        "cpu_us_per_row": cpu,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.rows, given.keys, given.cores)
    cpu = found["cpu_us_per_row"]
    rows = [("", "Spark", "local"), ("CPU µs a row", cpu["spark"], cpu["local"])]
    rows += [("seconds", cpu["spark_seconds"], cpu["local_seconds"])]
    title = f"{found['rows']:,} rows, {found['route_mismatches']} of {found['keys']:,} keys routed otherwise"
    report(f"{title}, scores within {found['score_max_abs_diff']:.1e}", rows, found, given.json)


if __name__ == "__main__":
    main()
