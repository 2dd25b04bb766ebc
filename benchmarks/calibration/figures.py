"""Figures of simulations, each with what chance makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt


def share(happened: npt.NDArray[np.bool_] | Sequence[bool]) -> dict[str, Any]:
    """The share to which something happened, its standard error, and how many there were."""
    number = len(happened)
    rate = float(np.mean(happened)) if number else 0.0
    return {"rate": rate, "error": sqrt(rate * (1 - rate) / max(number, 1)), "of": number}


def ratio_of_means(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """The ratio of two means over the same simulations, its standard error (delta method), and how many there were."""
    one, other = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    ratio = float(one.mean() / other.mean())
    error = float((one - ratio * other).std() / other.mean() / sqrt(len(one)))
    return {"ratio": ratio, "error": error, "of": len(one)}


Job = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""A function whose first argument is a seed, its other arguments, and those by name."""

Jobs = Mapping[str, Sequence[Job]]
"""Jobs by the name of their part."""


def spread_out(seed: int, jobs: Jobs, processes: int | None = None) -> dict[str, list[Any]]:
    """What each job finds, done by as many processes as there are cores; each job has a seed of its own.

    Args:
        seed: From which theirs are drawn.
        jobs: By the name of their part.
        processes: How many; 1: none but this one.
    """
    number = sum(map(len, jobs.values()))
    seeds = iter(np.random.SeedSequence(seed).generate_state(number, np.uint64).tolist())
    drawn = {part: [(made, next(seeds), args, named) for made, args, named in rows] for part, rows in jobs.items()}
    if processes == 1:
        return {part: [made(own, *args, **named) for made, own, args, named in rows] for part, rows in drawn.items()}
    with ProcessPoolExecutor(processes) as pool:
        waiting = {
            part: [pool.submit(made, own, *args, **named) for made, own, args, named in rows]
            for part, rows in drawn.items()
        }
        return {part: [each.result() for each in rows] for part, rows in waiting.items()}
