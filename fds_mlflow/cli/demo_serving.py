"""The demo's last chapter: raw transactions over HTTP through a rollout, a decision with its reasons, and the skew."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from rich.console import Console

from fds_mlflow.cli.output import tables
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.data import readers
from fds_mlflow.data.single import Single
from fds_mlflow.data.transactions import Transactions
from fds_mlflow.errors import RefusedError, UnavailableError
from fds_mlflow.model import ManagedModel
from fds_mlflow.workflows import traffic
from fds_mlflow.workflows.skew import Skew, skew
from fds_mlflow.workflows.source import Source

REQUESTS = 400
"""The last so many transactions of the data are sent."""
WEIGHT = 25
"""Percent of the keys that the canary has."""
REASONS = 3
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Told:
    """What came of it.

    Attributes:
        rows: The transactions as they were sent.
        answers: Of the server, one a transaction, with reasons.
        skew: What was served beside the batch, version by version.
    """

    rows: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    skew: list[Skew]


def unable(transactions: Transactions) -> str | None:
    """Why raw transactions cannot be served here; None where they can."""
    if transactions.schema.time is None or transactions.schema.transaction_id is None:
        return "the data have no time or no id, so a transaction on its own has no past"
    if find_spec("lmdb") is None:
        return "the past is kept in LMDB: pip install 'fds-mlflow[online]'"
    return None


def serve(model: ManagedModel, source: Source, transactions: Transactions, folder: Path, outcomes: str) -> Told:
    """Fill a state with all but the last transactions, and send those to a server while a canary takes its share.

    Args:
        model: It has a champion that declares its features.
        source: Of the transactions, as a history that can be read again.
        transactions: As they were read.
        folder: Of the registry; the state and the server's cache go there.
        outcomes: Address of the outcome store.

    Raises:
        UnavailableError: The server does not start.
        DataError: It refuses a transaction.
    """
    order = np.argsort(transactions.frame["time"].to_numpy(), kind="stable")
    with _canary(model) as versions:
        _load(model, versions, transactions, order[:-REQUESTS], folder / "state")
        rows, labels = _raw(source, transactions, order[-REQUESTS:]), _labels(transactions, order)
        with _server(model, folder, outcomes, canary=len(versions) > 1) as client:
            answers = []
            for row, known in zip(rows, labels, strict=True):
                if known:
                    traffic.post(client, "/labels", known)
                answers.append(traffic.post(client, f"/score?reasons={REASONS}", row))
    return Told(rows, answers, skew(model, source=source))


@contextmanager
def _canary(model: ManagedModel) -> Iterator[list[int]]:
    """The champion's number, and that of a canary with a quarter of the traffic, which is stopped in the end."""
    aliases = model.session.look().model.aliases
    champion = aliases["champion"]
    *others, _harmful = sorted(view.version for view in model.session.versions() if view.version != champion)
    try:
        model.canary.start(others[-1], plan=Plan(steps=[WEIGHT, 100]), reason="raw transactions")
    except RefusedError:  # on your own data it may be worse
        yield [champion]
        return
    try:
        yield [champion, others[-1]]
    finally:
        model.canary.abort(reason="end of the demo")


def _load(model: ManagedModel, versions: list[int], transactions: Transactions, rows: Any, folder: Path) -> None:
    """What was known when the last of some transactions took place."""
    from fds_mlflow.features.state import bulk
    from fds_mlflow.features.state.layout import Layout
    from fds_mlflow.features.state.lmdb_store import LmdbStore
    from fds_mlflow.features.state.state import State

    frame = transactions.frame.iloc[rows]
    if "label_known_at" in frame:
        known = frame["label_known_at"]
        frame = frame.assign(label_known_at=known.where(known <= frame["time"].iloc[-1]))
    declared = [model.declared(version) for version in versions]
    specs = [one.spec for one in declared if one is not None]
    with closing(State(LmdbStore(folder), Layout.of(specs))) as state:
        bulk.load(state, frame)


def _raw(source: Source, transactions: Transactions, rows: Any) -> list[dict[str, Any]]:
    """Some transactions as the source has them, in the columns that a request has."""
    columns = Single(transactions.schema).columns
    tables = readers.chunks(source.data, transactions.schema, table=source.table, query=source.query)
    found = pa.concat_tables([table.select(columns) for table in tables]).take(pa.array(rows)).to_pylist()
    return [{name: _said(value) for name, value in row.items()} for row in found]


def _labels(transactions: Transactions, order: Any) -> list[list[dict[str, Any]]]:
    """Before each of the last transactions, the labels that have become known since the one before."""
    frame = transactions.frame
    if "label_known_at" not in frame:
        return [[] for _ in range(REQUESTS)]
    times = frame["time"].iloc[order[-REQUESTS - 1 :]].to_numpy()
    known = frame[(frame["label_known_at"] > times[0]) & (frame["label_known_at"] <= times[-1])]
    known = known.sort_values("label_known_at", kind="stable")
    said = [
        traffic.label(one.transaction_id, fraud=bool(one.label), known_at=one.label_known_at.tz_localize("UTC"))
        for one in known.itertuples()
    ]
    ends = np.searchsorted(known["label_known_at"].to_numpy(), times, side="right")
    return [said[start:end] for start, end in pairwise(ends)]


def _said(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


@contextmanager
def _server(model: ManagedModel, folder: Path, outcomes: str, *, canary: bool) -> Iterator[httpx.Client]:
    """A client of `fds serve`, which is ended with all that it has recorded."""
    uri = str(model.session.tracking_uri)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fds_mlflow", "--tracking-uri", uri, "--registry-uri", uri, "--outcomes", outcomes]
    command += ["serve", model.name, "--port", str(port), "--cache", str(folder / "cache")]
    command += ["--state", str(folder / "state"), "--vector-sample", "100"]
    with (folder / "serve.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0, trust_env=False) as client:
                _await(client, process, canary=canary, log=folder / "serve.log")
                yield client
        finally:
            process.terminate()


def _await(client: httpx.Client, process: subprocess.Popen[bytes], *, canary: bool, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(httpx.TransportError):
            answer = client.get("/health")
            if answer.status_code == 200 and (answer.json()["canary_loaded"] or not canary):
                return
        time.sleep(0.1)
    raise UnavailableError("the demo's server did not start", fix=f"see {log}")


def show(told: Told, console: Console) -> None:
    """Who answered, one decision with its reasons, and what the batch says of the features that were served."""
    answered = Counter((answer["variant"], answer["version"]) for answer in told.answers)
    rows = [
        (variant, version, number, sum(one["flagged"] for one in told.answers if one["version"] == version))
        for (variant, version), number in sorted(answered.items(), reverse=True)
    ]
    columns = ("variant", "version", "transactions", "flagged")
    console.print(tables.table("Raw transactions over HTTP", columns, rows, right=columns[1:]))
    asked, answer = max(zip(told.rows, told.answers, strict=True), key=lambda pair: pair[1]["score"])
    console.print(json.dumps(asked), markup=False, soft_wrap=True)
    title = f"is answered: score {answer['score']:.4f}, risk {answer['risk']:.0f} of 100: {answer['band']}, because of"
    reasons = [
        (one["code"], one["text"] or one["feature"], one["value"], one["contribution"])
        for one in answer["reasons"] or ()
    ]
    columns = ("code", "reason", "value", "contribution")
    console.print(tables.table(title, columns, reasons, right=columns[2:]))
    beside = [
        (one.version, one.history.compared, len(one.history.features), one.history.mismatched)
        for one in told.skew
        if one.history is not None
    ]
    columns = ("version", "transactions", "features", "that differ in any")
    console.print(tables.table("The features that were served, beside the batch's", columns, beside, right=columns))
