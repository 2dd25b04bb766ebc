"""What a parser may do with whatever it is given: take it, or refuse it by an error of ours that names the fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fds_mlflow.errors import FdsError

T = TypeVar("T")


def taken_or_refused(parse: Callable[[], T]) -> T | None:
    """What a parser makes of something; None where it was refused, with what is wrong and what to do about it.

    Raises:
        AssertionError: The refusal says less.
        Exception: Whatever else the parser raised: an error of a library is a traceback to a person.
    """
    try:
        return parse()
    except FdsError as error:
        refusal = error
    assert refusal.what.strip()
    assert refusal.fix.strip()
    return None
