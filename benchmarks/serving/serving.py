"""`fds serve` with all features on, during an active canary, beside other servers of the same model file.

    python -m benchmarks.serving --json                      # five rounds of eight seconds: ten minutes
    python -m benchmarks.serving --json --rounds 1 --seconds 2 --only echo,bare,fds

All serve one LightGBM model (200 trees, 25 features) and get the same rows, one a request, over 16 connections, all but
one of them with one worker. The load comes from wrk, which takes a core of its own. The rounds go over all servers in
turn, so that a drift of the machine hits all alike; while one is measured the others are halted. Before that each must
give the scores of the Booster itself. Medians of the rounds are reported, and their ranges.

- `fds serve`: routing (a canary has 25 % of the keys), validation of every value, outcomes into SQLite. `/score` takes
  a transaction as it is; `/invocations` is MLflow's protocol, the same bytes as `mlflow models serve` gets, and a key.
  With two workers as well; on two cores they share theirs with the load.
- `mlflow models serve`, with a signature and without; MLServer with MLflow's runtime; BentoML around the Booster.
- `echo` and `bare`: bare ASGI applications on the same server with the same settings, see `benchmarks.serving.apps`.

MLServer and BentoML get environments of their own under `--others`, made once; without them they are left out.
wrk is Debian's package `wrk`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import report
from benchmarks.serving import wrk
from benchmarks.serving.fds import Replica, replica
from benchmarks.serving.model import (
    Model,
    Rows,
    booster,
    list_bodies,
    register,
    rows,
    score_bodies,
    scores,
    split_bodies,
    train,
)
from benchmarks.serving.others import OTHERS, NotInstalledError, bentoml, mlflow_models_serve, mlserver
from benchmarks.serving.process import Server, end_in_order, free_port
from benchmarks.serving.wrk import Load

WEIGHT = 25
"""Percent of the keys that the canary has."""

ROWS = 2_000
"""Different rows; each of them is sent again under other keys."""

FDS, INVOCATIONS, TWO = "fds serve", "fds serve /invocations", "fds serve --workers 2"
SIGNED, PLAIN = "mlflow models serve, signature", "mlflow models serve, no signature"
ECHO, BARE = "echo", "bare"
NAMES = {"echo": ECHO, "bare": BARE, "fds": FDS, "two": TWO, "invocations": INVOCATIONS, "signed": SIGNED}
NAMES |= {"plain": PLAIN, "mlserver": "MLServer", "bentoml": "BentoML"}


@dataclass
class Contestant:
    """A server, what it is sent, and what was measured.

    Attributes:
        name: In the tables.
        server: Two contestants may share one.
        path: Where the requests go.
        bodies: One a request, in turn.
        scored: Reads the score from an answer; None for what scores nothing.
        loads: One per round.
    """

    name: str
    server: Server
    path: str
    bodies: list[bytes]
    scored: Callable[[Any], float] | None
    loads: list[Load] = field(default_factory=list)


def contestants(
    folder: Path, model: Model, ours: Sequence[Replica], others: Path, only: set[str]
) -> Iterator[Contestant]:
    """Those that can be compared here, not started; what is left out is said."""
    x = rows(ROWS)
    here = [sys.executable, "-m", "benchmarks.serving.apps"]
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    if "echo" in only:
        port = free_port()
        echo = Server(ECHO, [*here, "echo", str(port)], port, folder / "echo", environment=path)
        yield Contestant(ECHO, echo, "/score", score_bodies(x), None)
    if "bare" in only:
        port = free_port()
        bare = Server(BARE, [*here, "bare", str(port), model.booster], port, folder / "bare", environment=path)
        yield Contestant(BARE, bare, "/score", score_bodies(x), lambda answer: answer["score"])
    for name, one in zip(("fds", "two"), ours, strict=False):
        if name in only:
            yield Contestant(NAMES[name], one.server, "/score", score_bodies(x), lambda answer: answer["score"])
    if ours and "invocations" in only:
        yield Contestant(INVOCATIONS, ours[0].server, "/invocations", split_bodies(x, key=True), _first_prediction)
    for name, saved, bodies in (
        ("signed", model.signed, split_bodies(x, key=False)),
        ("plain", model.unsigned, list_bodies(x, "inputs")),
    ):
        if name in only:
            server = mlflow_models_serve(folder / name, saved, NAMES[name])
            yield Contestant(NAMES[name], server, "/invocations", bodies, _first_prediction)
    if "mlserver" in only and (one := _or_none(lambda: mlserver(folder / "mlserver", model, others))):
        yield Contestant(one.name, one, "/invocations", split_bodies(x, key=False), _first_prediction)
    if "bentoml" in only and (one := _or_none(lambda: bentoml(folder / "bentoml", model, others))):
        yield Contestant(one.name, one, "/score", list_bodies(x, "rows"), lambda answer: float(answer[0]))


def _or_none(make: Callable[[], Server]) -> Server | None:
    try:
        return make()
    except NotInstalledError as error:
        _say(f"left out: {error}")
        return None


def _first_prediction(answer: Any) -> float:
    return float(answer["predictions"][0])


def started(found: Iterable[Contestant], stack: ExitStack) -> Iterator[Contestant]:
    """Start each, to be stopped with the stack; another's server that does not start here is left out."""
    for one in found:
        if one.server.process is None:
            _say(f"starting {one.name}")
            stack.callback(one.server.stop)
            try:
                one.server.start()
            except RuntimeError as error:
                if one.name not in (NAMES["mlserver"], NAMES["bentoml"]):
                    raise
                _say(f"left out: {error}")
                continue
        yield one


@contextmanager
def canary_running(folder: Path, model: Model, *, two: bool) -> Iterator[list[Replica]]:
    """`fds serve` on a registry of its own, with a rollout that gives the canary its share; with two workers, too."""
    from fds_mlflow import Plan

    folder.mkdir()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    managed = register(uri, model, folder)
    managed.canary.start(2, plan=Plan(steps=[WEIGHT, 100]), reason="benchmark")
    ours = [replica(uri, folder)]
    if two:
        (folder / "two").mkdir()
        ours.append(replica(uri, folder / "two", TWO, workers=2))
    with ExitStack() as stack:
        for one in ours:
            stack.callback(one.server.stop)
            one.server.start()
            one.await_health(lambda health: bool(health["canary_loaded"]))
        yield ours


def agree(contestant: Contestant, x: Rows, expected: Rows) -> None:
    """Ask for a few scores.

    Raises:
        RuntimeError: They are not the Booster's.
    """
    for place in range(min(20, len(x))):
        body = contestant.bodies[place].replace(b"@KEY@", b"CHECK-%014d" % place)
        status, answer = contestant.server.post(contestant.path, body)
        if status != 200:
            raise RuntimeError(f"{contestant.name} answers {status}: {answer[:500]!r}")
        if contestant.scored is not None:
            score = contestant.scored(json.loads(answer))
            if abs(score - expected[place]) > 1e-9:
                raise RuntimeError(f"{contestant.name} gives {score} where the Booster gives {expected[place]}")


def measure(running: Sequence[Contestant], folder: Path, *, rounds: int, seconds: float, connections: int) -> None:
    """Load each in turn, round after round; all others are halted meanwhile."""
    files = {one.name: wrk.write_bodies(one.bodies, folder / f"{place}.bodies") for place, one in enumerate(running)}
    for one in running:
        one.server.halt()
    for number in range(-1, rounds):
        for one in running:
            one.server.go_on()
            time.sleep(0.3)  # what it missed while it was halted is not its load
            duration = min(2.0, seconds) if number < 0 else seconds  # the first round warms up
            load = wrk.run(one.server.port, one.path, files[one.name], seconds=duration, connections=connections)
            one.server.halt()
            if load.failed:
                raise RuntimeError(f"{load.failed} of {load.requests} requests to {one.name} failed")
            if number >= 0:
                one.loads.append(load)
                _say(f"round {number + 1}: {one.name}: {load.rps:,.0f}/s, p50 {load.p50_ms} ms, p99 {load.p99_ms} ms")
    for one in running:
        one.server.go_on()


def figures(loads: Sequence[Load]) -> dict[str, Any]:
    """Medians over the rounds, and ranges."""
    names = ("rps", "p50_ms", "p99_ms")
    values = {name: [round(float(getattr(load, name)), 3) for load in loads] for name in names}
    return {
        **{name: median(found) for name, found in values.items()},
        **{f"{name}_range": [min(found), max(found)] for name, found in values.items()},
    }


def ratios(servers: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """`fds serve` on `/score` against the others; None where one was left out."""

    def ratio(name: str, figure: str = "rps") -> float | None:
        if FDS not in servers or name not in servers:
            return None
        return round(float(servers[FDS][figure] / servers[name][figure]), 4)

    return {
        "ratio_to_mlflow_signature": ratio(SIGNED),
        "ratio_to_mlflow_plain": ratio(PLAIN),
        "ratio_to_echo": ratio(ECHO),
        "ratio_to_bare": ratio(BARE),
        "p99_ratio_to_mlflow": ratio(SIGNED, "p99_ms"),
        "ratio_to_two_workers": ratio(TWO),
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {"cpus": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()}


def run(*, rounds: int, seconds: float, connections: int, others: Path, only: set[str]) -> dict[str, Any]:
    """Start all, measure, stop all; the result that is printed."""
    with tempfile.TemporaryDirectory(prefix="fds-serving-") as name, ExitStack() as stack:
        folder = Path(name)
        model = train(folder)
        ours: list[Replica] = []
        if only & {"fds", "two", "invocations"}:
            ours = stack.enter_context(canary_running(folder / "registry", model, two="two" in only))
        running = list(started(contestants(folder, model, ours, others, only), stack))
        x = rows(ROWS)
        expected = scores(booster(model), x)
        for one in running:
            agree(one, x, expected)
        measure(running, folder, rounds=rounds, seconds=seconds, connections=connections)
        servers = {one.name: figures(one.loads) for one in running}
        result = {**ratios(servers), "servers": servers, "rounds": rounds, "seconds": seconds}
        if ours:
            result |= _recorded(ours[0])
        return {**result, "connections": connections, "machine": machine()}


def _recorded(ours: Replica) -> dict[str, Any]:
    """How many outcomes the store has once the server has stopped, and whether the canary had its share."""
    import sqlite3

    counts = [line.rpartition(" ") for line in ours.server.get("/metrics")[1].decode().splitlines()]
    answered = sum(
        int(float(count))
        for series, _, count in counts
        if series.startswith("fds_responses_total{") and ('"/score"' in series or '"/invocations"' in series)
    )
    ours.server.stop(patience=120.0)
    with sqlite3.connect(ours.outcomes) as connection:
        total, canary = connection.execute(
            "SELECT COUNT(*), SUM(assigned = 'canary' AND served = 'canary') FROM fds_outcomes"
        ).fetchone()
    return {"answered": answered, "outcomes": total, "canary_share": round(canary / max(1, total), 4)}


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is loaded")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each time")
    parser.add_argument("--connections", type=int, default=16, help="kept alive, one request at a time each")
    parser.add_argument("--others", type=Path, default=OTHERS, help="folder of MLServer's and BentoML's environments")
    parser.add_argument("--only", default=",".join(NAMES), help="which servers, of these, with commas")
    options = parser.parse_args()
    end_in_order()
    if problem := wrk.missing():
        sys.exit(problem)
    only = set(options.only.split(","))
    if unknown := only - set(NAMES):
        parser.error(f"no server is called {', '.join(sorted(unknown))}")
    result = run(
        rounds=options.rounds,
        seconds=options.seconds,
        connections=options.connections,
        others=options.others,
        only=only,
    )
    table: list[list[object]] = [["server", "requests/s", "range", "p50 ms", "p99 ms", "range"]]
    for name, found in result["servers"].items():
        low, high = found["rps_range"]
        fast, slow = found["p99_ms_range"]
        table.append([name, round(found["rps"]), f"{low:,.0f} to {high:,.0f}", found["p50_ms"], found["p99_ms"]])
        table[-1].append(f"{fast:.3g} to {slow:.3g}")
    report(f"Serving, medians of {result['rounds']} rounds", table, result, options.json)
