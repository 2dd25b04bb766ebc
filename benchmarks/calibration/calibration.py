"""How often a good canary is failed: A/A rollouts, both versions alike, looked at after every event.

Each cell is 10,000 rollouts of 50,000 requests at a rate of events and a weight ("stepped": 10 %, from request 10,000
on 25 %, from 25,000 on 50 %). Beside the event test stand three rules on the same requests, none of which looks
before the canary has 100: a success rate below 95 %, looked at after every canary request; a one-sided z-test at 5 %
and Mann-Whitney at 98 % confidence (higher is worse), looked at every 100 requests.

The other parts: a plan of five guardrails over three steps, with alpha split over them (beside: alpha for each, and
for each in each step anew); customers as routing keys (beside: every event counted, not the first per customer);
labels that arrive late while the weight changes (beside: with the weight in force at their arrival); and, fewer of
them, rollouts through `core.judge` itself, where blocked transactions have no truth unless their alert is reviewed:
as often for both variants, or more often for the canary, which their labels declare (beside: how many the judge calls
an ERROR instead).

The last parts are attacks, each in a module of its own: harm that comes late, customers as keys over a month, rates
that move with the weight, labels that depend on the decision. Each stands beside what it got from the test that
rollouts without hours are judged by ("before").

    python -m benchmarks.calibration --json           # all cells with 10,000 rollouts, some minutes of two cores
    python -m benchmarks.calibration --json --full    # 20,000 rollouts of 200,000 requests
    python -m benchmarks.calibration --json --only late_harm --late-courses 400
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from math import log
from typing import Any

import numpy as np

from benchmarks.calibration import attacks
from benchmarks.calibration.figures import share
from benchmarks.calibration.rollouts import (
    Bools,
    Events,
    below_success_rate,
    ever_failed,
    highest_evidence,
    in_order,
    mann_whitney,
    traffic,
    z_test,
)
from benchmarks.report import report
from fds_mlflow.core.statistics.sequential import log_threshold

ALPHA = 0.05
RATES = (0.002, 0.02, 0.04, 0.1)
WEIGHTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "0.01": ((0.01,), (1.0,)),
    "0.1": ((0.1,), (1.0,)),
    "0.5": ((0.5,), (1.0,)),
    "stepped": ((0.1, 0.25, 0.5), (0.2, 0.5, 1.0)),
}
"""Weights, and until which part of the rollout each is in force."""
GUARDRAILS = {"errors": 0.002, "alerts": 0.02, "slow": 0.04, "missed frauds": 0.002, "false positives": 0.01}
SUCCESS_RATE = 0.95
Z, MANN_WHITNEY = 1.6449, 2.3263
"""One-sided 5 %; 98 % confidence in both directions, the upper one counted."""
REVIEWED = {"reviewed_alike": 0.3, "canary_reviewed_a_third_more": 0.4, "canary_reviewed_twice_as_often": 0.6}
"""Share of the canary's alerts that somebody reviews; of the champion's it is 30 %."""
EVENTS_PER_CUSTOMER = (1.5, 3.0, 6.0)


def cells(random: np.random.Generator, rollouts: int, requests: int, chunk: int = 500) -> Iterator[dict[str, Any]]:
    """One row per rate and weight."""
    for rate in RATES:
        for name, (weights, parts) in WEIGHTS.items():
            until = [round(part * requests) for part in parts]
            found: dict[str, list[Bools]] = {"ours": [], "z_test": [], "mann_whitney": []}
            for _ in range(0, rollouts, chunk):
                seen = traffic(random, rate, weights, until, chunk)
                found["ours"].append(ever_failed(seen.events, weights, log_threshold(ALPHA)))
                found["z_test"].append(z_test(seen, Z))
                found["mann_whitney"].append(mann_whitney(seen, MANN_WHITNEY))
            share_of_canary = np.diff([0, *parts]) @ weights
            found["specification"] = [
                below_success_rate(random, rate, SUCCESS_RATE, round(share_of_canary * requests), rollouts)
            ]
            rates = {rule: share(np.concatenate(failed)) for rule, failed in found.items()}
            yield {
                "rate": rate,
                "weight": float(name) if name != "stepped" else name,
                **{rule: rates[rule]["rate"] for rule in ("ours", "specification", "z_test", "mann_whitney")},
                "standard_errors": {rule: rates[rule]["error"] for rule in rates},
            }


def plan(random: np.random.Generator, rollouts: int, requests: int, chunk: int = 500) -> dict[str, Any]:
    """Five guardrails over three steps: alpha split and evidence carried on; alpha for each; restarted as well."""
    weights, parts = WEIGHTS["stepped"]
    until = [round(part * requests) for part in parts]
    rules: dict[str, list[Bools]] = {"ours": [], "alpha_for_each": [], "restarted_each_step": []}
    for _ in range(0, rollouts, chunk):
        failed = {rule: np.zeros(chunk, dtype=bool) for rule in rules}
        for rate in GUARDRAILS.values():
            events = traffic(random, rate, weights, until, chunk).events
            highest = highest_evidence(events, weights, log_threshold(ALPHA))
            failed["ours"] |= highest >= log_threshold(ALPHA) + log(len(GUARDRAILS))
            failed["alpha_for_each"] |= highest >= log_threshold(ALPHA)
            for step, weight in enumerate(weights):
                now = events.segment == step
                alone = Events(events.rollout[now], events.segment[now], events.to_canary[now], chunk)
                failed["restarted_each_step"] |= ever_failed(alone, (weight,), log_threshold(ALPHA))
        for rule, outcome in failed.items():
            rules[rule].append(outcome)
    return {rule: share(np.concatenate(outcome)) for rule, outcome in rules.items()}


def customers(
    random: np.random.Generator, per_customer: float, rollouts: int, number: int = 300, chunk: int = 250
) -> dict[str, Any]:
    """Customers as routing keys, 10 % of them the canary's: their first events, and all of them as if independent."""
    first, naive = [], []
    for _ in range(0, rollouts, chunk):
        events = 1 + random.poisson(per_customer - 1, (chunk, number))
        times = random.random((chunk, number, int(events.max())))
        times[np.arange(times.shape[2]) >= events[:, :, None]] = np.inf
        to_canary = random.random((chunk, number)) < 0.1
        segments = np.zeros(times.shape[:2], dtype=np.int8)
        first.append(ever_failed(in_order(times.min(axis=2), segments, to_canary), (0.1,), log_threshold(ALPHA)))
        everything = in_order(
            times.reshape(chunk, -1),
            np.zeros((chunk, number * times.shape[2]), dtype=np.int8),
            np.repeat(to_canary, times.shape[2], axis=1),
        )
        naive.append(ever_failed(everything, (0.1,), log_threshold(ALPHA)))
    return {
        "events_per_customer": per_customer,
        "ours": share(np.concatenate(first)),
        "every_event": share(np.concatenate(naive)),
    }


def late_labels(random: np.random.Generator, rollouts: int, number: int = 800, chunk: int = 500) -> dict[str, Any]:
    """Events that become known late, in a stepped plan: under the weight recorded with the request, or a later one."""
    weights, parts = WEIGHTS["stepped"]
    recorded, later = [], []
    for _ in range(0, rollouts, chunk):
        happened = random.random((chunk, number))
        known = happened + random.exponential(0.2, happened.shape)
        segment = np.searchsorted(parts, happened, side="right").astype(np.int8)
        to_canary = random.random(happened.shape) < np.asarray(weights)[segment]
        at_arrival = np.minimum(np.searchsorted(parts, known, side="right"), len(weights) - 1).astype(np.int8)
        recorded.append(ever_failed(in_order(known, segment, to_canary), weights, log_threshold(ALPHA)))
        later.append(ever_failed(in_order(known, at_arrival, to_canary), weights, log_threshold(ALPHA)))
    assumed = [ever_failed_at_first_weight(random, rollouts, number)]
    return {
        "ours": share(np.concatenate(recorded)),
        "weight_at_arrival": share(np.concatenate(later)),
        "first_weight_throughout": share(np.concatenate(assumed)),
    }


def ever_failed_at_first_weight(random: np.random.Generator, rollouts: int, number: int) -> Bools:
    """The same events judged with the first step's weight after the second step has begun."""
    weights, parts = WEIGHTS["stepped"]
    happened = np.sort(random.random((rollouts, number)), axis=1)
    to_canary = random.random(happened.shape) < np.asarray(weights)[np.searchsorted(parts, happened, side="right")]
    events = in_order(happened, np.zeros(happened.shape, dtype=np.int8), to_canary)
    return ever_failed(events, weights[:1], log_threshold(ALPHA))


def quadrupled(random: np.random.Generator, rollouts: int) -> dict[str, Any]:
    """A canary whose events quadruple from 0.2 % to 0.8 %: who notices within 10,000 canary requests at 10 %."""
    from benchmarks.calibration.events import events_until
    from benchmarks.power import canary_requests

    needed = canary_requests(
        random, 0.1, 0.002, 4.0, events_until(random, 0.1, 1.0, 4.0, ALPHA, above=True, courses=rollouts)
    )
    return {
        "ours": share(needed <= 10_000),
        "specification": share(below_success_rate(random, 0.008, SUCCESS_RATE, 10_000, rollouts)),
    }


def judged(rollouts: int) -> dict[str, Any]:
    """Whole rollouts through the judge, 30 % of the champion's alerts reviewed, and as many or more of the canary's.

    Labels declare these shares; before, nobody asked for them.
    """
    from benchmarks.calibration.judged import rollout
    from fds_mlflow.core.evidence.variant import Variant

    parts: dict[str, Any] = {}
    for test, suffix in ((2, ""), (1, "_before")):
        random = np.random.default_rng(20261123)
        for name, canary in REVIEWED.items():
            reviewed = {Variant.CANARY: canary, Variant.CHAMPION: 0.3}
            ended = [rollout(random, reviewed, test=test) for _ in range(rollouts)]
            parts[f"{name}{suffix}"] = share([each.failed for each in ended])
            parts[f"{name}_called_an_error{suffix}"] = share([each.doubted for each in ended])
    return {"rollouts": rollouts, **parts}


def run(*, full: bool = False) -> dict[str, Any]:
    """Simulate everything; the result that is printed."""
    random = np.random.default_rng(20261122)
    rollouts, requests = (20_000, 200_000) if full else (10_000, 50_000)
    table = list(cells(random, rollouts, requests, chunk=250 if full else 1_000))
    result: dict[str, Any] = {
        "alpha": ALPHA,
        "worst_false_abort": 0.0,
        "rollouts": rollouts,
        "requests": requests,
        "cells": table,
        "plan": plan(random, rollouts, requests, chunk=250 if full else 1_000),
        "customers": [customers(random, number, rollouts) for number in EVENTS_PER_CUSTOMER],
        "late_labels": late_labels(random, rollouts),
        "quadrupled": quadrupled(random, rollouts),
        "judged": judged(2_000 if full else 200),
    }
    others = [result["plan"], result["late_labels"], *result["customers"]]
    result["worst_false_abort"] = max(*(cell["ours"] for cell in table), *(other["ours"]["rate"] for other in others))
    return result


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--full", action="store_true", help="20,000 rollouts of 200,000 requests, not 10,000 of 50,000")
    parser.add_argument("--only", choices=list(attacks.ATTACKS), help="one of the attacks, and nothing else")
    attacks.add_options(parser)
    options = parser.parse_args()
    result = {} if options.only else run(full=options.full)
    if result:
        show(result)
    rows: list[list[object]] = [["attack", "figure", ""]]
    for name in [options.only] if options.only else attacks.ATTACKS:
        result[name] = attacks.run(name, vars(options))
        rows += attacks.rows(name, result[name])
    report("Attacks", rows, result, options.json)


def show(result: dict[str, Any]) -> None:
    """Tables of what good canaries get."""
    rules = ("ours", "specification", "z_test", "mann_whitney")
    rows: list[list[object]] = [["rate", "weight", "ours", "± error", "success rate < 95 %", "z-test", "Mann-Whitney"]]
    for cell in result["cells"]:
        figures: list[object] = [f"{100 * cell[rule]:.1f} %" for rule in rules]
        figures.insert(1, f"{100 * cell['standard_errors']['ours']:.1f}")
        rows.append([f"{100 * cell['rate']:g} %", cell["weight"], *figures])
    report("Good canaries that are failed (alpha 5 %)", rows, result, as_json=False)
    parts: list[list[object]] = [["part", "rule", "failed", "± error"]]
    named = [("five guardrails, three steps", result["plan"]), ("late labels, three weights", result["late_labels"])]
    named += [(f"{part['events_per_customer']:g} events per customer", part) for part in result["customers"]]
    named.append((f"through the judge ({result['judged']['rollouts']:,} rollouts)", result["judged"]))
    named.append(("rate quadruples from 0.2 % (caught)", result["quadrupled"]))
    parts += [
        [name, rule.replace("_", " "), f"{100 * found['rate']:.1f} %", f"{100 * found['error']:.1f}"]
        for name, part in named
        for rule, found in part.items()
        if isinstance(found, dict)
    ]
    report("Whole plans, customers, late labels", parts, result, as_json=False)
