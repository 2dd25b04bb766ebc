"""From an unknown file to a registered version, by two commands and `fds train`, for two dozen shapes of files.

    python -m benchmarks.street --json                       # every shape of 4,000 rows; ten minutes
    python -m benchmarks.street --only dollars hours         # some of them
    python -m benchmarks.street --rows 1000000 --only indexed --json    # time and memory of a large file

The files are written by `tests.support.street_files`, each with one or two habits of files from the street; none is a
copy of another's data. Each command is a process of its own, as a person would call it; seconds and peak memory are
those of the processes, and `asked` is what a person has to know: nothing, or the name of the label.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import report
from tests.support.street_files import SHAPES, Shape

ROOT = Path(__file__).resolve().parents[1]


def called(arguments: list[str], folder: Path) -> tuple[str, float, float]:
    """Run `fds`: its standard output, its seconds, and its peak memory in MiB.

    Raises:
        RuntimeError: It refused; with what it said.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    began = time.perf_counter()
    with (folder / "stdout").open("w+") as out, (folder / "stderr").open("w+") as err:
        command = [sys.executable, "-m", "fds_mlflow", *arguments]
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0), err.seek(0)
        answer, said = out.read(), err.read()
    if process.returncode:
        raise RuntimeError(f"fds {' '.join(arguments)}: {answer[-500:]}{said[-500:]}")
    return answer, seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def once(shape: Shape, rows: int, folder: Path) -> dict[str, Any]:
    """One shape from its file to a version."""
    source, options = shape.write(folder, rows)
    further = [word for key, value in options.items() for word in (f"--{key}", value)]
    asked = ["--label", shape.label] if shape.label else []
    schema = folder / "file.schema.yaml"
    text, infer_seconds, infer_peak = called(["schema", "infer", source, *further, *asked], folder)
    schema.write_text(text, encoding="utf-8")
    described, describe_seconds, describe_peak = called(
        ["data", "describe", source, *further, "--schema", str(schema), "--json"], folder
    )
    trained, train_seconds, train_peak = called(
        ["train", "street", "--data", source, *further, "--schema", str(schema), "--json"], folder
    )
    version, profile = json.loads(trained.splitlines()[-1]), json.loads(described.splitlines()[-1])
    seconds = {"infer": infer_seconds, "describe": describe_seconds, "train": train_seconds}
    peak = {"infer": infer_peak, "describe": describe_peak, "train": train_peak}
    return {
        "shape": shape.name,
        "kinds": shape.kinds,
        "commands": 3,
        "asked": " ".join(asked) or "nothing",
        "roles": profile["roles"],
        "features": sum(len(names) for names in profile["features"].values()),
        "version": version["version"],
        "average_precision": round(version["metrics"]["average_precision"], 3),
        "roc_auc": round(version["metrics"]["roc_auc"], 3),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "peak_mib": {name: round(value) for name, value in peak.items()},
    }


def run(shapes: list[Shape], rows: int) -> dict[str, Any]:
    """Every shape, each in a folder and with an MLflow of its own."""
    found = []
    for shape in shapes:
        with tempfile.TemporaryDirectory(prefix="fds-street-") as folder:
            found.append(once(shape, rows, Path(folder)))
    return {"rows": rows, "shapes": found}


def _inferred(item: dict[str, Any]) -> str:
    """The roles in a line."""
    roles = item["roles"]
    shown = {role: " + ".join(columns) for role, columns in roles.items()}
    plain = sum(role == column for role, column in shown.items())
    named = [f"{role}: {column}" for role, column in shown.items() if role != column]
    return "; ".join([*named, *([f"{plain} under their own names"] if plain else [])])


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000, help="rows of each file")
    parser.add_argument("--only", nargs="+", choices=[shape.name for shape in SHAPES], help="shapes to run")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse_args()
    shapes = [shape for shape in SHAPES if options.only is None or shape.name in options.only]
    result = run(shapes, options.rows)
    headings = ["shape", "what is unusual", "inferred", "asked", "features", "version", "AP", "seconds", "peak MiB"]
    table: list[list[object]] = [list(headings)]
    table += [
        [
            *(item["shape"], item["kinds"], _inferred(item), item["asked"], item["features"], item["version"]),
            *(item["average_precision"], "+".join(map(str, item["seconds"].values())), max(item["peak_mib"].values())),
        ]
        for item in result["shapes"]
    ]
    report(f"files of {options.rows:,} rows: schema infer, data describe, train", table, result, options.json)


if __name__ == "__main__":
    main()
