"""What a training takes as its rows grow: memory and CPU, in memory and from the disk.

    python -m benchmarks.training_size --json                          # 200,000 and 500,000 rows: some minutes
    python -m benchmarks.training_size --rows 1000000 --rows 20000000 --ways disk --json

Each training is a process of its own: LightGBM with 100 trees on the default features (72) of simulated transactions,
by `prepare` and `train`, the run and the version in SQLite included. `peak` is the memory of its own that the process
had at most (what it maps of files, and the system may drop, is left out), above what it had after importing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.report import report

TREES = 100
LIMIT = "1GB"


def own_memory() -> int:
    """Bytes of this process that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def train_once(folder: Path, data: Path, way: str) -> dict[str, float]:
    """Train in this process; what it took."""
    import mlflow

    from fds_mlflow.workflows import Source, prepare, train

    mlflow.set_tracking_uri(f"sqlite:///{folder / way}.db")
    mlflow.set_registry_uri(f"sqlite:///{folder / way}.db")
    before, cpu, most, ended = own_memory(), time.process_time(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], own_memory())

    watching = threading.Thread(target=watch)
    watching.start()
    parts = prepare(Source(str(data), "simulator"), memory_limit=LIMIT if way == "disk" else None)
    prepared = time.process_time() - cpu
    made = train(parts, "fraud", params={"n_estimators": TREES})
    ended.set()
    watching.join()
    return {
        "peak_mib": round((most[0] - before) / 2**20),
        "features_cpu_s": round(prepared, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "average_precision": made.metrics["average_precision"],
    }


def simulated(folder: Path, rows: int) -> Path:
    """A folder of Parquet files, a million rows each at most: what does not fit into memory is never there at once."""
    from fds_mlflow.simulator import simulate

    made = folder / f"rows-{rows}"
    made.mkdir()
    for number, first in enumerate(range(0, rows, 1_000_000)):
        frame = simulate.transactions(min(1_000_000, rows - first), seed=number)
        names = frame["transaction_id"].astype(str) + f"-{number}"
        frame.assign(transaction_id=names).to_parquet(made / f"{number:03}.parquet")
    return made


def run(rows: list[int], ways: list[str], folder: Path) -> list[dict[str, Any]]:
    """All of it, a process each."""
    found = []
    for count in rows:
        data = simulated(folder, count)
        for way in ways:
            command = [sys.executable, "-m", "benchmarks.training_size", "--one", way, "--data", str(data)]
            with tempfile.TemporaryDirectory(dir=folder) as place:
                done = subprocess.run([*command, "--folder", place], check=True, stdout=subprocess.PIPE, text=True)
            one = {"rows": count, "way": way, **json.loads(done.stdout.splitlines()[-1])}
            one["bytes_per_row"] = round(one["peak_mib"] * 2**20 / count)
            one["cpu_s_per_million"] = round(one["cpu_s"] / count * 1e6, 1)
            found.append(one)
            print(one, file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="repeatable; 200000 and 500000 without it")
    parser.add_argument("--ways", nargs="+", default=["memory", "disk"], choices=("memory", "disk"))
    parser.add_argument("--folder", type=Path, help="where there is room: three kilobytes a row")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        tempfile.tempdir = str(options.folder)
        print(json.dumps(train_once(options.folder, options.data, options.one)))
        return
    with tempfile.TemporaryDirectory(prefix="fds-size-", dir=options.folder) as folder:
        found = run(options.rows or [200_000, 500_000], options.ways, Path(folder))
    columns = ["rows", "way", "bytes_per_row", "cpu_s_per_million", "features_cpu_s", "average_precision"]
    table: list[list[object]] = [list(columns), *([one[name] for name in columns] for one in found)]
    report("LightGBM as rows grow", table, {"trainings": found}, options.json)


if __name__ == "__main__":
    main()
