"""What is stored about a transaction, for people and for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType

from fds_mlflow.cli.output.tables import table
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord

_OUTCOME = ("time", "model", "version", "variant", "score", "threshold", "flagged", "explored", "error")
_LABEL = ("status", "known_at", "fraud_type", "loss_amount", "occurred_at", "reported_at", "resolved_at")


def told(outcome: OutcomeRecord, threshold: float | None) -> dict[str, Any]:
    """An outcome with the threshold that its version has today."""
    return {**asdict(outcome), "threshold": threshold}


def transaction(name: str, outcomes: Sequence[Mapping[str, Any]], case: CaseRecord | None) -> RenderableType:
    """How a transaction was scored, the newest first, and its label."""
    named = [{**one, "variant": one["served"] or one["assigned"]} for one in outcomes]
    scored = [[one[column] for column in _OUTCOME] for one in named]
    known = [] if case is None else [[getattr(case, column) for column in _LABEL]]
    return Group(
        table(f"Transaction {name}", _OUTCOME, scored, right=("version", "score", "threshold")),
        table("Its label" if known else "Its label is not known", _LABEL, known, right=("loss_amount",)),
    )
