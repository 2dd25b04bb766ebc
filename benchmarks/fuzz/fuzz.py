"""Generated input for every parser and every door: at least a million inputs, and none may

end in a traceback, take more than 5 s, fill more than 1 GiB, print what a terminal obeys, or be refused without a fix.

    python -m benchmarks.fuzz --json                       # a million inputs, half an hour on two cores
    python -m benchmarks.fuzz --inputs 20000 --target plans --seed 7
    python -m benchmarks.fuzz --target plans --seed 7 --only 4711    # one input again, as a failure names it

Inputs are valid samples (the golden files, the template, what the docs show), changed by a seeded generator: bytes,
words, numbers, lines, whole values. Each target runs in processes of its own, so that what kills one is a failure of
its input and not the end of the run. `--list` says how many inputs of a million each target gets; a further one is a
`Target` in a module of this package, named in `MODULES`, or in any other that `--module` names.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.fuzz.target import Failure, Target, made, peak_mib, why
from benchmarks.fuzz.worker import MODULES, Part, Result, targets, tried
from benchmarks.report import report

MILLION = 1_000_000
_PARTS = 10
"""Parts of a target in a run of a million: what a process has kept is gone after each."""


def parts(names: Sequence[str], inputs: int, seed: int, modules: Sequence[str] = MODULES) -> Iterator[Part]:
    """The run, cut into parts that one process each tries; all targets get their share of the inputs."""
    known = targets(modules)
    whole = sum(known[name].share for name in names)
    for name in names:
        count = max(1, -(-inputs * known[name].share // whole))
        size = max(200, known[name].share // _PARTS)
        for first in range(0, count, size):
            yield Part(name, seed, first, min(size, count - first), tuple(modules))


def run(planned: Iterable[Part], processes: int) -> list[Result]:
    """Try everything."""
    begun, lock, done = time.monotonic(), threading.Lock(), [0, 0]

    def one(part: Part) -> Result:
        result = tried(part)
        with lock:
            done[0] += result.inputs
            done[1] += len(result.failures)
            for failure in result.failures[:3]:
                print(_said(failure), file=sys.stderr, flush=True)
            print(
                f"{time.monotonic() - begun:6.0f} s  {done[0]:>9,} inputs  {done[1]:>4,} failures  ({part.target})",
                file=sys.stderr,
                flush=True,
            )
        return result

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(one, planned))


def _said(failure: Failure) -> str:
    again = f"python -m benchmarks.fuzz --target {failure.target!r} --seed {failure.seed} --only {failure.number}"
    return f"FAILURE {failure.target}: {failure.why}\n  input {failure.shown}\n  again {again}"


def _only(target: Target, seed: int, number: int) -> int:
    """Try one input in this process, and show it."""
    given = made(target, seed, number)
    print(repr(given))
    with tempfile.TemporaryDirectory() as folder:
        reason, seconds = why(target.door(Path(folder)), given)
    print(f"{reason or 'no failure'} ({seconds:.2f} s, {peak_mib():,.0f} MiB)")
    return 1 if reason else 0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=MILLION, help="inputs of all targets together")
    parser.add_argument("--target", action="append", help="this one; repeatable")
    parser.add_argument("--module", action="append", default=[], help="a further module with TARGETS; repeatable")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", type=int, help="one input of one target again")
    parser.add_argument("--processes", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--list", action="store_true", help="say how many inputs of a million each target gets")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    modules = (*MODULES, *given.module)
    known = targets(modules)
    names = given.target or list(known)
    if unknown := set(names) - set(known):
        parser.error(f"{', '.join(unknown)} is no target; there are {', '.join(known)}")
    if given.list:
        for name, target in known.items():
            print(f"{target.share:>9,}  {name}")
        return
    if given.only is not None:
        raise SystemExit(_only(known[names[0]], given.seed, given.only))
    results = run(parts(names, given.inputs, given.seed, modules), given.processes)
    rows: list[list[object]] = [["target", "inputs", "failures", "inputs a second", "worst seconds", "peak MiB"]]
    for name in names:
        own = [one for one in results if one.target == name]
        inputs, seconds = sum(one.inputs for one in own), sum(one.seconds for one in own)
        failures = sum(len(one.failures) for one in own)
        worst, peak = max(one.worst for one in own), max(one.peak for one in own)
        rows.append([name, inputs, failures, round(inputs / max(seconds, 1e-9)), worst, round(peak)])
    result = {
        "inputs": sum(one.inputs for one in results),
        "failures": sum(len(one.failures) for one in results),
        "worst_seconds": round(max(one.worst for one in results), 3),
        "peak_mib": round(max(one.peak for one in results)),
    }
    report(f"Generated input, seed {given.seed}", rows, result, given.json)
    raise SystemExit(1 if result["failures"] else 0)
