"""What is stored about a transaction, for people and for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType

from fds_mlflow.cli.output.tables import table
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord

_OUTCOME = (
    *("time", "model", "version", "variant", "inputs_digest", "score", "threshold", "flagged", "explored"),
    *("degraded", "error"),
)
_REASON = ("version", "code", "feature", "value", "contribution", "text")
_LABEL = ("status", "known_at", "fraud_type", "loss_amount", "occurred_at", "reported_at", "resolved_at")


def told(outcome: OutcomeRecord, threshold: float | None) -> dict[str, Any]:
    """An outcome with its reasons as they were told, and the threshold that its version has today."""
    told = {**asdict(outcome), "threshold": threshold}
    told["reasons"] = None if outcome.reasons is None else json.loads(outcome.reasons)
    del told["vector"]  # it is in a table of its own
    return told


def transaction(name: str, outcomes: Sequence[Mapping[str, Any]], case: CaseRecord | None) -> RenderableType:
    """How a transaction was scored, the newest first, and its label."""
    named = [{**one, "variant": one["served"] or one["assigned"]} for one in outcomes]
    scored = [[one[column] for column in _OUTCOME] for one in named]
    known = [] if case is None else [[getattr(case, column) for column in _LABEL]]
    reasons = [{**reason, "version": one["version"]} for one in outcomes for reason in one["reasons"] or ()]
    why = [[reason.get(column) for column in _REASON] for reason in reasons]
    right = ("version", "value", "contribution")
    return Group(
        table(f"Transaction {name}", _OUTCOME, scored, right=("version", "score", "threshold")),
        *([table("Reasons that were told", _REASON, why, right=right)] if why else []),
        table("Its label" if known else "Its label is not known", _LABEL, known, right=("loss_amount",)),
    )
