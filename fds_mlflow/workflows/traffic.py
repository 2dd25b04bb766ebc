"""Simulated transactions for a server that runs, and soon after them their labels: traffic for who has none yet."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx
import pandas as pd

from fds_mlflow.data.schema import Schema
from fds_mlflow.data.single import Single
from fds_mlflow.errors import DataError, UnavailableError
from fds_mlflow.outcomes.records import CaseStatus
from fds_mlflow.runtime.clock import Clock
from fds_mlflow.runtime.identity import new_id
from fds_mlflow.simulator import simulate

LABELS_SECONDS = 1.0
"""Labels that are due wait so long for others, and go together."""


@dataclass
class Traffic:
    """What was sent so far.

    Attributes:
        answered: Transactions by the variant that answered.
        frauds: Of them, frauds.
        flagged: Of them, those that were flagged.
        labels: Labels that were sent.
    """

    answered: Counter[str] = field(default_factory=Counter)
    frauds: int = 0
    flagged: int = 0
    labels: int = 0


def send(
    client: httpx.Client,
    frame: pd.DataFrame,
    traffic: Traffic,
    *,
    rate: float,
    label_delay: timedelta,
    clock: Clock,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Send transactions one after the other, and the label of each so long after it; all labels are sent in the end.

    Args:
        client: Of the server, at the address that `/score` and `/labels` follow.
        frame: Of `simulated`.
        traffic: What was sent; is added to.
        rate: Transactions per second, at most.
        label_delay: How long after a transaction its label is sent.
        clock: Time.
        progress: Is told the share that was sent, from 0 to 1.

    Raises:
        UnavailableError: The server does not answer.
        DataError: It refuses a transaction, or labels.
    """
    columns = [*Single(Schema.load("simulator")).columns]
    texts = frame[columns].assign(time=frame["time"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")).astype(object)
    rows = texts.where(texts.notna(), None).to_dict("records")
    waiting: deque[tuple[float, str, bool]] = deque()
    began = clock.monotonic()
    for number, (row, fraud) in enumerate(zip(rows, frame["is_fraud"] == 1, strict=True)):
        clock.sleep(max(0.0, began + number / rate - clock.monotonic()))
        answer = post(client, "/score", row)
        traffic.answered[answer["variant"]] += 1
        traffic.frauds += int(fraud)
        traffic.flagged += answer["flagged"]
        waiting.append((clock.monotonic() + label_delay.total_seconds(), row["transaction_id"], fraud))
        if clock.monotonic() >= waiting[0][0] + LABELS_SECONDS:
            _label(client, waiting, traffic, clock)
        if progress is not None:
            progress((number + 1) / len(rows))
    while waiting:
        clock.sleep(max(0.0, min(waiting[0][0] + LABELS_SECONDS, waiting[-1][0]) - clock.monotonic()))
        _label(client, waiting, traffic, clock)


def simulated(rows: int, *, days: float, fraud_rate: float, seed: int, now: datetime) -> pd.DataFrame:
    """Transactions of the simulated shop up to now, under ids that no others have.

    Raises:
        ConfigError: An option is outside its range.
    """
    frame = simulate.transactions(rows, days=days, fraud_rate=fraud_rate, seed=seed, start=now - timedelta(days=days))
    return frame.assign(transaction_id=f"{new_id()}-" + frame["transaction_id"])


def _label(client: httpx.Client, waiting: deque[tuple[float, str, bool]], traffic: Traffic, clock: Clock) -> None:
    """Send the labels that are due."""
    now, due = clock.monotonic(), []
    while waiting and waiting[0][0] <= now:
        due.append(waiting.popleft())
    post(client, "/labels", [label(identity, fraud=fraud, known_at=clock.now()) for _, identity, fraud in due])
    traffic.labels += len(due)


def label(transaction_id: str, *, fraud: bool, known_at: datetime) -> dict[str, Any]:
    """What turned out about a transaction, as `/labels` takes it."""
    status = CaseStatus.CONFIRMED if fraud else CaseStatus.GENUINE
    return {"transaction_id": transaction_id, "status": status, "known_at": known_at.isoformat()}


def post(client: httpx.Client, path: str, content: Any) -> Any:
    """Send JSON to a server; its answer.

    Raises:
        UnavailableError: It does not answer.
        DataError: It answers anything but 200.
    """
    try:
        answer = client.post(path, json=content)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(
            f"{client.base_url} does not answer: {error}", fix="start it: `fds serve MODEL --state state`"
        ) from error
    if answer.status_code != 200:
        raise DataError(f"the server answers {answer.status_code}: {answer.text}", fix="see its log, and /health")
    return answer.json()
