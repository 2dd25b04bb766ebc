"""How keys are written: one spelling, all digits, and what labels are joined by."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.keys import EXACT, Spelling, joined, spelled
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import DataError
from fds_mlflow.registry import tags

WRITTEN: list[tuple[Any, str | None]] = [
    ("1000.0", "1000.0"),
    ("", ""),
    (1000, "1000"),
    (1000.0, "1000"),
    (np.float64(1000.0), "1000"),
    (np.int64(2**63 - 1), str(2**63 - 1)),
    (2**64 + 1, str(2**64 + 1)),
    (12.5, "12.5"),
    (np.float32(0.5), "0.5"),
    (-0.0, "0"),
    (True, "true"),
    (np.bool_(False), "false"),
    (None, None),
    (math.nan, None),
    (np.float64("nan"), None),
]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
def test_a_key_is_written_in_one_way(value: Any, text: str | None) -> None:
    """Text stays as it is, whole numbers are decimal digits, and what is no key is none."""
    assert spelled(value) == text


@given(st.integers(-(2**70), 2**70))
def test_whole_numbers_keep_every_digit(number: int) -> None:
    """A whole number is written with all of its digits, and so is a float that holds it."""
    assert spelled(number) == str(number)
    if abs(number) < EXACT:
        assert spelled(float(number)) == str(number)
    else:
        with pytest.raises(DataError, match="not all digits"):
            spelled(float(number))


@given(st.floats(-EXACT, EXACT, exclude_min=True, exclude_max=True))
def test_different_numbers_have_different_keys(number: float) -> None:
    """What is written reads back as the same number."""
    text = spelled(number)
    assert text is not None
    assert float(text) == number


def test_a_rollout_of_an_earlier_release_keeps_its_spelling() -> None:
    """A tag without a spelling is one of those, is written again as it was, and a new one says how it spells."""
    old = Rollout("01ARZ3NDEKTSV4RRFFQ69G5FAV", 1, 2, Plan(), 1_000, 0, datetime(2026, 3, 1, tzinfo=UTC))
    assert old.spelling is Spelling.BY_COLUMN
    text = tags.encode_rollout(old)
    assert "spelling" not in text
    assert tags.decode_rollout(text) == old
    assert spelled(1000.0, old.spelling) == "1000.0"
    new = Rollout(old.id, 1, 2, old.plan, 1_000, 0, old.since, spelling=Spelling.CANONICAL)
    assert tags.decode_rollout(tags.encode_rollout(new)) == new


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1000.0", "1000"),
        ("0.0", "0"),
        ("1000", "1000"),
        ("TX1.0", "TX1.0"),
        ("00.0", "00.0"),
        ("1e3", "1e3"),
        ("12.50", "12.50"),
        ("1234567890123456.0", "1234567890123456"),
        ("9007199254740991.0", "9007199254740991"),
        ("9007199254740992.0", "9007199254740992.0"),
        ("9007199254740993.0", "9007199254740993.0"),
        ("12345678901234567.0", "12345678901234567.0"),
        (".0", ".0"),
    ],
)
def test_a_transaction_that_went_through_a_float_is_joined_as_what_it_was(text: str, name: str) -> None:
    """Digits with .0 behind them are the number; anything else, and what a float cannot tell apart, stays as it is."""
    assert joined(text) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [(Decimal("1000.00"), "1000"), (Decimal("1E+3"), "1000"), (Decimal("12.50"), "12.5"), (np.float32(7.0), "7")],
)
def test_a_decimal_and_a_short_float_are_the_numbers_they_are(value: Any, text: str) -> None:
    """What a database or a column of 32 bits gives is the same key."""
    assert spelled(value) == text


@pytest.mark.parametrize("value", [np.float32(2**24), float("inf"), Decimal("1e999999"), np.array([1, 2]), 2.0**53])
def test_what_cannot_be_told_from_others_is_no_key(value: Any) -> None:
    """A number whose digits are lost, or an endless one, or an array, is refused with what to give instead."""
    with pytest.raises(DataError):
        spelled(value)
