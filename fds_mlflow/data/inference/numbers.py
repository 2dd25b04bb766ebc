"""How numbers are written: decimals, groups of thousands, currency signs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fds_mlflow.data.column import NO_VALUE

_SIGN = r"([^\d\s.,+\-'()%:/\\]{1,4})?"
_CURRENCY = re.compile(rf"^([+-]?)\s*{_SIGN}\s*([+-]?[\d.,' \u00a0\u202f_]*\d[.,]?(?:[eE][+-]?\d+)?)\s*{_SIGN}$")
_SIGNS = frozenset("$€£¥₹₽₩₺₫₪₴฿¢") | {"R$", "US$", "A$", "C$", "kr", "zł", "Fr", "Fr.", "Kč", "Ft", "lei", "Rs", "Rp"}
_CODE = re.compile(
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NGN|NOK|NZD|PEN"
    "|PHP|PLN|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
"""Codes of ISO 4217 that people pay by; any three letters would make money of every code such as DEV7146."""
_PLAIN = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
MISSING_NUMBERS = frozenset(NO_VALUE) - {""}
"""Texts that the loader takes for a missing number by itself."""


@dataclass(frozen=True)
class Style:
    """How the numbers of a file are written.

    Attributes:
        decimal: Sign before the decimals.
        thousands: Sign between groups of three digits.
        currency: Signs or codes before or after a number.
    """

    decimal: str = "."
    thousands: str | None = None
    currency: tuple[str, ...] = ()


PLAIN = Style()


def bare(text: str) -> tuple[str, str | None] | None:
    """A number without its currency sign, and the sign; None for what is no number."""
    inner = re.fullmatch(r"\((.*)\)", text.strip())  # an accountant's minus
    found = _CURRENCY.match(inner[1] if inner else text.strip())
    if found is None or (inner and not (found[2] or found[4])):
        return None
    minus, before, digits, after = found.groups()
    sign = before or after
    if (before and after) or (sign is not None and sign not in _SIGNS and not _CODE.fullmatch(sign)):
        return None
    if minus and digits[0] in "+-":
        return None
    return f"{'-' if inner else ''}{minus}{digits}", sign


def style_of(texts: Sequence[str]) -> Style | None:
    """How a column's numbers are written; None if they are none. Plain wherever that reads all of them."""
    if all(_PLAIN.match(text.strip()) for text in texts):
        return PLAIN
    found = [bare(text) for text in texts]
    if any(item is None for item in found):
        return None
    numbers = [item[0] for item in found if item is not None]
    currency = tuple(sorted({item[1] for item in found if item is not None and item[1] is not None}))
    for decimal, thousands in (
        (".", None),
        (",", None),
        (".", ","),
        (",", "."),
        (".", "'"),
        (",", " "),
        (".", " "),
        (".", "_"),
    ):
        if all(_pattern(decimal, thousands).match(number) for number in numbers):
            if (decimal, thousands) == (",", None) and _only_groups(numbers):
                return Style(".", ",", currency)
            return Style(decimal, thousands, currency)
    return None


def _pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    groups = rf"\d+|\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+" if thousands else r"\d+"
    groups = groups.replace("\\ ", "[ \u00a0\u202f]")
    return re.compile(rf"^[+-]?(?:(?:{groups})(?:{re.escape(decimal)}\d*)?|{re.escape(decimal)}\d+)(?:[eE][+-]?\d+)?$")


def _only_groups(numbers: Sequence[str]) -> bool:
    """Whether every comma stands before exactly three digits: `1,234` is a thousand and not one and a quarter."""
    with_comma = [number for number in numbers if "," in number]
    return bool(with_comma) and all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", number) for number in with_comma)


def together(styles: Sequence[Style]) -> tuple[Style, list[Style]]:
    """The one style that a schema can state, chosen from those of the columns, and those that do not agree with it."""
    written = [style for style in styles if style != PLAIN]
    marks = Counter(
        (style.decimal, style.thousands) for style in written if (style.decimal, style.thousands) != (".", None)
    )
    decimal, thousands = ".", None
    if marks:
        decimal = Counter(mark[0] for mark in marks.elements()).most_common(1)[0][0]
        thousands = next((m[1] for m, _ in marks.most_common() if m[0] == decimal and m[1] is not None), None)
    made = Style(decimal, thousands, tuple(sorted({sign for style in written for sign in style.currency})))
    return made, [style for style in written if style.decimal not in (decimal, ".")]


def parsed(texts: pd.Series[str], style: Style) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Texts as numbers; NaN where one cannot be read in the style."""
    plain = pd.to_numeric(texts.where(~texts.isin(MISSING_NUMBERS)), errors="coerce")
    if style == PLAIN:
        return plain.to_numpy(dtype=np.float64, na_value=np.nan)
    pattern = _pattern(style.decimal, style.thousands)

    def read(text: object) -> float:
        found = bare(text) if isinstance(text, str) else None
        if found is None or not pattern.match(found[0]):
            return np.nan
        number = re.sub(r"[ \u00a0\u202f]", "", found[0])
        number = number.replace(style.thousands, "") if style.thousands else number
        return float(number.replace(style.decimal, "."))

    unique = {text: read(text) for text in texts.dropna().unique()}
    return texts.map(unique).to_numpy(dtype=np.float64, na_value=np.nan)
