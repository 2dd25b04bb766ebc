"""A process that operates on one model without end and writes down what it was told: the victim of `kill -9`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from random import Random

from fds_mlflow.clock import SystemClock
from fds_mlflow.core.events import Kind
from fds_mlflow.errors import ConflictError, FdsError, OutcomeUnknownError, RefusedError
from fds_mlflow.lifecycle import new_id
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import Write
from fds_mlflow.registry.transaction import Transactions
from tests.integration.faults.registry_world import HookedStore, request

MODEL = "fraud"
LIFETIME = 4.0
"""Seconds an intent lives here. A write on this database takes milliseconds, far below half of it."""

WISHES: list[tuple[Kind, int | None]] = [
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


def operate(uri: str, name: str, seed: int, journal: Path, pipe: int) -> None:
    """Run random operations for ever; a byte through the pipe before each write, a line for each success."""
    logging.disable(logging.CRITICAL)
    random, clock = Random(seed), SystemClock()

    def tell(_number: int, _write: Write) -> None:
        os.write(pipe, b".")

    store = HookedStore(MlflowStore(registry_uri=uri, tracking_uri=uri), tell)
    process = Transactions(store, clock, new_id, Random(seed), LIFETIME)
    out = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        kind, version = random.choice(WISHES)
        try:
            done = process.run(
                MODEL, request(kind, version, clock), actor=name, reason="", take_over=kind is Kind.EMERGENCY
            )
            line = "" if done.event is None else f"done {done.event.operation}\n"
        except (RefusedError, ConflictError):
            line = ""  # nothing was changed
        except OutcomeUnknownError:
            line = "unknown\n"
        except FdsError as error:
            line = f"error {error.what}\n"
        if line:
            os.write(out, line.encode())
