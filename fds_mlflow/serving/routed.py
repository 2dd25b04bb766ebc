"""What scoring the rows of a router gave, and the outcomes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import RoutingTable, Split, Variant
from fds_mlflow.errors import FdsError
from fds_mlflow.outcomes.records import OutcomeRecord, Vector
from fds_mlflow.serving.frames import Frames
from fds_mlflow.serving.inputs import Origin, digest, row_taken, rows_taken, vector

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.features.declaration import Declared
    from fds_mlflow.features.state.opening import Address
    from fds_mlflow.runtime.clock import Clock
    from fds_mlflow.scoring.reasons import Explanation, Most, Reason
    from fds_mlflow.scoring.requests.names import RequestNames
    from fds_mlflow.scoring.scorer import Scorer
    from fds_mlflow.serving.featured import Featured
    from fds_mlflow.serving.raw import OnFailure, Raw

_log = logging.getLogger(__name__)


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
        degraded: Why its features are not what they would be: the state was `down`, `slow` or `behind`, or it is
            `cold`; None where they are.
    """

    score: float
    flagged: bool
    variant: Variant
    version: int
    explored: bool = False
    explanation: Explanation | None = None
    reasons_refused: str | None = None
    degraded: str | None = None

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


@dataclass(frozen=True)
class Given:
    """What the versions were given of each row, and the reasons of its score.

    Attributes:
        digests: Of what was scored; None where the version's signature names no columns.
        vectors: Of a sample, what was scored.
        reasons: As JSON, where they were asked for.
        degraded: Whether the outcome is no evidence, since the state lacked something.
    """

    digests: list[str | None]
    vectors: list[Vector | None]
    reasons: list[str | None]
    degraded: list[bool]

    @classmethod
    def of_frame(
        cls,
        frames: Frames,
        parts: Sequence[Part],
        scorer: Callable[[int], Scorer],
        transactions: Sequence[str],
        sample: Split | None,
    ) -> Self:
        """Of a frame.

        Args:
            frames: The rows.
            parts: What scoring them gave.
            scorer: Loads a version.
            transactions: Of each row, by which the sample is drawn.
            sample: Which transactions have their vectors kept.
        """
        nothing: list[Any] = [None] * len(frames.given)
        found = cls([*nothing], [*nothing], [*nothing], frames.degraded())
        for part in parts:
            by = scorer(part.version)
            for row, values in zip(
                part.rows.tolist(), rows_taken(by, frames.taken(part.version).iloc[part.rows]), strict=bool(by.inputs)
            ):
                came = frames.came(row, part.version)
                found.digests[row] = digest(values, came[0])
                if sample is not None and sample.takes(transactions[row]):
                    found.vectors[row] = vector(tuple(by.inputs), values, *came)
        return found

    @classmethod
    def of_row(
        cls,
        scorer: Scorer,
        row: Mapping[str, Any],
        came: tuple[Mapping[str, Any], Origin] | None,
        names: RequestNames,
        sample: Split | None,
        *,
        degraded: bool = False,
    ) -> Self:
        """Of one transaction.

        Args:
            scorer: Of the version that answered.
            row: What it took.
            came: The transaction as it came, and where its features come from; None where they came computed.
            names: Of the request.
            sample: Which transactions have their vectors kept.
            degraded: Its outcome is no evidence.
        """
        values, (raw, source) = row_taken(scorer, row), came or (None, None)
        sampled = sample is not None and sample.takes(names.transaction_id)
        return cls(
            [digest(values, raw) if scorer.inputs else None],
            [vector(tuple(scorer.inputs), values, raw, source) if sampled and scorer.inputs else None],
            [None],
            [degraded],
        )

    def explain(self, reasons: Iterable[list[Reason] | None] | None) -> None:
        """Keep reasons too.

        Args:
            reasons: Of each row; None where none were asked for.
        """
        for row, given in enumerate(() if reasons is None else reasons):
            if given is not None:
                from fds_mlflow.scoring.reasons import written

                self.reasons[row] = written(given)


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
    answer: pd.DataFrame, frames: Frames, parts: Sequence[Part], scorer: Callable[[int], Scorer], most: Most
) -> pd.DataFrame:
    """Answers with the reasons of each; a version that gives none costs nobody an answer.

    Args:
        answer: Of a router.
        frames: The rows that it is about.
        parts: What scoring them gave.
        scorer: Loads a version.
        most: How many reasons.
    """
    import pandas as pd

    reasons, refused = (np.full(len(answer), None, dtype=object) for _ in range(2))
    bases = np.full(len(answer), np.nan)
    for part in parts:
        try:
            found = scorer(part.version).reasons(frames.taken(part.version).iloc[part.rows], most)
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
    given: Given,
    now: datetime,
) -> list[OutcomeRecord]:
    """One outcome a row; what was waited for a version's call was waited for by each of its rows.

    Args:
        model: Registered model.
        table: By which the rows were routed.
        names: Of each row.
        parts: What scoring them gave.
        beside: What is recorded beside it.
        given: What the versions were given, and what for.
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
            inputs_digest=given.digests[row],
            reasons=given.reasons[row],
            vector=given.vectors[row],
            degraded=given.degraded[row],
        )
        for part in parts
        for row, score, flagged in zip(part.rows, part.scores, part.flagged, strict=True)
    ]


FIRST = np.zeros(1, dtype=np.intp)
"""The place of the only row."""


def opened(
    address: Address | None,
    declared: Callable[[int], Declared | None],
    timeout: float,
    on_failure: OnFailure,
    clock: Clock,
) -> Raw | None:
    """What computes the features of raw transactions, as `Raw`; None without an address."""
    if address is None:
        return None
    from fds_mlflow.serving.raw import Raw  # with pyarrow, which routing does without

    return Raw(address, declared, timeout=timeout, on_failure=on_failure, clock=clock)


def featured_of(
    raw: Raw, transaction: Mapping[str, Any], table: RoutingTable, version: int, *, record: bool
) -> Featured | None:
    """The features of a transaction for the champion and the version that it is routed to, as `Raw.featured`."""
    trial = [] if table.rollout is None else [table.rollout.canary]
    return raw.featured(transaction, table.champion, trial, record=record, wanted=[version])


def row_of(asked: Featured | Mapping[str, Any], scorer: Scorer) -> Mapping[str, Any]:
    """A transaction as a version takes it."""
    return asked if isinstance(asked, Mapping) else asked.of(scorer.version)


def check_reasons(reasons: Most | None) -> None:
    """Refuse what is no number of reasons, before anything is scored."""
    if reasons is not None:
        from fds_mlflow.scoring.reasons import require_most

        require_most(reasons)


def served_by(by_canary: bool) -> Variant:
    """Who answered."""
    return Variant.CANARY if by_canary else Variant.CHAMPION


def noted(failed: FdsError | None, rows: int) -> str | None:
    """What the outcome says of a canary that failed; the log says it as well."""
    if failed is None:
        return None
    _log.warning("the champion answers %s rows of the canary: %s", rows, failed.what)
    return failed.what
