"""The registry's operations on real backends: many processes at once, checked; latency; emergencies; long histories.

    python -m benchmarks.registry_load --json                  # under a minute: SQLite directly, few operations
    python -m benchmarks.registry_load --json --full --lifetime 6  # three backends, 2,000 requests each: half an hour
    python -m benchmarks.registry_load --json --backend server_postgresql --operations 200 --no-scale
    python -m benchmarks.registry_load --json --backend server_postgresql --only-scale --full

Backends: `sqlite` (every process opens the file), `server_sqlite` (an MLflow server with one worker), and
`server_postgresql` (an MLflow server with two workers on a PostgreSQL started here, with its usual durability).

Eight processes (four in the short run) send requests at random, all on one model. What each was told is checked against
the history: nothing lost or doubled, nothing done that was reported as not done, order in accord with real time, each
transition allowed by the table, each refusal right at a moment between question and answer, aliases and stages as
the history folds.

One request in a hundred is an emergency that goes past live operations, and then everybody waits out an intent's
lifetime. The lifetime is `--lifetime` here, shorter than the package's own (45 s on SQLite, 22.5 s on servers). It
must exceed twice the longest write, which is measured and printed beside it: where it does not, the run says so,
and proves nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.registry_load.clients import (
    CONFLICT,
    DONE,
    MODEL,
    UNKNOWN,
    Attempt,
    Client,
    Crowd,
    all_attempts,
    prepare,
    together,
)
from benchmarks.registry_load.linear import Record, violations
from benchmarks.registry_load.scale import emergencies, scale, uncontended
from benchmarks.report import report
from fds_mlflow.registry.doctor import examine
from tests.support.servers import BACKENDS, missing, registry

Rows = list[list[object]]


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        operations: Requests of all clients together.
        processes: Clients.
        rounds: How often each operation is done alone.
        lifetime: Seconds an intent lives while many are at work.
        longest_pause: Seconds that one who waits for others pauses at most before looking again.
        seconds: After this time the clients of a backend send no more.
        full: Whether the scale of versions and models is measured as well.
    """

    operations: int
    processes: int
    rounds: int
    lifetime: float
    longest_pause: float
    seconds: float
    full: bool


def contended(uri: str, size: Size, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Many processes at once, and what of their record no order explains."""
    began = time.monotonic()
    crowd = Crowd(
        operations=size.operations,
        processes=size.processes,
        take_overs=max(1, size.operations // 100),
        time_to_live=size.lifetime,
        longest_pause=size.longest_pause,
        seconds=size.seconds,
    )
    worked = together(uri, crowd, seed)
    seconds = time.monotonic() - began
    attempts = all_attempts(worked)
    longest = max(one.longest_write for one in worked)
    wrong = checked(uri, attempts, size.lifetime)
    if size.lifetime <= 2 * longest:
        wrong.append(f"the lifetime of {size.lifetime} s does not exceed twice the longest write, {longest:.1f} s")
    counts = Counter(attempt.outcome for attempt in attempts)
    acted = [attempt for attempt in attempts if attempt.outcome in (DONE, CONFLICT, UNKNOWN)]
    figures = {
        "operations": _latencies(attempts),
        "requests": len(attempts),
        "outcomes": dict(counts),
        "take_over_moved_s": [round(a.moved, 3) for a in attempts if a.take_over and a.moved is not None],
        "conflict_share": counts[CONFLICT] / len(attempts),
        "waited_share": sum(attempt.pauses > 0 for attempt in acted) / max(len(acted), 1),
        "longest_write_s": round(longest, 3),
        "lifetime_s": size.lifetime,
        "longest_pause_s": size.longest_pause,
        "seconds": round(seconds, 1),
        "violations": len(wrong),
    }
    return figures, wrong


def checked(uri: str, attempts: Sequence[Attempt], lifetime: float) -> list[str]:
    """What is wrong with the registry after the clients have gone, once what they left behind is settled."""
    client = Client(uri, time_to_live=lifetime)
    client.transactions.settle(MODEL, actor="registry_load")
    client.transactions.pack(MODEL, actor="registry_load")  # packing gives way to everybody, and comes last
    view = client.transactions.look(MODEL)
    wrong = violations(Record(view.history.events, attempts))
    return wrong + [f"{found.severity}: {found.what}" for found in examine(view, client.store.versions(MODEL))]


def _latencies(attempts: Iterable[Attempt]) -> dict[str, dict[str, float]]:
    """p50 and p99 of what was done, by name of the operation, in milliseconds."""
    by_name: dict[str, list[float]] = {}
    for attempt in attempts:
        if attempt.outcome == DONE:
            name = attempt.request.kind.value + ("_take_over" if attempt.take_over else "")
            by_name.setdefault(name, []).append(attempt.seconds * 1_000)
    return {
        name: {
            "p50_ms": round(float(np.percentile(values, 50)), 1),
            "p99_ms": round(float(np.percentile(values, 99)), 1),
            "n": len(values),
        }
        for name, values in sorted(by_name.items())
    }


def measured(backend: str, uri: str, size: Size, seed: int) -> tuple[dict[str, Any], list[str], Rows]:
    """Everything about many clients of one backend: figures, violations, and rows for people."""
    prepare(uri)
    _say(f"{backend}: {size.operations} operations by {size.processes} processes")
    many, wrong = contended(uri, size, seed)
    for violation in wrong:
        _say(f"VIOLATION on {backend}: {violation}")
    _say(f"{backend}, together: {json.dumps(many)}")  # so that a run that is killed later is not lost
    _say(f"{backend}: {size.rounds} rounds alone")
    prepare(uri, "alone")
    alone = _latencies(uncontended(uri, "alone", size.rounds))
    _say(f"{backend}: emergencies")
    prepare(uri, "emergency")
    try:
        urgent = emergencies(uri, "emergency", rounds=max(1, size.rounds // 3))
    except RuntimeError as error:  # a machine that is too slow for it: the other figures stand
        _say(f"{backend}: emergencies were not measured: {error}")
        urgent = {}
    figures = {"uncontended": alone, "contended": many, "emergency_s": urgent}
    _say(f"{backend}, all: {json.dumps(figures)}")
    return figures, wrong, _rows(backend, alone, many, urgent)


def _rows(backend: str, alone: dict[str, Any], many: dict[str, Any], urgent: dict[str, Any]) -> Rows:
    rows: Rows = []
    for name in sorted({*alone, *many["operations"]}):
        one, other = alone.get(name, {}), many["operations"].get(name, {})
        ms = (one.get("p50_ms", ""), one.get("p99_ms", ""), other.get("p50_ms", ""), other.get("p99_ms", ""))
        rows.append([f"{backend}: {name}, ms", *ms, other.get("n", "")])
    for name, value in many["outcomes"].items():
        rows.append([f"{backend}: {name}", "", "", "", "", value])
    moved = many["take_over_moved_s"]
    rows.append([f"{backend}: emergencies among others, champion moved after, s", "", "", *_ends(moved), len(moved)])
    for name in (
        "requests",
        "conflict_share",
        "waited_share",
        "longest_write_s",
        "lifetime_s",
        "seconds",
        "violations",
    ):
        rows.append([f"{backend}: {name}", "", "", many[name], "", ""])
    rows.extend([f"{backend}: emergency, {name}, s", value, "", "", "", ""] for name, value in urgent.items())
    return rows


def _ends(values: Sequence[float]) -> tuple[object, object]:
    return (float(np.median(values)), max(values)) if values else ("", "")


def run(backends: Sequence[str], long: Sequence[str], size: Size, *, seed: int = 42, as_json: bool = False) -> int:
    """Measure, report, and count the violations.

    Args:
        backends: Which of `BACKENDS` carry many clients.
        long: Which of them carry long histories.
        size: How much.
        seed: Of the requests.
        as_json: Whether to print the JSON object.
    """
    result: dict[str, Any] = {"operations": {}, "violations": 0, "backends": {}, "scale": {}}
    rows: Rows = [["", "alone p50", "alone p99", "together p50", "together p99", "n"]]
    for backend in (b for b in BACKENDS if b in {*backends, *long}):
        reason = missing(backend)
        if reason is not None:
            _say(f"{backend} is left out: {reason}")
            continue
        with registry(backend) as uri:
            if backend in backends:
                figures, wrong, more = measured(backend, uri, size, seed)
                result["backends"][backend] = figures
                result["operations"] = result["operations"] or figures["uncontended"]
                result["violations"] += len(wrong)
                rows.extend(more)
            if backend in long:
                _say(f"{backend}: long histories")
                found = scale(uri, rounds=min(size.rounds, 5), full=size.full)
                _say(f"{backend}, long histories: {json.dumps(found)}")
                result["scale"][backend] = found
                rows.extend([f"{backend}, scale: {name}", value, "", "", "", ""] for name, value in found.items())
    ratios = [found["alias_write_ratio_5000_events"] for found in result["scale"].values()]
    result["alias_write_ratio_5000_events"] = next(iter(ratios), None)
    report("Registry load", rows, result, as_json)
    return int(result["violations"])


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the JSON object last on standard output")
    parser.add_argument("--full", action="store_true", help="three backends, 2,000 operations each")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="only this one (may be repeated)")
    parser.add_argument("--operations", type=int, help="requests of all clients together")
    parser.add_argument("--processes", type=int, help="clients")
    parser.add_argument("--rounds", type=int, help="how often each operation is done alone")
    parser.add_argument("--lifetime", type=float, help="seconds an intent lives; above twice the longest write")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds that one who waits pauses at most")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of requests on each backend, at most")
    parser.add_argument("--seed", type=int, default=42, help="of the requests")
    parser.add_argument("--no-scale", action="store_true", help="leave long histories out")
    parser.add_argument("--only-scale", action="store_true", help="measure long histories only")
    given = parser.parse_args()
    size = Size(
        operations=given.operations or (2_000 if given.full else 40),
        processes=given.processes or (8 if given.full or given.backend else 4),
        rounds=given.rounds or (30 if given.full else 2),
        lifetime=given.lifetime or (20.0 if given.full or given.backend else 6.0),
        longest_pause=given.pause,
        seconds=60 * given.minutes,
        full=given.full,
    )
    backends = given.backend or (BACKENDS if given.full else ("sqlite",))
    long = given.backend or (("sqlite", "server_postgresql") if given.full else ("sqlite",))
    wrong = run(
        () if given.only_scale else backends,
        () if given.no_scale else long,
        size,
        seed=given.seed,
        as_json=given.json,
    )
    sys.exit(1 if wrong else 0)
