"""Time and memory of the features of simulated transactions, beside what one would write by hand.

Beside each other, in one process and from the same frame, in turns, the median of three: the kernel; a compiled
two-pointer pass (numba), from the same columns of texts; and range windows in DuckDB, once. `ratio_to_compiled` and
`ratio_to_sql` compare their CPU; `differing` counts values that differ from the compiled pass by more than 1e-9.
Then each size of file in a process of its own, so that the peak memory is its own, from file to file: only the
computation is timed. `growth_exponent` is the slope of log CPU over log rows (1 = linear).

    python -m benchmarks.features --json            # small: 50,000 rows, and files of 50,000 and 100,000
    python -m benchmarks.features --full --json     # the full figures: 1,000,000 rows, and files of 1 and 10 million
    python -m benchmarks.features --huge --json     # and one of 50 million: hours, and some 60 GB of disk

`cpu_s_1m` is the kernel's CPU for a million rows in memory, `peak_mib_10m` the peak memory for ten million from file,
and `peak_mib_50m` that for fifty million, which are simulated a million at a time; null where these sizes did not run.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import report

ROOT = Path(__file__).resolve().parents[1]
ROLES = ("customer", "card", "device", "ip", "merchant")
TURNS = 3
MOST = 10_000_000  # rows that are simulated at once


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returns."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def peak() -> int:
    """The process's peak of resident memory in MiB."""
    # Linux counts in KiB, macOS in bytes.
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def differing(found: Any, expected: dict[str, Any]) -> int:
    """How many values differ by more than 1e-9 of the expected."""
    return sum(
        int((~np.isclose(found[name].to_numpy(), values, rtol=1e-9, atol=0, equal_nan=True)).sum())
        for name, values in expected.items()
    )


def beside(rows: int, *, sql: bool) -> dict[str, Any]:
    """The kernel beside the compiled pass and SQL, on one thread each."""
    from fds_mlflow.data.transactions import load
    from fds_mlflow.features.table import compute, default_spec
    from fds_mlflow.simulator import simulate

    seconds, transactions = cpu(lambda: load(simulate.transactions(rows), "simulator"))
    spec = default_spec(transactions.schema)
    times: dict[str, list[float]] = {"kernel": [], "compiled": []}
    try:
        from benchmarks.by_hand.compiled import compiled

        compiled(transactions.frame.head(1000), ROLES)  # compiles
    except ImportError:  # numba follows new Pythons late
        compiled = None
    result: dict[str, Any] = {"rows": rows, "features": len(spec.names), "simulate_and_load_cpu_s": round(seconds, 2)}
    for _ in range(TURNS):
        # A copy has no codes from loading: the columns of texts are read anew, as by the compiled pass.
        seconds, table = cpu(lambda: compute(replace(transactions), spec, threads=1))
        times["kernel"].append(seconds)
        if compiled is not None:
            seconds, expected = cpu(lambda: compiled(transactions.frame, ROLES))
            times["compiled"].append(seconds)
            result["differing"] = differing(table.frame, expected)
    result["kernel_cpu_s"] = round(statistics.median(times["kernel"]), 2)
    if compiled is not None:
        result["compiled_cpu_s"] = round(statistics.median(times["compiled"]), 2)
        result["ratio_to_compiled"] = round(result["kernel_cpu_s"] / result["compiled_cpu_s"], 3)
    if sql:
        from benchmarks.by_hand.sql import windows

        seconds, expected = cpu(lambda: windows(transactions.frame, ROLES, threads=1))
        result["sql_cpu_s"] = round(seconds, 2)
        result["ratio_to_sql"] = round(result["kernel_cpu_s"] / seconds, 3)
        result["differing_from_sql"] = differing(table.frame, expected)
    return result


def from_file(rows: int, *, memory: str) -> dict[str, Any]:
    """One computation from file to file: CPU and wall seconds, peak memory."""
    from fds_mlflow.data.transactions import Schema
    from fds_mlflow.features.table import compute_file, default_spec

    spec = default_spec(Schema.load("simulator"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transactions.parquet"
        # In a process of its own, whose memory is not counted.
        code = f"from fds_mlflow.simulator import simulate; simulate.transactions({rows}).to_parquet({str(path)!r})"
        large = ["-m", "benchmarks.rows", str(rows), str(path)]
        subprocess.run([sys.executable, *(large if rows > MOST else ["-c", code])], cwd=ROOT, check=True)
        start = time.perf_counter()
        seconds, _ = cpu(
            lambda: compute_file(path, "simulator", spec, Path(folder) / "features.parquet", memory_limit=memory)
        )
        wall = time.perf_counter() - start
        size = (Path(folder) / "features.parquet").stat().st_size
    return {
        "rows": rows,
        "seconds": round(wall, 2),
        "cpu_s": round(seconds, 2),
        "peak_mib": peak(),
        "output_bytes_per_row": round(size / rows, 1),
        "features": len(spec.names),
    }


def run(rows: int, sizes: list[int], *, memory: str, sql: bool) -> dict[str, Any]:
    """Everything, each in a process of its own."""

    def apart(*options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.features", "--memory", memory, *options]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    together = apart("--beside", str(rows), *([] if sql else ["--no-sql"]))
    runs = [apart("--once", str(size)) for size in sizes]
    exponent = None
    if len({item["rows"] for item in runs}) > 1:
        logs = np.log([[item["rows"], item["cpu_s"]] for item in runs])
        exponent = round(float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0]), 3)
    return {
        "runs": runs,
        "beside": together,
        "growth_exponent": exponent,
        "ratio_to_compiled": together.get("ratio_to_compiled"),
        "cpu_s_1m": together["kernel_cpu_s"] if rows == 1_000_000 else None,
        "peak_mib_10m": next((item["peak_mib"] for item in runs if item["rows"] == 10_000_000), None),
        "peak_mib_50m": next((item["peak_mib"] for item in runs if item["rows"] == 50_000_000), None),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[50_000, 100_000], help="of files; the first in memory, too"
    )
    parser.add_argument("--full", action="store_true", help="--rows 1000000 10000000")
    parser.add_argument("--huge", action="store_true", help="--rows 1000000 10000000 50000000")
    parser.add_argument("--memory", default="1GB", help="memory limit of the windows from file")
    parser.add_argument("--no-sql", action="store_true", help="leave out DuckDB, which takes minutes")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--beside", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(from_file(options.once, memory=options.memory)))
        return
    if options.beside:
        print(json.dumps(beside(options.beside, sql=not options.no_sql)))
        return
    sizes = [1_000_000, 10_000_000] if options.full or options.huge else options.rows
    sizes += [50_000_000] if options.huge else []
    result = run(sizes[0], sizes, memory=options.memory, sql=not options.no_sql)
    rows: list[list[object]] = [["from file, rows", "seconds", "CPU s", "peak MiB", "features"]]
    rows += [[item[key] for key in ("rows", "seconds", "cpu_s", "peak_mib", "features")] for item in result["runs"]]
    rows += [[key, value, "", "", ""] for key, value in result["beside"].items()]
    report(f"features: growth exponent {result['growth_exponent']}", rows, result, options.json)


if __name__ == "__main__":
    main()
