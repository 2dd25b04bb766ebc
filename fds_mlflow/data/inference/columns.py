"""What the values of each column are, in the sample: text, numbers in some style, times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data.inference.numbers import MISSING_NUMBERS, PLAIN, Style, parsed, style_of, together
from fds_mlflow.data.inference.survey import ColumnSurvey, Survey, is_text
from fds_mlflow.data.inference.time_formats import Moments

_ANYWHERE = frozenset(
    {
        "?",
        "NULL",
        "null",
        "\\N",
        "(null)",
        "<NA>",
        "<null>",
        "#N/A",
        "#NV",
        "NaN",
        "nan",
        "N/A",
        "n/a",
        "-",
        "--",
        "---",
    }
)
"""Texts that stand for a missing value wherever they are: nobody's country or merchant is called so."""
_AMONG_NUMBERS = (
    _ANYWHERE | MISSING_NUMBERS | {"none", "None", ".", "*", "na", "missing", "MISSING", "unknown", "Unknown"}
)
_UNIQUE = 2_000


@dataclass(frozen=True)
class Column:
    """A column of the sample.

    Attributes:
        name: Its name.
        survey: What is known of it over all rows.
        texts: Its values as text; missing ones are None, what stands for a missing one included.
        missing: Rows of the sample without a value.
        numbers: Its values as numbers, NaN where missing; None if they are none, or not in the style of the file.
        style: How they are written; None if they are none.
        moments: Its values as times, where the source keeps times as such; None elsewhere.
        zoned: Whether those times carry a zone.
    """

    name: str
    survey: ColumnSurvey
    texts: pd.Series[Any]
    missing: int
    numbers: np.ndarray[Any, np.dtype[np.float64]] | None
    style: Style | None
    moments: Moments | None = None
    zoned: bool = False

    @property
    def kind(self) -> pa.DataType:
        """Its type in the source."""
        return self.survey.kind

    @property
    def example(self) -> str:
        """Its first value."""
        known = self.texts.dropna()
        return str(known.iloc[0]) if len(known) else ""

    @property
    def examples(self) -> str:
        """Some of its values, for people."""
        return ", ".join(repr(str(value)[:30]) for value in self.texts.dropna().unique()[:3])

    @property
    def distinct(self) -> int:
        """How many different values it has, over all rows."""
        return self.survey.sketch.distinct

    @property
    def integers(self) -> bool:
        """Whether all of its numbers are whole."""
        if self.numbers is None:
            return False
        known = self.numbers[~np.isnan(self.numbers)]
        return bool(len(known)) and bool((known == np.floor(known)).all())


@dataclass(frozen=True)
class Columns:
    """The columns of a source.

    Attributes:
        by_name: Each by its name.
        missing: Texts that stand for a missing value.
        missing_reason: Where they were found.
        style: How numbers are written.
        style_reason: What speaks for it.
    """

    by_name: dict[str, Column]
    missing: tuple[str, ...]
    missing_reason: str
    style: Style
    style_reason: str


def look(survey: Survey, *, meaning: frozenset[str] = frozenset()) -> Columns:
    """Find what the values of each column are, and what is the same for the whole file.

    Args:
        survey: What is known over all rows.
        meaning: Texts that mean something, whatever they look like: the values of the label.
    """
    texts = {name: _series(survey, name) for name in survey.columns}
    found: dict[str, set[str]] = {}
    for name, series in texts.items():
        for text in _placeholders(series):
            if text not in meaning:
                found.setdefault(text, set()).add(name)
    missing = tuple(sorted(found))
    texts = {name: series.where(~series.isin(missing)) for name, series in texts.items()}
    styles = {name: _style(survey.columns[name], series) for name, series in texts.items()}
    style, odd = together([s for s in styles.values() if s is not None])
    made = {n: _column(survey, n, series, styles[n], style) for n, series in texts.items()}
    where = "; ".join(
        f"{t!r} in {', '.join(map(repr, sorted(c)[:4]))}{' ...' if len(c) > 4 else ''}" for t, c in found.items()
    )
    written = [name for name, own in styles.items() if own not in (None, PLAIN) and own not in odd]
    reason = "; ".join(f"{name!r}: {made[name].examples}" for name in written[:3])
    return Columns(made, missing, where, style, reason)


def _series(survey: Survey, name: str) -> pd.Series[Any]:
    return pd.Series(survey.texts(name).to_numpy(), dtype=object)


def _placeholders(series: pd.Series[Any]) -> Iterable[str]:
    """Texts of a column that stand for a missing value and that the loader does not take for one by itself."""
    unique = pd.Series(series.dropna().unique(), dtype=object)
    here = [str(text) for text in unique[unique.isin(_AMONG_NUMBERS)]]
    if not here or len(here) == len(unique):
        return [text for text in here if text in _ANYWHERE]
    rest = unique[~unique.isin(_AMONG_NUMBERS)]
    if style_of([str(text) for text in rest.iloc[:_UNIQUE]]) is not None:
        return [text for text in here if text not in MISSING_NUMBERS]
    return [text for text in here if text in _ANYWHERE]


def _style(survey: ColumnSurvey, series: pd.Series[Any]) -> Style | None:
    kind = survey.kind
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return PLAIN
    if not is_text(kind):
        return None
    known = pd.Series(series.dropna().unique(), dtype=object)
    known = known[~known.isin(MISSING_NUMBERS)]
    if known.empty:
        return None
    first = style_of([str(text) for text in known.iloc[:50]])
    if first == PLAIN and pd.to_numeric(known, errors="coerce").notna().all():
        return PLAIN
    return first and style_of([str(text) for text in known])


def _column(survey: Survey, name: str, series: pd.Series[Any], own: Style | None, style: Style) -> Column:
    facts = survey.columns[name]
    numbers = None
    if own is not None:
        if is_text(facts.kind):
            numbers = parsed(series, style)
            unread = np.isnan(numbers) & series.notna().to_numpy() & ~series.isin(MISSING_NUMBERS).to_numpy()
            numbers = None if unread.any() else numbers
        else:
            numbers = pc.cast(survey.sample[name], pa.float64(), safe=False).to_numpy()
    moments, zoned = None, False
    if pa.types.is_timestamp(facts.kind) or pa.types.is_date(facts.kind):
        moments = pc.cast(survey.sample[name], pa.timestamp("us"), safe=False).to_numpy().astype("datetime64[us]")
        zoned = getattr(facts.kind, "tz", None) is not None
    return Column(name, facts, series, int(series.isna().sum()), numbers, own, moments, zoned)
