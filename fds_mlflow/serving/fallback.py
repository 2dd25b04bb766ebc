"""Who answers: the canary what is assigned to it, and the champion all else, and what the canary could not score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from fds_mlflow.errors import FdsError

Asked = TypeVar("Asked")
Said = TypeVar("Said")


def answered(
    to_canary: bool, canary: Callable[[Asked], Said], champion: Callable[[Asked], Said], asked: Asked
) -> tuple[Said, bool, FdsError | None]:
    """The answer to one request; a canary's failure costs nobody an answer.

    Args:
        to_canary: Whether it is assigned to the canary.
        canary: Scores it by the canary.
        champion: Scores it by the champion.
        asked: The request.

    Returns:
        The answer, whether the canary gave it, and what went wrong with the canary.

    Raises:
        FdsError: The champion cannot score it.
    """
    error: FdsError | None = None
    if to_canary:
        try:
            return canary(asked), True, None
        except FdsError as failed:
            error = failed
    return champion(asked), False, error


def each_answered(
    to_canary: Sequence[bool],
    canary: Callable[[Sequence[Asked]], list[Said | FdsError]],
    champion: Callable[[Sequence[Asked]], list[Said | FdsError]],
    asked: Sequence[Asked],
) -> list[tuple[Said | FdsError, bool, FdsError | None]]:
    """As `answered`, for many requests; each version is asked once, for all that are its own.

    Args:
        to_canary: Of each request.
        canary: Scores requests by the canary, or says of each why not.
        champion: The same by the champion.
        asked: The requests.

    Returns:
        As `answered`, for each; what the champion cannot score has its error for an answer.
    """
    found: dict[int, tuple[Said | FdsError, bool, FdsError | None]] = {}
    errors: dict[int, FdsError] = {}
    its_own = [place for place, one in enumerate(to_canary) if one]
    for place, said in zip(its_own, canary([asked[place] for place in its_own]), strict=True):
        if isinstance(said, FdsError):
            errors[place] = said
        else:
            found[place] = (said, True, None)
    rest = [place for place in range(len(asked)) if place not in found]
    for place, said in zip(rest, champion([asked[place] for place in rest]), strict=True):
        found[place] = (said, False, errors.get(place))
    return [found[place] for place in range(len(asked))]
