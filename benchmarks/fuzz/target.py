"""What is tried: a target is a generator of inputs and a door that takes one, and a verdict says what a door may do."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from fds_mlflow.errors import FdsError

SECONDS = 5.0
"""Most that one input may take, where each process has a core to itself; in proportion more where they share them."""

MIB = 1_024
"""Most memory that the process of a target may have."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys; line ends and tabulators aside."""


@dataclass(frozen=True)
class Target:
    """A door and what is pushed through it.

    Attributes:
        name: What it is called.
        share: Its inputs among a million; by how many a second it takes.
        generate: Makes an input from a generator of random numbers.
        door: Given a folder of its own, makes the function that takes an input. It returns what was printed, or None;
            a refusal is an `FdsError` with a fix.
        quick: How many inputs a test tries.
    """

    name: str
    share: int
    generate: Callable[[Random], Any]
    door: Callable[[Path], Callable[[Any], str | None]]
    quick: int = 200


@dataclass(frozen=True)
class Failure:
    """An input with which a door did what no door may do.

    Attributes:
        target: The door.
        seed: Of the run.
        number: Of the input; seed, target and number give it again.
        why: What went wrong.
        shown: The input, or its beginning.
    """

    target: str
    seed: int
    number: int
    why: str
    shown: str


class OverdueError(BaseException):
    """An input took too long; no `except Exception` of a door keeps it."""


def made(target: Target, seed: int, number: int) -> Any:
    """An input of a target, by its number."""
    return target.generate(Random(f"{seed}:{target.name}:{number}"))


def why(take: Callable[[Any], str | None], given: Any, seconds: float = SECONDS) -> tuple[str | None, float]:
    """Why a door failed an input, None where it did not; and how long it took, in seconds."""
    begun = time.perf_counter()
    try:
        with _limited(seconds):
            printed = take(given)
    except FdsError as error:
        reason = None if error.what.strip() and error.fix.strip() else f"a refusal says too little: {error!r}"
    except OverdueError:
        reason = f"it took more than {seconds:g} s"
    except MemoryError:
        reason = "it ran out of memory"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
    else:
        control = _CONTROL.search(printed or "")
        reason = None if control is None else f"it printed {control[0]!r}: {(printed or '')[: control.end() + 40]!r}"
    return reason, time.perf_counter() - begun


def peak_mib() -> float:
    """The most memory that this process has had, in MiB.

    Linux hands `ru_maxrss` on: a small process that a large one starts has had as much, by that number.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def overdue(_number: int, _frame: FrameType | None) -> None:
        raise OverdueError

    before = signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
