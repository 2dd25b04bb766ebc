"""Numbers as verdicts say them."""

from __future__ import annotations

from math import inf
from typing import Any

UNKNOWN = "–"  # noqa: RUF001 - a dash, as tables have it
"""What stands where nobody looked, or nothing is known: never a zero."""


def percent(share: float) -> str:
    """A share as a percentage with two decimals, with more where it is small."""
    return f"{100 * share:.2f} %" if share == 0 or share >= 0.001 else f"{100 * share:.2g} %"


def ratio(value: float) -> str:
    """A ratio with three digits."""
    return "infinite" if value == inf else f"{value:.3g}"


def short(number: str) -> str:
    """A number from a tag with six digits at most; what is no number as it stands."""
    try:
        return f"{float(number):.6g}"
    except ValueError:
        return number


def whole(value: Any) -> Any:
    """A whole number without its fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
