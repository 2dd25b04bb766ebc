"""What our plugins cost those who use MLflow without us: `import mlflow`, a run and an evaluator's lookup, CPU seconds.

    python -m benchmarks.plugin_import --json               # 20 rounds: a minute or two
    python -m benchmarks.plugin_import --json --rounds 100

Each round starts one process with our entry points and one without, in turns, on one SQLite database that is there.
Both find a package of our name first on their path, with its entry points or none, so nothing else differs. The ratio
is the median over the rounds of one process's time by the other's.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from benchmarks.report import report

NAME = "fds-mlflow"

LIMIT = 1.02

_CODE = """
import mlflow
from mlflow.models.evaluation.base import list_evaluators

with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
assert not [name for name in mlflow.get_run(run.info.run_id).data.tags if name.startswith("fds.")]
assert ("fds" in list_evaluators()) is {expected}
"""


def shadow(folder: Path, entry_points: str) -> Path:
    """A folder in which Python finds a package of our name with these entry points, before the installed one."""
    there = folder / f"{NAME.replace('-', '_')}-0.dist-info"
    there.mkdir(parents=True)
    (there / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 0\n", encoding="utf-8")
    (there / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    return folder


def seconds(path: Path, folder: Path, *, expected: bool) -> float:
    """CPU seconds of one process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", _CODE.format(expected=expected)]
    subprocess.run(command, check=True, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measured(rounds: int) -> list[tuple[float, float]]:
    """With and without, in each round."""
    installed = metadata.distribution(NAME).read_text("entry_points.txt") or ""
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="fds-plugins-") as name:
        folder = Path(name)
        paths = {True: shadow(folder / "with", installed), False: shadow(folder / "without", "")}
        for ours in (True, False):  # the first makes the database, and both the compiled files
            seconds(paths[ours], folder, expected=ours)
        for number in range(rounds):
            order = (True, False) if number % 2 else (False, True)
            took = {ours: seconds(paths[ours], folder, expected=ours) for ours in order}
            found.append((took[True], took[False]))
            print(f"{number + 1}/{rounds}", *(f"{one:.3f} s" for one in found[-1]), file=sys.stderr, flush=True)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark: table on standard error, JSON on standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plugin_import", description=str(__doc__).split("\n", 1)[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=20, help="processes of each kind (default 20)")
    options = parser.parse_args(arguments)
    found = measured(options.rounds)
    ours, without = (statistics.median(one) for one in zip(*found, strict=True))
    ratio = statistics.median(one / other for one, other in found)
    result = {"plugin_import": {"with_s": ours, "without_s": without, "ratio": ratio}}
    rows = [["", "CPU seconds"], ["with our plugins", ours], ["without", without], ["ratio", ratio], ["limit", LIMIT]]
    report("import mlflow, one run, one lookup of evaluators", rows, result, options.json)


if __name__ == "__main__":
    main()
