"""Golden cases: JSON in, frozen values out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, Rollout, RolloutStatus
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.weight import to_basis_points

GOLDEN = Path(__file__).parents[1] / "golden" / "cases"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def cases(folder: str) -> list[str]:
    """Names of the golden cases of a kind: the file stems."""
    return sorted(path.stem for path in (GOLDEN / folder).glob("*.json"))


def case(folder: str, name: str) -> Any:
    """One golden case."""
    return json.loads((GOLDEN / folder / f"{name}.json").read_text(encoding="utf-8"))


def rollout(values: Mapping[str, Any]) -> Rollout:
    """A rollout; the percentage stands for the weight, and everything but champion and canary has a default."""
    return Rollout(
        id=values.get("id", "R"),
        champion=values["champion"],
        canary=values["canary"],
        plan=Plan.from_dict(values.get("plan", {})),
        weight=to_basis_points(values.get("percent", 10)),
        step=values.get("step", 0),
        since=NOON,
        status=RolloutStatus(values.get("status", "active")),
    )


def events(rows: list[Mapping[str, Any]]) -> list[Event]:
    """Events, numbered as they stand."""
    return [
        Event(
            sequence=number,
            operation=f"{number:026d}",
            kind=Kind(row["kind"]),
            actor="ann",
            reason="",
            time=NOON,
            from_version=row.get("from"),
            to_version=row.get("to"),
            rollout=rollout(row["rollout"]) if "rollout" in row else None,
            outcome=Ending(row.get("outcome", "done")),
        )
        for number, row in enumerate(rows, start=1)
    ]
