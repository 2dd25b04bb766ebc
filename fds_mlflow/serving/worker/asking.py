"""Asks the versions of a state about rows: who answers, with which score, how long it took, and what went wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial

from fds_mlflow.errors import FdsError, UnavailableError
from fds_mlflow.runtime.clock import Stopwatch
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.requests.rows import FeaturedRow, RequestError, Row
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.serving.fallback import answered, each_answered

CHAMPION, CANARY = "champion", "canary"

_FEW = 4
"""Rows that a compiled scorer scores faster one by one."""

_CALLS = 256
"""Times that a model is asked for the rows of one request, at most."""

Result = tuple[str, Loaded, float | None, FdsError | None, float]
"""Which variant a request was assigned, who answered with which score, what went wrong on the way, and the milliseconds
that whoever sent it waited for the version it was assigned to, and for the champion behind it."""


def scored(state: ServingState, values: Row, assigned: str, variant: str) -> Result:
    """One request.

    Args:
        state: The state in force.
        values: Of the request.
        assigned: The variant that its key belongs to.
        variant: The one that is to answer.
    """
    began = time.perf_counter()
    score: float | None = None
    try:
        score, by_canary, error = answered(variant == CANARY, partial(_by_canary, state), state.champion_score, values)
    except FdsError as failed:
        by_canary, error = False, failed
    took = 1_000.0 * (time.perf_counter() - began)
    return assigned, (state.canary if by_canary else None) or state.champion, score, error, took


def _by_canary(state: ServingState, values: Row) -> float:
    """The canary's score of a row that it can have."""
    if isinstance(values, FeaturedRow) and values.lack.barred is not None:
        raise values.lack.barred
    return state.canary_score(values)


def all_scored(state: ServingState, rows: Sequence[Row], keys: Sequence[str]) -> list[Result]:
    """Many requests, each variant asked once for all of its rows.

    What is waited for a version is waited for by each of its rows, and by no row of the other one.

    Args:
        state: The state in force.
        rows: Of the requests.
        keys: Routing key of each.
    """
    assigned = [CANARY if state.to_canary(key) else CHAMPION for key in keys]
    if len(rows) <= _FEW and state.inline:
        return [scored(state, row, variant, variant) for row, variant in zip(rows, assigned, strict=True)]
    by_champion, by_canary = Stopwatch(), Stopwatch()

    def champion(own: Sequence[Row]) -> list[float | FdsError]:
        with by_champion:
            return _each(state.champion, [state.for_champion(row) for row in own])

    def canary(own: Sequence[Row]) -> list[float | FdsError]:
        with by_canary:
            return _of_canary(state, own)

    found = each_answered([one == CANARY for one in assigned], canary, champion, rows)
    results: list[Result] = []
    for variant, (said, is_canarys, error) in zip(assigned, found, strict=True):
        loaded = (state.canary if is_canarys else None) or state.champion
        took = (by_canary.milliseconds if variant == CANARY else 0.0) + (
            0.0 if is_canarys else by_champion.milliseconds
        )
        if isinstance(said, FdsError):
            results.append((variant, loaded, None, said, took))
        else:
            results.append((variant, loaded, said, error, took))
    return results


def refuse(results: Sequence[Result]) -> None:
    """Let a request that the champion could not score leave no outcome, where the request may be why: none of its rows.

    Raises:
        RequestError: It is such a request.
    """
    for _, _, score, error, _ in results:
        if score is None and isinstance(error, RequestError):
            raise error


def _of_canary(state: ServingState, rows: Sequence[Row]) -> list[float | FdsError]:
    """The canary's score of each row, or why there is none: a row it cannot score costs no other row its score."""
    said: list[float | FdsError] = []
    chosen: dict[int, Row] = {}
    for place, row in enumerate(rows):
        said.append(math.nan)
        try:
            if isinstance(row, FeaturedRow) and row.lack.barred is not None:
                raise row.lack.barred
            state.require_canary()
            chosen[place] = state.for_canary(row)
        except FdsError as failed:
            said[place] = failed
    if not chosen:
        return said
    for place, score in zip(chosen, _each(state.require_canary(), list(chosen.values())), strict=True):
        said[place] = score
    return said


def _each(loaded: Loaded, rows: Sequence[Row], calls: list[None] | None = None) -> list[float | FdsError]:
    """The score of each row; what fails is halved until the rows at which it fails stand alone.

    A model that takes too long is not asked again for its rows, and one that fails again and again not for ever.
    """
    calls = [] if calls is None else calls
    calls.append(None)
    if len(rows) <= 1:
        return [_alone(loaded, row) for row in rows]
    try:
        return list(loaded.rows(rows).tolist())
    except UnavailableError as failed:
        return [failed] * len(rows)
    except FdsError as failed:
        if len(calls) >= _CALLS:
            return [failed] * len(rows)
    middle = len(rows) // 2
    return _each(loaded, rows[:middle], calls) + _each(loaded, rows[middle:], calls)


def _alone(loaded: Loaded, row: Row) -> float | FdsError:
    try:
        return loaded.row(row)
    except FdsError as failed:
        return failed
