"""A process that operates on one model without end and writes down what it was told: the victim of `kill -9`."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.errors import ConflictError, FdsError, OutcomeUnknownError, RefusedError, UnavailableError
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import Write
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime import mlflow_client
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id
from tests.support.registry_world import HookedStore, request

LIFETIME = 10.0
"""Seconds an intent lives here."""

WRITE_LIMIT = 4
"""Seconds one write may take here: less than half of an intent's life, and far more than was ever seen."""

REQUESTS: list[tuple[Kind, int | None]] = [
    (Kind.PROMOTE, 1),
    (Kind.PROMOTE, 2),
    (Kind.START, 3),
    (Kind.START, 4),
    (Kind.ADVANCE, None),
    (Kind.COMPLETE, None),
    (Kind.ABORT, None),
    (Kind.EMERGENCY, None),
    (Kind.ROLLBACK, 1),
    (Kind.STAGE, 4),
    (Kind.RETIRE, 4),
]

TOLD: dict[type[FdsError], str] = {
    RefusedError: "refused",
    ConflictError: "conflict",
    OutcomeUnknownError: "unknown",
    UnavailableError: "unavailable",
}


@dataclass(frozen=True)
class Told:
    """What a process was told about one request.

    Attributes:
        outcome: done, already, or a word of `TOLD`; another error's own name.
        ids: Every ULID it made for that wish.
        operation: The one it was told is done.
        what: What an error said.
    """

    outcome: str
    ids: tuple[str, ...] = ()
    operation: str | None = None
    what: str = ""


def store_at(uri: str) -> MlflowStore:
    """A registry whose requests give up in time for the short lives of intents here."""
    mlflow_client._CALL_SETTINGS["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(WRITE_LIMIT)
    store = MlflowStore(registry_uri=uri, tracking_uri=uri)
    store.write_limit = float(WRITE_LIMIT)
    return store


def operate(uri: str, model: str, name: str, journal: Path, pipe: int) -> None:
    """Run random operations for ever; a byte through the pipe before each write, a line for each answer."""
    logging.disable(logging.CRITICAL)
    random, clock, ids = Random(name), SystemClock(), list[str]()

    def tell(_number: int, _write: Write) -> None:
        os.write(pipe, b".")

    def remembered_id() -> str:
        ids.append(new_id())
        return ids[-1]

    process = Transactions(HookedStore(store_at(uri), tell), clock, remembered_id, random, LIFETIME)
    out = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        kind, version = random.choice(REQUESTS)
        ids.clear()
        try:
            done = process.run(
                model, request(kind, version, clock), actor=name, reason="chance", take_over=kind is Kind.EMERGENCY
            )
            operation = done.event.operation if done.event else None
            told = Told("done" if operation else "already", tuple(ids), operation)
        except FdsError as error:
            told = Told(TOLD.get(type(error), type(error).__name__), tuple(ids), None, error.what)
        os.write(out, f"{json.dumps(told.__dict__)}\n".encode())


def read_journal(journal: Path) -> list[Told]:
    """What a process was told; a line that was cut off by the kill was not yet told to anybody."""
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return [Told(**json.loads(line)) for line in lines]
