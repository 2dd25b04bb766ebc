"""What belongs to which run: the quick one, `make test`, or a campaign; and how many examples a property test tries.

A promise is proved once in the quick run wherever it can be without a server; `make test` proves it on every store and
with a server of each kind; campaigns prove it at length, by every case, fault and network. Of a test's cases the first
four are quick and the first six are in `make test` (`tests/conftest.py`), unless its marker `tested` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings


def at_most(examples: int, **more: Any) -> settings:
    """Settings with as many examples as the profile of the run says, but not more than these."""
    return settings(max_examples=min(examples, settings.default.max_examples), **more)  # type: ignore[union-attr]


def graded(values: Iterable[Any], *, quick: int = 1, tested: int | None = None) -> list[Any]:
    """Values to parametrize by; the first ones prove the promise, and the others wait for a longer run.

    Args:
        values: A tuple among them is taken for several arguments.
        quick: So many are in the quick run.
        tested: So many are in `make test`, and the others are a campaign; None for all.
    """
    made = []
    for number, value in enumerate(values):
        if number < quick:
            made.append(value)
        else:
            mark = pytest.mark.slow if tested is None or number < tested else pytest.mark.campaign
            made.append(pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=mark))
    return made
