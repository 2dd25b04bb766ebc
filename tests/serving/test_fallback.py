"""Who answers: one rule for a request alone and for many at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import DataError, FdsError
from fds_mlflow.serving.fallback import answered, each_answered

BAD_CANARY, BAD_BOTH = 1, 2


def canary(asked: int) -> str:
    """The canary's answer; it fails at some requests."""
    if asked in (BAD_CANARY, BAD_BOTH):
        raise DataError(f"canary fails at {asked}", fix="-")
    return f"canary {asked}"


def champion(asked: int) -> str:
    """The champion's answer; it fails at one request."""
    if asked == BAD_BOTH:
        raise DataError(f"champion fails at {asked}", fix="-")
    return f"champion {asked}"


def each(score: object, asked: Sequence[int]) -> list[str | FdsError]:
    """As a batch gives answers: an error stands in its row's place."""
    found: list[str | FdsError] = []
    for one in asked:
        try:
            found.append(score(one))  # type: ignore[operator]
        except FdsError as error:
            found.append(error)
    return found


def test_the_champion_answers_what_the_canary_could_not() -> None:
    """A canary's failure costs nobody an answer, and is told beside it; a champion's own failure is an error."""
    assert answered(True, canary, champion, 0) == ("canary 0", True, None)
    assert answered(False, canary, champion, 0) == ("champion 0", False, None)
    answer, by_canary, failed = answered(True, canary, champion, BAD_CANARY)
    assert (answer, by_canary) == ("champion 1", False)
    assert failed is not None
    assert failed.what == "canary fails at 1"
    with pytest.raises(DataError, match="champion fails at 2"):
        answered(True, canary, champion, BAD_BOTH)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=12))
def test_many_requests_are_answered_as_each_would_be_alone(requests: list[tuple[bool, int]]) -> None:
    """Whatever is sent together, each request gets the answer, the variant and the error that it would get alone."""
    to_canary, asked = [one for one, _ in requests], [one for _, one in requests]
    together = each_answered(to_canary, lambda own: each(canary, own), lambda own: each(champion, own), asked)
    for assigned, one, (said, by_canary, failed) in zip(to_canary, asked, together, strict=True):
        if isinstance(said, FdsError):
            with pytest.raises(DataError, match=said.what):
                answered(assigned, canary, champion, one)
            continue
        answer, alone, error = answered(assigned, canary, champion, one)
        assert (said, by_canary) == (answer, alone)
        assert (failed and failed.what) == (error and error.what)
