"""Numbers as verdicts say them."""

from __future__ import annotations

from math import floor, inf, log10
from typing import Any

UNKNOWN = "–"  # noqa: RUF001 - a dash, as tables have it
"""What stands where nobody looked, or nothing is known: never a zero."""


def percent(share: float) -> str:
    """A share as a percentage with two decimals, with more where it is small."""
    return f"{100 * share:.2f} %" if share == 0 or share >= 0.001 else f"{100 * share:.2g} %"


def money(amount: float) -> str:
    """An amount of money with two decimals, with more where it is small."""
    if amount == 0 or abs(amount) >= 0.1:
        return f"{amount:,.2f}"
    return f"{amount:.{min(12, 1 - floor(log10(abs(amount))))}f}"


def milliseconds(value: float) -> str:
    """A time with three digits, and all before the point."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def ratio(value: float) -> str:
    """A ratio, or a difference, with three digits."""
    return "∞" if value == inf else f"{value:.3g}"


def short(number: str) -> str:
    """A number from a tag with six digits at most; what is no number as it stands."""
    try:
        return f"{float(number):.6g}"
    except ValueError:
        return number


def whole(value: Any) -> Any:
    """A whole number without its fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
