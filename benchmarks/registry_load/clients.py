"""Clients of one registered model: each a process that sends requests at random and writes down what it was told."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from random import Random
from threading import Barrier
from typing import Any

from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.weight import FULL
from fds_mlflow.errors import ConflictError, FdsError, OutcomeUnknownError, RefusedError, UnavailableError
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import Write
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id

MODEL = "fraud"
VERSIONS = 10
PLAN = Plan([10, 25, 50, 100])

SHARES: dict[Kind, float] = {
    Kind.STAGE: 1.0,
    Kind.PROMOTE: 1.5,
    Kind.START: 2.5,
    Kind.ADVANCE: 2.0,
    Kind.COMPLETE: 1.0,
    Kind.ABORT: 1.0,
    Kind.ROLLBACK: 1.0,
    Kind.EMERGENCY: 0.5,
    Kind.RETIRE: 1.0,
}
"""How often each kind is requested; starts more often, since three other kinds need a rollout."""

DONE, ALREADY, REFUSED, CONFLICT, UNKNOWN, UNAVAILABLE = (
    "done",
    "already",
    "refused",
    "conflict",
    "unknown",
    "unavailable",
)
_OUTCOMES: dict[type[FdsError], str] = {
    RefusedError: REFUSED,
    ConflictError: CONFLICT,
    OutcomeUnknownError: UNKNOWN,
    UnavailableError: UNAVAILABLE,
}


@dataclass(frozen=True)
class Attempt:
    """One request of one client, and what it was told.

    Attributes:
        client: Who.
        request: What was asked.
        take_over: Whether it went past live operations.
        ids: Every ULID it made, of its operation, its tries and its housekeeping.
        operation: ULID of the operation that it was told is done.
        outcome: What it was told.
        start: When it asked, seconds of the machine's monotonic clock, which all processes share.
        end: When it was told.
        pauses: How often it waited: for others, or to repeat a call that failed.
        moved: Seconds until the champion alias had moved; None where it did not.
        message: What an error said.
    """

    client: int
    request: Request
    take_over: bool
    ids: tuple[str, ...]
    operation: str | None
    outcome: str
    start: float
    end: float
    pauses: int = 0
    moved: float | None = None
    message: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


class TimedStore(MlflowStore):
    """MLflow's registry, with the time that its longest write took."""

    longest_write = 0.0

    def write(self, model: str, write: Write) -> None:
        """Carry out one write."""
        began = time.monotonic()
        try:
            super().write(model, write)
        finally:
            self.longest_write = max(self.longest_write, time.monotonic() - began)


@dataclass
class CountingClock(SystemClock):
    """The machine's clock, counting the pauses."""

    pauses: int = 0

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.pauses += 1
        super().sleep(seconds)


@dataclass
class Client:
    """One process's access to the model.

    Args:
        uri: Of the registry.
        number: Its name.
        time_to_live: Seconds an intent lives; None for what the registry's longest write asks for.
        model: Registered model.
        longest_pause: Seconds between two looks at what one waits for, at most.
    """

    uri: str
    number: int = 0
    time_to_live: float | None = None
    model: str = MODEL
    longest_pause: float = Transactions.longest_pause
    ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = TimedStore(self.uri, self.uri)
        self.clock = CountingClock()
        self.transactions = Transactions(
            self.store,
            self.clock,
            self._new_id,
            time_to_live=self.time_to_live,
            longest_pause=self.longest_pause,
        )

    def _new_id(self) -> str:
        self.ids.append(new_id())
        return self.ids[-1]

    def ask(self, request: Request, *, take_over: bool = False, patience: float | None = None) -> Attempt:
        """Ask for something, and write down what was told."""
        self.ids.clear()
        self.clock.pauses = 0
        moved: list[float] = []
        operation, message = None, ""
        start = time.monotonic()
        try:
            result = self.transactions.run(
                self.model,
                request,
                actor=f"client {self.number}",
                reason="registry_load",
                patience=patience,
                take_over=take_over,
                on_moved=lambda _: moved.append(time.monotonic()),
            )
            outcome = DONE if result.event else ALREADY
            operation = result.event.operation if result.event else None
        except tuple(_OUTCOMES) as error:
            outcome, message = _OUTCOMES[type(error)], error.what
        return Attempt(
            client=self.number,
            request=request,
            take_over=take_over,
            ids=tuple(self.ids),
            operation=operation,
            outcome=outcome,
            start=start,
            end=time.monotonic(),
            pauses=self.clock.pauses,
            moved=moved[0] - start if moved else None,
            message=message,
        )


def random_request(random: Random, kind: Kind | None = None) -> Request:
    """A random request; None for a random kind."""
    if kind is None:
        kind = random.choices(list(SHARES), list(SHARES.values()))[0]
    request = Request(kind)
    if kind in (Kind.STAGE, Kind.RETIRE, Kind.PROMOTE, Kind.ROLLBACK, Kind.START):
        request = replace(request, version=random.randint(1, VERSIONS))
    if kind in (Kind.START, Kind.ADVANCE):
        request = replace(request, now=SystemClock().now())
    if kind is Kind.START:
        request = replace(request, plan=PLAN, rollout_id=new_id())
    if kind is Kind.ADVANCE and random.random() < 0.3:
        request = replace(request, weight=random.randrange(0, FULL + 1, 500), force=True)
    if kind is Kind.COMPLETE:
        request = replace(request, force=random.random() < 0.7)
    return request


def prepare(uri: str, model: str = MODEL, versions: int = VERSIONS) -> None:
    """Register a model; its versions have no artifacts, because nothing loads them here."""
    from mlflow import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # a line for every version, and for every table
    client = MlflowClient(uri, uri)
    client.create_registered_model(model)
    for number in range(1, versions + 1):
        client.create_model_version(model, f"s3://nowhere/{model}/{number}", tags={"fds.threshold": "0.5"})


@dataclass(frozen=True)
class Job:
    """What one client has to do.

    Attributes:
        number: Its name and the seed of its requests.
        operations: How many.
        take_overs: Which of them are emergencies that go past live operations.
        until: When it stops, seconds of the machine's monotonic clock.
    """

    number: int
    operations: int
    take_overs: frozenset[int]
    until: float


@dataclass(frozen=True)
class Crowd:
    """How many clients request how much, all at once.

    Attributes:
        operations: How many requests in all.
        processes: How many processes.
        take_overs: How many of the requests are emergencies that go past live operations.
        time_to_live: Seconds an intent lives.
        longest_pause: Seconds that one who waits pauses at most before looking again.
        seconds: After this time nobody asks any more, however many requests are left.
    """

    operations: int
    processes: int
    take_overs: int
    time_to_live: float | None
    longest_pause: float = Transactions.longest_pause
    seconds: float = float("inf")


@dataclass(frozen=True)
class Worked:
    """What one client was told, and the longest of its writes in seconds."""

    attempts: tuple[Attempt, ...]
    longest_write: float


_client: Client | None = None


def together(uri: str, crowd: Crowd, seed: int) -> list[Worked]:
    """Let processes send requests at random, all at once.

    Args:
        uri: Of the registry; the model is there.
        crowd: How many, and how much.
        seed: Of the requests.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "mlflow.store.model_registry.sqlalchemy_store", __name__])
    processes = crowd.processes
    barrier = context.Barrier(processes)
    shares = [crowd.operations // processes + (n < crowd.operations % processes) for n in range(processes)]
    places = [(n, i) for n, share in enumerate(shares) for i in range(share)]
    chosen = Random(seed).sample(places, min(crowd.take_overs, len(places)))
    until = time.monotonic() + crowd.seconds
    jobs = [
        Job(seed * 1_000 + n, share, frozenset(i for client, i in chosen if client == n), until)
        for n, share in enumerate(shares)
    ]
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_open, initargs=(uri, crowd, barrier)) as pool:
        return list(pool.map(_work, jobs, chunksize=1))


def _open(uri: str, crowd: Crowd, barrier: Barrier) -> None:
    global _client  # noqa: PLW0603 - a process of the pool has one registry
    logging.getLogger("fds_mlflow").setLevel(logging.CRITICAL)  # overtaken operations warn by design
    _client = Client(uri, time_to_live=crowd.time_to_live, longest_pause=crowd.longest_pause)
    _client.transactions.look(MODEL)  # the first call opens the connection
    barrier.wait(120)


def _work(job: Job) -> Worked:
    client = _client
    if client is None:
        raise RuntimeError("the process was not opened")
    client.number = job.number
    random = Random(job.number)
    attempts = []
    for place in range(job.operations):
        if time.monotonic() >= job.until:
            break
        over = place in job.take_overs
        attempts.append(client.ask(random_request(random, Kind.EMERGENCY if over else None), take_over=over))
    return Worked(tuple(attempts), client.store.longest_write)


def all_attempts(worked: Sequence[Worked]) -> list[Attempt]:
    """Everybody's, in order of the time they were asked."""
    return sorted((attempt for one in worked for attempt in one.attempts), key=lambda attempt: attempt.start)


def say(attempt: Attempt) -> dict[str, Any]:
    """An attempt as plain values, for evidence."""
    request = attempt.request
    return {
        "client": attempt.client,
        "kind": request.kind.value + (" (take-over)" if attempt.take_over else ""),
        "version": request.version,
        "weight": request.weight,
        "outcome": attempt.outcome,
        "operation": attempt.operation,
        "start": round(attempt.start, 3),
        "end": round(attempt.end, 3),
        "message": attempt.message,
    }
