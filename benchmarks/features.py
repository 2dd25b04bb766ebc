"""Time and memory of the feature engine on simulated transactions.

Each size runs in a process of its own, so that the peak memory is its own: the transactions are simulated and loaded
first, and only the computation is timed. `peak_mib` is the process's peak resident memory, simulation included;
`growth_exponent` is the slope of log seconds over log rows (1 = linear).

    python -m benchmarks.features --json                                # small: 50,000 and 100,000 rows
    python -m benchmarks.features --rows 1000000 2000000 --json         # the full figures
    python -m benchmarks.features --rows 1000000 --file --memory 1GB    # from file to file, in bounded memory
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import report

ROOT = Path(__file__).resolve().parents[1]


def once(rows: int, *, file: bool, memory: str) -> dict[str, Any]:
    """One run in this process: rows, seconds, peak memory and the number of features."""
    import resource

    from fds_mlflow.data.transactions import Schema, load
    from fds_mlflow.features.table import compute, compute_file, default_spec
    from fds_mlflow.simulator import simulate

    spec = default_spec(Schema.load("simulator"))
    frame = simulate.transactions(rows)
    if file:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "transactions.parquet"
            frame.to_parquet(path)
            del frame
            start = time.perf_counter()
            compute_file(path, "simulator", spec, Path(folder) / "features.parquet", memory_limit=memory)
            seconds = time.perf_counter() - start
    else:
        transactions = load(frame, "simulator")
        del frame
        start = time.perf_counter()
        compute(transactions, spec)
        seconds = time.perf_counter() - start
    # Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"rows": rows, "seconds": round(seconds, 2), "peak_mib": round(peak), "features": len(spec.names)}


def run(sizes: list[int], *, file: bool, memory: str) -> dict[str, Any]:
    """Every size in a process of its own."""
    runs = []
    for rows in sizes:
        command = [sys.executable, "-m", "benchmarks.features", "--once", str(rows), "--memory", memory]
        done = subprocess.run(
            [*command, "--file"] if file else command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    exponent = None
    if len({item["rows"] for item in runs}) > 1:
        logs = np.log([[item["rows"], item["seconds"]] for item in runs])
        exponent = round(float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0]), 3)
    return {"runs": runs, "growth_exponent": exponent}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 100_000], help="sizes to run")
    parser.add_argument("--file", action="store_true", help="from file to file instead of in memory")
    parser.add_argument("--memory", default="1GB", help="DuckDB's memory limit with --file")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once(options.once, file=options.file, memory=options.memory)))
        return
    result = run(options.rows, file=options.file, memory=options.memory)
    rows: list[list[object]] = [["rows", "seconds", "peak MiB", "features"]]
    rows += [[item["rows"], item["seconds"], item["peak_mib"], item["features"]] for item in result["runs"]]
    report(f"features: growth exponent {result['growth_exponent']}", rows, result, options.json)


if __name__ == "__main__":
    main()
