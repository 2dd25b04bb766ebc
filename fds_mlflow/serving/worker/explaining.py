"""What is told of a score only where a request asks for it: its reasons, and the features that it rests on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from fds_mlflow.errors import FdsError
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.reasons import Most
from fds_mlflow.scoring.requests.rows import Row
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.serving.worker.asking import CANARY
from fds_mlflow.serving.worker.engine import Answer, Explain

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What a request asks for beside the score.

    Attributes:
        reasons: How many reasons; None for none.
        features: Whether it asks for the features.
        record: Whether raw transactions are taken into the state; None where it does not say.
    """

    reasons: Most | None = None
    features: bool = False
    record: bool | None = None


def explaining(state: ServingState, rows: Sequence[Row], wanted: Wanted | None) -> Explain | None:
    """What adds to the answers of rows what is wanted; None where nothing is."""
    return None if wanted is None else partial(explain, state, rows, wanted=wanted)


def explain(state: ServingState, rows: Sequence[Row], answers: Sequence[Answer], wanted: Wanted) -> None:
    """Add to answers what is wanted, by the version that gave each; what there is not costs nobody the answer.

    Args:
        state: The state in force.
        rows: Of the requests.
        answers: To each.
        wanted: Beside the score.
    """
    for canary in (False, True):
        places = [place for place, answer in enumerate(answers) if (answer.variant == CANARY) is canary]
        if not places:
            continue
        loaded = state.require_canary() if canary else state.champion
        own = [state.for_canary(rows[place]) if canary else state.for_champion(rows[place]) for place in places]
        _explain(loaded, own, [answers[place] for place in places], wanted)


def _explain(loaded: Loaded, rows: Sequence[Row], answers: Sequence[Answer], wanted: Wanted) -> None:
    most = wanted.reasons
    if most is not None:
        explanations, refused = _tried(lambda: loaded.reasons(rows, most))
        for place, answer in enumerate(answers):
            if explanations is None:
                answer.reasons, answer.reasons_refused = None, refused
            else:
                answer.reasons, answer.base = explanations[place].reasons, explanations[place].base
    if wanted.features:
        values, refused = _tried(lambda: [loaded.values(row) for row in rows])
        for place, answer in enumerate(answers):
            if values is None:
                answer.features, answer.features_refused = None, refused
            else:
                named = zip(loaded.names, values[place], strict=True)
                answer.features = {name: None if value is msgspec.UNSET else value for name, value in named}


def _tried(ask: Callable[[], list[Any]]) -> tuple[list[Any] | None, str]:
    """What is found; else why it is not, and what to do."""
    try:
        return ask(), ""
    except FdsError as error:
        return None, f"{error.what}; {error.fix}"
    except Exception as error:  # the score is there and recorded: it is answered
        log.exception("an answer could not be explained")
        return None, f"explaining it failed: {type(error).__name__}; see the server's log"
