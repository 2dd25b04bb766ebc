"""How often each operation asks an MLflow server, what that takes where users sign in, and how fast a cold shell is.

    python -m benchmarks.requests --json             # four minutes
    python -m benchmarks.requests --json --no-auth   # the counts and the cold shell alone

**Requests** are counted on the wire, by a proxy before a real server, with nothing to settle or to pack: up to and with
the write that decides, and all of them. What loading and comparing versions asks for beforehand is counted apart.
**Seconds** are those of whole operations on a server with `--app-name basic-auth`, which spends half a second of CPU on
each request. **Cold** is `fds rollback emergency` from its start until its alias has moved, and `fds --help`, each
beside `python -c "import mlflow"`, in turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.interleavings.scenarios import request_of
from benchmarks.report import report
from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.registry import tags, writes
from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.store import DeleteAlias, RegistryStore, SetAlias, SetModelTag, SetVersionTag, Write
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id
from tests.support.fault_proxy import Call, FaultProxy
from tests.support.registry_world import HookedStore, register
from tests.support.servers import Server, basic_auth, running

ROUNDS = 5


@dataclass(frozen=True)
class Story:
    """An operation, and those that come before it.

    Attributes:
        before: Kind and version of each.
        kind: What is counted.
        version: Which it puts forward, if it does.
        hangs: What another process was doing when it hung, with its champion moved.
    """

    before: Sequence[tuple[Kind, int | None]]
    kind: Kind
    version: int | None = None
    hangs: Kind | None = None


_TWO = ((Kind.PROMOTE, 1), (Kind.PROMOTE, 2))
_ROLLOUT = (*_TWO, (Kind.START, 3))

STORIES: Mapping[str, Story] = {
    "stage": Story(_TWO, Kind.STAGE, 3),
    "retire": Story((*_TWO, (Kind.STAGE, 3)), Kind.RETIRE, 3),
    "promote": Story(_TWO, Kind.PROMOTE, 3),
    "start": Story(_TWO, Kind.START, 3),
    "advance": Story(_ROLLOUT, Kind.ADVANCE),
    "complete": Story(_ROLLOUT, Kind.COMPLETE),
    "abort": Story(_ROLLOUT, Kind.ABORT),
    "rollback": Story(_TWO, Kind.ROLLBACK, 1),
    "rollback in a rollout": Story(_ROLLOUT, Kind.ROLLBACK, 1),
    "emergency": Story(_TWO, Kind.EMERGENCY),
    "emergency in a rollout": Story(_ROLLOUT, Kind.EMERGENCY),
    "emergency past a completion": Story(_ROLLOUT, Kind.EMERGENCY, hangs=Kind.COMPLETE),
}


class _Hung(BaseException):
    """The other process hangs here for good."""


@dataclass(frozen=True)
class Counted:
    """What one operation asked for.

    Attributes:
        before_move: Requests up to and with the write that decides.
        all: All requests.
        seconds: What it took.
    """

    before_move: int
    all: int
    seconds: float


def counted(story: Story, proxy: FaultProxy, truth: str, *, lifetime: float | None = None) -> Counted:
    """Carry a story out on a model of its own, and count its operation's requests.

    Args:
        story: The operation.
        proxy: The way to the server.
        truth: The server's own address.
        lifetime: Seconds an intent lives; None for the package's own choice.
    """
    model = f"fraud {new_id()}"
    register(truth, model)
    straight = connect(truth, truth)
    for kind, version in story.before:
        _operations(straight, lifetime).run(model, request_of(kind, version), actor="ann", reason="set up")
    if story.hangs is not None:
        _hang(straight, model, story.hangs)
    operations = _operations(connect(proxy.url, proxy.url), lifetime)
    proxy.calls.clear()
    began = time.perf_counter()
    done = operations.run(
        model,
        request_of(story.kind, story.version),
        actor="bob",
        reason="counted",
        take_over=story.kind is Kind.EMERGENCY,
    )
    seconds = time.perf_counter() - began
    if done.event is None:
        raise AssertionError(f"nothing was done: {done.message}")
    calls = list(proxy.calls)
    return Counted(_decisive(calls, done.event), len(calls), seconds)


def _operations(store: RegistryStore, lifetime: float | None) -> Transactions:
    return Transactions(store, SystemClock(), new_id, time_to_live=lifetime)


def _hang(store: RegistryStore, model: str, kind: Kind) -> None:
    """Another process moves the champion, and hangs."""
    moved = False

    def hang(_number: int, write: Write) -> None:
        nonlocal moved
        if moved:
            raise _Hung
        moved = isinstance(write, SetAlias) and write.alias == tags.CHAMPION

    try:
        _operations(HookedStore(store, hang), None).run(model, request_of(kind), actor="zoe", reason="hangs")
    except _Hung:
        return
    raise AssertionError("it did not hang")


def _decisive(calls: Sequence[Call], event: Event) -> int:
    """The number, from 1, of the request that decided."""
    point = writes.point(event) or SetModelTag(*tags.event_tag(event))
    match point:
        case SetAlias(alias, version):
            wanted = {"alias": alias, "version": str(version)}
        case DeleteAlias(alias):
            wanted = {"alias": alias}
        case SetVersionTag(_, name, _) | SetModelTag(name, _):
            wanted = {"key": name}
        case _:
            raise TypeError(f"{point} decides nothing")
    return next(n for n, call in enumerate(calls, 1) if call.writes and call.body.items() >= wanted.items())


@contextmanager
def served(folder: Path, *, auth: bool) -> Iterator[Server]:
    """An MLflow server; with `auth`, this process is signed in as its administrator."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    if not auth:
        with running(Server(uri, folder)) as server:
            yield server
        return
    with basic_auth(uri, folder) as (server, login):
        before = {name: os.environ.get(name) for name in login}
        os.environ.update(login)
        try:
            yield server
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def counts(*, auth: bool) -> dict[str, Counted]:
    """Every story, on a server of its own kind."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fds-requests-")))
        server = stack.enter_context(served(folder, auth=auth))
        proxy = FaultProxy(server.port)
        stack.callback(proxy.down)
        return {name: counted(story, proxy, server.url) for name, story in STORIES.items()}


# --- a cold shell ----------------------------------------------------------------------------------------------


def _timed(command: Sequence[str], until: str | None = None, **variables: str) -> float:
    """Seconds from the start of a command to its end, or to a line with these words on standard error."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables}
    )
    assert process.stderr is not None
    said, found = [], None
    for line in process.stderr:
        said.append(line)
        if until is not None and found is None and until in line:
            found = time.perf_counter() - began
    process.wait()
    took = time.perf_counter() - began
    if until is None and process.returncode:
        raise AssertionError("".join(said))
    if until is not None and found is None:
        raise AssertionError(f"{command} never said {until!r}: {''.join(said)}")
    return took if found is None else found


def cold(rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds from a cold shell, medians of runs in turns: an emergency's move, the help, and importing MLflow."""
    fds = str(Path(sys.executable).with_name("fds"))
    taken: dict[str, list[float]] = {"emergency": [], "emergency_on_sqlite": [], "help": [], "list": [], "mlflow": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fds-cold-")))
        server = stack.enter_context(served(folder, auth=False))
        emergency = [fds, "rollback", "emergency", "fraud", "--reason", "measured", "--no-validate"]
        register(server.url, "fraud")
        for number in range(rounds):
            for name, uri in (("emergency", server.url), ("emergency_on_sqlite", server.backend)):
                store = connect(server.url, server.url)
                for version in (1, 2):
                    _operations(store, None).run(
                        "fraud", request_of(Kind.PROMOTE, version), actor="ann", reason="again"
                    )
                taken[name].append(_timed(emergency, "from now on", MLFLOW_TRACKING_URI=uri))
            taken["mlflow"].append(_timed([sys.executable, "-c", "import mlflow"]))
            taken["help"].append(_timed([fds, "--help"]))
            taken["list"].append(_timed([fds, "list"], MLFLOW_TRACKING_URI=server.url))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return {name: median(seconds) for name, seconds in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-auth", action="store_true", help="Without the server where users sign in.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    plain = counts(auth=False)
    signed_in = {} if given.no_auth else counts(auth=True)
    seconds = cold(given.rounds)
    rows: list[list[object]] = [["operation", "until decided", "all", "seconds", "with basic-auth"]]
    operations: dict[str, Any] = {}
    for name, one in plain.items():
        slow = signed_in[name].seconds if signed_in else None
        rows.append([name, one.before_move, one.all, one.seconds, slow])
        operations[name] = {"before_move": one.before_move, "all": one.all, "seconds_basic_auth": slow}
    ratio: Callable[[str], float] = lambda name: round(seconds[name] / seconds["mlflow"], 3)  # noqa: E731
    shell = {
        "emergency_to_mlflow_import": ratio("emergency"),
        "emergency_on_sqlite_to_mlflow_import": ratio("emergency_on_sqlite"),
        "help_to_mlflow_import": ratio("help"),
        "list_to_mlflow_import": ratio("list"),
        "mlflow_import_seconds": round(seconds["mlflow"], 3),
    }
    rows += [[name.replace("_", " "), "", "", value, ""] for name, value in shell.items()]
    report("Requests to an MLflow server", rows, {"requests": {"operations": operations, "cold": shell}}, given.json)


if __name__ == "__main__":
    main()
