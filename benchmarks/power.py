"""How soon a bad canary fails: canary requests until FAIL, looked at after every event, at alpha 5 % and margin 0.

Beside it stand two numbers for the same events: the size of the exact binomial test that looks once and has a power of
90 %, and log(1/alpha) divided by the Kullback-Leibler divergence of one event, which the mean of no sequential test of
these events goes below (Wald, Sequential Analysis, 1947). `fixed_z` is the textbook size of a z-test
of two proportions, which uses requests without an event as well.

A shadow canary scores all requests, and the two decisions on each are a pair; the two versions are taken to agree
on 80 % of what happens to the champion. Paired and unpaired are compared by all requests that go by until FAIL.

Everything is the test as it is, the stake of later starts included, with all events in one hour: so it costs most.
`minimax_bound` is what no test's worst mean over that limit goes below at the four ratios (`minimax_bound_10`: and at
10), at a weight of 10 %; `worst_mean_to_limit_4` and `worst_mean_to_limit_10` are this test's there, enumerated.

    python -m benchmarks.power --json           # 20,000 courses per cell, two minutes
    python -m benchmarks.power --json --full    # 200,000
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.calibration import minimax, mixture
from benchmarks.calibration.events import chance, divergence, events_until
from benchmarks.report import report

ALPHA, POWER = 0.05, 0.9
RATES = (0.002, 0.02, 0.04, 0.1)
WEIGHTS = (0.01, 0.1, 0.5)
RATIOS = (1.25, 1.5, 2.0, 4.0)
MARGINS = (0.1, 0.5, 1.0)
AGREEMENT = 0.8
"""Share of the events that happen to the champion that happen to a shadow canary as well."""

Requests = npt.NDArray[np.int64]


def fixed_events(weight: float, ratio: float) -> int:
    """Events that the exact binomial test of one look needs for its power, at a level of at most alpha."""
    from scipy.stats import binom

    low, high = 1, 64
    while True:
        events = np.arange(low, high)
        critical = binom.ppf(1 - ALPHA, events, weight) + 1
        enough = binom.sf(critical - 1, events, chance(weight, ratio)) >= POWER
        if enough.any():
            return int(events[enough.argmax()])
        low, high = high, 2 * high


def fixed_requests_z(weight: float, rate: float, ratio: float) -> float:
    """Canary requests of the one-sided z-test of two proportions (Fleiss, Levin and Paik, 2003, chapter 4)."""
    from scipy.stats import norm

    p, q, k = ratio * rate, rate, (1 - weight) / weight
    pooled = (p + k * q) / (1 + k)
    alone = norm.ppf(1 - ALPHA) * np.sqrt(pooled * (1 - pooled) * (1 + 1 / k))
    return float((alone + norm.ppf(POWER) * np.sqrt(p * (1 - p) + q * (1 - q) / k)) ** 2 / (p - q) ** 2)


def canary_requests(
    random: np.random.Generator, weight: float, rate: float, ratio: float, events: tuple[Requests, Requests]
) -> Requests:
    """Canary requests that go by until so many events: those with an event, and the canary's part of the others."""
    canary, champion = events
    with_event = weight * ratio * rate + (1 - weight) * rate
    without = random.negative_binomial(canary + champion, with_event)
    found: Requests = canary + random.binomial(without, weight * (1 - ratio * rate) / (1 - with_event))
    return found


def fails(random: np.random.Generator, courses: int) -> list[dict[str, Any]]:
    """One row per rate ratio, weight and event rate."""
    rows = []
    for ratio in RATIOS:
        pairs = paired_requests(random, ratio, courses)
        for weight in WEIGHTS:
            events = events_until(random, weight, 1.0, ratio, ALPHA, above=True, courses=courses)
            fixed = fixed_events(weight, ratio)
            limit = -np.log(ALPHA) / divergence(chance(weight, ratio), weight)
            for rate in RATES:
                requests = canary_requests(random, weight, rate, ratio, events)
                per_event = weight / (weight * ratio * rate + (1 - weight) * rate)
                paired = float(np.median(pairs[rate]))
                rows.append(
                    {
                        "rate": rate,
                        "weight": weight,
                        "ratio": ratio,
                        "median": float(np.median(requests)),
                        "mean": float(requests.mean()),
                        "p90": float(np.quantile(requests, 0.9)),
                        "fixed": fixed * per_event,
                        "fixed_z": fixed_requests_z(weight, rate, ratio),
                        "limit": limit * per_event,
                        "median_to_fixed": float(np.median(requests)) / (fixed * per_event),
                        "mean_to_limit": float(requests.mean()) / (limit * per_event),
                        "paired_median": paired,
                        "paired_to_unpaired": paired * weight / float(np.median(requests)),
                    }
                )
    return rows


def paired_requests(random: np.random.Generator, ratio: float, courses: int) -> dict[float, Requests]:
    """Requests that a shadow canary scores until FAIL, by event rate: only discordant pairs count at a margin of 0."""
    discordant = (ratio - AGREEMENT) / (1 - AGREEMENT)
    events = sum(events_until(random, 0.5, 1.0, discordant, ALPHA, above=True, courses=courses))
    return {rate: events + random.negative_binomial(events, rate * (1 + ratio - 2 * AGREEMENT)) for rate in RATES}


def passes(random: np.random.Generator, courses: int) -> list[dict[str, Any]]:
    """What the PASS of a canary that is exactly as good costs, by margin: all requests at a weight of 10 %."""
    rows = []
    for margin in MARGINS:
        events = events_until(random, 0.1, 1 + margin, 1.0, ALPHA, above=False, courses=courses)
        for rate in RATES:
            requests = canary_requests(random, 0.1, rate, 1.0, events) / 0.1
            rows.append(
                {
                    "rate": rate,
                    "weight": 0.1,
                    "margin": margin,
                    "median_requests": float(np.median(requests)),
                    "mean_requests": float(requests.mean()),
                    "p90_requests": float(np.quantile(requests, 0.9)),
                }
            )
    return rows


def run(courses: int) -> dict[str, Any]:
    """Simulate all cells; the result that is printed."""
    random = np.random.default_rng(20261122)
    cells = fails(random, courses)
    return {
        "alpha": ALPHA,
        "power_of_fixed": POWER,
        "courses": courses,
        "worst_median_to_fixed": max(cell["median_to_fixed"] for cell in cells),
        "worst_median_to_fixed_z": max(cell["median"] / cell["fixed_z"] for cell in cells),
        "minimax_bound": minimax.bound(RATIOS),
        "minimax_bound_10": minimax.bound((*RATIOS, 10.0)),
        "worst_mean_to_limit_4": mixture.worst(RATIOS),
        "worst_mean_to_limit_10": mixture.worst((*RATIOS, 10.0)),
        "worst_mean_to_limit": max(cell["mean_to_limit"] for cell in cells),
        "worst_paired_to_unpaired": max(cell["paired_to_unpaired"] for cell in cells),
        "cells": cells,
        "passes": passes(random, courses),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--full", action="store_true", help="200,000 courses per cell instead of 20,000")
    options = parser.parse_args()
    result = run(200_000 if options.full else 20_000)
    shown = ("rate", "weight", "ratio", "median", "mean", "p90", "fixed", "limit", "median_to_fixed", "mean_to_limit")
    rows: list[list[object]] = [[name.replace("_", " ") for name in (*shown, "paired_median", "paired_to_unpaired")]]
    rows += [
        [cell[name] for name in shown[:3]]
        + [round(cell[name]) for name in shown[3:8]]
        + [cell[name] for name in shown[8:]]
        + [round(cell["paired_median"]), cell["paired_to_unpaired"]]
        for cell in result["cells"]
    ]
    report("Canary requests until FAIL (alpha 5 %, margin 0)", rows, result, as_json=False)
    prices: list[list[object]] = [["rate", "margin", "median requests", "mean", "p90"]]
    prices += [
        [p["rate"], p["margin"], *(round(p[f"{k}_requests"]) for k in ("median", "mean", "p90"))]
        for p in result["passes"]
    ]
    report("Requests until PASS of a canary that is as good, at 10 %", prices, result, options.json)


if __name__ == "__main__":
    main()
