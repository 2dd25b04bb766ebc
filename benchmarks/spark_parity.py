"""Features by Spark beside those of one process, from file to file: what differs, and CPU and wall time a row.

On the Fraud Detection Handbook's file (with its 14 columns, a deviation and a gap) and on simulated rows with the
default features. Counts, flags, risks and all that is no sum, mean or deviation have to be equal: `count_mismatches`
counts what is not; `max_abs_diff` is the largest difference of the others. Each engine runs in a process of its own,
Spark with one core and with two; time and CPU are those of the computation and of all processes that it runs in (the
JVM and Python's workers too), without the start of Spark, after a run over a few rows. The scores and routes are those
of `benchmarks.spark_scores`.

    python -m benchmarks.spark_parity --json                        # small: 50,000 simulated rows
    python -m benchmarks.spark_parity --rows 10000000 --json        # the full figures, hours where others work beside
    python -m benchmarks.spark_parity --no-scores --json            # features alone
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.handbook import DATA, RAW
from benchmarks.report import report
from fds_mlflow.data.transactions import Schema
from fds_mlflow.features.defaults import default_spec
from fds_mlflow.features.spec import FeatureSpec, Gap, Window, handbook_spec

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("local", "spark", "spark1")
_INEXACT = frozenset({"sum", "mean", "std"})


def spec_of(schema: str) -> FeatureSpec:
    """The features that are compared."""
    if schema != "handbook":
        return default_spec(Schema.load(schema))
    spec = handbook_spec()
    more = (Window(entity="customer", aggregate="std", windows=("30d",)),)
    return spec.model_copy(update={"windows": (*spec.windows, *more), "gaps": (Gap(entity="terminal"),)})


def cpu() -> float:
    """CPU seconds so far of this process, of those that it started and theirs, and of those that they waited for."""
    of, told = {os.getpid()}, dict[int, tuple[int, int]]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            told[int(path.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    while more := {process for process, (parent, _) in told.items() if parent in of} - of:
        of |= more
    return sum(told[process][1] for process in of if process in told) / os.sysconf("SC_CLK_TCK")


def once(engine: str, path: str, schema: str, output: str) -> dict[str, float]:
    """One computation from file to file, in this process and those that Spark starts."""
    from fds_mlflow.features.engines.spark import compute_spark_file
    from fds_mlflow.features.table import compute_file
    from tests.support.spark import running_spark

    spec = spec_of(schema)

    def timed(work: Any) -> dict[str, float]:
        start, before = time.perf_counter(), cpu()
        rows = work().rows
        return {"seconds": time.perf_counter() - start, "cpu_us": (cpu() - before) / rows * 1e6, "rows": rows}

    if engine == "local":
        return timed(lambda: compute_file(path, schema, spec, output))
    with running_spark(1 if engine == "spark1" else 2), tempfile.TemporaryDirectory() as folder:
        few = Path(folder) / "few.parquet"
        next(_tables(Path(path))).slice(0, 1_000).to_pandas().to_parquet(few)
        compute_spark_file(few, schema, spec, Path(folder) / "few")
        return timed(lambda: compute_spark_file(path, schema, spec, output))


def _tables(path: Path) -> Iterator[pa.Table]:
    from pyarrow import parquet

    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=100_000):
            yield pa.Table.from_batches([batch])


def differing(local: Path, other: Path, spec: FeatureSpec) -> tuple[int, float]:
    """How many values differ that have to be equal, and the largest difference of sums, means and deviations."""
    inexact = {item.feature(window) for item in spec.windows if item.aggregate in _INEXACT for window in item.windows}
    mismatches, largest, theirs, waiting = 0, 0.0, _tables(other), pa.table({})
    for ours in _tables(local):
        parts = [waiting] if waiting.num_rows else []
        while sum(part.num_rows for part in parts) < ours.num_rows and (more := next(theirs, None)) is not None:
            parts.append(more)
        whole = pa.concat_tables(parts)
        same, waiting = whole.slice(0, ours.num_rows), whole.slice(ours.num_rows)
        assert same.column_names == ours.column_names, "the columns differ"
        for name in ours.column_names:
            here, there = (one.column(name).to_numpy(zero_copy_only=False) for one in (ours, same))
            if name in inexact:
                mismatches += int((np.isnan(here) != np.isnan(there)).sum())
                largest = max(largest, float(np.nanmax(np.abs(here - there), initial=0.0)))
            elif here.dtype.kind == "f":
                mismatches += int((~((here == there) | (np.isnan(here) & np.isnan(there)))).sum())
            elif not ours.column(name).cast(same.column(name).type).equals(same.column(name)):
                mismatches += ours.num_rows
    return mismatches + waiting.num_rows + sum(more.num_rows for more in theirs), largest


def run(rows: int, *, engines: tuple[str, ...]) -> dict[str, Any]:
    """Every engine on every file."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simulated.parquet"
        subprocess.run([sys.executable, "-m", "benchmarks.rows", str(rows), str(path)], cwd=ROOT, check=True)
        sources = {"simulator": path} | ({"handbook": DATA / RAW} if (DATA / RAW).exists() else {})
        for schema, source in sources.items():
            for engine in engines:
                output = Path(folder) / f"{schema}-{engine}"
                words = ["--once", engine, str(source), schema, str(output)]
                command = [sys.executable, "-m", "benchmarks.spark_parity", *words]
                done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
                one: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
                if engine != "local":
                    local = Path(folder) / f"{schema}-local"
                    one["mismatches"], one["max_abs_diff"] = differing(local, output, spec_of(schema))
                found[f"{schema} {engine}"] = one
    return found


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="simulated rows")
    parser.add_argument("--one-core", action="store_true", help="Spark with one core, too")
    parser.add_argument("--no-scores", action="store_true", help="leave out routes and scores")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--once", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once(*options.once)))
        return
    began = time.perf_counter()
    runs = run(options.rows, engines=ENGINES if options.one_core else ENGINES[:2])
    scores: dict[str, Any] = {}
    if not options.no_scores:
        from benchmarks import spark_scores

        scores = spark_scores.measure()
    compared = [one for one in runs.values() if "mismatches" in one]
    result = {
        "rows": options.rows,
        "count_mismatches": sum(one["mismatches"] for one in compared),
        "max_abs_diff": max(one["max_abs_diff"] for one in compared),
        "route_mismatches": scores.get("route_mismatches"),
        "score_max_abs_diff": scores.get("score_max_abs_diff"),
        "seconds": time.perf_counter() - began,
        "cpu_us_per_row": {name: runs[f"simulator {name}"]["cpu_us"] for name in ("spark", "local")},
        "runs": runs,
        "scores": scores,
    }
    rows: list[list[object]] = [["", "rows", "seconds", "CPU µs a row", "mismatches", "largest difference"]]
    keys = ("rows", "seconds", "cpu_us", "mismatches", "max_abs_diff")
    rows += [[name, *(one.get(key, "") for key in keys)] for name, one in runs.items()]
    report("features by Spark beside those of one process", rows, result, options.json)


if __name__ == "__main__":
    main()
