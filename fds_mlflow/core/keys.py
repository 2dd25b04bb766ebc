"""How a routing key or transaction id is written: one spelling, so that every way in finds the same label."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import IntEnum
from typing import Any

import numpy as np

from fds_mlflow.errors import DataError

EXACT = 2**53
"""Below, every whole number has a float64 of its own."""


class Spelling(IntEnum):
    """How keys are written; a rollout keeps the one that it began with.

    `CANONICAL`: text as it is; a whole number in decimal digits, all of them, however it came (1000, 1000.0 and 1e3 are
    `1000`); another number as the shortest decimal that reads back the same; `true` and `false`.

    `BY_COLUMN`, of rollouts begun by earlier releases: a server wrote what came in a column of numbers as a float
    (`1000.0`), a router as Python writes it.
    """

    BY_COLUMN = 1
    CANONICAL = 2


def spelled(value: Any, spelling: Spelling = Spelling.CANONICAL) -> str | None:
    """A key as text; None where there is none (None or NaN).

    Args:
        value: Text, a number or a boolean, of Python or NumPy; anything else is written as Python does.
        spelling: How.

    Raises:
        DataError: It is a float from 2^53 on, where different whole numbers are one: its last digits are lost already.
    """
    if type(value) is str:
        return value
    if _missing(value):
        return None
    if spelling is Spelling.BY_COLUMN:
        return str(value)
    exact = _EXACT.get(type(value), EXACT)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if abs(value) >= exact:
            raise DataError(
                f"the key {value!r} is a float, which has not all digits of so large a number",
                fix="give keys as text or as whole numbers",
            )
        return str(int(value)) if value.is_integer() else repr(value)
    return _decimal(value) if isinstance(value, Decimal) else str(value)


_EXACT = {np.float32: 2**24, np.float16: 2**11}


def _decimal(value: Decimal) -> str:
    if not value.is_finite() or abs(value.adjusted()) > _DIGITS:
        raise DataError(f"the key {value} has more digits than a key may have", fix="give keys as text")
    return f"{value.normalize():f}" if value != value.to_integral_value() else str(int(value))


_DIGITS = 300
"""Digits of a decimal key, which is more than any store takes."""


def _missing(value: Any) -> bool:
    """None, NaN, and whatever pandas has for them."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124 - a NaN is no value
    except TypeError:  # pandas' NA is neither equal nor unequal
        return True
    except (ValueError, ArithmeticError):  # an array, or a signalling NaN: no value that is one
        raise DataError(f"{value!r} is no key", fix="give text or a number") from None


def joined(transaction_id: str) -> str:
    """A transaction id as outcomes and labels are joined by it: a whole number that went through a float is one again.

    Files that a float column was written to say `1000.0`, and so did servers of earlier releases. From 2^53 on a float
    is not told apart from its neighbours, and stays as it is.
    """
    whole = _FLOAT(transaction_id) if transaction_id.endswith(".0") else None
    return whole[1] if whole and int(whole[1]) < EXACT else transaction_id


_FLOAT = re.compile(r"(0|[1-9][0-9]{0,15})\.0", re.ASCII).fullmatch
