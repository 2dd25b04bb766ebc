"""A process that tries some inputs of one target, and who starts it: what kills it is a failure of its input."""

from __future__ import annotations

import importlib
import json
import mmap
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.fuzz.target import MIB, SECONDS, Failure, Target, made, peak_mib, why

MODULES = tuple(
    f"benchmarks.fuzz.{name}" for name in ("values", "declarations", "files", "command_line", "scoring", "registries")
)
"""Where the targets are."""

_SHOWN = 600
"""Signs of an input that are shown."""

_ROOM = 6 * 2**30
"""Bytes of addresses that a process may have: what would fill the machine fails on its own."""

_MOST = 50
"""Failures after which a part is given up: they are of one kind."""


@dataclass(frozen=True)
class Part:
    """Some inputs of one target, by their numbers.

    Attributes:
        target: Its name.
        seed: Of the run.
        first: Number of the first input.
        count: How many.
        modules: Where the targets are.
    """

    target: str
    seed: int
    first: int
    count: int
    modules: Sequence[str] = MODULES


@dataclass(frozen=True)
class Result:
    """What came of a part.

    Attributes:
        target: Its name.
        inputs: How many were tried.
        failures: Those that failed.
        worst: Seconds of the slowest one.
        peak: MiB of the process.
        seconds: How long it took.
    """

    target: str
    inputs: int
    failures: tuple[Failure, ...]
    worst: float
    peak: float
    seconds: float


def targets(modules: Sequence[str] = MODULES) -> dict[str, Target]:
    """All targets by their names."""
    return {target.name: target for name in modules for target in importlib.import_module(name).TARGETS}


def tried(part: Part) -> Result:
    """Try a part in processes of its own, one after another where an input kills one."""
    begun, found, worst, peak, place = time.monotonic(), list[Failure](), 0.0, 0.0, part.first
    end = part.first + part.count
    while place < end and len(found) < _MOST:
        with tempfile.TemporaryDirectory(prefix="fds-fuzz-") as folder:
            progress = Path(folder) / "progress"
            progress.write_bytes(b"\0" * 8)
            rest = replace(part, first=place, count=end - place)
            code = _watched(rest, Path(folder), progress)
            said = Path(folder) / "result.json"
            at = int.from_bytes(progress.read_bytes(), "little")
            if said.exists():
                told = json.loads(said.read_text())
                found += [Failure(**one) for one in told["failures"]]
                worst, peak, place = max(worst, told["worst"]), max(peak, told["peak"]), told["next"]
                continue
            why_it_ended = f"it took more than {SECONDS:g} s outside of Python" if code is None else f"exit code {code}"
            found.append(_failure(part, at, f"the process ended: {why_it_ended}"))
            worst, place = max(worst, SECONDS if code is None else 0.0), at + 1
    return Result(part.target, place - part.first, tuple(found), worst, peak, time.monotonic() - begun)


def _watched(part: Part, folder: Path, progress: Path) -> int | None:
    """The exit code of a process that tries a part; None where it stood still and was ended."""
    words = [sys.executable, "-m", "benchmarks.fuzz.worker", json.dumps(asdict(part)), str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        seen, since = b"", time.monotonic()
        while True:
            try:
                return process.wait(1.0)
            except subprocess.TimeoutExpired:
                now = progress.read_bytes()
                if now != seen:
                    seen, since = now, time.monotonic()
                if time.monotonic() - since > 120:
                    process.kill()
                    process.wait()
                    return None


def _failure(part: Part, number: int, reason: str) -> Failure:
    shown = repr(made(targets(part.modules)[part.target], part.seed, number))
    return Failure(part.target, part.seed, number, reason, shown[:_SHOWN])


def attempt(target: Target, part: Part, folder: Path, progress: mmap.mmap | None = None) -> dict[str, object]:
    """Try a part in this process."""
    folder.mkdir(exist_ok=True)
    take, found, worst, number = target.door(folder), list[Failure](), 0.0, part.first
    full = False
    for number in range(part.first, part.first + part.count):
        if progress is not None:
            progress[:8] = number.to_bytes(8, "little")
        given = made(target, part.seed, number)
        reason, seconds = why(take, given)
        if reason is not None and "it took" in reason:  # a busy machine is no fault of the code
            reason, seconds = why(take, given)
        worst = max(worst, seconds)
        full = progress is not None and peak_mib() > MIB
        if reason is None and full:
            reason = f"the process has {peak_mib():,.0f} MiB"
        if reason is not None:
            found.append(Failure(target.name, part.seed, number, reason, repr(given)[:_SHOWN]))
        if full or len(found) >= _MOST:
            break
    return {
        "failures": [asdict(one) for one in found],
        "worst": worst,
        "peak": peak_mib(),
        "next": part.first + part.count if len(found) >= _MOST else number + 1,
    }


def _main() -> None:
    part, folder = Part(**json.loads(sys.argv[1])), Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
    with (folder / "progress").open("r+b") as file, mmap.mmap(file.fileno(), 8) as progress:
        said = attempt(targets(part.modules)[part.target], part, folder / "inputs", progress)
    (folder / "result.json").write_text(json.dumps(said))
    sys.stdout.flush()
    os._exit(0)  # threads of what was tried may wait


if __name__ == "__main__":
    _main()
