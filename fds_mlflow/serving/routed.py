"""What scoring the rows of a router gave, and the outcomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import RoutingTable, Variant
from fds_mlflow.outcomes.records import OutcomeRecord

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.scoring.requests.names import RequestNames


@dataclass(frozen=True)
class Part:
    """What scoring one variant's rows gave.

    Attributes:
        rows: Places of the rows.
        assigned: The variant that their keys belong to.
        served: The one that answered.
        version: The version that did.
        scores: Of each row.
        flagged: Which of them reach its threshold.
        milliseconds: What was waited for the versions that were asked, without their loading.
        error: What went wrong with the canary; None when nothing did.
    """

    rows: npt.NDArray[np.intp]
    assigned: Variant
    served: Variant
    version: int
    scores: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_]
    milliseconds: float
    error: str | None


@dataclass(frozen=True)
class Beside:
    """What is recorded of rows, beside what their versions said.

    Attributes:
        propensities: The chance of each to be let pass if it is flagged; None where nothing is explored.
        explored: Which of them are.
        segments: By the plan of the rollout; None where it names none.
    """

    propensities: Sequence[float | None]
    explored: npt.NDArray[np.bool_]
    segments: Sequence[str | None]

    @classmethod
    def of(
        cls,
        table: RoutingTable,
        explore: Exploration | None,
        keys: Sequence[str],
        column: Callable[[str], Sequence[Any]],
        parts: Sequence[Part],
        *,
        stopped: bool = False,
    ) -> Self:
        """Tell it.

        Args:
            table: By which the rows were routed.
            explore: Which of those that are flagged are let pass; None for none.
            keys: Of each row.
            column: The values that the rows have in a column, by its name.
            parts: What scoring them gave.
            stopped: Nothing is let pass just now.
        """
        explored = np.zeros(len(keys), np.bool_)
        propensities: list[float | None] = [None] * len(keys)
        if explore is not None:
            amounts = [None] * len(keys) if explore.cap is None else column(explore.column)
            propensities = [0.0 if stopped else explore.propensity(amount) for amount in amounts]
            for row in (row for part in parts for row in part.rows[part.flagged]):
                explored[row] = explore.explores(keys[row], propensities[row] or 0.0)
        by = None if table.rollout is None else table.rollout.plan.segments
        segments = [None] * len(keys) if by is None else [by.of(value) for value in column(by.column)]
        return cls(propensities, explored, segments)

    def told(self, answer: pd.DataFrame) -> pd.DataFrame:
        """Answers, with what is let pass."""
        return answer.assign(flagged=answer["flagged"].to_numpy() & ~self.explored, explored=self.explored)


def outcomes(
    model: str,
    table: RoutingTable,
    names: Sequence[RequestNames],
    parts: Sequence[Part],
    beside: Beside,
    *,
    now: datetime,
) -> list[OutcomeRecord]:
    """One outcome a row; what was waited for a version's call was waited for by each of its rows.

    Args:
        model: Registered model.
        table: By which the rows were routed.
        names: Of each row.
        parts: What scoring them gave.
        beside: What is recorded beside it.
        now: The time, UTC.
    """
    rollout = table.rollout
    return [
        OutcomeRecord(
            model=model,
            key=names[row].key,
            transaction_id=names[row].transaction_id,
            request_id=names[row].request_id,
            assigned=part.assigned,
            served=part.served,
            version=part.version,
            score=float(score),
            flagged=bool(flagged),
            latency_ms=part.milliseconds,
            time=now,
            rollout_id=rollout.id if rollout else None,
            step=rollout.step if rollout else 0,
            weight=rollout.weight if rollout else 0,
            error=part.error,
            propensity=beside.propensities[row],
            explored=bool(beside.explored[row]),
            segment=beside.segments[row],
        )
        for part in parts
        for row, score, flagged in zip(part.rows, part.scores, part.flagged, strict=True)
    ]
