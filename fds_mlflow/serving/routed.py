"""What scoring the rows of a router gave, and the outcomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import RoutingTable, Variant
from fds_mlflow.errors import FdsError
from fds_mlflow.outcomes.records import OutcomeRecord

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.scoring.reasons import Explanation, Most
    from fds_mlflow.scoring.requests.names import RequestNames
    from fds_mlflow.scoring.scorer import Scorer


@dataclass(frozen=True)
class Scored:
    """The answer to one transaction.

    Attributes:
        score: In [0, 1], higher = more likely fraud.
        flagged: Whether the score reaches the threshold of the version that answered, and it is not explored.
        variant: Who answered.
        version: The version that answered.
        explored: Whether it is let pass although the score reaches the threshold, so that its truth shows.
        explanation: Its reasons; None where none were asked for, or the version gives none.
        reasons_refused: Why it gives none, and what to do.
    """

    score: float
    flagged: bool
    variant: Variant
    version: int
    explored: bool = False
    explanation: Explanation | None = None
    reasons_refused: str | None = None

    def explained(self, transaction: Mapping[str, Any], scorer: Scorer, most: Most) -> Self:
        """The same with its reasons; a version that gives none costs nobody an answer.

        Args:
            transaction: Which it is about.
            scorer: Of the version that answered.
            most: How many reasons.
        """
        import pandas as pd

        try:
            return replace(self, explanation=scorer.reasons(pd.DataFrame([dict(transaction)]), most)[0])
        except FdsError as error:
            return replace(self, reasons_refused=_refused(error))


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


def together(index: pd.Index[Any], parts: Sequence[Part]) -> pd.DataFrame:
    """The answers to all rows, each in its place.

    Args:
        index: Of the rows.
        parts: What scoring them gave, one of them at least.
    """
    import pandas as pd

    answer = pd.DataFrame(
        {"score": 0.0, "flagged": False, "variant": parts[0].served.value, "version": parts[0].version}, index=index
    )
    for part in parts:
        answer.iloc[part.rows, 0] = part.scores
        answer.iloc[part.rows, 1] = part.flagged
        answer.iloc[part.rows, 2] = part.served.value
        answer.iloc[part.rows, 3] = part.version
    return answer


def explained(
    answer: pd.DataFrame, frame: pd.DataFrame, parts: Sequence[Part], scorer: Callable[[int], Scorer], most: Most
) -> pd.DataFrame:
    """Answers with the reasons of each; a version that gives none costs nobody an answer.

    Args:
        answer: Of a router.
        frame: The rows that it is about.
        parts: What scoring them gave.
        scorer: Loads a version.
        most: How many reasons.
    """
    import pandas as pd

    reasons, refused = (np.full(len(frame), None, dtype=object) for _ in range(2))
    bases = np.full(len(frame), np.nan)
    for part in parts:
        try:
            found = scorer(part.version).reasons(frame.iloc[part.rows], most)
        except FdsError as error:
            refused[part.rows] = _refused(error)
            continue
        for row, one in zip(part.rows, found, strict=True):
            reasons[row], bases[row] = one.reasons, one.base
    told = {"reasons": reasons, "base": bases, "reasons_refused": refused}
    # pandas 3 would make texts of the last one, and NaN of its gaps.
    return answer.assign(**{name: pd.Series(one, answer.index, one.dtype) for name, one in told.items()})


def _refused(error: FdsError) -> str:
    return f"{error.what}; {error.fix}"


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
